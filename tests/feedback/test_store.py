import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tercih.feedback.store import Judgement, Question, Store, StoreError
from tercih.records import Item, Message, Text


def item(name: str) -> Item:
    return Text(
        prompt=(Message(role="user", content="q"),),
        completion=name,
        prompt_ids=(1, 2),
        completion_ids=(3,),
        tokenizer="t",
        origin="policy@7",
        columns={"topic": ["x"]},
    )


def question(index: int, step: int = 0, run: str = "r") -> Question:
    a, b = item(f"{run} {step} {index} a"), item(f"{run} {step} {index} b")
    return Question(items=(a, b), run=run, step=step, index=index, sampler="random", propensity=0.5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with Store(tmp_path / "s.db") as made:
        for name in ("ann", "bob", "eve"):
            made.enrol(name)
        yield made


def test_what_is_asked_and_judged_comes_back_whole(store: Store) -> None:
    (key,) = store.ask([question(0)])
    store.judge(key, "ann", "b", left="a", strength=0.5, time=12.0, seconds=3.5)
    (said,) = store.comparisons("r")
    assert (said.a, said.b) == (item("r 0 0 a"), item("r 0 0 b"))
    assert (said.answer, said.left, said.strength, said.time, said.seconds) == ("b", "a", 0.5, 12.0, 3.5)
    assert (said.rater, said.sampler, said.propensity) == ("ann", "random", 0.5)
    assert store.questions("r") == [question(0)]


def test_asking_again_is_a_no_op(store: Store) -> None:
    asked = [question(index) for index in range(1200)]  # more than one chunk of ids
    assert store.ask(asked) == store.ask(asked) == [q.id for q in asked]
    assert store.ask([*asked[:2], question(0, step=1)])[2] == question(0, step=1).id
    assert len(store.questions("r")) == 1201
    assert store.questions("r", step=1) == [question(0, step=1)]
    assert store.ask([]) == []


def test_asking_otherwise_under_the_same_id_is_refused_whole(store: Store) -> None:
    store.ask([question(0)])
    with pytest.raises(StoreError, match="question 0 of step 0 in run 'r' was asked about other items"):
        store.ask([question(1), replace(question(0), items=(item("new"), item("b")))])
    with pytest.raises(StoreError, match="question 5 of step 0"):
        store.ask([question(5), replace(question(5), items=(item("new"), item("b")))])
    assert store.questions("r") == [question(0)]


def test_open_questions_want_votes_of_their_run(store: Store) -> None:
    one, two = store.ask([question(0), question(1)])
    store.ask([question(0, run="other")])
    store.judge(one, "ann", "a")
    store.judge(one, "bob", "tie")
    store.judge(two, "ann", "a")
    assert [q.id for q in store.open_questions("r", votes=2)] == [two]
    assert [q.id for q in store.open_questions("r", votes=3)] == [one, two]
    assert store.open_questions("r", votes=1) == []
    assert store.judged_by("r") == {one: {"ann", "bob"}, two: {"ann"}}
    assert store.judged_by("other") == {question(0, run="other").id: set()}


def test_comparisons_by_run_and_step(store: Store) -> None:
    for q in (question(0), question(0, step=1), question(0, run="other")):
        store.judge(store.ask([q])[0], "ann", "a")
    assert [len(store.comparisons(*where)) for where in ((), ("r",), ("r", 1), ("none",))] == [3, 2, 1, 0]


def test_the_same_judgement_again_is_a_no_op_and_another_an_error(store: Store) -> None:
    (key,) = store.ask([question(0)])
    said = Judgement(question=key, rater="ann", answer="a", left="b")
    assert store.judge_all([said]) == 1
    assert store.judge_all([said, replace(said, time=99.0), replace(said, rater="bob")]) == 1
    with pytest.raises(StoreError, match=r"'ann' has answered question .* with 'a'"):
        store.judge_all([replace(said, rater="eve"), replace(said, answer="b")])
    with pytest.raises(StoreError, match="'eve' has answered"):
        store.judge_all([replace(said, rater="eve"), replace(said, rater="eve", answer="tie")])
    assert sorted(c.rater for c in store.comparisons()) == ["ann", "bob"]


def test_unknown_questions_and_raters(store: Store) -> None:
    (key,) = store.ask([question(0)])
    with pytest.raises(StoreError, match=r"no question 'nothing' in .*s\.db; ask\(\) it first"):
        store.judge_all(
            [Judgement(question=key, rater="ann", answer="a"), Judgement(question="nothing", rater="ann", answer="a")]
        )
    with pytest.raises(StoreError, match=r"no rater 'zoe' in .*; enrol\(\)"):
        store.judge(key, "zoe", "a")
    assert store.comparisons() == []


def test_simulated_raters_are_called_simulated(store: Store) -> None:
    store.enrol("simulated-x", kind="simulated")
    store.enrol("simulated-x", kind="simulated")
    for name, kind in (("x", "simulated"), ("simulated-x", "person"), ("", "person")):
        with pytest.raises(StoreError, match="cannot be named"):
            store.enrol(name, kind=kind)


@pytest.mark.parametrize(
    "change", [{"answer": "left"}, {"left": "x"}, {"strength": 0.0}, {"strength": float("nan")}], ids=str
)
def test_judgements_are_checked(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        Judgement(**{"question": "q", "rater": "ann", "answer": "a", **change})


def test_questions_are_checked() -> None:
    with pytest.raises(ValueError, match="different from each other"):
        Question(items=(item("x"), item("x")), run="r", step=0, index=0)
    with pytest.raises(ValueError, match="propensity"):
        replace(question(0), propensity=0.0)


def test_columns_must_be_json(store: Store) -> None:
    odd = replace(question(0), items=(replace(item("x"), columns={"when": object()}), item("y")))
    with pytest.raises(StoreError, match="JSON"):
        store.ask([odd])


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("not a database, though long enough to be looked at" * 20)
    with pytest.raises(StoreError, match=r"x\.db: file is not a database; give the path of a store"):
        Store(tmp_path / "x.db")
    with pytest.raises(StoreError, match="make the folder"):
        Store(tmp_path / "none" / "x.db")
    with pytest.raises(StoreError, match="no usable database URL"):
        Store("nosuch://x")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "s.db").close()
    with sqlite3.connect(tmp_path / "s.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="schema 9999, which is newer than this program's"):
        Store(tmp_path / "s.db")


def test_a_locked_database_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tercih.feedback.database.BUSY_SECONDS", 0.05)
    with Store(tmp_path / "s.db") as store:
        holder = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"s\.db: database is locked; another program is holding it"):
            store.ask([question(0)])
        assert store.questions("r") == []  # who only reads is not kept waiting
        holder.execute("ROLLBACK")
        holder.close()
        store.ask([question(0)])


def test_a_read_only_database(tmp_path: Path) -> None:
    Store(tmp_path / "s.db").close()
    with Store(f"sqlite:///file:{tmp_path / 's.db'}?mode=ro&uri=true") as store:
        assert store.comparisons() == []
        with pytest.raises(StoreError, match="readonly database; make the file and its folder writable"):
            store.ask([question(0)])


def test_several_threads_write_at_once(store: Store) -> None:
    keys = store.ask([question(index) for index in range(40)])

    def work(name: str) -> None:
        for key in keys:
            store.judge(key, name, "a")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, ("ann", "bob", "eve")))
    assert len(store.comparisons()) == 120


WRITER = """
    import sys
    from tercih.feedback.store import Judgement, Store

    store = Store(sys.argv[1])
    keys = [q.id for q in store.questions("r")]
    print("ready", flush=True)
    for at in range(0, len(keys), 5):
        store.judge_all([Judgement(question=key, rater="ann", answer="a", left="b") for key in keys[at : at + 5]])
        print(at + 5, flush=True)  # acknowledged
"""


@pytest.mark.parametrize("after", [3, 11])
def test_a_writer_that_is_killed_loses_nothing_it_acknowledged(tmp_path: Path, after: int) -> None:
    path = tmp_path / "s.db"
    with Store(path) as store:
        store.enrol("ann")
        keys = store.ask([question(index) for index in range(3000)])
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        for _ in range(after):
            assert writer.stdout.readline()
        time.sleep(0.001 * after)  # somewhere inside a write
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = int(([str(5 * (after - 1)), *writer.stdout.read().split()])[-1])
    assert writer.returncode == -signal.SIGKILL
    with Store(path) as store:
        judged = [key for key, names in store.judged_by("r").items() if names]
        assert acknowledged <= len(judged) < 3000
        assert len(judged) % 5 == 0  # each call whole or not at all
        assert len(store.comparisons()) == len(judged)
        again = [Judgement(question=key, rater="ann", answer="a", left="b") for key in keys]
        assert store.judge_all(again) == 3000 - len(judged)
        assert len(store.comparisons()) == 3000
