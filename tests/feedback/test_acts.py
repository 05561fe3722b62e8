"""An agent acts before a rater, at the level of the store and on both databases; the worker's part is played here."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from tercih.feedback import acts, jobs, tables
from tercih.feedback.acts import Act, Frame
from tercih.feedback.database import Database
from tercih.feedback.exchange import formats
from tercih.feedback.exchange.export import items_of, rows
from tercih.feedback.exchange.load import load
from tercih.feedback.jobs import Job
from tercih.feedback.kinds import AnswerError, Said, records_of
from tercih.feedback.projects import Project, ProjectError, make_project
from tercih.feedback.queue import Gone, NotYours, Queue, QueueError, Unknown
from tercih.feedback.store import Store
from tercih.records import Clip, TimedSignal

POLE = Project(id="pole", kind="live", environment="CartPole-v1", act_steps=20)
FILM = Clip(media="acts/a.mp4", digest="film", seconds=2.0, steps="acts/a.npz", origin="random")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000_000.0]
    monkeypatch.setattr(acts.clock, "time", lambda: now[0])
    return now


@pytest.fixture
def world(database: Database) -> Database:
    make_project(database, POLE)
    for name in ("ann", "bob"):
        Store(database).enrol(name)
    return database


def taken(database: Database) -> tuple[Job, int]:
    job = jobs.take(database, ["act"])
    assert job is not None
    assert acts.begin(database, job.payload["act"])
    return job, job.payload["act"]


def shown(database: Database, key: int, step: int) -> bool:
    return acts.show(database, key, Frame(step=step, seconds=step / 10, jpeg=b"frame %d" % step))


def say(database: Database, key: int, value: int, step: int, mark: str, late: float = 0.03) -> None:
    acts.press(database, key, "ann", value=value, step=step, seconds=step / 10 + late, mark=mark)


def state(database: Database, key: int) -> Act:
    return acts.look(database, key, "ann")


def answers(database: Database) -> list[TimedSignal[Clip]]:
    """As whoever exports the project would have them."""
    found = []
    for row in rows(database, "pole"):
        said = Said(
            items=items_of(row), answer=row["answer"], spec=row["spec"], rater=row["rater"], time=row["time"],
            seconds=row["seconds"], left=None,
        )  # fmt: skip
        found += records_of("live", said)
    return found


def test_an_act_from_the_first_frame_to_a_record(world: Database) -> None:
    key = acts.start(world, POLE, "ann")
    assert acts.start(world, POLE, "ann") == key  # two windows are at one act
    assert state(world, key).state == "waiting"
    job, begun = taken(world)
    assert begun == key
    assert (job.payload["environment"], job.payload["steps"], job.payload["frames_per_second"]) == (
        "CartPole-v1",
        20,
        10,
    )
    for step in range(6):
        assert shown(world, key, step)
    newest = acts.newest_frame(world, key)
    assert newest is not None
    assert (newest.step, newest.seconds, newest.jpeg) == (5, 0.5, b"frame 5")
    assert acts.newest_frame(world, key, after=5) is None
    with world.transaction() as connection:  # old frames are dropped
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.frame)) == 1

    say(world, key, 1, 3, "one")
    say(world, key, -1, 5, "two")
    say(world, key, -1, 5, "two")  # sent again
    heard = acts.signals_since(world, key)
    assert [(each.value, each.step, each.seconds) for each in heard] == [(1, 3, 0.33), (-1, 5, 0.53)]
    assert acts.signals_since(world, key, heard[-1].id) == []
    say(world, key, 0, 5, "back")
    say(world, key, 1, 5, "three")
    later = acts.signals_since(world, key, heard[-1].id)
    assert [(each.value, each.takes_back) for each in later] == [(0, heard[1].id), (1, None)]

    assert answers(world) == []
    acts.finish(world, key, FILM)
    acts.finish(world, key, FILM)
    (record,) = answers(world)
    assert isinstance(record, TimedSignal)
    assert (record.item, record.rater) == (FILM, "ann")
    assert (record.signals, record.steps) == (((0.33, 1.0), (0.53, 1.0)), (3, 5))
    assert state(world, key).state == "over"
    assert acts.newest_frame(world, key) is None
    assert acts.start(world, POLE, "ann") != key


def test_nothing_is_told_of_what_was_not_shown(world: Database) -> None:
    key = acts.start(world, POLE, "ann")
    with pytest.raises(QueueError, match="nothing has been shown"):
        say(world, key, 1, 0, "early")
    taken(world)
    shown(world, key, 0)
    for value, step, seconds in ((2, 0, 0.0), (1, 1, 0.1), (1, -1, 0.0), (1, 0, -0.1), (1, 0, float("nan"))):
        with pytest.raises(AnswerError):
            acts.press(world, key, "ann", value=value, step=step, seconds=seconds, mark="wrong")
    say(world, key, 0, 0, "nothing to take back")
    assert acts.signals_since(world, key) == []
    acts.end(world, key, "ann")
    acts.finish(world, key)
    assert answers(world) == []  # nobody saw a step


def test_an_act_belongs_to_its_rater(world: Database) -> None:
    key = acts.start(world, POLE, "ann")
    taken(world)
    shown(world, key, 1)
    for call in (
        lambda: acts.look(world, key, "bob"),
        lambda: acts.end(world, key, "bob"),
        lambda: acts.press(world, key, "bob", value=1, step=1, seconds=0.1, mark="b"),
    ):
        with pytest.raises(NotYours):
            call()
    with pytest.raises(Unknown):
        acts.look(world, 99, "ann")
    with pytest.raises(Unknown):
        acts.start(world, Project(id="pole"), "ann")
    assert acts.signals_since(world, key) == []
    say(world, key, 1, 1, "mine")
    other = acts.start(world, POLE, "bob")
    taken(world)
    shown(world, other, 1)
    with pytest.raises(NotYours):
        acts.press(world, other, "bob", value=1, step=1, seconds=0.1, mark="mine")
    assert acts.signals_since(world, other) == []


def test_who_leaves_ends_the_act(world: Database, clock: list[float]) -> None:
    key = acts.start(world, POLE, "ann")
    taken(world)
    for step in range(1, 20):
        clock[0] += acts.LEFT / 4
        if step < 5:
            state(world, key)  # the page looks
        if not shown(world, key, step):
            break
    assert step == 9  # LEFT seconds after the last look
    acts.finish(world, key, FILM)
    assert state(world, key).state == "over"


def test_a_rater_who_left_before_it_began_is_not_waited_for(world: Database, clock: list[float]) -> None:
    key = acts.start(world, POLE, "ann")
    clock[0] += acts.LEFT + 1
    job = jobs.take(world, ["act"])
    assert job is not None
    assert not acts.begin(world, key)
    assert state(world, key).state == "over"


def test_a_rater_may_end_it(world: Database) -> None:
    key = acts.start(world, POLE, "ann")
    taken(world)
    assert shown(world, key, 1)
    say(world, key, 1, 1, "one")
    acts.end(world, key, "ann")
    assert not shown(world, key, 2)
    acts.finish(world, key, FILM)
    assert [record.steps for record in answers(world)] == [(1,)]


@pytest.mark.parametrize("ended", [False, True])
def test_a_killed_worker_loses_nothing_that_was_acknowledged(world: Database, clock: list[float], ended: bool) -> None:
    key = acts.start(world, POLE, "ann")
    job, _ = taken(world)
    for step in range(4):
        shown(world, key, step)
    say(world, key, 1, 2, "one")
    say(world, key, -1, 3, "two")
    if ended:
        acts.end(world, key, "ann")
    clock[0] += acts.SILENT - 1
    assert state(world, key).state == ("over" if ended else "acting")
    assert acts.sweep(world) == 0
    clock[0] += 2
    assert state(world, key).state == ("over" if ended else "stopped")
    (record,) = answers(world)
    assert (record.signals, record.steps) == (((0.23, 1.0), (0.33, -1.0)), (2, 3))
    assert record.item.columns == {"environment": "CartPole-v1", "seed": job.payload["seed"]}
    assert record.item.steps.startswith("acts/")
    clock[0] += jobs.LEASE_SECONDS + 1
    again = jobs.take(world, ["act"])  # another worker gets the job, and does not act twice
    assert again is not None
    assert not acts.begin(world, key)


def test_what_comes_late_still_counts_and_then_no_more(world: Database, clock: list[float]) -> None:
    key = acts.start(world, POLE, "ann")
    taken(world)
    for step in range(4):
        shown(world, key, step)
    say(world, key, 1, 1, "one")
    acts.finish(world, key, FILM)
    clock[0] += acts.LATE - 1
    say(world, key, -1, 3, "late", late=50.0)
    (record,) = answers(world)
    assert (record.signals, record.steps) == (((0.13, 1.0), (1.3, -1.0)), (1, 3))  # no later than a second after
    clock[0] += 2
    say(world, key, -1, 3, "late")  # the receipt was lost
    with pytest.raises(Gone):
        say(world, key, -1, 3, "too late")
    kinds = sa.select(tables.event.c.kind).where(tables.event.c.rater == "ann").order_by(tables.event.c.id)
    with world.transaction() as connection:
        assert list(connection.scalars(kinds)) == ["answer", "edit"]


def test_it_cannot_be_undone_as_a_question(world: Database) -> None:
    key = acts.start(world, POLE, "ann")
    taken(world)
    shown(world, key, 1)
    say(world, key, 1, 1, "one")
    acts.finish(world, key, FILM)
    with pytest.raises(QueueError, match="cannot be said again"):
        Queue(database=world).undo("pole", "ann")
    assert len(answers(world)) == 1


def test_signals_come_back_from_an_export(world: Database, tmp_path_factory: pytest.TempPathFactory) -> None:
    key = acts.start(world, POLE, "ann")
    taken(world)
    shown(world, key, 2)
    say(world, key, 1, 2, "one", late=0.9)
    acts.finish(world, key)
    folder = tmp_path_factory.mktemp("export")
    formats.write(rows(world, "pole", everything=True), folder / "a.jsonl", "jsonl")
    with Database(folder / "new.db") as other:
        assert load(other, "pole", str(folder / "a.jsonl")).answers == 1
        assert answers(other) == answers(world)


def test_presses_and_the_end_in_one_moment(world: Database) -> None:
    """Whatever the order: every press that was acknowledged is in the answer."""
    key = acts.start(world, POLE, "ann")
    taken(world)
    shown(world, key, 5)

    def one(at: int) -> int:
        if at == 10:
            acts.finish(world, key, FILM)
            return 0
        say(world, key, 1, at % 6, f"mark {at // 2}")  # every press is sent twice
        return 1

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(one, range(24))) == 23
    (record,) = answers(world)
    assert len(record.signals) == len(acts.signals_since(world, key)) == 12


@pytest.mark.parametrize(
    "change",
    [{"environment": "os:X-v0"}, {"act_steps": 0}, {"act_steps": 10**6}, {"act_rate": 0.0}, {"act_rate": 31.0}],
)
def test_settings_that_cannot_be(change: dict[str, object]) -> None:
    with pytest.raises(ProjectError):
        Project(**{"id": "p", "environment": "CartPole-v1", **change})  # type: ignore[arg-type]
