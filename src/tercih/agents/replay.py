"""What an agent remembers: transitions in preallocated tensors, whose rewards may be judged anew.

Suffixes: B transitions of a batch, N copies of an environment; further dimensions are the environment's own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tercih.rewards.steps import StepReward, rewarded


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Transitions:
    """A batch. `reward_B` is the discounted sum of up to n rewards, `following_B` what is observed after the last of
    them, and `discount_B` how much the value there counts: γ^m after m steps, 0 where the episode ended by itself."""

    observation_B: Tensor
    action_B: Tensor
    reward_B: Tensor
    following_B: Tensor
    discount_B: Tensor


class Replay:
    """The newest `capacity` transitions of `copies` environments, rounded down to whole steps of all copies.

    Row t·N + n is step t of copy n, so that a row's successor stands N further on, around the end. Observations keep
    their bytes where they are bytes. Memory is only taken as it fills.
    """

    def __init__(
        self, capacity: int, observation_space: Any, action_space: Any, *, copies: int = 1, seed: int = 0,
        device: str = "cpu",
    ) -> None:  # fmt: skip
        if capacity < copies:
            raise ValueError(f"a replay buffer needs room for a step of all {copies} copies, got capacity {capacity}")
        self.copies, self.capacity = copies, capacity // copies * copies
        self.at = self.held = 0
        self.generator = torch.Generator(device).manual_seed(seed)

        def room(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
            return torch.empty((self.capacity, *shape), dtype=dtype, device=device)

        self.observation = room(observation_space.shape, kept_as(observation_space))
        self.action = room(action_space.shape, kept_as(action_space))
        self.following = torch.empty_like(self.observation)
        self.reward = room((), torch.float32)
        self.terminated, self.over = room((), torch.bool), room((), torch.bool)
        self.columns = (self.observation, self.action, self.following, self.reward, self.terminated, self.over)

    def __len__(self) -> int:
        return self.held

    def add(
        self, observation_N: Any, action_N: Any, following_N: Any, reward_N: Any, terminated_N: Any, over_N: Any
    ) -> None:
        """One step of every copy, as tensors or arrays. `over_N` is True where an episode ended, also by truncation,
        after which `following_N` still has a value."""
        rows = slice(self.at, self.at + self.copies)
        new = (observation_N, action_N, following_N, reward_N, terminated_N, over_N)
        for column, value_N in zip(self.columns, new, strict=True):
            column[rows] = torch.as_tensor(value_N)
        self.at = (self.at + self.copies) % self.capacity
        self.held = min(self.held + self.copies, self.capacity)

    def sample(
        self, batch: int, *, gamma: float, n_step: int = 1, reward: StepReward | None = None
    ) -> Transitions:  # fmt: skip
        """`batch` transitions, uniformly with replacement; n-step sums stop where the episode or the memory ends. With
        `reward` they are judged now, and not by what was remembered."""
        if not self.held:
            raise ValueError("nothing has been remembered yet: take a step before sampling")
        first_B = torch.randint(self.held, (batch,), generator=self.generator, device=self.reward.device)
        return self.transitions(first_B, gamma=gamma, n_step=n_step, reward=reward)

    def transitions(
        self, first_B: Tensor, *, gamma: float, n_step: int = 1, reward: StepReward | None = None
    ) -> Transitions:  # fmt: skip
        """Those that begin in these rows; as `sample`."""

        def judged(row_B: Tensor) -> Tensor:
            if reward is None:
                return self.reward[row_B]
            seen = (x[row_B].numpy(force=True) for x in (self.observation, self.action, self.following))
            return torch.as_tensor(rewarded(reward, *seen, shape=(len(row_B),))).to(self.reward)

        last_B, reward_B = first_B, judged(first_B)
        power_B: Tensor | float = 1.0
        for _ in range(n_step - 1):
            after_B = (last_B + self.copies) % self.capacity
            newest_B = after_B // self.copies == self.at // self.copies
            going_B = ~(self.over[last_B] | newest_B)
            power_B = torch.where(going_B, gamma * power_B, power_B)
            last_B = torch.where(going_B, after_B, last_B)  # rows that nothing was written to are never judged
            reward_B = torch.where(going_B, reward_B + power_B * judged(last_B), reward_B)
        return Transitions(
            observation_B=self.observation.index_select(0, first_B),
            action_B=self.action.index_select(0, first_B),
            reward_B=reward_B,
            following_B=self.following.index_select(0, last_B),
            discount_B=torch.where(self.terminated[last_B], 0.0, gamma * power_B),
        )

    def relabel(self, reward: StepReward, *, rows: int = 16_384) -> None:
        """Judge every transition that is held anew, `rows` at a time; a ControlError where `rewarded` has one."""
        for start in range(0, self.held, rows):
            part = slice(start, min(start + rows, self.held))
            seen = (x[part].numpy(force=True) for x in (self.observation, self.action, self.following))
            self.reward[part] = torch.as_tensor(rewarded(reward, *seen, shape=(part.stop - start,)))

    def state_dict(self) -> dict[str, Any]:
        """All that is held; copies, because a saved view takes the whole buffer with it."""
        columns = [column[: self.held].clone() for column in self.columns]
        return {"columns": columns, "at": self.at, "capacity": self.capacity, "generator": self.generator.get_state()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        if saved["capacity"] != self.capacity:
            raise ValueError(
                f"the checkpoint remembers up to {saved['capacity']} transitions, this agent {self.capacity}: set the"
                " same capacity and number of copies, or name another folder"
            )
        self.at, self.held = saved["at"], len(saved["columns"][0])
        for column, kept in zip(self.columns, saved["columns"], strict=True):
            column[: self.held] = kept
        self.generator.set_state(saved["generator"])


def kept_as(space: Any) -> torch.dtype:
    """How what is of a space is remembered: bytes as bytes, other whole numbers as int64, the rest as float32."""
    if space.dtype == np.uint8:
        return torch.uint8
    return torch.int64 if np.issubdtype(space.dtype, np.integer) else torch.float32
