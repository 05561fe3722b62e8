from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from tercih.feedback import jobs
from tercih.feedback.acquisition import RULES
from tercih.feedback.fits import read_fit
from tercih.feedback.jobs import Job
from tercih.feedback.projects import Project, make_project
from tercih.feedback.queue import Queue
from tercih.feedback.store import Judgement, Store
from tercih.feedback.tables import question, score
from tercih.feedback.trial import FINAL, FIRST, Trial
from tercih.worker import scores as scores_module
from tercih.worker.bench import Bench, Refused, work
from tercih.worker.pool import SOONER, count_waiting, read_pool
from tercih.worker.scores import scores

from .conftest import ask

JOB = Job(id=1, kind="scores", project="p", payload={}, tries=1)
LOSS = Trial(gain=-0.1, low=-0.3, high=0.1, share=-0.1, share_low=-0.9, share_high=0.2, sees=0.4, labels=FIRST)


def rows(store: Store) -> list[dict]:  # type: ignore[type-arg]
    with store.database.transaction() as connection:
        return [dict(row) for row in connection.execute(sa.select(question).order_by(question.c.turn)).mappings()]


def settle(store: Store, **settings: Any) -> None:
    make_project(store.database, Project(id="p", golds=0, repeats=0, **settings))


@pytest.mark.parametrize("rule", RULES)
def test_the_chosen_come_first_with_sampler_and_propensity(rule: str, store: Store, models: tuple[Path, ...]) -> None:
    ask(store, 30)
    settle(store, rule=rule, random_share=0.3, ahead=10)
    bench = Bench(database=store.database, models=models[:2])
    said = scores(bench, JOB)
    assert (said["chosen"], said["random"], said["active"]) == (10, 3, True)
    chosen = [row for row in rows(store) if row["turn"] == -SOONER]
    assert len(chosen) == 10
    assert sorted(row["sampler"] for row in chosen) == sorted([rule] * 7 + ["random"] * 3)
    assert all(row["propensity"] == pytest.approx(0.1) for row in chosen if row["sampler"] == "random")
    assert all(0 < row["propensity"] <= 0.9 for row in chosen if row["sampler"] == rule)
    others = [row for row in rows(store) if row["turn"] == 0]
    assert all((row["sampler"], row["propensity"]) == ("random", 1.0) for row in others)
    queue = Queue(database=store.database)
    for _ in range(10):
        seat = queue.claim("p", "ann")
        assert seat is not None
        assert seat.question in {row["id"] for row in chosen}
        queue.submit(seat.id, "ann", {"choice": "a"})
    said_of = {c.sampler for c in store.comparisons(project="p")}
    assert said_of == {rule, "random"}  # on every comparison that training reads
    with store.database.transaction() as connection:
        kinds = connection.execute(sa.select(score.c.kind, sa.func.count()).group_by(score.c.kind)).all()
    assert {kind: n for kind, n in kinds if kind == "inclusion"} == {"inclusion": 10}
    assert any(kind == rule for kind, _ in kinds)


def test_the_front_is_filled_up_and_not_more(store: Store, models: tuple[Path, ...]) -> None:
    ask(store, 30)
    settle(store, ahead=8)
    bench = Bench(database=store.database, models=models[:1])
    assert scores(bench, JOB)["chosen"] == 8
    assert scores(bench, JOB)["chosen"] == 0  # the same again: all of them wait
    queue = Queue(database=store.database)
    for _ in range(5):
        seat = queue.claim("p", "ann")
        assert seat is not None
        queue.submit(seat.id, "ann", {"choice": "b"})
    assert scores(bench, JOB)["chosen"] == 5
    assert count_waiting(store.database, "p") == 8


def test_the_arm_is_off_while_it_saves_nothing(
    store: Store, models: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(store, 40)
    settle(store, ahead=10, random_share=0.2)
    bench = Bench(database=store.database, models=models[:1])
    monkeypatch.setattr(scores_module, "_trial", lambda *_: LOSS)
    said = scores(bench, JOB)
    assert (said["random"], said["active"]) == (10, False)
    assert {row["sampler"] for row in rows(store)} == {"random"}
    fit = read_fit(store.database, "p", "savings")
    assert fit is not None
    assert fit["result"]["active"] is False
    assert (fit["result"]["why"], fit["result"]["share_low"]) == ("behind", -0.9)
    monkeypatch.setattr(scores_module, "_trial", lambda *_: replace(LOSS, labels=FINAL, low=0.1))
    settle(store, ahead=30, random_share=0.2)
    said = scores(bench, JOB)
    assert (said["chosen"], said["active"]) == (20, True)


def test_all_at_random_is_a_setting(store: Store, models: tuple[Path, ...]) -> None:
    settle(store, random_share=1.0, ahead=4)
    ask(store, 10)
    said = scores(Bench(database=store.database, models=models[:1]), JOB)
    assert (said["chosen"], said["random"], said["active"], said["why"]) == (4, 4, False, "random")


def test_an_arm_whose_features_say_nothing_switches_itself_off(store: Store, models: tuple[Path, ...]) -> None:
    """The negative control, through the whole worker: people toss coins."""
    settle(store, random_share=0.2, ahead=10)
    ids = ask(store, 940)
    with store.database.transaction(write=True) as connection:
        connection.execute(sa.update(question).where(question.c.id.in_(ids[:430])).values(sampler="d_optimal"))
    coin = np.random.default_rng(0).random(930) < 0.5
    order = np.random.default_rng(1).permutation(ids[:930]).tolist()  # the arms ask in turns
    said = [
        Judgement(question=key, rater="ann", answer="a" if heads else "b")
        for key, heads in zip(order, coin, strict=True)
    ]
    store.judge_all(said)
    result = scores(Bench(database=store.database, models=models[:1]), JOB)
    assert (result["chosen"], result["random"], result["active"]) == (10, 10, False)
    fit = read_fit(store.database, "p", "savings")
    assert fit is not None
    assert fit["result"]["low"] <= 0
    assert fit["result"]["why"] in ("behind", "unsure")


def test_answers_of_both_arms_are_what_savings_are_measured_on(store: Store, models: tuple[Path, ...]) -> None:
    ids = ask(store, 4, votes=3)
    with store.database.transaction(write=True) as connection:
        connection.execute(sa.update(question).where(question.c.id == ids[1]).values(sampler="d_optimal"))
        connection.execute(sa.update(question).where(question.c.id == ids[3]).values(sampler="bald"))
    said = [(0, "ann", "a"), (1, "ann", "b"), (0, "bob", "b"), (0, "eve", "tie"), (3, "ann", "a")]
    for at, (index, rater, answer) in enumerate(said):
        store.judge(ids[index], rater, answer, time=float(at))
    pool = read_pool(store.database, "p", "d_optimal")
    assert list(pool.answered) == [ids[0], ids[1]]
    assert pool.target_N == pytest.approx([0.5, 0.0])
    assert pool.active_N.tolist() == [False, True]
    assert list(pool.open_pairs) == [ids[2]]


def test_a_comparing_rule_needs_two_models(store: Store, models: tuple[Path, ...]) -> None:
    ask(store, 3)
    settle(store, rule="bald")
    with pytest.raises(Refused, match="two or more"):
        scores(Bench(database=store.database, models=models[:1]), JOB)


def test_the_worker_asks_for_scores_itself(store: Store, models: tuple[Path, ...]) -> None:
    ask(store, 12)
    settle(store, ahead=4)
    bench = Bench(database=store.database, models=models[:1])
    told: list[str] = []
    assert work(bench, told.append) == 1
    assert sum(row["turn"] < 0 for row in rows(store)) == 4
    assert work(bench) == 0  # nothing is new
    ask(store, 3, step=1)
    assert work(bench) == 1
    assert "scores 1 of p: done" in told[0]
    assert jobs.result(store.database, 1).result["chosen"] == 4


def test_features_are_what_the_head_reads(models: tuple[Path, ...], store: Store) -> None:
    items = [text for asked in (ask(store, 3), store.questions("r"))[1] for text in asked.items]
    feature_BD, score_MB = scores_module.judge(models[:1], items)  # type: ignore[arg-type]
    model, _ = scores_module._loaded(models[0])
    head = model.score_head.weight.detach().numpy()[0]
    by_hand = (feature_BD @ head + model.score_head.bias.item()) * model.gain.item() + model.shift.item()
    assert score_MB[0] == pytest.approx(by_hand, abs=1e-4)
    assert np.ptp(score_MB[0]) > 0
