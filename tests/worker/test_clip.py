"""Clips are acted again and filmed: the right frames, the right length, and nothing half-written."""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tercih.data.steps import Steps, write_steps
from tercih.environments import video
from tercih.environments.control import ControlError, World
from tercih.feedback import jobs
from tercih.feedback.store import Store
from tercih.worker import clip as module
from tercih.worker.bench import Bench, work
from tercih.worker.clip import render
from tercih.worker.record import Record


def acted(environment: str = "CartPole-v1", episodes: int = 1, most: int = 60) -> Record:
    record = Record(environment=environment)
    with World(environment) as world:
        for seed in range(episodes):
            record.reset(seed)
            world.reset(seed)
            world.env.action_space.seed(seed)
            for _ in range(most):
                record.add(step := world.step(world.env.action_space.sample()))
                if step.terminated or step.truncated:
                    break
    return record


def decoded(path: Path) -> np.ndarray[Any, Any]:
    """Frames of a video, by the same ffmpeg."""
    from imageio_ffmpeg import get_ffmpeg_exe

    about = subprocess.run([get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True).stderr
    size = re.search(r"h264 .*yuv420p.* (\d+)x(\d+)", about)
    assert size, about
    raw = subprocess.run(
        [get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        capture_output=True,
        check=True,
    ).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, int(size[2]), int(size[1]), 3)


def asked(store: Store, folder: Path, payload: dict[str, Any]) -> jobs.Outcome:
    key = jobs.put(store.database, "clip", payload)
    work(Bench(database=store.database, clips=folder))
    return jobs.result(store.database, key)


def test_a_clip_shows_what_its_steps_led_to(store: Store, tmp_path: Path) -> None:
    record = acted("Pendulum-v1", most=40)
    write_steps(tmp_path / "a" / "b.npz", record.steps(10, 34))
    outcome = asked(store, tmp_path, {"steps": "a/b.npz"})
    assert outcome.state == "done", outcome.error
    told = outcome.result
    file = tmp_path / told["media"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert told == {"media": "a/b.mp4", "digest": digest, "seconds": 0.8, "steps": "a/b.npz", "drawn": "own"}
    shown = decoded(file)
    assert len(shown) == 24
    with World("Pendulum-v1", render=True) as world:
        world.reset(0)
        for at, step in enumerate(record.done[:34]):
            world.step(step.action)
            if at >= 10:
                wrong = np.abs(shown[at - 10].astype(int) - world.frame()).mean()
                assert wrong < 3, at
    assert np.abs(shown[0].astype(int) - shown[-1]).mean() > 3  # frames do differ
    assert sorted(each.name for each in (tmp_path / "a").iterdir()) == ["b.mp4", "b.npz"]


def test_the_same_steps_give_the_same_video(store: Store, tmp_path: Path) -> None:
    write_steps(tmp_path / "a.npz", acted().steps())
    first, again = (asked(store, tmp_path, {"steps": "a.npz"}).result for _ in range(2))
    other = asked(store, tmp_path, {"steps": "a.npz", "media": "other.mp4"}).result
    assert first == again
    assert other["digest"] == first["digest"]


def test_a_clip_may_span_episodes(tmp_path: Path) -> None:
    record = acted(episodes=3)
    assert len(record.starts) == 3
    steps = record.steps(record.starts[1] - 4, record.starts[2] + 4)
    assert steps.terminated.sum() == 2
    write_steps(tmp_path / "a.npz", steps)
    assert render(tmp_path, "a.npz", "a.mp4")["seconds"] == round(len(steps) / 50, 3)


def test_an_episode_without_a_step_is_forgotten() -> None:
    record = acted()
    record.reset(5)
    record.reset(6)
    assert (len(record.starts), record.seeds[-1], len(record.steps())) == (2, 6, len(record.done))


def test_the_first_steps_of_an_episode_are_kept_for_acting_again() -> None:
    record = acted(episodes=2)
    steps = record.steps(record.starts[1] + 3, record.starts[1] + 6)
    assert (steps.first, len(steps), len(steps.actions)) == (3, 3, 6)
    assert steps.seeds.tolist() == [1]


def changed(name: str, value: Any) -> Steps:
    steps = acted().steps()
    array = np.array(getattr(steps, name))
    array[3] = value(array[3])
    return replace(steps, **{name: array})


@pytest.mark.parametrize(
    "steps",
    [
        lambda: changed("actions", lambda one: 1 - one),
        lambda: changed("following", lambda one: one + 0.01),
        lambda: changed("observations", lambda one: one + 0.01),
        lambda: replace(acted().steps(), options={"sutton_barto_reward": True}, seeds=np.array([5])),
        lambda: replace(acted().steps(), environment="MountainCar-v0"),
        lambda: replace(acted().steps(), terminated=np.zeros(len(acted().done), bool)),
    ],
)
def test_another_environment_is_noticed(store: Store, tmp_path: Path, steps: Any) -> None:
    write_steps(tmp_path / "a.npz", steps())
    outcome = asked(store, tmp_path, {"steps": "a.npz"})
    assert outcome.state == "failed"
    assert "the environment is not the same one" in outcome.error
    assert [each.name for each in tmp_path.iterdir() if each.suffix not in (".npz", ".db", ".db-wal", ".db-shm")] == []


def test_what_is_refused(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    good = acted().steps()
    write_steps(folder / "a.npz", good)
    write_steps(tmp_path / "outside.npz", good)
    write_steps(folder / "unknown.npz", replace(good, environment="Nowhere-v0"))
    write_steps(folder / "module.npz", replace(good, environment="antigravity:Nowhere-v0"))
    write_steps(folder / "options.npz", replace(good, options={"colour": "red"}))
    write_steps(folder / "action.npz", replace(good, actions=good.actions + 7))
    (folder / "link.npz").symlink_to(tmp_path / "outside.npz")
    (folder / "text.npz").write_text("no steps")
    (folder / "taken.mp4").write_text("a video that people judge")
    for payload, said in (
        ({}, "needs steps in its payload"),
        ({"steps": "none.npz"}, "there is no file"),
        ({"steps": "text.npz"}, "holds no steps"),
        ({"steps": "../outside.npz"}, "'../outside.npz' is not within the folder of clips"),
        ({"steps": "link.npz"}, "'link.npz' is not within the folder of clips"),
        ({"steps": ""}, "is not within the folder of clips"),
        ({"steps": "a\0.npz"}, "is not within the folder of clips"),
        ({"steps": "a.npz", "media": "/etc/a.mp4"}, "'/etc/a.mp4' is not within the folder of clips"),
        ({"steps": "a.npz", "media": "a.html"}, "a video's name ends in .mp4"),
        ({"steps": "a.npz", "media": "taken.mp4"}, "taken.mp4 is another video already"),
        ({"steps": "unknown.npz"}, "the environment 'Nowhere-v0' cannot be made here"),
        ({"steps": "module.npz"}, "without a module"),
        ({"steps": "options.npz"}, "cannot be made here"),
        ({"steps": "action.npz"}, "is no action of CartPole-v1"),
    ):
        outcome = asked(store, folder, payload)
        assert outcome.state == "failed", payload
        assert re.search(said, outcome.error), outcome.error
        assert "\n" not in outcome.error
    assert "antigravity" not in sys.modules
    assert (folder / "taken.mp4").read_text() == "a video that people judge"
    assert {each.name for each in folder.iterdir() if each.suffix == ".mp4"} == {"taken.mp4"}


def test_without_the_extra_the_mend_is_said(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_steps(tmp_path / "a.npz", acted().steps())
    for missing in ("gymnasium", "imageio_ffmpeg"):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, missing, None)
            assert 'pip install "tercih[control]"' in asked(store, tmp_path, {"steps": "a.npz"}).error


def test_an_environment_that_shows_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_steps(tmp_path / "a.npz", acted().steps())
    with World("CartPole-v1", render=True) as world:
        outermost = type(world.env)
    for frame in (None, np.zeros((4, 4), np.uint8)):
        monkeypatch.setattr(outermost, "render", lambda self, frame=frame: frame)
        assert "CartPole-v1 gave no frame to show" in asked(store, tmp_path, {"steps": "a.npz"}).error
    assert not (tmp_path / "a.mp4").exists()


def test_an_encoder_that_fails_leaves_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_steps(tmp_path / "a.npz", acted().steps())
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho no such codec >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(broken))
    before = set(tmp_path.iterdir())
    assert "the video could not be encoded: no such codec" in asked(store, tmp_path, {"steps": "a.npz"}).error
    assert set(tmp_path.iterdir()) == before


def test_frames_of_a_video() -> None:
    with pytest.raises(ControlError, match="there are no frames"):
        video.Video(10).close()
    with pytest.raises(ControlError, match="at most 1000 frames a second, got 0"):
        video.Video(0)
    film = video.Video(10)
    film.add(np.zeros((5, 7, 3), np.uint8))  # odd sides
    with pytest.raises(ControlError, match="cannot follow"):
        film.add(np.zeros((6, 8, 3), np.uint8))
    film.drop()
    assert not Path(film.folder.name).exists()


def test_a_worker_without_a_folder_takes_no_clips(store: Store) -> None:
    key = jobs.put(store.database, "clip", {"steps": "a.npz"})
    assert work(Bench(database=store.database)) == 0
    assert jobs.result(store.database, key).state == "waiting"
    job = jobs.take(store.database, ["clip"])
    assert job is not None
    with pytest.raises(module.Refused, match="start it with --clips"):
        module.clip(Bench(database=store.database), job)


def test_the_worker_needs_no_torch(tmp_path: Path) -> None:
    write_steps(tmp_path / "a.npz", acted().steps())
    code = (
        "import sys; from pathlib import Path; from tercih.worker.clip import render;"
        f"render(Path({json.dumps(str(tmp_path))}), 'a.npz', 'a.mp4'); print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
