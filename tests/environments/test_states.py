"""A state that was saved goes on with the same bits: here, in other processes, and in a new program."""

import io
import json
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.environments import odd
from tests.environments.playing import ENVIRONMENTS, IDS, PONG, act, bits, needs

from tercih.environments import states
from tercih.environments.control import ControlError, World
from tercih.environments.worlds import Worlds


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    odd.register()
    return


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


@pytest.mark.parametrize("before", [0, 1, 37])
@pytest.mark.parametrize(("environment", "options"), ENVIRONMENTS, ids=IDS)
def test_what_follows_has_the_same_bits(environment: str, options: dict[str, Any], before: int) -> None:
    needs(environment)
    steps = 12 if environment.startswith("ALE/") else 60  # as Atari is slow
    with Worlds(environment, 3, options=options, seed=3) as worlds:
        worlds.reset()
        act(worlds, before, seed=1)
        state, here = through_a_file(worlds.state_dict()), worlds.observation_N
        expected = bits(act(worlds, steps, seed=2))
        worlds.load_state_dict(state)
        assert np.array_equal(worlds.observation_N, here)
        assert bits(act(worlds, steps, seed=2)) == expected
        worlds.load_state_dict(state)
        again = through_a_file(worlds.state_dict())
    for processes in (1, 2):
        with Worlds(environment, 3, options=options, seed=3, processes=processes) as worlds:
            worlds.load_state_dict(again)
            assert np.array_equal(worlds.observation_N, here)
            assert bits(act(worlds, steps, seed=2)) == expected


PROGRAM = """
import sys, torch
from tercih.environments.worlds import Worlds
from tests.environments.playing import act, bits
from tests.environments import odd
odd.register()
saved = torch.load(sys.argv[1], weights_only=True)
with Worlds(saved["environment"], 2, options=saved["options"]) as worlds:
    worlds.load_state_dict(saved["state"])
    print(bits(act(worlds, 60, seed=2)))
"""


@pytest.mark.parametrize(
    ("environment", "options"),
    [("CartPole-v1", {}), ("Counter-v0", {}), ("Hopper-v5", {}), ("Humanoid-v5", {}), ("ALE/Pong-v5", PONG)],
)
def test_a_new_program_goes_on_with_the_same_bits(environment: str, options: dict[str, Any], tmp_path: Path) -> None:
    needs(environment)
    with Worlds(environment, 2, options=options) as worlds:
        worlds.reset()
        act(worlds, 23, seed=1)
        saved = {"environment": environment, "options": options, "state": worlds.state_dict()}
        torch.save(saved, tmp_path / "state.pt")
        expected = bits(act(worlds, 60, seed=2))
    program = [sys.executable, "-c", PROGRAM, str(tmp_path / "state.pt")]
    ran = subprocess.run(program, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert ran.stdout.strip() == expected, ran.stderr


@pytest.mark.parametrize(
    ("environment", "options", "kind"),
    [
        ("CartPole-v1", {}, states.Attributes),
        ("Counter-v0", {}, states.Keeper),
        ("Hopper-v5", {}, states.Mujoco),
        ("ALE/Pong-v5", PONG, states.Atari),
        ("ALE/Pong-v5", {"repeat_action_probability": 0.0}, states.Atari),
        ("ALE/Pong-v5", {}, states.Keeper),
    ],
)
def test_each_environment_has_its_keeper(environment: str, options: dict[str, Any], kind: type) -> None:
    needs(environment)
    with World(environment, options) as world:
        assert type(states.keeper(world)) is kind


def test_under_a_wrapper_that_is_not_known_an_episode_is_acted_again() -> None:
    import gymnasium

    with World("CartPole-v1") as world:
        world.env = gymnasium.wrappers.NormalizeObservation(world.env)
        assert type(states.keeper(world)) is states.Keeper


@pytest.mark.parametrize("processes", [1, 2])
def test_an_environment_that_does_not_repeat_itself_is_named(processes: int) -> None:
    with Worlds("Forgetful-v0", 2, processes=processes) as worlds:
        worlds.reset()
        act(worlds, 3)
        with pytest.raises(ControlError, match="Forgetful-v0 is not reproducible"):
            worlds.load_state_dict(worlds.state_dict())


def test_mujoco_of_another_version_is_noticed() -> None:
    needs("Hopper-v5")
    with Worlds("Hopper-v5", 1) as worlds:
        worlds.reset()
        act(worlds, 5)
        state = worlds.state_dict()
        step = state["copies"][0]["state"]["step"]
        before = states.unpack(step["before"])
        for wrong in (before + 0.01, before[:-1]):
            with Worlds("Hopper-v5", 1) as other:
                step["before"] = states.pack(wrong)
                with pytest.raises(ControlError, match="Hopper-v5 is not reproducible"):
                    other.load_state_dict(state)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"environment": "Acrobot-v1"}, "its environment is CartPole-v1, here it is Acrobot-v1"),
        ({"count": 3}, "its count is 2, here it is 3"),
        ({"seed": 1}, "its seed is 0, here it is 1"),
        ({"options": {"sutton_barto_reward": True}}, "its options is {}, here it is .*true"),
    ],
)
def test_a_checkpoint_of_another_task_is_refused(asked: dict[str, Any], said: str) -> None:
    with Worlds("CartPole-v1", 2) as worlds:
        worlds.reset()
        state = worlds.state_dict()
    with (
        Worlds(**{"environment": "CartPole-v1", "count": 2} | asked) as other,
        pytest.raises(ControlError, match=f"the checkpoint is of another task: {said}"),
    ):
        other.load_state_dict(state)


def test_packing_gives_back_what_it_got() -> None:
    given = [
        1, 0.1, None, "a", (1, (2,)), [np.float32(1.5)], deque([np.arange(3), np.zeros((2, 2), bool)], maxlen=4),
        np.int64(3), np.zeros((0, 2)), 2**127,
    ]  # fmt: skip
    packed = states.pack(given)
    back = states.unpack(packed)
    assert repr(back) == repr(given)
    assert [type(each) for each in back] == [type(each) for each in given]
    assert back[6].maxlen == 4
    json.dumps(packed, default=bytes.hex)  # nothing but containers, numbers, strings and bytes
