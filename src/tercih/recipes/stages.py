"""The stages of the loop for text tasks, one function each. A recipe calls them in order; any of them can stand alone.

Every stage reads what the stages before it left in the run folder and the store, and writes what the next ones need.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.algorithms.ppo import PPO
from tercih.algorithms.sft import SFT
from tercih.data import collate
from tercih.data.offline import Offline
from tercih.data.tokenize import Tokenizer
from tercih.environments.text import Gold, TextTask
from tercih.evaluation.reward_model import accuracy, calibration, length_baseline, length_sign
from tercih.feedback.quality import dawid_skene, krippendorff, majority
from tercih.feedback.questions import Question
from tercih.feedback.simulated import Control, SimulatedRater, simulate
from tercih.feedback.store import Store
from tercih.forward import Models
from tercih.method import Method
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.load import load_causal, load_policy, load_reward_model, save_model
from tercih.models.reward_model import RewardModel
from tercih.optimisation import Optimisation
from tercih.progress import Progress
from tercih.records import Consensus, Item, Text
from tercih.rewards import Combiner, FunctionReward, LearnedReward
from tercih.rollout.sampler import EngineSettings, Rollouts, sample_items
from tercih.rollout.sampling import Sampling
from tercih.run import write_json
from tercih.tokens import Tokens
from tercih.train import fit

RUN = "loop"  # the name under which a run's questions stand in its own store


@dataclass(frozen=True, kw_only=True, slots=True)
class SFTSettings:
    """How long and how fast to imitate the demonstrations."""

    epochs: int = 1
    rows: int = 32
    optimisation: Optimisation = Optimisation(lr=1e-3, warmup=0.05)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackSettings:
    """How many pairs are asked about, how many people see each, and how their voices are pooled."""

    pairs: int = 3000
    votes: int = 3
    heldout_pairs: int = 300
    pool: Literal["dawid_skene", "majority"] = "dawid_skene"
    """"majority" counts every voice the same: what weighing is measured against."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardSettings:
    """How the reward model learns from the consensus."""

    readout: str = "mean"
    pairs_per_step: int = 64
    epochs: int = 3
    method: BradleyTerry = BradleyTerry()
    optimisation: Optimisation = Optimisation(lr=1e-3, schedule="cosine", warmup=0.05, weight_decay=0.01)


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutSettings:
    """How a policy is trained on what it samples; `LanguageModel` says what `value` and its own temperature are."""

    method: Method
    steps: int = 45
    prompts_per_step: int = 320
    samples: int = 1
    optimisation: Optimisation = Optimisation(lr=2e-4, eps=1e-5, warmup=0.1)
    value: str = "shared"
    ignore_eos: bool = False  # every response is as long as may be, whatever it says (Ziegler et al. 2019)
    truncate_at: str = ""
    """A token such as ".": the reward model reads up to one at `truncate_after` or later; without, `missing_score`."""
    truncate_after: int = 16
    missing_score: float = -1.0
    missing_end_penalty: float = 0.0  # what a response loses that was cut instead of ending
    engine: EngineSettings = EngineSettings()


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicySettings(RolloutSettings):
    """How the policy is trained on the reward model.

    Many steps of one epoch each, because here a rollout costs less than an update. With `lam` = 1 early tokens get
    their credit although the value head, which starts at 0, knows nothing yet.
    """

    method: PPO = PPO(kl_coef=0.25, epochs=1, lam=1.0)


def fine_tune(
    folder: Path, base: Path | str, tokenizer: Tokenizer, task: TextTask, settings: SFTSettings, seed: int
) -> str:
    """Base model -> SFT model, on the task's demonstrations."""
    model = LanguageModel(load_causal(base))
    data = Offline(
        records=task.demonstrations,
        collate=lambda rows: collate.demonstrations(rows, tokenizer, model.context),
        size=settings.rows,
        epochs=settings.epochs,
        seed=seed,
    )
    metrics = fit(SFT(), Models(policy=model), data, settings.optimisation, folder, title="imitating demonstrations")
    save_model(model, tokenizer.hf, folder)
    return f"{len(task.demonstrations)} demonstrations, {metrics['nats_per_token']:.2f} nats per token at the end"


def ask(
    store: Store,
    model: Path | str,
    tokenizer: Tokenizer,
    task: TextTask,
    settings: FeedbackSettings,
    seed: int,
    name: str = RUN,
) -> str:
    """Sample pairs of completions and put them to the raters. Two that read the same are no question."""
    policy = load_policy(model)
    prompts = [task.train[i % len(task.train)] for i in range(settings.pairs)]
    items = _sample(policy, tokenizer, prompts, task, samples=2, seed=seed, origin=str(model))
    pairs = [(a, b) for a, b in zip(items[0::2], items[1::2], strict=True) if a.id != b.id]
    questions = [
        Question(items=(a, b), run=name, step=0, index=index, votes=settings.votes)
        for index, (a, b) in enumerate(pairs)
    ]
    store.ask(questions)
    alike = settings.pairs - len(questions)
    return f"{len(questions)} pairs" + (f" ({alike} prompts were answered alike and left out)" if alike else "")


def label(
    store: Store,
    gold: Gold,
    raters: Sequence[SimulatedRater],
    settings: FeedbackSettings,
    seed: int,
    control: Control = "none",
) -> str:
    """Simulated people answer, from a gold score that nobody else sees."""

    def scores(items: Sequence[Item]) -> list[float]:
        return [gold(item.prompt, str(item.completion)) for item in items if isinstance(item, Text)]

    count = simulate(store, RUN, scores, raters, settings.votes, seed, control)
    return f"{count} judgements by {len(raters)} simulated raters"


def weigh(folder: Path, store: Store) -> str:
    """Whom to trust: Dawid-Skene over all judgements; writes the rater table beside the run."""
    comparisons = store.comparisons()
    result = dawid_skene(comparisons)
    alpha = krippendorff(comparisons)
    rows = [asdict(row) | {"simulated": row.rater.startswith("simulated-")} for row in result.raters]
    write_json(folder.parent / "raters.json", rows)
    write_json(folder / "agreement.json", asdict(alpha))
    ordered = sorted(result.raters, key=lambda row: row.reliability)
    best, worst = ordered[-1], ordered[0]
    return (
        f"{len(ordered)} raters: most reliable {best.rater} ({best.reliability:.2f}),"
        f" least {worst.rater} ({worst.reliability:.2f})"
    )


def consensus(store: Store, settings: FeedbackSettings, seed: int) -> tuple[list[Consensus], list[Consensus]]:
    """What the raters add up to, split by prompt into training and held-out pairs."""
    said = store.comparisons()
    beliefs = majority(said) if settings.pool == "majority" else dawid_skene(said).consensus
    prompts = sorted({str(belief.a.prompt) for belief in beliefs})
    order = np.random.default_rng((seed, 1)).permutation(len(prompts))
    rank = {prompts[i]: place for place, i in enumerate(order)}
    beliefs = sorted(beliefs, key=lambda belief: (rank[str(belief.a.prompt)], belief.a.id, belief.b.id))
    cut = min(settings.heldout_pairs, len(beliefs) // 5)
    while cut < len(beliefs) - 1 and beliefs[cut].a.prompt == beliefs[cut - 1].a.prompt:
        cut += 1
    return beliefs[cut:], beliefs[:cut]


def learn_reward(
    folder: Path,
    store: Store,
    model: Path | str,
    tokenizer: Tokenizer,
    feedback: FeedbackSettings,
    settings: RewardSettings,
    seed: int,
) -> str:
    """Consensus -> reward model, normalised on the reference's samples before and after (Ziegler et al. 2019)."""
    train, heldout = consensus(store, feedback, seed)
    reward_model = RewardModel(load_causal(model), readout=settings.readout, seed=seed)
    samples = [item for belief in train[:256] for item in (belief.a, belief.b)]
    reward_model.normalise(token_batches(samples, tokenizer, reward_model.context))
    data = Offline(
        records=train,
        collate=lambda rows: collate.pairs(rows, tokenizer, reward_model.context),
        size=settings.pairs_per_step,
        epochs=settings.epochs,
        seed=seed,
    )
    fit(settings.method, Models(policy=reward_model), data, settings.optimisation, folder, title="learning the reward")
    report = judge_reward(reward_model, tokenizer, train, heldout)
    reward_model.normalise(token_batches(samples, tokenizer, reward_model.context))
    write_json(folder / "heldout.json", report)
    save_model(reward_model, tokenizer.hf, folder)
    right, length = report["accuracy"], report["length_baseline"]
    return (
        f"accuracy {_percent(right)} on {right['n']} held-out pairs; choosing by length alone {_percent(length)};"
        f" expected calibration error {report['calibration']['ece']:.3f}"
    )


def judge_reward(
    model: RewardModel, tokenizer: Tokenizer, train: Sequence[Consensus], heldout: Sequence[Consensus]
) -> dict[str, dict[str, float]]:
    """Accuracy against the held-out consensus, calibration, and what length alone would reach."""
    source = LearnedReward(model, tokenizer)
    score = source.score([item for belief in heldout for item in (belief.a, belief.b)]).reward_BC[:, 0].double().numpy()
    margin = score[0::2] - score[1::2]
    target = np.array([belief.p_a + (1 - belief.p_a - belief.p_b) / 2 for belief in heldout])
    sign = length_sign(*_lengths(train))
    return {
        "accuracy": accuracy(margin, target).as_dict(),
        "calibration": asdict(calibration(1 / (1 + np.exp(-margin)), target)),
        "length_baseline": length_baseline(*_lengths(heldout), sign=sign).as_dict(),
    }


def optimise_policy(
    folder: Path,
    model: Path | str,
    reward_folder: Path,
    tokenizer: Tokenizer,
    task: TextTask,
    settings: RolloutSettings,
    seed: int,
) -> str:
    """A method that samples, against the reward model. The gold score is audited on the way and never reaches the
    policy."""
    policy = load_policy(model, value=settings.value if settings.method.needs_values else None)
    reward_model = LearnedReward(
        load_reward_model(reward_folder),
        tokenizer,
        truncate_at=tokenizer.one_token(settings.truncate_at, "policy.truncate_at") if settings.truncate_at else None,
        truncate_after=settings.truncate_after,
        missing_score=settings.missing_score,
    )
    sampling = Sampling(
        max_new_tokens=task.max_new_tokens,
        stop=task.stop,
        temperature=policy.temperature,
        ignore_eos=settings.ignore_eos,
    )
    rollouts = Rollouts(
        policy=policy,
        tokenizer=tokenizer,
        prompts=task.train,
        reward=Combiner(sources=[reward_model], missing_end_penalty=settings.missing_end_penalty),
        sampling=sampling,
        steps=settings.steps,
        prompts_per_step=settings.prompts_per_step,
        samples=settings.samples,
        seed=seed,
        engine=settings.engine,
        audit=[FunctionReward(lambda prompt, completion, **_: task.gold(prompt, completion), "gold")],
    )
    models = Models(policy=policy, reference=Reference(policy))
    metrics = fit(settings.method, models, rollouts, settings.optimisation, folder, title="training the policy")
    rollouts.close()
    save_model(policy, tokenizer.hf, folder)
    far = f", KL {metrics['kl']:.1f} nats per response" if "kl" in metrics else ""
    return f"{settings.steps} steps: reward {metrics['reward']:.2f}{far}"


def _sample(
    policy: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Text],
    task: TextTask,
    *,
    samples: int,
    seed: int,
    origin: str,
) -> list[Text]:
    sampling = Sampling(max_new_tokens=task.max_new_tokens, stop=task.stop, temperature=policy.temperature)
    with Progress("sampling", total=len(prompts) * samples) as progress:
        return sample_items(
            policy,
            tokenizer,
            prompts,
            sampling,
            samples=samples,
            seed=seed,
            origin=origin,
            on_progress=lambda done, _all: progress.advance(by=done - progress.done),
        )


def token_batches(items: Sequence[Text], tokenizer: Tokenizer, context: int, rows: int = 128) -> list[Tokens]:
    encoded = [collate.encode(item, tokenizer, context) for item in items]
    return [collate.collate(encoded[i : i + rows]) for i in range(0, len(encoded), rows)]


def _lengths(beliefs: Sequence[Consensus]) -> tuple[list[int], list[int], list[float]]:
    lengths = [(len(str(b.a.completion)), len(str(b.b.completion))) for b in beliefs]
    return [a for a, _ in lengths], [b for _, b in lengths], [b.p_a + (1 - b.p_a - b.p_b) / 2 for b in beliefs]


def _percent(row: dict[str, float]) -> str:
    return f"{100 * row['value']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
