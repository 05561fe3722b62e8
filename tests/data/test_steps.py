"""Steps in and out of files; files that hold none are refused with one sentence."""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tercih.data import steps as module
from tercih.data.steps import ARRAYS, Steps, StepsError, clip_of, read_steps, write_steps


def made(count: int = 4, first: int = 2, **rest: Any) -> Steps:
    values: dict[str, Any] = {
        "environment": "CartPole-v1",
        "actions": np.arange(count + first) % 2,
        "starts": np.array([0, 3]),
        "seeds": np.array([7, 8]),
        "first": first,
        "observations": np.ones((count, 3), np.float32),
        "following": np.ones((count, 3), np.float32),
        "rewards": np.ones(count),
        "terminated": np.zeros(count, bool),
        "truncated": np.zeros(count, bool),
    }
    return Steps(**values | rest)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    given = made(options={"gravity": 9.8}, times=np.array([0.1, 0.2, 0.2, 0.4]))
    write_steps(tmp_path / "new" / "a.npz", given)
    back = read_steps(tmp_path / "new" / "a.npz")
    assert (back.environment, back.options, back.first, len(back)) == ("CartPole-v1", {"gravity": 9.8}, 2, 4)
    for name in ARRAYS:
        left, right = np.asarray(getattr(given, name)), np.asarray(getattr(back, name))
        assert left.dtype == right.dtype
        assert np.array_equal(left, right), name
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["a.npz"]


def test_the_same_steps_are_the_same_bytes(tmp_path: Path) -> None:
    write_steps(tmp_path / "a.npz", made())
    write_steps(tmp_path / "b.npz", made())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rewards": np.ones(3)}, "steps.rewards must have 4 rows"),
        ({"first": 6}, "steps.first must be one of the 6 actions"),
        ({"first": -1}, "steps.first must be"),
        ({"starts": np.array([1, 3])}, "steps.starts must begin with 0"),
        ({"starts": np.array([0, 9])}, "steps.starts must"),
        ({"seeds": np.array([1])}, "one seed >= 0 for each"),
        ({"seeds": np.array([1, -1])}, "one seed >= 0 for each"),
        ({"times": np.array([0.0, 2.0, 1.0, 3.0])}, "never go back"),
        ({"actions": np.array([0.0, 1.0, np.nan, 0.0, 0.0, 0.0])}, "actions must be finite"),
        ({"environment": ""}, "steps.environment"),
    ],
)
def test_steps_do_not_contradict_each_other(change: dict[str, Any], said: str) -> None:
    with pytest.raises(StepsError, match=said):
        replace(made(), **change)


def archive(path: Path, about: Any = None, **rest: Any) -> Path:
    arrays = {name: np.asarray(getattr(made(), name)) for name in ARRAYS} | rest
    text = json.dumps({"format": module.FORMAT, "environment": "CartPole-v1"} if about is None else about)
    np.savez(path, about=np.array(text), **{name: each for name, each in arrays.items() if each is not None})
    return path


def test_files_that_hold_no_steps(tmp_path: Path) -> None:
    good = archive(tmp_path / "good.npz")
    assert len(read_steps(good)) == 4
    bad = {
        "cut.npz": good.read_bytes()[:-200],
        "empty.npz": b"",
        "text.npz": b"hello",
        "flipped.npz": good.read_bytes()[:700] + b"\xff" * 40 + good.read_bytes()[740:],
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StepsError, match=f"{name} holds no steps"):
            read_steps(tmp_path / name)
    with pytest.raises(StepsError, match="there is no file"):
        read_steps(tmp_path / "none.npz")
    with pytest.raises(StepsError, match=r"holds no steps.*rewards"):
        read_steps(archive(tmp_path / "a.npz", rewards=None))
    with pytest.raises(StepsError, match="is not of the format"):
        read_steps(archive(tmp_path / "a.npz", about={"format": "other"}))
    with pytest.raises(StepsError, match="seeds cannot be float64"):
        read_steps(archive(tmp_path / "a.npz", seeds=np.array([1.5, 2.0])))
    with pytest.raises(StepsError, match="first cannot be"):
        read_steps(archive(tmp_path / "a.npz", first=np.array([1, 2])))
    with pytest.raises(StepsError, match="options must be an object"):
        read_steps(archive(tmp_path / "a.npz", about={"format": module.FORMAT, "options": 3}))
    with pytest.raises(StepsError, match="rate must be a number"):
        read_steps(archive(tmp_path / "a.npz", about={"format": module.FORMAT, "rate": "fast"}))
    for text in ("3", "{", '{"base64": "?"}', "[" * 100_000):
        with pytest.raises(StepsError, match=r"holds no steps|must be an object"):
            read_steps(archive(tmp_path / "a.npz", state=np.frombuffer(text.encode(), np.uint8)))


def test_a_state_in_place_of_the_first_reset(tmp_path: Path) -> None:
    state = {"float": 0.1 + 0.2, "far": float("inf"), "long": 2**100, "machine": b"\x00\xff", "none": [None, {"a": 1}]}
    given = made(state=state, starts=np.array([3]), seeds=np.array([8]), rate=30.0, versions={"mujoco": "4.0.0"})
    write_steps(tmp_path / "a.npz", given)
    back = read_steps(tmp_path / "a.npz")
    assert (back.state, back.rate, back.versions, back.digest) == (state, 30.0, {"mujoco": "4.0.0"}, given.digest)
    with pytest.raises(StepsError, match="must not begin with 0, where the state is"):
        made(state=state)
    with pytest.raises(StepsError, match="cannot hold a set"):
        write_steps(tmp_path / "b.npz", replace(given, state={"odd": {1}}))
    with pytest.raises(StepsError, match="rate must be > 0"):
        clip_of(made())


class Trap:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("sprung"),))


def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trapped = archive(tmp_path / "trap.npz", rewards=np.array([Trap()], dtype=object))
    with pytest.raises(StepsError, match="holds no steps"):
        read_steps(trapped)
    assert not Path("sprung").exists()
    np.load(trapped, allow_pickle=True)["rewards"]
    assert Path("sprung").exists()  # it would have been


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_steps(tmp_path / "a.npz", made(count=5000))
    monkeypatch.setattr(module, "MOST_BYTES", 10_000)
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    assert zipfile.is_zipfile(tmp_path / "a.npz")
    with pytest.raises(StepsError, match="unpacks to"):
        read_steps(tmp_path / "a.npz")


def test_whoever_reads_steps_needs_neither_torch_nor_a_simulator() -> None:
    code = "import sys, tercih.data.steps; print({'torch', 'gymnasium', 'imageio_ffmpeg'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
