"""The over-optimisation laboratory: answers, proxy rewards of few and of many labels, and policies that please them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.algorithms.rloo import RLOO
from tercih.data import collate
from tercih.data.offline import Offline
from tercih.data.tokenize import Tokenizer
from tercih.environments import grammar
from tercih.environments.text import TextTask
from tercih.feedback.simulated import PREFIX, SimulatedRater
from tercih.forward import Models
from tercih.models.language_model import Reference
from tercih.models.load import load_causal, load_policy, load_reward_model, save_model
from tercih.models.reward_model import RewardModel
from tercih.optimisation import Optimisation
from tercih.recipes.over_optimisation_curves import SHUFFLED
from tercih.recipes.stages import token_batches
from tercih.records import Consensus, Text
from tercih.rewards import Combiner, FunctionReward, LearnedReward, RewardSource
from tercih.rewards.ensemble import EnsembleReward
from tercih.rollout.sampler import Rollouts, sample_items
from tercih.rollout.sampling import Sampling
from tercih.run import read_json, write_json
from tercih.train import fit

RATER = SimulatedRater(name=PREFIX + "rater", temperature=0.2)
GUESSER = SimulatedRater(name=PREFIX + "guesser", lapse=1.0)  # the negative control: a fair coin
REWARD_LEARNING = Optimisation(lr=1e-3, schedule="cosine", warmup=0.05, weight_decay=0.01)
POLICY_LEARNING = Optimisation(lr=1e-3, schedule="constant", eps=1e-5, warmup=0.1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much of everything."""

    labels: tuple[int, ...] = (30, 100, 300, 1000)
    """Comparisons that proxies learn from; the penalties and the ensemble are tried with the fewest."""
    draws: int = 3
    """Proxies for each number of labels, each of comparisons of its own."""
    prompts: int = 32
    """Held-out prompts of best-of-n."""
    samples: int = 256
    """Answers to each of them: the largest n."""
    reward_steps: int = 80
    """Of 32 comparisons, for every proxy: few labels are seen often."""
    members: int = 3
    """Of an ensemble: as many proxies that learned from the same comparisons from other starts."""
    policies: int = 1
    """Runs of reinforcement learning for each setting, each against another draw."""
    kl_coefs: tuple[float, ...] = (0.02, 0.2, 0.5)
    """Penalties on KL; the first is the one of all runs but those that compare them."""
    steps: int = 80
    """Of reinforcement learning."""
    prompts_per_step: int = 32
    """With four answers each."""


@dataclass(frozen=True, kw_only=True)
class Lab:
    """The stages of the recipe; each goes on where it was stopped. `model` is the base, `run` the run folder."""

    model: Path
    size: Size
    seed: int
    run: Path

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.model)

    @cached_property
    def task(self) -> TextTask:
        return grammar.task(self.seed, demonstrated=1)

    def sample(self, folder: Path) -> str:
        """Pairs to ask about and answers to choose from, all by the base model, with gold."""
        size, seed = self.size, self.seed
        pairs = [self.task.train[i % len(self.task.train)] for i in range(max(size.labels) * size.draws)]
        asked = self._answers(pairs, 2, seed + 1)
        held = self._answers(self.task.heldout[: size.prompts], size.samples, seed + 2)
        for name, items, each in (("asked", asked, 2), ("held", held, size.samples)):
            write_json(folder / f"{name}.json", [asdict(item) for item in items])
            gold = np.array([self.task.gold(item.prompt, str(item.completion)) for item in items])
            np.save(folder / f"{name}_gold.npy", gold.reshape(-1, each))
        return f"{len(pairs)} pairs, and {size.samples} answers to each of {size.prompts} held-out prompts"

    def _answers(self, prompts: Sequence[Text], samples: int, seed: int) -> list[Text]:
        policy = load_policy(self.model)
        return sample_items(
            policy,
            self.tokenizer,
            prompts,
            self._sampling(policy.temperature),
            samples=samples,
            seed=seed,
            origin="base",
        )

    def _sampling(self, temperature: float) -> Sampling:
        return Sampling(max_new_tokens=self.task.max_new_tokens, stop=self.task.stop, temperature=temperature)

    def _items(self, name: str) -> list[Text]:
        rows = read_json(self.run / "samples" / f"{name}.json")
        return [Text(**row | {key: tuple(row[key]) for key in ("prompt_ids", "completion_ids")}) for row in rows]

    def _jobs(self) -> dict[str, tuple[int, int, int, SimulatedRater]]:
        """Name → labels, draw, member, rater. Members share their comparisons with the proxy of their draw."""
        size = self.size
        few, draws = size.labels[0], range(size.draws)
        jobs = {f"{n}-{d}": (n, d, 0, RATER) for n in size.labels for d in draws}
        jobs |= {f"{few}-{d}-m{m}": (few, d, m, RATER) for d in draws for m in range(1, size.members)}
        return jobs | {f"{SHUFFLED}-{d}": (size.labels[-1], d, 0, GUESSER) for d in draws}

    def learn(self, folder: Path) -> str:
        """A proxy is done when its scores are there; who was stopped goes on with the next one."""
        asked, held = self._items("asked"), self._items("held")
        gold_Q2 = np.load(self.run / "samples" / "asked_gold.npy")
        for name, (labels, draw, member, rater) in self._jobs().items():
            if (folder / f"{name}.npy").exists():
                continue
            first = draw * max(self.size.labels)
            records = self._labels(asked, gold_Q2, range(first, first + labels), rater)
            source = self._proxy(records, asked[:512], seed=self.seed + 100 * member + draw)
            save_model(source.model, self.tokenizer.hf, folder / name)
            score_PN = source.score(held).reward_BC[:, 0].double().numpy().reshape(self.size.prompts, -1)
            np.save(folder / f"{name}.partial.npy", score_PN)
            (folder / f"{name}.partial.npy").replace(folder / f"{name}.npy")
        return f"{len(self._jobs())} reward models of {', '.join(map(str, self.size.labels))} labels"

    def _labels(
        self, asked: Sequence[Text], gold_Q2: Any, pairs: range, rater: SimulatedRater
    ) -> list[Consensus[Text]]:
        """What one simulated rater says of each; a pair that reads the same is a question all the same."""
        said = []
        for q in pairs:
            lapse, side = np.random.default_rng((self.seed, 3, q)).random(2)
            first = rater.answer(float(gold_Q2[q, 0] - gold_Q2[q, 1]), lapse, side) == "left"
            said.append(Consensus(a=asked[2 * q], b=asked[2 * q + 1], p_a=float(first), p_b=float(not first)))
        return said

    def _proxy(self, records: list[Consensus[Text]], reference: Sequence[Text], seed: int) -> LearnedReward:
        model = RewardModel(load_causal(self.model), readout="mean", seed=seed)
        batches = token_batches(reference, self.tokenizer, model.context)
        model.normalise(batches)
        data = Offline(
            records=records,
            collate=lambda rows: collate.pairs(rows, self.tokenizer, model.context),
            size=32,
            epochs=max(1, round(self.size.reward_steps / -(-len(records) // 32))),
            seed=seed,
        )
        fit(BradleyTerry(), Models(policy=model), data, REWARD_LEARNING, title=f"{len(records)} labels")
        model.normalise(batches)  # so that a KL coefficient, and a lowest score, mean the same for each
        return LearnedReward(model, self.tokenizer)

    def maximise(self, folder: Path) -> str:
        size, few, least = self.size, self.size.labels[0], self.size.kl_coefs[0]
        jobs: dict[str, tuple[list[str], float]] = {}
        for d in range(size.policies):
            jobs |= {f"{n}-{d}": ([f"{n}-{d}"], least) for n in size.labels}
            jobs |= {f"{few}-{d}-kl{coef:g}": ([f"{few}-{d}"], coef) for coef in size.kl_coefs[1:]}
            jobs[f"worst-{d}"] = [f"{few}-{d}", *(f"{few}-{d}-m{m}" for m in range(1, size.members))], least
            jobs[f"{SHUFFLED}-{d}"] = [f"{SHUFFLED}-{d}"], least
        for name, (proxies, coef) in jobs.items():
            self._train(folder / name, proxies, coef)
        return f"{len(jobs)} runs of {size.steps} steps"

    def _train(self, folder: Path, proxies: Sequence[str], coef: float) -> None:
        """Gold is audited on the way and never reaches the policy."""
        policy = load_policy(self.model)
        places = [self.run / "proxies" / name for name in proxies]
        members = [LearnedReward(load_reward_model(place), self.tokenizer) for place in places]
        reward: RewardSource = EnsembleReward(members, rule="worst") if len(members) > 1 else members[0]
        gold = FunctionReward(lambda prompt, completion, **_: self.task.gold(prompt, completion), "gold")
        rollouts = Rollouts(
            policy=policy,
            tokenizer=self.tokenizer,
            prompts=self.task.train,
            reward=Combiner(sources=[reward]),
            sampling=self._sampling(policy.temperature),
            steps=self.size.steps,
            prompts_per_step=self.size.prompts_per_step,
            samples=4,
            seed=self.seed,
            audit=[gold],
        )
        models = Models(policy=policy, reference=Reference(policy))
        fit(RLOO(kl_coef=coef), models, rollouts, POLICY_LEARNING, folder, title=folder.name)
        rollouts.close()
