"""What an agent earns of the environment's own reward."""

from collections.abc import Callable

import numpy as np

from tercih.environments.control import Array, ControlError
from tercih.environments.worlds import Worlds

Act = Callable[[Array], Array]
"""`act(observation_N) -> action_N`, both as the environment has them."""


def returns(act: Act, worlds: Worlds, episodes: int) -> list[float]:
    """Of whole episodes that begin now, undiscounted.

    Every copy plays as many (one more where they do not divide), so that short episodes do not crowd out long ones; of
    the last ones only `episodes` in all are kept.
    """
    if episodes < 1:
        raise ValueError(f"a mean return needs episodes >= 1, got {episodes}")
    found: list[list[float]] = [[] for _ in range(len(worlds))]
    share = -(-episodes // len(worlds))
    observation_N, return_N = worlds.reset(), np.zeros(len(worlds))
    while min(map(len, found)) < share:
        made = worlds.step(act(observation_N))
        observation_N, return_N = made.observation_N, return_N + made.reward_N
        for n in np.flatnonzero(made.ended_N):
            found[n].append(float(return_N[n]))
            return_N[n] = 0.0
    by_round = [of_copy[at] for at in range(share) for of_copy in found]
    return by_round[:episodes]


def episodes(act: Act, worlds: Worlds, most: int = 10_000) -> tuple[dict[str, Array], list[int]]:
    """The episode that every copy begins (`reset` the worlds before it): its steps as `clip_steps` reads a rollout, and
    how many of them are each copy's episode; those after it are of another. ControlError after `most` steps.
    """
    kept: list[tuple[Array, ...]] = []
    observation_N, length_N = worlds.observation_N, np.zeros(len(worlds), dtype=np.int64)
    while not length_N.all():
        if len(kept) == most:
            raise ControlError(f"an episode of {worlds.id} lasts more than {most} steps")
        action_N = act(observation_N)
        made = worlds.step(action_N)
        kept.append((
            observation_N, action_N, made.following_N, made.reward_N, made.terminated_N, made.truncated_N, made.ended_N
        ))  # fmt: skip
        observation_N = made.observation_N
        length_N[made.ended_N & (length_N == 0)] = len(kept)
    names = ("observation", "action", "following", "reward", "terminated", "truncated", "ended")
    rollout = {name: np.stack(of_steps) for name, of_steps in zip(names, zip(*kept, strict=True), strict=True)}
    return rollout, length_N.tolist()
