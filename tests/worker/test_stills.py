"""Small pictures of a clip: the first step, the last, and those between, of the clip and not of what came before it."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tercih.agents.clip_steps import clip_steps
from tercih.data.steps import Steps
from tercih.environments.control import ControlError, World
from tercih.environments.worlds import Worlds
from tercih.worker.clip import frames
from tercih.worker.stills import SIDE, stills


def clip(first: int = 5, length: int = 11) -> Steps:
    with Worlds("Pendulum-v1", 2, seed=3) as worlds:
        worlds.reset()
        began = worlds.state_dict()
        kept, observation_N = [], worlds.observation_N
        for t in range(20):
            action_N = np.full((2, 1), 2.0 if t < 12 else -2.0, dtype=np.float32)
            made = worlds.step(action_N)
            kept.append((observation_N, action_N, made.following_N, made.reward_N, made.terminated_N, made.truncated_N))
            observation_N = made.observation_N
        names = ("observation", "action", "following", "reward", "terminated", "truncated")
        rollout = {name: np.stack(each) for name, each in zip(names, zip(*kept, strict=True), strict=True)}
        return clip_steps(worlds, began, rollout, 1, first, length)


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(picture)).convert("RGB")).astype(float)


def test_they_are_the_steps_that_the_video_shows() -> None:
    steps = clip()
    found, drawn = stills(steps, 3)
    assert (len(found), drawn) == (3, "own")
    with World("Pendulum-v1", {}, render=True) as world:
        shown = list(frames(world, steps))
    assert len(shown) == 11
    small = []
    for frame in shown:
        image = Image.fromarray(frame)
        image.thumbnail((SIDE, SIDE))
        small.append(np.asarray(image).astype(float))
    for picture, at in zip(found, (0, 5, 10), strict=True):
        assert pixels(picture).shape == (SIDE, SIDE, 3)
        assert int(np.argmin([np.abs(pixels(picture) - each).mean() for each in small])) == at


def test_a_short_clip_has_as_many_as_it_has_steps() -> None:
    assert len(stills(clip(length=2), 6)[0]) == 2


def test_what_leads_elsewhere_is_not_drawn() -> None:
    steps = clip()
    steps.observations[3] += 1
    with pytest.raises(ControlError, match="leads elsewhere"):
        stills(steps, 3)
