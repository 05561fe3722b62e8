"""What a policy earns of the environment's own reward."""

import numpy as np
import torch

from tercih.environments.worlds import Worlds
from tercih.models.control import ActorCritic


@torch.no_grad()
def returns(policy: ActorCritic, worlds: Worlds, episodes: int) -> list[float]:
    """Of the next `episodes` episodes, undiscounted; the policy takes its likeliest actions.

    Every copy plays as many (one more where they do not divide), so that short episodes do not crowd out long ones.
    """
    if episodes < 1:
        raise ValueError(f"a mean return needs episodes >= 1, got {episodes}")
    found: list[list[float]] = [[] for _ in range(len(worlds))]
    share = -(-episodes // len(worlds))
    still = policy.noise(len(worlds), dice=torch.Generator()).zero_().to(policy.shift_O.device)
    observation_N, return_N = worlds.reset(), np.zeros(len(worlds))
    while min(map(len, found)) < share:
        action_N = policy.act(policy.numbers(observation_N), still)
        made = worlds.step(policy.for_environment(action_N))
        observation_N, return_N = made.observation_N, return_N + made.reward_N
        for n in np.flatnonzero(made.ended_N):
            found[n].append(float(return_N[n]))
            return_N[n] = 0.0
    return [each for of_copy in found for each in of_copy[:share]]
