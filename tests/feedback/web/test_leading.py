"""What leads do: projects, questions, guidelines, disagreement, looking things up."""

import json
import re
from typing import Any

import pytest
import sqlalchemy as sa

from tercih.feedback import tables
from tercih.feedback.questions import Question
from tercih.feedback.store import Store

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


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"prompt": "x", "completions": ["a"]}, "line 2: a pair shows 2 answers, got 1"),
        ({"prompt": "x", "completions": ["a", "a"]}, "line 2: question.items must be different"),
        ({"prompt": "x", "completions": ["a", "b"], "task": 3}, "line 2: task must be a name"),
        ({"prompt": "x", "completions": ["a", "b"], "color": 1}, "line 2: there is no field &#39;color&#39;"),
        ({"completions": ["a", "b"]}, "line 2: prompt is missing"),
        ({"prompt": 3, "completions": ["a", "b"]}, "line 2: prompt must be text"),
        ({"prompt": "x", "completions": ["a", "b"], "use": "exam"}, "line 2: a question for exam needs gold"),
        ({"prompt": "x", "completions": ["a", "b"], "gold": {"choice": "c"}}, "line 2: gold: choice must be one of"),
        ({"prompt": "x", "completions": ["a", "\ud800"]}, "line 2: "),
        ({"kind": "critique", "clips": []}, "line 2: a critique is about texts"),
        ({"kind": "thumb", "clips": [{"media": "x"}]}, "line 2: a clip needs digest"),
        ({"prompt": "x", "completions": ["a", "b"], "kind": "duel"}, "line 2: kind must be one of"),
        (["x"], "line 2: a question is an object"),
    ],
)
def test_a_line_that_is_no_question_and_then_none_is_asked(world: World, row: Any, sentence: str) -> None:
    html = upload(world, [{"prompt": "x", "completions": ["a", "b"]}, row], 422)
    assert sentence in html
    assert world.scalar(sa.select(sa.func.count()).select_from(tables.question)) == 0


def test_files_that_are_none(world: World) -> None:
    assert "line 1 is not JSON" in upload(world, "{not json", 422)
    assert "the file is empty" in upload(world, "\n\n", 422)
    world.lead.get("/lead/p")
    assert "choose a file first" in world.lead.post("/lead/p/questions", 422)


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
    Store(world.database).ask([Question(items=(text("a"), text("b")), run="My Run", step=0, index=0)])
    assert "(of a run, not for people)" in world.lead.get("/lead")
    assert "My Run" not in world.ann.get("/")
    world.ann.get("/projects/My%20Run/label", 422)
