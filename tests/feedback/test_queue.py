"""The queue on both databases: whatever raters and servers do, the database keeps the promises."""

import multiprocessing
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tercih.feedback import tables
from tercih.feedback.database import Database
from tercih.feedback.kinds import AnswerError
from tercih.feedback.overlap import posterior
from tercih.feedback.projects import Project, make_project
from tercih.feedback.queue import SWEEP_EVERY, Queue
from tercih.feedback.seats import Gone, NotYours, QueueError, Seat, Unknown
from tercih.feedback.store import Question, Store
from tercih.records import Text

PLAIN = Project(id="p", votes=2, repeats=0, golds=0)


class Clock:
    """Time that stands still until it is told to move."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def pair(index: int, **changes: Any) -> Question:
    items = tuple(Text(prompt=f"prompt {index}", completion=f"{index} {name}") for name in "ab")
    return Question(**{"items": items, "run": "p", "step": 0, "index": index, "votes": 2} | changes)


def queue_of(database: Database, count: int, settings: Project = PLAIN, raters: str = "ann bob eve") -> Queue:
    make_project(database, settings)
    store = Store(database)
    store.ask([pair(index, votes=settings.votes) for index in range(count)])
    for name in raters.split():
        store.enrol(name)
    return Queue(database=database, now=Clock(), dice=random.Random(0))


def counts(database: Database) -> dict[int, tuple[str, int, int]]:
    query = sa.select(*(tables.question.c[name] for name in ("index", "state", "taken", "done")))
    with database.transaction() as connection:
        return {row[0]: (row[1], row[2], row[3]) for row in connection.execute(query)}


def events(database: Database) -> list[str]:
    with database.transaction() as connection:
        return list(connection.execute(sa.select(tables.event.c.kind).order_by(tables.event.c.id)).scalars())


def say(queue: Queue, rater: str, choice: str = "a", **rest: Any) -> Seat:
    seat = queue.claim("p", rater)
    assert seat is not None
    queue.submit(seat.id, rater, {"choice": choice}, **rest)
    return seat


def test_a_question_goes_to_so_many_raters_and_never_twice_to_one(database: Database) -> None:
    queue = queue_of(database, 3)
    for name in ("ann", "bob", "eve"):
        while seat := queue.claim("p", name):
            queue.submit(seat.id, name, {"choice": "b"})
    assert counts(database) == dict.fromkeys(range(3), ("closed", 2, 2))
    said = Store(database).comparisons("p")
    assert len({(c.pair, c.rater) for c in said}) == len(said) == 6
    assert {c.answer for c in said} == {"b"}


def test_fresh_questions_come_first_or_begun_ones_where_that_is_wanted(database: Database) -> None:
    queue = queue_of(database, 4)
    assert len({say(queue, name).question for name in ("ann", "bob", "eve")}) == 3
    make_project(database, replace(PLAIN, deep_first=True))
    deep = Queue(database=database, now=Clock())
    begun = say(deep, "ann").question
    assert say(deep, "bob").question == begun


def test_the_order_is_random_and_written_down(database: Database) -> None:
    queue = queue_of(database, 40, replace(PLAIN, votes=1))
    seats = [say(queue, "ann") for _ in range(40)]
    assert 8 < sum(seat.order == (0, 1) for seat in seats) < 32
    for seat in seats:
        index = seat.items[0].prompt.split()[1]
        assert [item.completion for item in seat.items] == [f"{index} {'ab'[anywhere]}" for anywhere in seat.order]
    shown = {c.pair: c.left for c in Store(database).comparisons("p")}
    assert Counter(shown.values()) == Counter("ab"[seat.order[0]] for seat in seats)


def test_what_is_held_comes_back_and_the_next_one_can_be_fetched_ahead(database: Database) -> None:
    queue = queue_of(database, 3)
    first = queue.claim("p", "ann")
    assert queue.claim("p", "ann") == first
    ahead = queue.claim("p", "ann", besides=[first.id])
    assert ahead.question != first.question
    assert queue.claim("p", "ann", besides=[first.id]) == ahead


def test_the_same_key_twice_is_one_answer(database: Database) -> None:
    queue = queue_of(database, 2)
    seat = queue.claim("p", "ann")
    assert [queue.submit(seat.id, "ann", {"choice": "a"}, key="k") for _ in range(3)] == [1, 1, 1]
    assert events(database) == ["answer"]
    other = queue.claim("p", "bob")
    with pytest.raises(NotYours, match="somebody else's answer"):
        queue.submit(other.id, "bob", {"choice": "a"}, key="k")


def test_an_answer_and_the_next_question_in_one(database: Database) -> None:
    queue = queue_of(database, 2)
    seat = queue.claim("p", "ann")
    version, following = queue.turn(seat.id, "ann", {"choice": "a"}, key="k")
    assert (version, following) == (1, queue.claim("p", "ann"))
    assert following.question != seat.question
    assert queue.turn(seat.id, "ann", {"choice": "a"}, key="k") == (1, following)
    assert queue.turn(following.id, "ann", {"choice": "b"}) == (1, None)
    assert events(database) == ["answer"] * 2


def test_an_answer_is_kept_although_nothing_more_may_be_claimed(database: Database) -> None:
    queue = queue_of(database, 4, replace(PLAIN, quotas={"young": 1}), raters="")
    for name in ("ann", "bob"):
        Store(database).enrol(name, stratum="young")
    seat = queue.claim("p", "ann")
    assert queue.turn(seat.id, "ann", {"choice": "a"}) == (1, None)  # the quota is used up
    with database.transaction(write=True) as connection:
        connection.execute(sa.update(tables.quota).values(most=2))
    paused = queue.claim("p", "bob")
    with database.transaction(write=True) as connection:
        connection.execute(sa.update(tables.rater).values(state="paused"))
    with pytest.raises(NotYours, match="bob is paused"):
        queue.turn(paused.id, "bob", {"choice": "b"})
    assert [queue.look(each.id, each.rater).answer["choice"] for each in (seat, paused)] == ["a", "b"]
    assert events(database) == ["answer"] * 2


def test_a_turn_that_comes_too_late_is_logged_once(database: Database) -> None:
    queue = queue_of(database, 1, replace(PLAIN, votes=1))
    late = queue.claim("p", "ann")
    queue.now.time += 60 * PLAIN.lease_minutes + SWEEP_EVERY
    queue.claim("p", "bob")
    with pytest.raises(Gone, match="your answer is in the log"):
        queue.turn(late.id, "ann", {"choice": "a"})
    with pytest.raises(AnswerError):
        queue.turn(late.id, "ann", {"choice": "c"})
    with pytest.raises(NotYours):
        queue.turn(late.id, "eve", {"choice": "a"})
    assert events(database) == ["expire", "late"]


def test_a_second_answer_is_a_new_version_and_the_old_one_is_kept(database: Database) -> None:
    queue = queue_of(database, 1)
    seat = say(queue, "ann", "a")
    assert queue.submit(seat.id, "ann", {"choice": "b"}, key="e", version=1) == 2
    assert queue.submit(seat.id, "ann", {"choice": "b"}, key="e", version=1) == 2
    with pytest.raises(QueueError, match="another window"):
        queue.submit(seat.id, "ann", {"choice": "tie"}, version=1)
    assert [c.answer for c in Store(database).comparisons("p")] == ["b"]
    assert events(database) == ["answer", "edit"]
    assert counts(database)[0] == ("open", 1, 1)


def test_undo_takes_back_the_latest_and_nothing_is_forgotten(database: Database) -> None:
    queue = queue_of(database, 2, replace(PLAIN, votes=1))
    say(queue, "ann", "a")
    queue.now.time += 1
    last = say(queue, "ann", "b")
    again = queue.undo("p", "ann")
    assert (again.id, again.state, again.answer["choice"]) == (last.id, "leased", "b")
    assert len(Store(database).comparisons("p")) == 1
    queue.submit(again.id, "ann", {"choice": "tie"})
    assert sorted(c.answer for c in Store(database).comparisons("p")) == ["a", "tie"]
    assert events(database) == ["answer", "answer", "undo", "answer"]
    assert queue.undo("p", "bob") is None


def test_a_skipped_question_goes_to_others_and_can_be_taken_back(database: Database) -> None:
    queue = queue_of(database, 1, replace(PLAIN, votes=1))
    seat = queue.claim("p", "ann")
    queue.skip(seat.id, "ann", reason="cannot read it")
    assert queue.claim("p", "ann") is None
    assert counts(database)[0] == ("open", 0, 0)
    assert queue.undo("p", "ann").id == seat.id
    queue.skip(seat.id, "ann")
    assert queue.claim("p", "bob").question == seat.question
    with pytest.raises(Gone, match="others have taken"):
        queue.undo("p", "ann")


def test_a_lease_that_ran_out_is_handed_over(database: Database) -> None:
    queue = queue_of(database, 1, replace(PLAIN, votes=1))
    late = queue.claim("p", "ann")
    assert queue.claim("p", "bob") is None
    queue.now.time += 60 * PLAIN.lease_minutes + SWEEP_EVERY
    taken = queue.claim("p", "bob")
    assert taken.question == late.question
    with pytest.raises(Gone, match="your answer is in the log"):
        queue.submit(late.id, "ann", {"choice": "a"}, key="late")
    with pytest.raises(Gone, match="your answer is in the log"):
        queue.submit(late.id, "ann", {"choice": "a"}, key="late")
    assert events(database) == ["expire", "late"]
    queue.submit(taken.id, "bob", {"choice": "b"})
    assert counts(database)[0] == ("closed", 1, 1)


def test_a_late_answer_counts_while_nobody_else_came(database: Database) -> None:
    queue = queue_of(database, 1, replace(PLAIN, votes=1))
    late = queue.claim("p", "ann")
    queue.now.time += 60 * PLAIN.lease_minutes + SWEEP_EVERY
    assert queue.claim("p", "ann") is None  # swept, and not offered to the same rater again
    queue.submit(late.id, "ann", {"choice": "a"})
    assert counts(database)[0] == ("closed", 1, 1)


def test_what_cannot_be(database: Database) -> None:
    queue = queue_of(database, 2)
    seat = queue.claim("p", "ann")
    with pytest.raises(NotYours):
        queue.submit(seat.id, "bob", {"choice": "a"})
    with pytest.raises(Unknown):
        queue.submit(999, "ann", {"choice": "a"})
    with pytest.raises(Unknown, match="no project 'q'"):
        queue.claim("q", "ann")
    with pytest.raises(NotYours, match="no rater 'zoe'"):
        queue.claim("p", "zoe")
    with pytest.raises(AnswerError, match="choice must be one of"):
        queue.submit(seat.id, "ann", {"choice": "left"})
    with database.transaction(write=True) as connection:
        connection.execute(sa.update(tables.question).values(state="withdrawn"))
        connection.execute(sa.update(tables.rater).where(tables.rater.c.id == "bob").values(state="paused"))
    with pytest.raises(Gone, match="withdrawn"):
        queue.submit(seat.id, "ann", {"choice": "a"})
    with pytest.raises(NotYours, match="paused"):
        queue.claim("p", "bob")
    assert events(database) == []


def test_the_database_itself_refuses_one_rater_too_many(database: Database) -> None:
    queue_of(database, 1)
    one = sa.update(tables.question).where(tables.question.c.index == 0)
    for wrong in ({"taken": 3}, {"done": 1}, {"done": -1}):
        with pytest.raises(IntegrityError), database.transaction(write=True) as connection:
            connection.execute(one.values(**wrong))
    seat = {
        "question": pair(0).id, "rater": "ann", "project": "p", "state": "leased", "claimed": 0.0, "expires": 0.0,
        "shown": {}, "version": 0,
    }  # fmt: skip
    with pytest.raises(IntegrityError), database.transaction(write=True) as connection:
        connection.execute(tables.assignment.insert(), [seat, seat])


def test_repeats_are_the_other_way_round_and_count_for_nothing_else(database: Database) -> None:
    queue = queue_of(database, 60, replace(PLAIN, votes=1, repeats=0.5))
    seen: dict[str, Seat] = {}
    repeats = []
    for _ in range(90):
        queue.now.time += 1
        seat = queue.claim("p", "ann")
        if seat is None:
            break
        queue.submit(seat.id, "ann", {"choice": "a"})
        key = seat.items[0].prompt
        if key in seen:
            repeats.append((seen[key], seat))
        seen[key] = seat
    assert len(repeats) > 10
    assert all(first.items == second.items[::-1] for first, second in repeats)
    assert len(Store(database).comparisons("p")) == 60


def test_golds_come_in_their_share_and_once_each(database: Database) -> None:
    queue = queue_of(database, 100, replace(PLAIN, votes=1, golds=0.3))
    Store(database).ask([pair(1000 + i, run="golds", project="p", spec={"gold": {"choice": "a"}}) for i in range(10)])
    with database.transaction(write=True) as connection:
        golds = sa.update(tables.question).where(tables.question.c.run == "golds")
        connection.execute(golds.values(state="gold", votes=None))
    asked = [say(queue, "ann").spec for _ in range(60)]
    assert sum("gold" in spec for spec in asked) == 10
    assert sum("gold" in say(queue, "bob").spec for _ in range(30)) > 3  # each rater has them


def test_tutorial_exam_and_what_comes_of_them(database: Database) -> None:
    settings = replace(PLAIN, votes=1, pass_mark=0.6)
    queue = queue_of(database, 5, settings)
    for state, count in (("tutorial", 2), ("exam", 3)):
        questions = [pair(i, run=state, project="p", spec={"gold": {"choice": "a"}}) for i in range(count)]
        Store(database).ask(questions)
        with database.transaction(write=True) as connection:
            mine = sa.update(tables.question).where(tables.question.c.run == state)
            connection.execute(mine.values(state=state, votes=None))
    with database.transaction(write=True) as connection:
        for name in ("ann", "bob"):
            row = {"project": "p", "rater": name, "stage": "tutorial", "tries": 0, "guideline": 0}
            connection.execute(tables.member.insert().values(row))

    def states(name: str, choice: Callable[[str], str]) -> list[str]:
        found = []
        while seat := queue.claim("p", name):
            with database.transaction() as connection:
                state = connection.scalar(
                    sa.select(tables.question.c.state).where(tables.question.c.id == seat.question)
                )
            found.append(state)
            queue.submit(seat.id, name, {"choice": choice(state)})
        return found

    assert states("ann", lambda _: "a") == ["tutorial"] * 2 + ["exam"] * 3 + ["full"] * 5
    assert states("bob", lambda state: "b") == ["tutorial"] * 2 + ["exam"] * 3
    with pytest.raises(NotYours, match="exam was not passed"):
        queue.claim("p", "bob")


def test_more_raters_are_asked_where_they_disagree(database: Database) -> None:
    settings = replace(PLAIN, votes=2, most_votes=4, sure=0.9)
    queue = queue_of(database, 1, settings, raters="ann bob eve joe kim")
    say(queue, "ann", "a")
    say(queue, "bob", "a")
    assert counts(database)[0] == ("closed", 2, 2)
    queue = queue_of(database, 2, settings)
    for name, choice, after in (
        ("ann", "a", "open"),
        ("bob", "b", "open"),
        ("eve", "a", "open"),
        ("joe", "b", "dissent"),
    ):
        assert say(queue, name, choice).items[0].prompt == "prompt 1"
        assert counts(database)[1][0] == after
    assert queue.claim("p", "kim") is None


@pytest.mark.parametrize(
    ("answers", "expected"), [("a", 0.75), ("aa", 0.9), ("ab", 0.5), ("aab", 0.75), ("aaaab", 27 / 28)]
)
def test_posterior(answers: str, expected: float) -> None:
    assert posterior(list(answers)) == pytest.approx(expected)


def test_quotas_of_strata(database: Database) -> None:
    queue = queue_of(database, 10, replace(PLAIN, votes=1, quotas={"young": 2}), raters="")
    for name, stratum in (("ann", "young"), ("bob", "young"), ("eve", "old")):
        Store(database).enrol(name, stratum=stratum)
    assert [say(queue, name).rater for name in ("ann", "bob")] == ["ann", "bob"]
    assert queue.claim("p", "ann") is None
    with database.transaction() as connection:
        assert connection.scalar(sa.select(tables.quota.c.taken)) == 2
    assert [say(queue, "eve").rater for _ in range(3)] == ["eve"] * 3


def _work(anywhere: str, name: str, seed: int, out: "multiprocessing.Queue[Any]") -> None:
    """A rater who answers, skips, forgets and undoes, until nothing is left."""
    dice = random.Random(seed)
    with Database(anywhere, durable=False) as database:
        queue = Queue(database=database, dice=dice)
        said, seat = 0, None
        while (seat := seat or queue.claim("p", name)) is not None:
            if dice.random() < 0.05:
                queue.skip(seat.id, name)
                seat = None
                continue
            if dice.random() < 0.5:
                _, following = queue.turn(seat.id, name, {"choice": "a"}, key=f"{name} {seat.id}")
            else:
                queue.submit(seat.id, name, {"choice": "a"}, key=f"{name} {seat.id}")
                following = None
            queue.submit(seat.id, name, {"choice": "a"}, key=f"{name} {seat.id}")
            said, seat = said + 1, following
            if dice.random() < 0.05 and (back := queue.undo("p", name)):
                queue.submit(back.id, name, {"choice": "b"})
        out.put((name, said))


def test_many_processes_at_once(anywhere: str) -> None:
    raters = [f"rater{index}" for index in range(6)]
    with Database(anywhere) as database:
        queue_of(database, 60, replace(PLAIN, votes=3), raters=" ".join(raters))
    context = multiprocessing.get_context("spawn")
    out: multiprocessing.Queue[Any] = context.Queue()
    workers = [context.Process(target=_work, args=(anywhere, name, seed, out)) for seed, name in enumerate(raters)]
    for worker in workers:
        worker.start()
    said = dict(out.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    with Database(anywhere) as database:
        comparisons = Store(database).comparisons("p")
        state = counts(database)
    assert len({(c.pair, c.rater) for c in comparisons}) == len(comparisons) == sum(said.values())
    per_question = Counter(c.pair for c in comparisons)
    assert max(per_question.values()) == 3
    assert all(taken == done <= 3 for _, taken, done in state.values())
    assert sum(done for _, _, done in state.values()) == len(comparisons)
