"""Whole episodes, as most other programs keep them, become `Steps`.

Shapes: T steps of an episode; the observations are T + 1, for the last is what the last action led to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tercih.data.steps import PER_STEP, Array, Steps, StepsError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trajectory:
    """One episode, or the beginning of one (then neither terminated nor truncated). Raises StepsError for lengths that
    contradict each other."""

    observations: Array
    actions: Array
    rewards: Array | None = None
    terminated: bool = False
    truncated: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        steps = len(self.actions)
        if steps < 1:
            raise StepsError("an episode without a step teaches nothing; leave it out")
        if len(self.observations) != steps + 1:
            raise StepsError(
                f"an episode of {steps} actions must have {steps + 1} observations, what the last action led to among"
                f" them, got {len(self.observations)}"
            )
        if self.rewards is not None and len(self.rewards) != steps:
            raise StepsError(f"an episode of {steps} actions must have as many rewards, got {len(self.rewards)}")


def steps_of(trajectories: Sequence[Trajectory], environment: str, options: Mapping[str, Any] | None = None) -> Steps:
    """All of them, one after the other; their seeds are kept where each has one. Raises StepsError where there are
    none, or where they are not of one environment."""
    if not trajectories:
        raise StepsError(f"there are no episodes of {environment} here: nothing to learn from")
    first = trajectories[0]
    for at, each in enumerate(trajectories):
        for name in ("observations", "actions"):
            mine, of_first = getattr(each, name).shape[1:], getattr(first, name).shape[1:]
            if mine != of_first:
                raise StepsError(
                    f"episode {at} has {name} of shape {mine}, episode 0 of {of_first}: they are of two environments;"
                    " read them one by one"
                )
    length_E = [len(each.actions) for each in trajectories]
    last_E = np.cumsum(length_E) - 1
    ends: dict[str, Any] = {name: np.zeros(sum(length_E), dtype=bool) for name in ("terminated", "truncated")}
    for name, end_T in ends.items():
        end_T[last_E] = [getattr(each, name) for each in trajectories]
    seeds = [each.seed for each in trajectories]
    return Steps(
        environment=environment,
        options=dict(options or {}),
        actions=np.concatenate([each.actions for each in trajectories]),
        starts=np.concatenate([[0], last_E[:-1] + 1]).astype(np.int64),
        seeds=np.array([] if None in seeds else seeds, dtype=np.int64),
        observations=np.concatenate([each.observations[:-1] for each in trajectories]),
        following=np.concatenate([each.observations[1:] for each in trajectories]),
        rewards=np.concatenate(
            [np.full(len(each.actions), np.nan) if each.rewards is None else each.rewards for each in trajectories]
        ).astype(np.float64),
        **ends,
    )


def joined(parts: Sequence[Steps]) -> Steps:
    """The steps of several files as one, without what came before each clip; so none of it can be acted again."""
    if not parts:
        raise StepsError("there are no steps to join")
    first = parts[0]
    for part in parts[1:]:
        if (part.environment, dict(part.options)) != (first.environment, dict(first.options)):
            raise StepsError(
                f"steps of {part.environment} with options {dict(part.options)} cannot be joined to those of"
                f" {first.environment} with {dict(first.options)}; learn from one environment at a time"
            )
    starts, before = [], 0
    for part in parts:
        begun = sorted({0, *(int(start) - part.first for start in part.starts if start > part.first)})
        starts += [before + start for start in begun]
        before += len(part)
    per_step: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in PER_STEP}
    return Steps(
        environment=first.environment,
        options=first.options,
        actions=np.concatenate([part.actions[part.first :] for part in parts]),
        starts=np.array(starts, dtype=np.int64),
        seeds=np.zeros(0, dtype=np.int64),
        **per_step,
    )
