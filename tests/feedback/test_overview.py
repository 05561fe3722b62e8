"""What the lead sees, against raters whose ways are known because they are planted (simulated people)."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tercih.feedback import overview, tables
from tercih.feedback.database import Database
from tercih.feedback.overview import Figure, Report
from tercih.feedback.projects import Project, make_project
from tercih.feedback.queue import NotYours, Queue
from tercih.feedback.store import Question, Store
from tercih.feedback.web.training import entered
from tercih.records import Text

SETTINGS = Project(id="p", votes=3, repeats=0.1, golds=0.1, cost_per_hour=36.0, suggestions=0.5)
RATERS = {"ann": 0.9, "bob": 0.85, "eve": 0.9, "lefty": 0.5}  # how often they are right


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Database:
    database = Database(Path(tmp_path_factory.mktemp("store")) / "s.db", durable=False)
    plant(database)
    return database


def plant(database: Database) -> None:
    """150 pairs of which "a" is truly better; lefty says left; a suggestion sways everybody else a little."""
    dice = random.Random(1)
    random.seed(1)  # of the order that questions are given in the store
    make_project(database, SETTINGS)
    store = Store(database)

    def pair(index: int, run: str, **spec: object) -> Question:
        columns = {"task": ("stories", "sums")[index // 2 % 2]}
        items = tuple(
            Text(prompt=f"{run} {index}", completion=said, origin=origin, columns=columns)
            for said, origin in (("good", "new model"), ("bad", "old model"))
        )
        return Question(items=items, run=run, project="p", step=0, index=index, spec=spec)

    store.ask([pair(index, "p", suggestion={"choice": "ab"[index % 2]}) for index in range(150)])
    store.ask([pair(index, "gold", gold={"choice": "a"}) for index in range(30)])
    with database.transaction(write=True) as connection:
        gold = sa.update(tables.question).where(tables.question.c.run == "gold")
        connection.execute(gold.values(state="gold", votes=None))
    for name in RATERS:
        store.enrol(name, stratum="west" if name == "lefty" else "east")
    queue = Queue(database=database, dice=dice)
    waiting = set(RATERS)
    while waiting:
        name = dice.choice(sorted(waiting))
        seat = queue.claim("p", name)
        if seat is None:
            waiting.discard(name)
            continue
        right = "a" if dice.random() < RATERS[name] else "b"
        if name == "lefty":
            right = "ab"[seat.order[0]]
        elif seat.shown.get("suggestion") and dice.random() < 0.5:
            right = seat.spec["suggestion"]["choice"]
        queue.submit(seat.id, name, {"choice": right}, seconds=10.0)


def reported(database: Database, settings: Project = SETTINGS) -> Report:
    report = overview.look(database, settings).report
    assert report is not None
    return report


def figures(database: Database, settings: Project = SETTINGS) -> dict[str, Figure]:
    return {figure.name: figure for figure in reported(database, settings).biases}


def test_progress_and_cost(project: Database) -> None:
    counted = overview.progress(project, "p")
    assert counted["wanted"] == 450
    assert counted["given"] == 450
    assert counted["closed"] == 150
    answers = overview.read(project, "p")
    spent = overview.cost(answers, SETTINGS)
    assert spent["cost"] == pytest.approx(0.1 * len(answers.rows))
    assert spent["median_seconds"] == 10.0


def test_the_table_of_raters_tells_who_leans(project: Database) -> None:
    rows = {row.rater: row for row in reported(project).raters}
    assert min(rows, key=lambda name: rows[name].reliability.value) == "lefty"
    assert "lean" in rows["lefty"].warnings
    assert rows["lefty"].lean.low > 0.5
    assert rows["lefty"].flips.value > 0.8
    for name in ("ann", "bob", "eve"):
        assert rows[name].warnings == ()
        assert rows[name].reliability.low > rows["lefty"].reliability.high
    assert rows["ann"].golds.value > rows["lefty"].golds.value


def test_every_row_of_the_table_of_biases_is_a_number_or_a_reason(project: Database) -> None:
    found = figures(project)
    assert found["anchoring"].low > 0
    assert found["agreement"].low < found["agreement"].value < found["agreement"].high < 0.9
    assert found["left"].value > 0.5
    assert found["split half"].missing or -1 <= found["split half"].value <= 1
    assert 0 < found["flips"].value < 1
    assert found["golds"].n > 40
    assert "what shares of the population" in found["shift"].missing
    assert 0 <= found["coverage"].low < found["coverage"].value < found["coverage"].high
    assert found["seconds"].low == found["seconds"].value == 10
    assert found["retest"].low < found["retest"].value < found["retest"].high < 1
    assert "so that none is left to the lead" in found["adjudicated"].missing
    assert "nobody has finished an exam" in found["pass"].missing
    assert found["worst task"].low <= 0
    assert "same number of raters" in found["saved"].missing
    assert "no tutorial" in found["exam"].missing
    assert 0 < found["dissent"].value < 1
    assert found["entropy"].low > 0
    for figure in found.values():
        assert figure.missing or figure.n > 0


def test_an_empty_project_has_reasons_and_no_numbers(tmp_path: Path) -> None:
    with Database(tmp_path / "s.db") as database:
        make_project(database, replace(SETTINGS, id="empty"))
        empty = reported(database, replace(SETTINGS, id="empty", population={"east": 1}))
        assert all(figure.missing for figure in empty.biases)
        assert empty.raters == empty.agents == []
        assert overview.progress(database, "empty") == {"wanted": 0, "given": 0}


# Who was asked, and who should have been


def asked_of_strata(database: Database, young: float, old: float) -> None:
    """600 pairs, each asked of one rater; 20 raters, 15 of them young. "first" is preferred with these chances."""
    make_project(database, Project(id="p", golds=0, repeats=0))
    store = Store(database)
    dice = random.Random(0)
    names = [f"r{at:02}" for at in range(20)]
    for at, name in enumerate(names):
        store.enrol(name, stratum="young" if at < 15 else "old")
    items = [tuple(Text(prompt=f"p {at}", completion=c, origin=c) for c in ("second", "first")) for at in range(600)]
    keys = store.ask([Question(items=both, run="r", project="p", step=0, index=at) for at, both in enumerate(items)])
    for at, key in enumerate(keys):
        first = dice.random() < (young if at % 20 < 15 else old)
        store.judge(key, names[at % 20], "b" if first else "a")


@pytest.mark.parametrize(("old", "moves"), [(0.3, True), (0.8, False)])
def test_weighting_to_the_population_moves_the_answers_where_strata_differ(
    tmp_path: Path, old: float, moves: bool
) -> None:
    settings = Project(id="p", population={"young": 1.0, "old": 1.0})
    with Database(tmp_path / "s.db", durable=False) as database:
        asked_of_strata(database, young=0.8, old=old)
        found = figures(database, settings)
    expected = (0.8 + old) / 2 - (0.75 * 0.8 + 0.25 * old)  # of the origin that comes first in the alphabet
    assert found["shift"].low < expected < found["shift"].high
    assert (found["shift"].high < 0) is moves
    assert found["n_eff"].value == pytest.approx(600**2 / (450 * (2 / 3) ** 2 + 150 * 4))
    assert found["n_eff"].low <= found["n_eff"].value <= found["n_eff"].high


def test_a_stratum_of_one_rater_has_no_interval(project: Database) -> None:
    found = figures(project, replace(SETTINGS, population={"east": 0.5, "west": 0.5}))
    assert "two raters or more of every stratum; 'west' has 1" in found["shift"].missing
    found = figures(project, replace(SETTINGS, population={"east": 0.5, "north": 0.5}))
    assert "strata unknown to the population: ['west']; without a judgement: ['north']" in found["n_eff"].missing


# Training, and what is left to the lead


def test_exams_passed_and_questions_left_to_the_lead(tmp_path: Path) -> None:
    settings = Project(id="p", votes=1, most_votes=2, golds=0, repeats=0, pass_mark=0.5)
    with Database(tmp_path / "s.db", durable=False) as database:
        make_project(database, settings)
        store, queue = Store(database), Queue(database=database)

        def pair(run: str, index: int, **spec: object) -> Question:
            items = (Text(prompt=f"{run} {index}", completion="a"), Text(prompt=f"{run} {index}", completion="b"))
            return Question(items=items, run=run, project="p", step=0, index=index, spec=spec, votes=2)

        store.ask([pair("exam", at, gold={"choice": "a"}) for at in range(2)], state="exam")
        store.ask([pair("p", at) for at in range(8)])
        names = ("ann", "bob", "eve")
        for name in names:
            store.enrol(name)
            entered(database, "p", name)
        for name in names:
            while True:
                try:
                    seat = queue.claim("p", name)
                except NotYours:
                    break
                if seat is None:
                    break
                wrong = name == "eve" or (name == "bob" and seat.items[0].prompt in ("p 0", "p 1"))  # type: ignore[union-attr]
                queue.submit(seat.id, name, {"choice": "b" if wrong else "a"})
        found = figures(database, settings)
    assert (found["pass"].value, found["pass"].n) == (pytest.approx(2 / 3), 3)
    assert (found["adjudicated"].value, found["adjudicated"].n) == (pytest.approx(1 / 4), 8)


# What is kept


def test_a_report_survives_being_kept(project: Database) -> None:
    report = reported(project)
    again = Report.of(json.loads(json.dumps(report.row)))
    assert again.row == report.row
    assert [each.missing for each in again.biases] == [each.missing for each in report.biases]
