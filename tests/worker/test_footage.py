"""Videos are drawn when somebody is going to look, from steps that were kept; an idle worker draws ahead."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from tercih.data.steps import keep_steps, write_steps
from tercih.environments import picture
from tercih.feedback import footage, jobs, tables
from tercih.feedback.store import Question, Store
from tercih.records import Clip
from tercih.worker.bench import Bench, work
from worker.test_clip import acted


def kept(folder: Path, count: int = 2, environment: str = "Pendulum-v1") -> list[Clip]:
    record = acted(environment, most=4 * count + 4)
    record.rate = 30.0
    return [keep_steps(folder, record.steps(4 * at, 4 * at + 4)) for at in range(count)]


def asked(store: Store, pairs: Sequence[tuple[Clip, Clip]]) -> None:
    store.ask([Question(items=pair, run="p", step=0, index=at, votes=1) for at, pair in enumerate(pairs)])


def states(store: Store) -> list[str]:
    with store.database.transaction() as connection:
        return list(connection.scalars(sa.select(tables.job.c.state).where(tables.job.c.kind == "clip")))


def test_a_video_is_drawn_once_when_it_is_asked_for(store: Store, tmp_path: Path) -> None:
    clip, _ = kept(tmp_path)
    assert footage.video(tmp_path, clip) is None
    for _ in range(3):
        assert footage.ask_missing(store.database, tmp_path, [clip]) == {0}
    said: list[str] = []
    work(Bench(database=store.database, clips=tmp_path), said.append)
    assert [line for line in said if line.startswith("clip")] == ["clip 1: done, drawn by the environment itself"]
    video = footage.video(tmp_path, clip)
    assert video is not None
    assert footage.ask_missing(store.database, tmp_path, [clip]) == frozenset()
    before = video.read_bytes()
    video.unlink()  # to have the room; what it was drawn from is still there
    assert footage.ask_missing(store.database, tmp_path, [clip]) == {0}
    assert states(store) == ["waiting"]
    work(Bench(database=store.database, clips=tmp_path))
    assert video.read_bytes() == before


def test_a_worker_draws_ahead_what_is_still_to_be_asked(store: Store, tmp_path: Path) -> None:
    clips = kept(tmp_path, 6)
    asked(store, [(clips[0], clips[1]), (clips[2], clips[3])])
    store.enrol("ann")
    store.judge(store.questions("p")[0].id, "ann", "a")  # nobody is going to look at those two
    work(Bench(database=store.database, clips=tmp_path))
    assert [footage.video(tmp_path, clip) is not None for clip in clips] == [False, False, True, True, False, False]
    assert states(store) == ["done", "done"]
    work(Bench(database=store.database))  # a worker without the folder leaves them alone


def test_what_cannot_be_drawn_is_tried_once(store: Store, tmp_path: Path) -> None:
    clips = kept(tmp_path, 4)
    (tmp_path / clips[0].steps).unlink()
    write_steps(tmp_path / clips[1].steps, acted("CartPole-v1").steps())
    asked(store, [(clips[0], clips[1]), (clips[2], clips[3])])
    work(Bench(database=store.database, clips=tmp_path))
    work(Bench(database=store.database, clips=tmp_path))
    assert sorted(states(store)) == ["done", "done", "failed", "failed"]
    assert footage.ask_missing(store.database, tmp_path, clips) == frozenset()
    with store.database.transaction() as connection:
        errors = [row["error"] for row in connection.scalars(sa.select(tables.job.c.result)) if "error" in row]
    assert len(errors) == 2
    assert any("there is no file" in each for each in errors)
    assert any("is not what was asked about" in each for each in errors)
    assert not footage.ask(store.database, Clip(media="a.mp4", digest="a", seconds=1.0))


def test_a_schematic_is_called_one(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco")
    (clip,) = kept(tmp_path, 1, "Reacher-v5")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(picture, "_opengl", lambda: "schematic")
    footage.ask(store.database, clip)
    said: list[str] = []
    work(Bench(database=store.database, clips=tmp_path), said.append)
    assert "done, drawn as a schematic, for neither EGL nor OSMesa works here" in said[0]
    assert jobs.result(store.database, 1).result["drawn"] == "schematic"
