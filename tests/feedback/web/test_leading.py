"""What leads do: projects, questions, guidelines, disagreement, looking things up."""

import json
import re
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from tercih.feedback import tables
from tercih.feedback.store import Store
from tercih.feedback.web.api import api
from tercih.feedback.web.keys import make_key

from .conftest import World, text


def upload(world: World, rows: list[Any] | str, status: int = 200) -> str:
    lines = rows if isinstance(rows, str) else "\n".join(json.dumps(row) for row in rows)
    world.lead.get("/lead/p")
    return world.lead.post("/lead/p/questions", status, files={"file": ("q.jsonl", lines.encode())})


def form_of(html: str) -> dict[str, str]:
    """What a browser would send of the settings' form."""
    fields = dict(re.findall(r'name="(\w+)" type="(?:number|text|url)"[^>]* value="([^"]*)"', html))
    ticked = re.findall(r'type="checkbox" name="(\w+)" value="on" checked', html)
    chosen = re.findall(r'name="(\w+)">(?:<option value="\w+">[^<]*</option>)*<option value="(\w+)" selected>', html)
    return fields | dict.fromkeys(ticked, "on") | {"kind": "pair"} | dict(chosen)


def test_a_project_from_the_form_and_its_settings(world: World) -> None:
    fields = form_of(world.lead.get("/new"))
    assert (fields["votes"], fields["ties"], fields["kind"]) == ("3", "on", "pair")
    assert (fields["random_share"], fields["ahead"], fields["rule"]) == ("0.5", "50", "d_optimal")
    fields |= {"id": "q", "title": "Jokes", "kind": "rating", "quotas": "young 20\nold 30", "confidence": "on"}
    fields |= {"population": "young 0.25\nthe old 3", "rule": "bald", "random_share": "0.3", "ahead": "8"}
    world.lead.post("/new", **fields)
    assert world.lead.place == "/lead/q"
    made = world.app.state.site.queue.settings("q")
    assert (made.title, made.kind, dict(made.quotas), made.confidence) == (
        "Jokes",
        "rating",
        {"young": 20, "old": 30},
        True,
    )
    assert dict(made.population) == {"young": 0.25, "the old": 3.0}
    assert (made.rule, made.random_share, made.ahead) == ("bald", 0.3, 8)
    world.lead.get("/new")
    assert "there is a project q already" in world.lead.post("/new", 422, **fields)
    html = world.lead.get("/lead/q/settings")
    assert "young 20\nold 30" in html
    assert "young 0.25\nthe old 3.0" in html
    fields = {**form_of(html), "quotas": "young 20", "votes": "5"}
    del fields["ties"]
    world.lead.post("/lead/q/settings", **fields)
    made = world.app.state.site.queue.settings("q")
    assert (made.votes, made.ties, made.confidence, made.lease_minutes) == (5, False, True, 15.0)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"id": "Big Name"}, "project.id must be small letters"),
        ({"votes": "many"}, "project.votes must be a number"),
        ({"votes": "0"}, "project.votes must be &gt;= 1"),
        ({"quotas": "women"}, "project.quotas must be lines"),
        ({"kind": "duel"}, "project.kind must be one of"),
        ({"quotas": "women 1.5"}, "project.quotas must be lines"),
        ({"population": "women most"}, "project.population must be lines such as &#39;women 0.5&#39;"),
        ({"population": "women 0"}, "project.population of &#39;women&#39; must be &gt; 0"),
        ({"rule": "best"}, "project.rule must be one of"),
        ({"random_share": "0.1"}, "project.random_share must be in [0.2, 1]"),
        ({"ahead": "0"}, "project.ahead must be &gt;= 1"),
        ({"repeats": "2"}, "project.repeats must be in [0, 1]"),
    ],
)
def test_a_project_that_cannot_be(world: World, fields: dict[str, str], sentence: str) -> None:
    html = world.lead.get("/new")
    said = world.lead.post("/new", 422, **{**form_of(html), "id": "q", "title": "Kept", **fields})
    assert sentence in said
    assert 'value="Kept"' in said


def test_a_project_from_a_file(world: World) -> None:
    world.lead.get("/new")
    world.lead.post("/new", files={"file": ("p.json", b'{"id": "f", "title": "File", "votes": 4}')})
    assert world.app.state.site.queue.settings("f").votes == 4
    for content in (b'{"id": "g", "population": [1]}', b'{"id": "g", "colour": 1}', b"[]", b"{", b"\xff\xfe"):
        world.lead.get("/new")
        world.lead.post("/new", 422, files={"file": ("p.json", content)})


def test_questions_from_a_file(world: World) -> None:
    turns = [{"role": "user", "content": "hi"}]
    rows = [
        {"prompt": "Write.", "completions": ["a", "b"], "origins": ["m1", "m2"], "task": "verse"},
        {"prompt": turns, "completions": ["c", turns], "use": "gold", "gold": {"choice": "a"}},
        {"prompt": "x", "completions": ["d", "e"], "use": "exam", "gold": {"choice": "b"}},
        {"prompt": "x", "kind": "demonstration", "votes": 7},
        {"kind": "live", "clips": [{"media": "a.mp4", "digest": "1", "seconds": 2}]},
    ]
    assert "5 questions are in." in upload(world, rows)
    upload(world, rows)
    with world.database.transaction() as connection:
        found = connection.execute(sa.select(tables.question.c.state, tables.question.c.votes)).all()
    assert sorted(map(tuple, found), key=str) == [
        ("exam", None), ("gold", None), ("open", 2), ("open", 2), ("open", 7),
    ]  # fmt: skip
    assert "Open" in world.lead.get("/lead/p")
    with world.database.transaction() as connection:
        tasks = connection.execute(sa.select(tables.item.c.columns)).scalars().all()
    assert sum(columns == {"task": "verse"} for columns in tasks) == 2


PAIR = {"prompt": "x", "completions": ["a", "b"]}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"prompt": "x", "completions": ["a"]}, "A question of kind pair shows 2 answers, not 1."),
        ({"prompt": "x", "completions": ["a"], "kind": "ranking"}, "A question of kind ranking shows 2–9 answers"),
        ({"prompt": "x", "completions": ["a", "a"]}, "Two of its answers are the same"),
        (PAIR | {"color": 1}, "There is no field color; there are "),
        (PAIR | {"task": 3}, "task must be a name of at most 100 characters."),
        ({"completions": ["a", "b"]}, "The field prompt is missing."),
        ({"prompt": "x"}, "The field completions is missing."),
        ({"prompt": "x", "completions": "ab"}, "completions must be a list."),
        (PAIR | {"prompt": 3}, "prompt must be text"),
        ({"prompt": "x", "completions": ["a", 2]}, "completions must be text"),
        (PAIR | {"origins": ["m"]}, "origins must be a list as long as completions."),
        (PAIR | {"use": "exam"}, "A question with the use exam needs gold"),
        (PAIR | {"gold": {"choice": "c"}}, "gold is no answer to this question. Choose one of the answers on offer."),
        (PAIR | {"gold": "a"}, "gold is no answer to this question. An answer is an object"),
        (PAIR | {"kind": "rating", "completions": ["a"], "gold": {"score": "3"}}, "In gold, score must be written 3."),
        (PAIR | {"prompt": "\ud800"}, "It holds what cannot be kept"),
        (PAIR | {"prompt": "\0"}, "It holds what cannot be kept"),
        ({"kind": "critique", "clips": []}, "A question of kind critique is about texts, not clips."),
        ({"kind": "thumb", "clips": [{"media": "x"}]}, "The field digest is missing."),
        ({"kind": "thumb", "clips": ["x"]}, "A clip is an object with media"),
        ({"kind": "thumb", "clips": [{"media": "x", "digest": "1", "seconds": "long"}]}, "A clip is an object with"),
        ({"kind": "thumb", "clips": 3}, "clips must be a list."),
        (PAIR | {"kind": "duel"}, "kind must be one of pair, "),
        (PAIR | {"kind": ["pair"]}, "kind must be one of pair, "),
        (PAIR | {"use": "test"}, "use must be one of question, gold, tutorial, exam, not &#34;test&#34;."),
        (PAIR | {"votes": 2.5}, "votes must be a whole number from 1 to 10,000, not 2.5."),
        (PAIR | {"votes": 0}, "votes must be a whole number"),
        (PAIR | {"votes": 10**12}, "votes must be a whole number"),
        (["x"], "A question is an object with fields"),
    ],
)
def test_a_line_that_is_no_question_and_then_none_is_asked(world: World, row: Any, sentence: str) -> None:
    html = upload(world, [PAIR, row], 422)
    assert f"Line 2: {sentence}" in html
    assert world.scalar(sa.select(sa.func.count()).select_from(tables.question)) == 0


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("tr", "2. satır: pair türündeki bir soru 2 cevap gösterir, 1 değil."),
        ("zh-Hant", "第 2 行：pair 類的問題要顯示 2 個回答，而不是 1 個。"),
        ("zh-Hans", "第 2 行：pair 类的问题要显示 2 个回答，而不是 1 个。"),
    ],
)
def test_it_is_said_in_the_leads_language(world: World, language: str, sentence: str) -> None:
    world.lead.get("/lead/p")
    world.lead.post("/language", language=language, back="/lead/p")
    assert sentence in upload(world, [PAIR, PAIR | {"completions": ["a"]}], 422)


def test_files_that_are_none(world: World) -> None:
    assert "Line 1: This is not JSON from character 2 on" in upload(world, "{not json", 422)
    assert "Line 1: It holds what cannot be kept" in upload(world, "[" * 100_000, 422)
    assert "The file is empty" in upload(world, "\n\n", 422)
    world.lead.get("/lead/p")
    assert "The file is not UTF-8" in world.lead.post("/lead/p/questions", 422, files={"file": ("q", b"\xff\xfe")})
    world.lead.get("/lead/p")
    assert "Choose a file first." in world.lead.post("/lead/p/questions", 422)


def dispute(world: World) -> str:
    world.set(votes=1, most_votes=2)
    key = world.ask([text("alpha"), text("beta")], votes=2)
    for browser, wanted in ((world.ann, 0), (world.bob, 1)):
        seat = browser.label()
        shown = world.scalar(sa.select(tables.assignment.c.shown).where(tables.assignment.c.id == seat))
        browser.say(say="left" if shown["order"][0] == wanted else "right", note=f"because {wanted}")
    return key


def test_the_lead_decides_where_raters_disagree(world: World) -> None:
    key = dispute(world)
    assert key in world.lead.get("/lead/p/dissent")
    html = world.lead.get(f"/lead/p/dissent/{key}")
    assert "because 0" in html
    assert "A is better" in html
    world.lead.post(f"/lead/p/dissent/{key}", 422, say="middle")
    world.lead.get(f"/lead/p/dissent/{key}")
    world.lead.post(f"/lead/p/dissent/{key}", say="right")
    assert "nothing to decide" in world.lead.html
    assert world.answer(key, world.lead.who)["choice"] == "b"
    row = world.scalar(sa.select(tables.question.c.state).where(tables.question.c.id == key))
    assert row == "closed"
    assert len(Store(world.database).comparisons()) == 3
    world.lead.get("/")
    world.lead.post(f"/lead/p/dissent/{key}", 404, say="left")
    assert "adjudicate" in world.lead.get("/log?project=p&kind=adjudicate")


def test_answers_are_found(world: World) -> None:
    for at in range(3):
        world.ask([text(f"red {at}"), text(f"blå 100% {at}")])
    for at in range(3):
        world.ann.label()
        world.ann.say(say="skip" if at == 2 else "left", note="" if at else "güzel")

    def found(**query: str) -> int:
        html = world.lead.get("/lead/p/answers?" + "&".join(f"{name}={value}" for name, value in query.items()))
        return html.count('class="thing found"')

    assert found() == 3
    assert found(state="skipped") == 1
    assert found(who=world.ann.who) == 3
    assert found(who="nobody") == 0
    assert found(text="güzel") == 1
    assert found(text="blå 100%25") == 3
    assert found(text="100_") == 0
    assert found(page="1") == 0
    world.lead.get("/lead/p/answers?state=odd", 422)


DAYS = [  # of answers at the last second of 5 November, and at the first and the last of 6 November 2026, UTC
    ({}, 3),
    ({"since": "2026-11-05"}, 3),
    ({"since": "2026-11-06"}, 2),
    ({"since": "2026-11-07"}, 0),
    ({"until": "2026-11-06"}, 3),
    ({"until": "2026-11-05"}, 1),
    ({"since": "2026-11-06", "until": "2026-11-06"}, 2),
    ({"since": "0001-01-01", "until": "9999-12-31"}, 3),
]


@pytest.mark.parametrize(("query", "count"), DAYS)
def test_answers_of_some_days(world: World, query: dict[str, str], count: int) -> None:
    for at, second in enumerate((-1, 0, 86_399)):
        world.ask([text(f"a {at}"), text(f"b {at}")])
        seat = world.ann.label()
        world.ann.say(say="left")
        here = sa.update(tables.assignment).where(tables.assignment.c.id == seat)
        with world.database.transaction(write=True) as connection:
            connection.execute(here.values(time=1_793_923_200.0 + second))
    html = world.lead.get("/lead/p/answers?" + "&".join(f"{name}={value}" for name, value in query.items()))
    assert html.count('class="thing found"') == count
    assert "From (day, UTC)" in html
    key = make_key(world.database, world.lead.who, "x", ["read"])
    client = TestClient(api(world.database), headers={"authorization": f"Bearer {key}"})
    for what in ("answers", "questions"):
        assert len(client.get(f"/projects/p/{what}", params=query).json()) == count


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "20261105", "2026-W45-4", "5.11.2026", "2026-11-05T10:00"])
def test_a_day_that_is_none(world: World, day: str) -> None:
    for name in ("since", "until"):
        html = world.lead.get(f"/lead/p/answers?{name}={day}", 422)
        assert f"there is no day {day}." in html
        key = make_key(world.database, world.lead.who, "x", ["read"])
        client = TestClient(api(world.database), headers={"authorization": f"Bearer {key}"})
        for what in ("answers", "questions"):
            refused = client.get(f"/projects/p/{what}", params={name: day})
            assert refused.status_code == 422
            assert refused.json()["error"].startswith(f"{name}: ")
    html = world.lead.get("/lead/p/answers?since=2026-11-06&until=2026-11-05", 422)
    assert "The first day is after the last one." in html


def test_progress_and_the_log(world: World) -> None:
    world.ask([text("a"), text("b")])
    world.ann.label()
    world.ann.say(say="left", seconds="4")
    html = world.lead.get("/lead/p")
    assert world.ann.who in html
    assert "<td>4.0</td>" in html
    assert "answer" in world.lead.get(f"/log?who={world.ann.who}")
    assert "Poems" in world.lead.get("/lead")


def test_a_run_of_its_own_is_named_but_not_offered(world: World) -> None:
    with world.database.transaction(write=True) as connection:
        connection.execute(tables.project.insert().values(id="My Run", config={}, created=0.0))
    assert "(of a run, not for people)" in world.lead.get("/lead")
    assert "My Run" not in world.ann.get("/")
    world.ann.get("/projects/My%20Run/label", 422)
