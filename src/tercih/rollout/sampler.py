"""Online data: rollouts of the policy as it is now, scored. To the training loop it is one more iterable."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tercih.batches import Batch, Rollout
from tercih.data.collate import pad
from tercih.data.tokenize import Tokenizer
from tercih.distributed.team import ALONE, Team
from tercih.models.language_model import LanguageModel
from tercih.records import Text
from tercih.rewards.combine import Combiner
from tercih.rewards.source import RewardSource
from tercih.rollout.engine import Generated, RolloutEngine, StaleError, rounds_little
from tercih.rollout.engines import EngineSettings, make_engine
from tercih.rollout.mismatch import mismatch
from tercih.rollout.parts import LedEngine, TeamEngine, TeamReward
from tercih.rollout.sampling import Sampling
from tercih.spans import count, span
from tercih.tokens import Tokens, stacked


def to_tokens(generated: Generated, prompts: Sequence[Sequence[int]]) -> Tokens:
    device = generated.response_ids_BT.device
    position_T = torch.arange(generated.response_ids_BT.shape[1], device=device)
    return Tokens(
        prompt_ids_PS=pad(prompts).to(device),
        prompt_len_P=torch.tensor([len(p) for p in prompts], device=device),
        response_ids_BT=generated.response_ids_BT,
        response_len_B=generated.response_len_B,
        prompt_of_B=generated.prompt_of_B,
        loss_mask_BT=position_T < generated.response_len_B[:, None],
    )


def to_items(
    generated: Generated, prompts: Sequence[Text], ids: Sequence[Sequence[int]], tokenizer: Tokenizer, origin: str
) -> list[Text]:
    """What was sampled as items that a person or a reward can read, with the sampled token ids kept."""
    items = []
    lengths = generated.response_len_B.tolist()
    for row, (response, prompt) in enumerate(
        zip(generated.response_ids_BT.tolist(), generated.prompt_of_B.tolist(), strict=True)
    ):
        response_ids = response[: lengths[row]]
        items.append(
            Text(
                prompt=prompts[prompt].prompt,
                completion=tokenizer.completion_text(ids[prompt], response_ids),
                prompt_ids=tuple(ids[prompt]),
                completion_ids=tuple(response_ids),
                tokenizer=tokenizer.fingerprint,
                origin=origin,
                columns=prompts[prompt].columns,
            )
        )
    return items


def sample_items(
    policy: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Text],
    sampling: Sampling,
    *,
    samples: int = 1,
    seed: int,
    origin: str,
    max_batch: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Text]:
    """`samples` completions of every prompt, prompt-major: what is compared, shown and measured."""
    ids = [tokenizer.prompt(p.prompt) for p in prompts]
    engine = make_engine(policy, tokenizer, max_batch)
    generated = engine.generate(ids, sampling, samples=samples, seed=seed, on_progress=on_progress)
    return to_items(generated, prompts, ids, tokenizer, origin)


@dataclass(kw_only=True)
class Rollouts:
    """`steps` rollouts of `prompts_per_step` prompts with `samples` responses each; step number s is a pure function of
    (weights, seed, s), and of how many prompts were asked further before it.

    Where all responses to a prompt have the same reward, a further prompt is asked in its place, up to `refill` times
    (the dynamic sampling of Yu et al. 2025, §3.2); the rollout holds all that were asked. `audit` scores are written to
    the metrics and never reach the policy. `pretraining(step)` gives PPO-ptx its text. `engine` says who samples; where
    that is not the learner's own arithmetic, the learner's log-probabilities are what is trained on, the difference is
    measured and gradients are corrected for it. In a `team` each process samples and scores its share, and all have the
    whole rollout. `asking` are tokens that stand at the end of every prompt, which no reward reads.

    With a `rival` every response is a match: the rival, sampled by the built-in engine, answers the same prompt, and
    the reward is the chance that the response is preferred to its answer, σ(r − r') where rewards score one at a time.
    """

    policy: LanguageModel
    tokenizer: Tokenizer
    prompts: Sequence[Text]
    reward: Combiner
    sampling: Sampling
    steps: int
    prompts_per_step: int
    samples: int = 1
    asking: tuple[int, ...] = ()
    refill: int = 0
    seed: int = 0
    max_batch: int = 256
    audit: Sequence[RewardSource] = ()
    pretraining: Callable[[int], Batch] | None = None
    team: Team = ALONE
    engine: EngineSettings = EngineSettings()
    rival: LanguageModel | None = None
    ids: list[tuple[int, ...]] = field(init=False)
    further: int = field(default=0, init=False)
    """How many prompts were asked beyond `prompts_per_step` so far."""

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ValueError("there are no prompts to sample from")
        if self.prompts_per_step < 1 or self.samples < 1:
            raise ValueError(f"prompts_per_step and samples must be >= 1, got {self.prompts_per_step}, {self.samples}")
        if self.refill < 0 or (self.refill and self.samples < 2):
            raise ValueError(
                f"refill must be >= 0, and needs samples >= 2 to compare; got {self.refill} with {self.samples}"
            )
        if self.sampling.truncated:
            raise ValueError(
                "training samples from the whole distribution: with top_k or top_p the policy's probabilities are not"
                " those that were sampled from; set sampling.top_k=0 and sampling.top_p=1"
            )
        if self.sampling.temperature != self.policy.temperature:
            raise ValueError(
                f"sampling.temperature is {self.sampling.temperature}, but the policy's log-probabilities are at"
                f" {self.policy.temperature}; they must be equal"
            )
        self.ids = [self.tokenizer.prompt(p.prompt) + self.asking for p in self.prompts]
        self.sampler = self._make_sampler()
        if self.rival is not None:
            local = make_engine(self.rival, self.tokenizer, self.max_batch)
            self.against = local if self.team.size == 1 else TeamEngine(self.team, local, self.policy.causal.device)
        if self.team.size > 1:
            shared = [TeamReward(self.team, source) for source in self.reward.sources]
            self.reward = replace(self.reward, sources=shared)
            self.audit = [TeamReward(self.team, source) for source in self.audit]

    def __call__(self, step: int) -> Rollout:
        if self.policy.nucleus is not None and (self.engine.elsewhere or not self.sampler.exact):
            raise ValueError(
                "this method samples from a masked policy, which only the built-in engine does, and with weights of 32"
                " bits: leave out --engine.url, --engine.cluster and --memory.dtype bfloat16"
            )
        with span("generate"):
            self.sampler.sync(step)
        asked = rollout = self._asked(step, 0, self.prompts_per_step)
        for round_ in range(1, self.refill + 1):
            alike = int((~asked.spread_P).sum())
            if not alike:
                break
            self.further += alike
            asked = self._asked(step, round_, alike)
            rollout = joined(rollout, asked)
        rollout = self._as_learner(rollout)
        return replace(rollout, pretraining=self.pretraining(step) if self.pretraining else None)

    def _asked(self, step: int, round_: int, size: int) -> Rollout:
        """The next `size` prompts answered and scored."""
        end = (step + 1) * self.prompts_per_step + self.further
        chosen = self._chosen(range(end - size, end))
        ids = [self.ids[i] for i in chosen]
        prompts = [self.prompts[i] for i in chosen]
        seed = int(np.random.SeedSequence((self.seed, step, round_)).generate_state(1, np.uint64)[0])
        with span("generate"):
            generated = self.sampler.generate(ids, self.sampling, samples=self.samples, seed=seed)
            count("sampled", generated.stats.tokens)
            count("passes", generated.stats.steps + generated.stats.prefills)
        if generated.version != step:
            raise StaleError(
                f"step {step} was sampled by the weights of step {generated.version}; nothing is trained on it"
            )
        items = to_items(generated, prompts, ids, self.tokenizer, f"step {generated.version}")
        rivals, ended = self._rivals(prompts, ids, seed, f"rival of step {generated.version}")
        with span("score"):
            reward_B, parts = self.reward(items + rivals, torch.cat([generated.ended_B.cpu(), ended]))
            if rivals:
                reward_B = torch.sigmoid(reward_B[: len(items)] - reward_B[len(items) :])
                parts = {name: part_B[: len(items)] for name, part_B in parts.items()}
            for source in self.audit:
                scores = source.score(items)
                parts |= {f"audit/{name}": scores.reward_BC[:, c] for c, name in enumerate(scores.names)}
        return Rollout(
            tokens=to_tokens(generated, ids),
            logp_BT=generated.logp_BT,
            reward_B=reward_B.to(generated.logp_BT),
            ended_B=generated.ended_B,
            parts=parts,
            version=generated.version,
        )

    def _rivals(
        self, prompts: Sequence[Text], ids: Sequence[Sequence[int]], seed: int, origin: str
    ) -> tuple[list[Text], Tensor]:
        """As many answers of the rival as there are responses, and which of them ended; none without one."""
        if self.rival is None:
            return [], torch.zeros(0, dtype=torch.bool)
        with span("generate"):
            generated = self.against.generate(ids, self.sampling, samples=self.samples, seed=seed ^ 1)
        return to_items(generated, prompts, ids, self.tokenizer, origin), generated.ended_B.cpu()

    @torch.no_grad()
    def _as_learner(self, rollout: Rollout) -> Rollout:
        """What was sampled with the learner's log-probabilities, how far they are from the engine's, and what gradients
        do about it."""
        if self.sampler.exact:
            return rollout
        tokens, engine_logp_BT, correction = rollout.tokens, rollout.logp_BT, self.engine.correction
        with span("forward"):
            logp_BT, mask_BT = self.policy(tokens).logp_BT, tokens.loss_mask_BT
        if correction.level != "none":
            tokens = replace(tokens, correction_BT=correction.weight(logp_BT, engine_logp_BT, mask_BT))
        measured = mismatch(logp_BT, engine_logp_BT, mask_BT, correction)
        return replace(rollout, tokens=tokens, logp_BT=logp_BT, measured=measured)

    def _make_sampler(self) -> RolloutEngine:
        team, device, elsewhere = self.team, self.policy.causal.device, self.engine.elsewhere
        made = None
        if team.leads or not elsewhere:
            made = make_engine(self.policy, self.tokenizer, self.max_batch, self.engine)
        if elsewhere and team.size > 1:
            return LedEngine(team, made, device, exact=not self.engine.url and rounds_little(self.policy.causal.dtype))
        assert made is not None
        return made if team.size == 1 else TeamEngine(team, made, device)

    def close(self) -> None:
        """Let go of whoever sampled; nothing is sampled any more."""
        self.sampler.close()

    def _chosen(self, wanted: range) -> list[int]:
        """Prompts of an endless, reshuffled walk through all of them."""
        size = len(self.prompts)
        orders = {
            epoch: np.random.default_rng((self.seed, epoch)).permutation(size) for epoch in {i // size for i in wanted}
        }
        return [int(orders[i // size][i % size]) for i in wanted]

    def state_dict(self) -> dict[str, Any]:
        return self.reward.state_dict() | {"further": self.further}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.reward.load_state_dict(state)
        self.further = state["further"]


def joined(first: Rollout, second: Rollout) -> Rollout:
    """Two rollouts of the same weights as one; the prompts of the second are numbered after those of the first."""
    return replace(
        first,
        tokens=first.tokens.joined(second.tokens),
        logp_BT=stacked(first.logp_BT, second.logp_BT),
        reward_B=torch.cat([first.reward_B, second.reward_B]),
        ended_B=torch.cat([first.ended_B, second.ended_B]),
        parts={name: torch.cat([part_B, second.parts[name]]) for name, part_B in first.parts.items()},
    )


__all__ = ["EngineSettings", "Rollouts", "joined", "make_engine", "sample_items", "to_items", "to_tokens"]
