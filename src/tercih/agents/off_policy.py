"""Learning while acting, from what is remembered: the loop that SAC and DQN share.

Suffixes: N copies of the environment; further dimensions are the environment's own.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tercih.agents.replay import Replay, Transitions
from tercih.environments.control import Array
from tercih.environments.worlds import Steps, Worlds
from tercih.rewards.steps import StepReward, rewarded
from tercih.spans import span
from tercih.train import run

MEND = "A lower lr, or rewards of a smaller size, may help"


class Learner(Protocol):
    """Networks and their optimisers. Actions are the environment's, in tensors."""

    def explore(self, observation_N: Tensor, taken: int) -> Tensor: ...
    def exploit(self, observation_N: Tensor) -> Tensor: ...
    def update(self, batch: Transitions) -> dict[str, Tensor]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, saved: dict[str, Any]) -> None: ...


class Agent(Protocol):
    """Settings, of which these are the loop's own; see `SAC` and `DQN`."""

    @property
    def gamma(self) -> float: ...
    @property
    def batch(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def starts(self) -> int: ...
    @property
    def update_every(self) -> int: ...
    @property
    def updates(self) -> int: ...
    @property
    def n_step(self) -> int: ...
    def learner(self, observation_space: Any, action_space: Any, *, seed: int, device: str) -> Learner: ...


class OffPolicy:
    """An agent in its copies of an environment, with what it remembers. `step` takes `row` transitions and learns.

    `reward` stands in for the environment's, which then only tells how an episode went (`return`). It may be replaced
    at any time; `relabel` then judges anew what is remembered. `afresh` judges what is sampled every time that it is,
    and is for rewards that change all the time. `watch` is told of every step: what was observed, what was done and
    what came of it. The state holds the environment's, so that who goes on from it ends with the same bits.
    """

    def __init__(
        self, agent: Agent, worlds: Worlds, *, reward: StepReward | None = None, seed: int = 0, row: int = 1000,
        device: str = "cpu",
    ) -> None:  # fmt: skip
        copies = len(worlds)
        if row < 1 or row % copies:
            raise ValueError(f"a row of metrics is made of whole steps of all {copies} copies, got row {row}")
        self.agent, self.worlds, self.reward, self.row, self.device = agent, worlds, reward, row, device
        spaces = worlds.observation_space, worlds.action_space
        self.learner = agent.learner(*spaces, seed=seed, device=device)
        self.replay = Replay(agent.capacity, *spaces, copies=copies, seed=seed, device=device)
        self.observation_N = worlds.reset()
        self.taken = 0
        self.return_N, self.learned_N = np.zeros(copies), np.zeros(copies)
        self.length_N = np.zeros(copies, dtype=np.int64)
        self.metrics: dict[str, float] = {}
        self.afresh: StepReward | None = None
        self.watch: Callable[[Array, Array, Steps], None] | None = None

    def step(self, step: int) -> dict[str, float]:
        """`row` transitions and the updates due; the means of metrics over them, returns over the episodes that ended.
        Raises FloatingPointError on numbers that are not finite."""
        agent, copies = self.agent, len(self.worlds)
        ended: list[tuple[float, float, int]] = []
        measured: list[dict[str, Tensor]] = []
        for _ in range(self.row // copies):
            with span("generate"):
                self._act(ended)
            if self.taken >= agent.starts and self.taken // copies % agent.update_every == 0:
                with span("optimiser"):
                    measured += [self.update() for _ in range(agent.updates)]
        returns, learned, lengths = np.array(ended).reshape(-1, 3).T
        self.metrics = {"episodes": float(len(ended))}
        if ended:
            self.metrics |= {"return": float(returns.mean()), "episode_length": float(lengths.mean())}
            if self.reward is not None:
                self.metrics["learned_return"] = float(learned.mean())
        for name in measured[0] if measured else ():
            mean = float(torch.stack([each[name] for each in measured]).mean())
            if not math.isfinite(mean):
                raise FloatingPointError(f"{name} is {mean:.3g}")
            self.metrics[name] = mean
        return self.metrics

    def relabel(self, reward: StepReward) -> None:
        """From now on this is the reward, also of what is remembered."""
        self.reward = reward
        self.replay.relabel(reward)

    def likeliest(self, observation_N: Array) -> Array:
        """What is best now, without exploring; see `tercih.agents.evaluate`."""
        return self.learner.exploit(torch.as_tensor(observation_N, device=self.device)).numpy(force=True)

    def _act(self, ended: list[tuple[float, float, int]]) -> None:
        before_N = self.observation_N
        action_N = self.learner.explore(torch.as_tensor(before_N, device=self.device), self.taken).numpy(force=True)
        made = self.worlds.step(action_N)
        if self.watch is not None:
            self.watch(before_N, action_N, made)
        reward_N = made.reward_N
        if self.reward is not None:
            with span("score"):
                reward_N = rewarded(self.reward, before_N, action_N, made.following_N, shape=reward_N.shape)
        self.replay.add(before_N, action_N, made.following_N, reward_N, made.terminated_N, made.over_N)
        self.observation_N = made.observation_N
        self.taken += len(action_N)
        self.return_N += made.reward_N
        self.learned_N += reward_N
        self.length_N += 1
        for n in np.flatnonzero(made.ended_N):
            ended.append((self.return_N[n], self.learned_N[n], self.length_N[n]))
            self.return_N[n] = self.learned_N[n] = self.length_N[n] = 0

    def update(self) -> dict[str, Tensor]:
        """One update from what is remembered."""
        agent = self.agent
        return self.learner.update(
            self.replay.sample(agent.batch, gamma=agent.gamma, n_step=agent.n_step, reward=self.afresh)
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "learner": self.learner.state_dict(),
            "replay": self.replay.state_dict(),
            "taken": self.taken,
            "worlds": self.worlds.state_dict(),
            "sums": [torch.from_numpy(x_N.copy()) for x_N in (self.return_N, self.learned_N, self.length_N)],
            "metrics": self.metrics,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.worlds.load_state_dict(saved["worlds"])
        self.observation_N = self.worlds.observation_N
        self.learner.load_state_dict(saved["learner"])
        self.replay.load_state_dict(saved["replay"])
        self.taken, self.metrics = saved["taken"], saved["metrics"]
        self.return_N, self.learned_N, self.length_N = (x_N.numpy().copy() for x_N in saved["sums"])


def learn(
    agent: Agent,
    worlds: Worlds,
    steps: int,
    folder: Path | str | None = None,
    *,
    reward: StepReward | None = None,
    seed: int = 0,
    row: int = 1000,
    device: str = "cpu",
    save_every: float = 60.0,
    on_step: Callable[[int, Mapping[str, float]], None] | None = None,
) -> OffPolicy:
    """Take `steps` transitions, a row of metrics for every `row` of them; with a `folder`, as `tercih.train.fit` keeps
    metrics and checkpoints and goes on from them. Raises TrainingError and ControlError."""
    if steps < 1 or steps % row:
        raise ValueError(f"steps are counted in rows of {row}, got {steps}: a multiple of it, or another `row`")
    trainer = OffPolicy(agent, worlds, reward=reward, seed=seed, row=row, device=device)
    title = f"{type(agent).__name__} in {worlds.id}"
    run(trainer, steps // row, folder, title=title, save_every=save_every, on_step=on_step, mend=MEND)
    return trainer
