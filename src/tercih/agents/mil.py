"""An agent that acts on a reward that remembers (Early et al. 2022, arXiv:2205.15367, §5): double Q-learning whose
observation is where one is beside what the reward remembers, so that rewards are Markovian again.

Suffixes: B rooms played at once, O numbers of an observation, H what is remembered, T steps of an episode.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from tercih.agents.dqn import DQN, DQNLearner
from tercih.agents.replay import Replay
from tercih.environments.control import Array
from tercih.environments.rooms import MOVES, Rooms
from tercih.models.remembering import RememberingReward

Sees = Literal["memory", "state", "position"]
Act = Callable[[Tensor], Tensor]


@dataclass(kw_only=True)
class InRooms:
    """Learns in `rooms`, all copies of which begin and end together. What it `sees` beside its position:

    - "memory": what `reward` remembers; it is rewarded by `reward`, and the true one is only for reports;
    - "state": what is hidden in the room, and its true reward: the oracle;
    - "position": nothing, and the true reward: the oracle without state.
    """

    rooms: Rooms
    settings: DQN
    sees: Sees
    reward: RememberingReward | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.sees == "memory") != (self.reward is not None):
            raise ValueError(f"a reward belongs to who sees its memory, and to nobody else; this one sees {self.sees}")
        if self.reward is not None:
            self.reward.eval()  # no dropout
        hidden = {"memory": self.reward.memory.hidden_size if self.reward and self.reward.memory else 0, "state": 1}
        seen = Box(-np.inf, np.inf, (2 + hidden.get(self.sees, 0),), np.float32)
        self.learner = DQNLearner(self.settings, seen, Discrete(len(MOVES)), seed=self.seed, device="cpu")
        self.replay = Replay(
            self.settings.capacity, seen, Discrete(len(MOVES)), copies=self.rooms.count, seed=self.seed
        )
        self.taken = 0

    def episode(self) -> float:
        """One in every copy, learned from; the mean true return."""
        return self._play(lambda seen_BO: self.learner.explore(seen_BO, self.taken), learns=True)

    def evaluate(self) -> float:
        """One in every copy, without exploring; the mean true return."""
        return self._play(self.learner.exploit, learns=False)

    def _play(self, act: Act, *, learns: bool) -> float:
        earned = np.zeros(self.rooms.count)
        position_B2 = self.rooms.reset()
        seen_BO, kept = self._seen(position_B2, None), None
        for t in range(self.rooms.steps):
            action_B = act(seen_BO).numpy()
            position_B2, reward_B = self.rooms.step(action_B)
            earned += reward_B
            hidden_BH: Tensor | None = None
            if self.reward is not None:
                learned_B, hidden_BH, kept = self.reward.advance(read(position_B2), kept)
                reward_B = learned_B.numpy()
            following_BO = self._seen(position_B2, hidden_BH)
            if learns:
                over_B = np.full(len(earned), t == self.rooms.steps - 1)
                self.replay.add(seen_BO, action_B, following_BO, reward_B, over_B, over_B)
                self._learn()
            seen_BO = following_BO
        return float(earned.mean())

    def _learn(self) -> None:
        before, self.taken = self.taken, self.taken + self.rooms.count
        if self.taken < self.settings.starts:
            return
        for _ in range(self.taken // self.settings.update_every - before // self.settings.update_every):
            batch = self.replay.sample(self.settings.batch, gamma=self.settings.gamma, n_step=self.settings.n_step)
            self.learner.update(batch)

    def _seen(self, position_B2: Array, hidden_BH: Tensor | None) -> Tensor:
        """(B, O): before the first step nothing is remembered yet."""
        parts = [read(position_B2)]
        if self.reward is not None:
            assert self.reward.memory is not None
            parts.append(
                torch.zeros(len(position_B2), self.reward.memory.hidden_size) if hidden_BH is None else hidden_BH
            )
        elif self.sees == "state":
            parts.append(torch.from_numpy(self.rooms.hidden_B[:, None]).float())
        return torch.cat(parts, 1)


def read(position_B2: Array) -> Tensor:
    """Positions as rewards and agents read them, in [−1, 1]; of any shape that ends in 2."""
    return torch.from_numpy(position_B2).float() * 2 - 1


def random_return(rooms: Rooms, dice: np.random.Generator) -> float:
    """Of one episode in every copy, of who acts by chance."""
    rooms.reset()
    played: list[Any] = [rooms.step(dice.integers(len(MOVES), size=rooms.count))[1] for _ in range(rooms.steps)]
    return float(np.sum(played, 0).mean())
