"""Steps that a policy made in copies of an environment, one rollout after the other. To the training loop it is one
more iterable.

Shape suffixes here: T steps of N copies, B = T·N steps without order, O numbers of an observation, A numbers of an
action.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tercih.batches import AnyBatch, Mean
from tercih.environments.worlds import Worlds
from tercih.models.control import FAR, ActorCritic
from tercih.models.running import Running
from tercih.rewards.steps import StepReward, rewarded
from tercih.spans import span


@dataclass(frozen=True, kw_only=True, slots=True)
class Acts(AnyBatch):
    """Steps without order, each a row that stands alone: every tensor has one entry a step."""

    observation_B: Tensor
    action_B: Tensor

    @property
    def rows(self) -> int:
        return len(self.action_B)

    def take(self, row: Tensor | slice) -> Self:
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v[row] for k, v in held.items()})

    def split(self, rows: int) -> Iterator[Self]:
        if self.rows <= rows:
            yield self
            return
        for start in range(0, self.rows, rows):
            yield self.take(slice(start, start + rows))


@dataclass(frozen=True, kw_only=True, slots=True)
class Experience(AnyBatch):
    """A rollout, as the networks read it. `reward_TN` is what is learned from; `following_TN` is what a step led to,
    also where it was an episode's last. `finished` describes the episodes that ended in it."""

    observation_TN: Tensor
    action_TN: Tensor
    following_TN: Tensor
    reward_TN: Tensor
    terminated_TN: Tensor
    truncated_TN: Tensor
    finished: Mapping[str, Mean] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return self.reward_TN.numel()

    @property
    def over_TN(self) -> Tensor:
        return self.terminated_TN | self.truncated_TN

    def describe(self) -> dict[str, Mean]:
        return {"reward": (self.reward_TN.sum(), torch.tensor(float(self.rows))), **self.finished}


@dataclass(kw_only=True)
class Collector:
    """`steps` rollouts of `length` steps in every copy; number s is a pure function of the weights, the seed, s, and of
    how the copies stood before it.

    `reward` stands in for the environment's, which then only describes the finished episodes (`return`, their mean).
    With `reward_discount`, rewards are divided by the deviation of the running return that this discount gives, so that
    the critic's targets are of one size in every environment, and moved into ±10. The environments go on where they
    stand: none of them may be stepped by somebody else.
    """

    policy: ActorCritic
    worlds: Worlds
    steps: int
    length: int
    reward: StepReward | None = None
    reward_discount: float | None = 0.99
    seed: int = 0
    begun: bool = field(default=False, init=False)
    return_N: NDArray[np.float64] = field(init=False)
    """Of every copy's episode so far, and its length."""
    length_N: NDArray[np.int64] = field(init=False)
    discounted_N: Tensor = field(init=False)
    returns: Running = field(init=False)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.length < 1:
            raise ValueError(f"a collector needs steps and length >= 1, got {self.steps} and {self.length}")
        if self.reward_discount is not None and not 0 <= self.reward_discount <= 1:
            raise ValueError(f"collector.reward_discount must be in [0, 1] or None, got {self.reward_discount}")
        copies = len(self.worlds)
        self.return_N, self.length_N = np.zeros(copies), np.zeros(copies, dtype=np.int64)
        self.discounted_N = torch.zeros(copies, dtype=torch.float64)
        self.returns = Running()

    def __call__(self, step: int) -> Experience:
        with span("generate"):
            made = self._act(step)
        with span("score"):
            reward_TN = (
                made["reward"]
                if self.reward is None
                else rewarded(
                    self.reward, made["observation"], made["action"], made["following"], shape=made["reward"].shape
                )
            )
            scaled_TN = self._scaled(
                torch.from_numpy(reward_TN), torch.from_numpy(made["terminated"] | made["truncated"])
            )
        policy = self.policy
        return Experience(
            observation_TN=policy.numbers(made["observation"]),
            action_TN=made["drawn"],
            following_TN=policy.numbers(made["following"]),
            reward_TN=scaled_TN.to(policy.shift_O),
            terminated_TN=torch.from_numpy(made["terminated"]).to(policy.shift_O.device),
            truncated_TN=torch.from_numpy(made["truncated"]).to(policy.shift_O.device),
            finished=made["finished"],
        )

    @torch.no_grad()
    def _act(self, step: int) -> dict[str, Any]:
        """Arrays of shape (T, N, …): what was seen, drawn, done, and what came of it."""
        policy, worlds = self.policy, self.worlds
        observation_N = worlds.observation_N if self.begun else worlds.reset()
        self.begun = True
        seed = int(np.random.SeedSequence((self.seed, step)).generate_state(1, np.uint64)[0] >> 1)
        dice = torch.Generator().manual_seed(seed)
        noise_TNA = policy.noise(self.length, len(worlds), dice=dice).to(policy.shift_O.device)
        kept: list[tuple[Any, ...]] = []
        drawn, ended = [], []
        for noise_NA in noise_TNA:
            action_N = policy.act(policy.numbers(observation_N), noise_NA)
            done_N = policy.for_environment(action_N)
            made = worlds.step(done_N)
            drawn.append(action_N)
            kept.append((observation_N, done_N, made.following_N, made.reward_N, made.terminated_N, made.truncated_N))
            observation_N = made.observation_N
            self.return_N += made.reward_N
            self.length_N += 1
            for n in np.flatnonzero(made.ended_N):
                ended.append((self.return_N[n], self.length_N[n]))
                self.return_N[n] = self.length_N[n] = 0
        count = torch.tensor(float(len(ended)))
        sums = torch.tensor(ended, dtype=torch.float64).reshape(-1, 2).sum(0)
        names = ("observation", "action", "following", "reward", "terminated", "truncated")
        return dict(zip(names, map(np.stack, zip(*kept, strict=True)), strict=True)) | {
            "drawn": torch.stack(drawn),
            "finished": {"return": (sums[0], count), "episode_length": (sums[1], count)},
        }

    def _scaled(self, reward_TN: Tensor, over_TN: Tensor) -> Tensor:
        if self.reward_discount is None:
            return reward_TN
        running_TN = torch.empty_like(reward_TN)
        goes_on_TN = self.reward_discount * (~over_TN).double()
        for t, reward_N in enumerate(reward_TN):
            running_TN[t] = self.discounted_N + reward_N
            self.discounted_N = running_TN[t] * goes_on_TN[t]
        self.returns.absorb(running_TN.flatten())
        return (reward_TN / self.returns.deviation).clamp(-FAR, FAR)

    def state_dict(self) -> dict[str, Any]:
        return {
            "worlds": self.worlds.state_dict(),
            "return": torch.from_numpy(self.return_N.copy()),
            "length": torch.from_numpy(self.length_N.copy()),
            "discounted": self.discounted_N,
            "returns": dict(self.returns.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.worlds.load_state_dict(state["worlds"])
        self.begun = True
        self.return_N, self.length_N = state["return"].numpy().copy(), state["length"].numpy().copy()
        self.discounted_N = state["discounted"]
        self.returns.load_state_dict(state["returns"])
