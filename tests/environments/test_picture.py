"""MuJoCo is drawn by EGL, by OSMesa, or as a schematic that says so."""

import os
import subprocess
from typing import Any

import gymnasium
import numpy as np
import pytest
from tests.environments.playing import needs

from tercih.environments import picture
from tercih.environments.control import World


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MUJOCO_GL", "")  # restored afterwards, whatever is found
    picture._opengl.cache_clear()
    yield
    picture._opengl.cache_clear()


@pytest.mark.parametrize(
    ("works", "tried", "way"),
    [
        (["egl", "osmesa"], ["egl"], "egl"),
        (["osmesa"], ["egl", "osmesa"], "osmesa"),
        ([], ["egl", "osmesa"], "schematic"),
    ],
)
def test_which_way(works: list[str], tried: list[str], way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> Any:
        seen.append(env["MUJOCO_GL"])
        return subprocess.CompletedProcess(command, 0 if seen[-1] in works else 1)

    monkeypatch.setattr(picture.subprocess, "run", run)
    assert picture._opengl() == picture._opengl() == way
    assert seen == tried
    assert os.environ["MUJOCO_GL"] == ("" if way == "schematic" else way)


def test_what_the_user_named_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("Hopper-v5")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with World("Hopper-v5", render=True) as world:
        assert world.drawn == "osmesa"
    with World("CartPole-v1", render=True) as world:
        assert world.drawn == "own"
    with World("Hopper-v5") as world:
        assert world.drawn is None


@pytest.mark.parametrize("environment", ["Hopper-v5", "Reacher-v5", "Swimmer-v5", "Ant-v5"])
def test_a_schematic_moves_and_says_what_it_is(environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(environment)
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(picture.subprocess, "run", lambda *_, **__: failed)
    with World(environment, render=True) as world:
        world.reset(0)
        world.env.action_space.seed(0)
        before = world.frame()
        for _ in range(20):
            world.step(world.env.action_space.sample())
        after = world.frame()
    assert before.shape == after.shape == (picture.SIDE, picture.SIDE, 3)
    assert (before != after).any(-1).mean() > 0.002
    red = (before.astype(int) == (180, 0, 0)).all(-1)
    assert red[:24].sum() > 100  # the words
    assert 0.005 < (before.astype(int).sum(-1) < 500).mean() < 0.6  # a body, with room around it


def test_one_way_or_another_there_is_a_picture() -> None:
    needs("Hopper-v5")
    with World("Hopper-v5", render=True) as world:
        world.reset(0)
        frame = world.frame()
        assert world.drawn in ("egl", "osmesa", "schematic")
    assert frame.shape == (480, 480, 3)
    assert np.unique(frame.reshape(-1, 3), axis=0).shape[0] > 20


@pytest.mark.parametrize(("environment", "camera"), [("HalfCheetah-v5", "track"), ("InvertedPendulum-v5", None)])
def test_the_camera_goes_along_where_the_model_has_one(environment: str, camera: str | None) -> None:
    needs(environment)
    env: Any = gymnasium.make(environment, render_mode="rgb_array")
    assert env.unwrapped.mujoco_renderer.camera_id == -1  # a camera that stands still
    picture.follow(env)
    found = env.unwrapped.mujoco_renderer.camera_id
    assert (env.unwrapped.model.camera(found).name if found != -1 else None) == camera
    env.close()
