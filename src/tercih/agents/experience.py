"""Steps that a policy made in copies of an environment, one rollout after the other. To the training loop it is one
more iterable.

Shape suffixes here: T steps of N copies, B = T·N steps without order, O numbers of an observation, A numbers of an
action.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tercih.batches import AnyBatch
from tercih.environments.control import Array
from tercih.environments.worlds import Steps, Worlds
from tercih.forward import Mean
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

    def measured_too(self, metrics: Mapping[str, Mean]) -> Self:
        """The same, described by further metrics."""
        return replace(self, finished={**self.finished, **metrics})

    @property
    def rows(self) -> int:
        return self.reward_TN.numel()

    @property
    def over_TN(self) -> Tensor:
        return self.terminated_TN | self.truncated_TN

    def describe(self) -> dict[str, Mean]:
        return {"reward": (self.reward_TN.sum(), torch.tensor(float(self.rows))), **self.finished}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Played:
    """A rollout as the environment had it: arrays of (T, N) and the environment's own shapes. `reward_TN` is its own;
    `ended_TN` says where an episode really ended, also where ends are hidden from the learner. `drawn_TN` are actions
    as the policy drew them."""

    observation_TN: Array
    action_TN: Array
    following_TN: Array
    reward_TN: NDArray[np.float64]
    terminated_TN: NDArray[np.bool_]
    truncated_TN: NDArray[np.bool_]
    ended_TN: NDArray[np.bool_]
    drawn_TN: Tensor
    finished: Mapping[str, Mean]

    @property
    def arrays(self) -> dict[str, Array]:
        """What the environment saw of it, by name."""
        return {f.name.removesuffix("_TN"): getattr(self, f.name) for f in fields(self)[:7]}


def step_of(observation_N: Array, action_N: Array, made: Steps) -> tuple[Array, ...]:
    """One step of every copy, in the order of `Played`."""
    return observation_N, action_N, made.following_N, made.reward_N, made.terminated_N, made.truncated_N, made.ended_N


def stacked(kept: Sequence[tuple[Array, ...]]) -> dict[str, Any]:
    """Those steps as the arrays of `Played`."""
    names = [f.name for f in fields(Played)[:7]]
    return {name: np.stack(of_steps) for name, of_steps in zip(names, zip(*kept, strict=True), strict=True)}


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
        return self.experience(self.play(step))

    def before(self) -> dict[str, Any]:
        """How the copies stand, where the next rollout begins; see `Worlds.state_dict`."""
        if not self.begun:
            self.worlds.reset()
            self.begun = True
        return self.worlds.state_dict()

    @torch.no_grad()
    def play(self, step: int) -> Played:
        """A rollout as the environment has it."""
        policy, worlds = self.policy, self.worlds
        observation_N = worlds.observation_N if self.begun else worlds.reset()
        self.begun = True
        seed = int(np.random.SeedSequence((self.seed, step)).generate_state(1, np.uint64)[0] >> 1)
        dice = torch.Generator().manual_seed(seed)
        with span("generate"):
            noise_TNA = policy.noise(self.length, len(worlds), dice=dice).to(policy.shift_O.device)
            kept: list[tuple[Array, ...]] = []
            drawn, ended = [], []
            for noise_NA in noise_TNA:
                action_N = policy.act(policy.numbers(observation_N), noise_NA)
                done_N = policy.for_environment(action_N)
                made = worlds.step(done_N)
                drawn.append(action_N)
                kept.append(step_of(observation_N, done_N, made))
                observation_N = made.observation_N
                self.return_N += made.reward_N
                self.length_N += 1
                for n in np.flatnonzero(made.ended_N):
                    ended.append((self.return_N[n], self.length_N[n]))
                    self.return_N[n] = self.length_N[n] = 0
        count = torch.tensor(float(len(ended)))
        sums = torch.tensor(ended, dtype=torch.float64).reshape(-1, 2).sum(0)
        finished = {"return": (sums[0], count), "episode_length": (sums[1], count)}
        return Played(**stacked(kept), drawn_TN=torch.stack(drawn), finished=finished)

    def experience(self, played: Played) -> Experience:
        """The same as the networks read it, with the reward that is learned from."""
        policy, reward_TN = self.policy, played.reward_TN
        if self.reward is not None:
            with span("score"):
                reward_TN = rewarded(
                    self.reward, played.observation_TN, played.action_TN, played.following_TN, shape=reward_TN.shape
                )
        over_TN = torch.from_numpy(played.terminated_TN | played.truncated_TN)
        return Experience(
            observation_TN=policy.numbers(played.observation_TN),
            action_TN=played.drawn_TN,
            following_TN=policy.numbers(played.following_TN),
            reward_TN=self._scaled(torch.from_numpy(reward_TN), over_TN).to(policy.shift_O),
            terminated_TN=torch.from_numpy(played.terminated_TN).to(policy.shift_O.device),
            truncated_TN=torch.from_numpy(played.truncated_TN).to(policy.shift_O.device),
            finished=played.finished,
        )

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
