"""A moment of a rollout becomes a clip: its steps, and what it takes to act them again."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercih.data.steps import Steps
from tercih.environments.control import ControlError
from tercih.environments.copies import episode_seed
from tercih.environments.worlds import Worlds

Rollout = Mapping[str, NDArray[Any]]


def clip_steps(worlds: Worlds, began: Mapping[str, Any], rollout: Rollout, copy: int, first: int, length: int) -> Steps:
    """Steps `first` to before `first + length` of one copy's rollout, also across the end of an episode.

    `began` is `worlds.state_dict()` from before the rollout's first step. `rollout` has what the steps were, each of
    shape (T, N, …): "observation", "action" (the environment's), "following", "reward", "terminated", "truncated", and
    "ended" where the learner does not see ends (`Steps.ended_N`). The actions since the rollout began come along, or
    since the latest episode that began in it, for which its seed is enough.

    Raises ValueError for a clip that is longer than the rollout, or not in it; ControlError where the copies had not
    been reset when `began` was taken.
    """
    steps, copies = rollout["action"].shape[:2]
    if not 0 <= copy < copies == len(worlds):
        raise ValueError(f"copy must be one of {len(worlds)}, in a rollout of as many, got {copy} of {copies}")
    if length < 1 or not 0 <= first <= steps - length:
        raise ValueError(f"a clip of {length} steps from step {first} on is not within a rollout of {steps} steps")
    if worlds.hide_ends and "ended" not in rollout:
        raise ValueError('where ends are hidden, the rollout must hold "ended", from what Worlds.step returns')
    state = began["copies"][copy]
    if not state["episode"]:
        raise ControlError(f"the copies of {worlds.id} had no state when the rollout began; reset() them before it")
    ended_T = rollout["ended"] if "ended" in rollout else rollout["terminated"] | rollout["truncated"]
    starts = np.flatnonzero(ended_T[: first + length - 1, copy]) + 1  # of what the clip shows or comes after
    seeds = [episode_seed(worlds.seed, copy, state["episode"] + each) for each in range(len(starts))]
    since, end = int(starts[starts <= first].max(initial=0)), first + length
    shown = {name: array[first:end, copy] for name, array in rollout.items()}
    return Steps(
        environment=worlds.id,
        options=worlds.options,
        rate=worlds.rate,
        versions=worlds.versions,
        state=None if since else state,
        actions=rollout["action"][since:end, copy],
        starts=starts[starts >= max(since, 1)] - since,
        seeds=np.array([seed for start, seed in zip(starts, seeds, strict=True) if start >= since], np.int64),
        first=first - since,
        observations=shown["observation"],
        following=shown["following"],
        rewards=shown["reward"].astype(np.float64),
        terminated=shown["terminated"].astype(bool),
        truncated=shown["truncated"].astype(bool),
    )
