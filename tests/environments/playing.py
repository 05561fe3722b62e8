"""Acting at random in `Worlds`, and the bits that come of it."""

import hashlib
from typing import Any

import numpy as np
import pytest

from tercih.environments.worlds import Steps, Worlds

PONG = {"pixels": 84, "stack": 4, "blank_score": True}
# Of each kind of state, with episodes that end soon; Ant's and Humanoid's rewards read what a step leaves behind.
ENVIRONMENTS: list[tuple[str, dict[str, Any]]] = [
    ("CartPole-v1", {}),
    ("Pendulum-v1", {"max_episode_steps": 25}),
    ("Counter-v0", {}),
    ("HalfCheetah-v5", {"max_episode_steps": 25}),
    ("Hopper-v5", {}),
    ("Reacher-v5", {"max_episode_steps": 25}),
    ("Swimmer-v5", {"max_episode_steps": 25}),
    ("Ant-v5", {"max_episode_steps": 25}),
    ("Humanoid-v5", {}),
    ("ALE/Pong-v5", PONG | {"max_episode_steps": 160}),
    ("ALE/Pong-v5", {"max_episode_steps": 40}),
]
IDS = [f"{name}{'' if 'pixels' not in options else ' 84×84'}" for name, options in ENVIRONMENTS]


def needs(environment: str) -> None:
    if environment.startswith("ALE/"):
        pytest.importorskip("ale_py")
        pytest.importorskip("cv2")
    elif environment.endswith("-v5"):
        pytest.importorskip("mujoco")


def act(worlds: Worlds, steps: int, seed: int = 0) -> list[Steps]:
    worlds.action_space.seed(seed)
    return [worlds.step([worlds.action_space.sample() for _ in range(len(worlds))]) for _ in range(steps)]


def bits(taken: list[Steps], copies: slice = slice(None)) -> str:
    digest = hashlib.sha256()
    for step in taken:
        for name in ("observation_N", "following_N", "reward_N", "terminated_N", "truncated_N", "ended_N"):
            digest.update(np.ascontiguousarray(getattr(step, name)[copies]).tobytes())
    return digest.hexdigest()
