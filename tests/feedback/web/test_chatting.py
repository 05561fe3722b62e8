"""Talking to the policy: what is said becomes records, and what must not be possible. A worker is played here."""

import re
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from tercih.feedback import chats, jobs, tables
from tercih.feedback.database import Database
from tercih.feedback.exchange import export, load
from tercih.feedback.exchange.formats import write
from tercih.feedback.store import Store
from tercih.feedback.web.app import create_app
from tercih.feedback.web.limiter import Limiter
from tercih.feedback.web.visits import COOKIE
from tercih.records import Message, Text

from .conftest import Browser, World, text
from .test_labelling import HOSTILE


@pytest.fixture
def talk(world: World) -> World:
    world.set(chat=True)
    return world


def begin(world: World, said: str = "Hello?") -> str:
    """A conversation of Ann's; its id."""
    world.ann.get("/projects/p/chat")
    world.ann.post("/projects/p/chat", text=said, key=world.ann.hidden("key"))
    return world.ann.place.removeprefix("/chats/")


def work(world: World, said: str = "Hi.", model: str = "runs/ppo7") -> None:
    """What `tercih worker --policy` does with the job that waits."""
    job = jobs.take(world.database, ["chat"])
    assert job is not None, "no answer was asked for"
    ids = {"prompt_ids": [1, 5], "completion_ids": [6, 2], "tokenizer": "abc"}
    assert jobs.finish(world.database, job, {"text": said, "model": model} | ids)


def fail(world: World, why: str) -> None:
    job = jobs.take(world.database, ["chat"])
    assert job is not None
    jobs.fail(world.database, job, why, again=False)


def compare(world: World) -> str:
    """A conversation with two answers, at its comparison."""
    key = begin(world)
    work(world, "First.", "runs/old")
    world.ann.get(f"/chats/{key}")
    world.ann.post(f"/chats/{key}/again", turn="0")
    work(world, "Second.", "runs/new")
    world.ann.get(f"/chats/{key}")
    return key


def thumb(world: World, key: str, say: str, status: int = 200) -> None:
    world.ann.get(f"/chats/{key}")
    own = {name: world.ann.hidden(name) for name in ("key", "version", "turn")}
    world.ann.post(f"/chats/{key}/thumb", status, say=say, **own)


def count(world: World, table: sa.Table, *where: Any) -> int:
    return int(world.scalar(sa.select(sa.func.count()).select_from(table).where(*where)))


def test_a_conversation_becomes_records(talk: World) -> None:
    key = begin(talk)
    assert "The model is writing" in talk.ann.html
    work(talk, "First.", "runs/old")
    html = talk.ann.get(f"/chats/{key}")
    assert "First." in html
    thumb(talk, key, "yes")
    assert re.search(r'value="yes"[^>]*aria-pressed="true"', talk.ann.html)
    talk.ann.post(f"/chats/{key}/again", turn="0")
    assert "First." not in talk.ann.html
    work(talk, "Second.", "runs/new")
    html = talk.ann.get(f"/chats/{key}")
    assert "First." in html
    assert "Second." in html
    assert "runs/" not in html
    left = re.findall(r'<div class="text">(First|Second)\.</div>', html)[0]
    talk.ann.say(say="left" if left == "Second" else "right", note="warmer")
    assert talk.ann.place == f"/chats/{key}"
    assert "First." not in talk.ann.html

    talk.ann.post(f"/chats/{key}", text="And now?", turn="1")
    work(talk, "Bye.", "runs/new")
    thumb(talk, key, "no")
    said = (Message(role="user", content="Hello?"),)
    (pair,) = Store(talk.database).comparisons(project="p")
    assert (pair.a.prompt, pair.a.completion, pair.a.origin) == (said, "First.", "runs/old")
    assert (pair.b.prompt, pair.b.completion, pair.b.origin) == (said, "Second.", "runs/new")
    assert (pair.answer, pair.rater, pair.sampler, pair.propensity) == ("b", talk.ann.who, "chat", 1.0)
    assert pair.left == ("a" if left == "First" else "b")
    assert (pair.b.prompt_ids, pair.b.completion_ids, pair.b.tokenizer) == ((1, 5), (6, 2), "abc")

    rows = {(row["step"], row["kind"]): row for row in export.rows(talk.database, "p")}
    assert rows[0, "pair"]["chosen"] == "Second."
    assert rows[0, "pair"]["answer"]["note"] == "warmer"
    assert rows[0, "thumb"]["label"] is True
    assert rows[1, "thumb"]["label"] is False
    assert rows[1, "thumb"]["prompt"] == [
        {"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Second."},
        {"role": "user", "content": "And now?"},
    ]  # fmt: skip
    assert rows[1, "thumb"]["spec"] == {"chat": key, "turn": 1}
    assert {row["run"] for row in rows.values()} == {f"chat {key}"}
    assert {row["votes"] for row in rows.values()} == {1}
    page = talk.lead.get("/lead/p/answers")
    assert "Second." in page
    assert "Of conversations" in page
    log = talk.lead.get("/log?kind=answer")
    assert log.count('<th scope="row">') == 3
    assert "left" in talk.lead.get("/lead/p/quality")


def test_what_was_exported_comes_back_the_same(talk: World, tmp_path: Path) -> None:
    key = compare(talk)
    talk.ann.say(say="tie")
    thumb(talk, key, "yes")
    rows = list(export.rows(talk.database, "p", everything=True))
    write(rows, tmp_path / "p.jsonl")
    with Database(tmp_path / "new.db") as other:
        load.load(other, "p", str(tmp_path / "p.jsonl"))
        again = list(export.rows(other, "p", everything=True))
    assert [row["answer"] for row in again] == [row["answer"] for row in rows]
    assert {row["state"] for row in again} == {"chat"}


@pytest.mark.parametrize("say", ["tie", "all_bad", "cannot", "skip"])
def test_where_neither_is_preferred_the_older_answer_goes_on(talk: World, say: str) -> None:
    key = compare(talk)
    talk.ann.say(say=say)
    assert talk.ann.place == f"/chats/{key}"
    assert "First." in talk.ann.html
    assert "Second." not in talk.ann.html
    assert 'action="/chats/' + key + '/again"' not in talk.ann.html


def test_the_order_is_random_and_stays(talk: World) -> None:
    seen = set()
    for _ in range(12):
        key = compare(talk)
        first = talk.ann.html
        order = re.findall(r'<div class="text">(First|Second)\.</div>', first)
        assert re.findall(r'<div class="text">(First|Second)\.</div>', talk.ann.get(f"/chats/{key}")) == order
        talk.ann.say(say="left")
        assert f"{order[0]}." in talk.ann.html
        seen.add(order[0])
    assert seen == {"First", "Second"}
    for said in Store(talk.database).comparisons():
        assert said.answer == said.left


def test_undo_edit_and_the_same_form_twice(talk: World) -> None:
    key = compare(talk)
    fields = {name: talk.ann.hidden(name) for name in ("key", "version")}
    seat, place = talk.ann.seat, f"/seats/{talk.ann.seat}"
    for _ in range(3):
        talk.ann.post(place, say="left", **fields)
    assert count(talk, tables.event, tables.event.c.kind == "answer") == 1
    talk.ann.post(place, 409, say="right", **(fields | {"key": uuid.uuid4().hex}))
    talk.ann.get(f"/chats/{key}")
    talk.ann.post("/projects/p/undo", key=uuid.uuid4().hex)
    assert talk.ann.seat == seat
    talk.ann.get(f"/chats/{key}")
    assert talk.ann.seat == seat
    talk.ann.say(say="right")
    thumb(talk, key, "yes")
    thumb(talk, key, "no")
    assert re.search(r'value="no"[^>]*aria-pressed="true"', talk.ann.html)
    kinds = [row["kind"] for row in export.rows(talk.database, "p")]
    assert sorted(kinds) == ["pair", "thumb"]
    with talk.database.transaction() as connection:
        events = connection.execute(sa.select(tables.event.c.kind).order_by(tables.event.c.id)).scalars().all()
    assert [kind for kind in events if kind in ("answer", "undo", "edit")] == [
        "answer",
        "undo",
        "answer",
        "answer",
        "edit",
    ]
    talk.ann.get(f"/chats/{key}")
    talk.ann.post("/projects/p/undo", key=uuid.uuid4().hex)
    assert "Is this good?" in talk.ann.html
    talk.ann.say(say="yes")
    assert talk.ann.place == f"/chats/{key}"
    assert re.search(r'value="yes"[^>]*aria-pressed="true"', talk.ann.html)


def test_a_comparison_outlives_its_lease_and_is_nobody_elses(talk: World) -> None:
    key = compare(talk)
    seat = talk.ann.seat
    assert "Nothing to do" in talk.ann.get("/projects/p/label")
    queue = talk.app.state.site.queue
    queue.now = lambda: time.time() + 3600
    assert "Nothing to do" in talk.bob.get("/projects/p/label")
    assert talk.scalar(sa.select(tables.assignment.c.state).where(tables.assignment.c.id == seat)) == "expired"
    assert "Nothing to do" in talk.bob.get("/projects/p/label")
    talk.bob.get(f"/seats/{seat}", 403)
    talk.ann.get(f"/chats/{key}")
    talk.ann.say(say="left")
    assert talk.ann.place == f"/chats/{key}"
    assert len(Store(talk.database).comparisons()) == 1


def test_a_withdrawn_comparison_lets_the_conversation_go_on(talk: World) -> None:
    key = compare(talk)
    with talk.database.transaction(write=True) as connection:
        connection.execute(sa.update(tables.question).values(state="withdrawn"))
    talk.ann.say(410, say="left")
    assert "First." in talk.ann.get(f"/chats/{key}")
    assert talk.ann.place == f"/chats/{key}"


def test_a_project_has_a_chat_only_where_its_settings_say_so(world: World) -> None:
    assert "/projects/p/chat" not in world.ann.get("/")
    world.ann.get("/projects/p/chat", 404)
    world.ann.get("/")
    world.ann.post("/projects/p/chat", 404, text="Hello?", key=uuid.uuid4().hex)
    world.lead.get("/lead/p/settings")
    assert 'name="chat" value="on">' in world.lead.html
    world.set(chat=True)
    assert 'href="/projects/p/chat"' in world.ann.get("/")
    key = begin(world)
    world.set(chat=False)
    world.ann.get(f"/chats/{key}", 404)
    assert count(world, tables.job) == 1


def test_whose_conversation_it_is(talk: World) -> None:
    key = begin(talk, "My secret")
    work(talk)
    for browser in (talk.bob, talk.lead, talk.admin):
        assert "My secret" not in browser.get(f"/chats/{key}", 403)
        browser.get("/projects/p/chat")
        assert "My secret" not in browser.html
        for end in ("", "/again", "/thumb"):
            browser.get("/")
            browser.post(f"/chats/{key}{end}", 403, text="x", turn="1", say="yes", key=uuid.uuid4().hex)
    talk.ann.get("/chats/nothing", 404)
    for end in ("", "/again", "/thumb"):
        talk.ann.get("/")
        talk.ann.post(f"/chats/nothing{end}", 404, text="x", turn="0")
    assert "My secret" in talk.ann.get("/projects/p/chat")
    talk.admin.get("/people")
    talk.admin.post(f"/people/{talk.ann.who}/state", state="paused")
    assert "Your account is paused" in talk.ann.get(f"/chats/{key}", 403)


@pytest.mark.parametrize("said", ["", "  \r\n ", "\0", "x" * (chats.MOST_CHARACTERS + 1)])
def test_what_is_no_message(talk: World, said: str) -> None:
    talk.ann.get("/projects/p/chat")
    talk.ann.post("/projects/p/chat", 422, text=said, key=uuid.uuid4().hex)
    assert 'role="alert"' in talk.ann.html
    assert count(talk, tables.chat) == 0
    key = begin(talk)
    work(talk)
    talk.ann.get(f"/chats/{key}")
    html = talk.ann.post(f"/chats/{key}", 422, text=said, turn="1")
    assert 'role="alert"' in html
    assert said.strip(" \r\n\0") in html
    assert len(chats.read(talk.database, key, talk.ann.who).turns) == 1


@pytest.mark.parametrize("turn", ["", "x", "-1", "9999999", "²"])
def test_a_form_says_which_turn_it_is_about(talk: World, turn: str) -> None:
    key = begin(talk)
    work(talk)
    for end in ("", "/again", "/thumb"):
        talk.ann.get(f"/chats/{key}")
        talk.ann.post(f"/chats/{key}{end}", 422, text="x", turn=turn, say="yes", key=uuid.uuid4().hex)
    assert count(talk, tables.question) == 0


def test_a_message_is_said_once_and_only_when_it_is_ones_turn(talk: World) -> None:
    talk.ann.get("/projects/p/chat")
    form = {"text": "Hello?", "key": talk.ann.hidden("key")}
    for _ in range(2):
        talk.ann.post("/projects/p/chat", **form)
    assert (count(talk, tables.chat), count(talk, tables.job)) == (1, 1)
    key = talk.ann.place.removeprefix("/chats/")
    assert 'name="text"' not in talk.ann.html
    html = talk.ann.post(f"/chats/{key}", 409, text="Too early", turn="1")  # one answer at a time
    assert "The conversation went on" in html
    talk.ann.post(f"/chats/{key}/again", turn="0")
    talk.ann.post(f"/chats/{key}/thumb", 409, turn="0", say="yes", key=uuid.uuid4().hex)
    assert count(talk, tables.job) == 1
    work(talk)
    talk.ann.get(f"/chats/{key}")
    for _ in range(2):
        talk.ann.post(f"/chats/{key}", text="And now?", turn="1")
    assert count(talk, tables.job) == 2
    work(talk)
    html = talk.ann.post(f"/chats/{key}", 409, text="From an old window", turn="1")
    assert ">From an old window</textarea>" in html
    assert count(talk, tables.job) == 2
    talk.ann.post(f"/chats/{key}/thumb", 422, turn="1", say="maybe", key=uuid.uuid4().hex)
    talk.ann.post(f"/chats/{key}/thumb", 422, turn="1", say="yes", key="none")
    assert count(talk, tables.question) == 0


def test_no_worker(talk: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key = begin(talk)
    seen = re.findall(r'hx-get="([^"]+)"', talk.ann.html)[0]
    assert talk.ann.client.get(seen).status_code == 204
    assert "tercih worker" not in talk.ann.html
    monkeypatch.setattr(chats, "PATIENCE", -1.0)
    html = talk.ann.get(seen)
    assert "no worker with a policy is running" in html
    assert "tercih worker --policy RUN" in html
    later = re.findall(r'hx-get="([^"]+)"', html)[0]
    assert talk.ann.client.get(later).status_code == 204
    jobs.take(talk.database, ["chat"], lease_seconds=30)
    assert "The model is writing" in talk.ann.get(later)
    with talk.database.transaction(write=True) as connection:  # it is killed
        connection.execute(sa.update(tables.job).values(expires=time.time() - 1))
    assert "no worker with a policy is running" in talk.ann.get(f"/chats/{key}")
    work(talk, "Late, but here.")
    assert "Late, but here." in talk.ann.get(later)


def test_a_job_that_failed_is_asked_again(talk: World) -> None:
    key = begin(talk)
    fail(talk, "OSError: /home/me/runs/ppo7 cannot be\nread (load.py, line 3)")
    html = talk.ann.get(f"/chats/{key}")
    assert "OSError: … cannot be read (load.py, line 3)" in html
    assert "ppo7" not in html
    assert 'name="text"' not in html
    for _ in range(2):
        talk.ann.post(f"/chats/{key}/again", turn="0")
    assert "The model is writing" in talk.ann.html
    assert count(talk, tables.job) == 2
    work(talk, "First.")
    talk.ann.get(f"/chats/{key}")
    talk.ann.post(f"/chats/{key}/again", turn="0")
    fail(talk, "no")
    html = talk.ann.get(f"/chats/{key}")
    assert "First." in html
    thumb(talk, key, "yes")
    talk.ann.post(f"/chats/{key}", text="Go on.", turn="1")
    work(talk, "Fine.")
    assert "Fine." in talk.ann.get(f"/chats/{key}")
    assert [len(turn.answers) for turn in chats.read(talk.database, key, talk.ann.who).turns] == [1, 1]


def test_the_same_answer_twice_is_no_comparison(talk: World) -> None:
    key = begin(talk)
    work(talk, "First.")
    talk.ann.get(f"/chats/{key}")
    talk.ann.post(f"/chats/{key}/again", turn="0")
    work(talk, "First.")
    assert "said the same once more" in talk.ann.get(f"/chats/{key}")
    talk.ann.post(f"/chats/{key}/again", turn="0")
    work(talk, "Second.")
    talk.ann.get(f"/chats/{key}")
    assert talk.ann.seat
    with talk.database.transaction() as connection:
        payloads = connection.execute(sa.select(tables.job.c.payload)).scalars().all()
    assert len({payload["seed"] for payload in payloads}) == 3


def test_what_the_model_says_cannot_script_the_page(talk: World) -> None:
    talk.set(chat=True, title=HOSTILE)
    key = begin(talk, HOSTILE)
    fail(talk, HOSTILE)
    pages = [talk.ann.get(f"/chats/{key}"), talk.ann.get("/projects/p/chat")]
    talk.ann.get(f"/chats/{key}")
    talk.ann.post(f"/chats/{key}/again", turn="0")
    work(talk, HOSTILE)
    pages.append(talk.ann.get(f"/chats/{key}"))
    assert "{{ 7*7 }}" in pages[-1]
    talk.ann.post(f"/chats/{key}/again", turn="0")
    work(talk, HOSTILE + "</textarea></div>")
    pages.append(talk.ann.get(f"/chats/{key}"))
    talk.ann.say(say="tie")
    talk.ann.post(f"/chats/{key}", 422, text=HOSTILE * 100, turn="1")
    pages += [talk.ann.html, talk.lead.get("/lead/p/answers")]
    for html in pages:
        assert "&lt;script&gt;" in html
        assert "<script>alert" not in html
        assert "<img" not in html
        assert "onclick='x" not in html


def test_turns_are_bounded(talk: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chats, "MOST_TURNS", 2)
    key = begin(talk)
    work(talk)
    talk.ann.get(f"/chats/{key}")
    talk.ann.post(f"/chats/{key}", text="And now?", turn="1")
    work(talk)
    html = talk.ann.get(f"/chats/{key}")
    assert 'name="text"' not in html
    assert 'value="yes"' in html
    talk.ann.post(f"/chats/{key}", 409, text="More", turn="2")
    assert count(talk, tables.job) == 2


def test_how_often_the_model_may_be_asked(talk: World) -> None:
    talk.app.state.site.by_speaker = Limiter(most=2)
    key = begin(talk)
    work(talk)
    talk.ann.get(f"/chats/{key}")
    talk.ann.post(f"/chats/{key}/again", turn="0")
    talk.ann.get("/projects/p/chat")
    assert "Too many attempts" in talk.ann.post("/projects/p/chat", 429, text="Hello?", key=uuid.uuid4().hex)
    assert count(talk, tables.job) == 2
    talk.bob.get("/projects/p/chat")
    talk.bob.post("/projects/p/chat", text="Hello?", key=talk.bob.hidden("key"))


def test_a_new_server_knows_the_conversation(talk: World) -> None:
    key = begin(talk)
    client = TestClient(create_app(talk.database), cookies={COOKIE: talk.ann.client.cookies[COOKIE]})
    assert "The model is writing" in client.get(f"/chats/{key}").text
    work(talk, "Still here.")
    assert "Still here." in client.get(f"/chats/{key}").text


def test_guidelines_and_the_exam_come_first(talk: World) -> None:
    talk.lead.get("/lead/p/guidelines")
    talk.lead.post("/lead/p/guidelines", text="Be kind.")
    talk.ann.get("/projects/p/chat")
    assert talk.ann.place == "/projects/p/guidelines"
    talk.ann.post("/projects/p/guidelines", version="1")
    assert begin(talk)
    talk.ask([text("e a"), text("e b")], state="exam", spec={"gold": {"choice": "a"}})
    talk.bob.get("/projects/p/guidelines")
    talk.bob.post("/projects/p/guidelines", version="1")
    talk.bob.get("/projects/p/chat")
    assert talk.bob.place in ("/projects/p/stage", "/projects/p/label")


def test_notes_first_does_not_ask_what_was_read_already(talk: World) -> None:
    talk.set(chat=True, notes_first=True)
    compare(talk)
    assert talk.ann.seat
    assert "Tutorial" not in talk.ann.html
    talk.ann.say(say="left")


def test_erasure_takes_the_conversation_and_leaves_what_was_judged(talk: World) -> None:
    key = compare(talk)
    talk.ann.say(say="left")
    other = begin(talk, "I am Ann of Ankara")
    talk.bob.get("/projects/p/chat")
    talk.bob.post("/projects/p/chat", text="Bob's", key=talk.bob.hidden("key"))
    talk.admin.get("/people")
    talk.admin.post(f"/people/{talk.ann.who}/erase", sure=talk.ann.who)
    with talk.database.transaction() as connection:
        everything = " ".join(
            str(connection.execute(sa.select(table)).all()) for table in tables.metadata.sorted_tables
        )
    assert "Ankara" not in everything
    assert other not in everything
    assert len(Store(talk.database).comparisons()) == 1
    assert (count(talk, tables.chat), count(talk, tables.job)) == (1, 1)
    with pytest.raises(chats.Unknown):
        chats.read(talk.database, key, talk.ann.who)


def test_a_question_of_ones_own_is_not_sat_at_by_others(talk: World) -> None:
    compare(talk)
    queue, key = talk.app.state.site.queue, talk.scalar(sa.select(tables.question.c.id))
    with pytest.raises(chats.NotYours):
        queue.sit("p", key, talk.bob.who)
    with pytest.raises(chats.Unknown):
        queue.sit("p", "none", talk.bob.who)
    usual = talk.ask([text("a"), text("b")])
    with pytest.raises(chats.Unknown):
        queue.sit("p", usual, talk.bob.who)


def test_an_answer_is_an_item_that_knows_its_policy(talk: World) -> None:
    key = begin(talk)
    work(talk, "First.", "runs/a")
    answer: Text = chats.read(talk.database, key, talk.ann.who).last.answers[0]
    assert (answer.origin, answer.completion) == ("runs/a", "First.")


def test_without_a_session(talk: World) -> None:
    key = begin(talk)
    stranger: Browser = talk.stranger()
    stranger.get(f"/chats/{key}")
    assert stranger.place == "/login"
