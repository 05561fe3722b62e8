from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import schemathesis
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from tercih.feedback.database import Database
from tercih.feedback.projects import Project, make_project
from tercih.feedback.queue import Queue
from tercih.feedback.store import Store
from tercih.feedback.tables import api_key, rater
from tercih.feedback.web.api import api
from tercih.feedback.web.door import LARGEST, Bounded
from tercih.feedback.web.keys import SCOPES, digest, make_key, revoke


class Desk:
    """An API over a project with three questions, and a key for every scope."""

    def __init__(self, place: str) -> None:
        self.database = Database(place, durable=False)
        make_project(self.database, Project(id="shop", votes=2, repeats=0, golds=0), guidelines="Be kind.")
        store = Store(self.database)
        for name in ("ann", "bob"):
            store.enrol(name)
        self.keys = {scope: make_key(self.database, "ann", scope, [scope]) for scope in SCOPES}
        self.app = api(self.database)
        self.client = TestClient(self.app, raise_server_exceptions=False)
        self.call("PUT", "/projects/shop/questions", {"questions": [question(index) for index in range(3)]})

    def call(self, method: str, path: str, body: Any = None, *, scope: str = "admin", status: int = 200) -> Any:
        answer = self.client.request(
            method, path, json=body, headers={"Authorization": f"Bearer {self.keys.get(scope, scope)}"}
        )
        assert answer.status_code == status, answer.text
        return answer.json() if status != 200 or "ndjson" not in answer.headers["content-type"] else answer.text


def question(index: int, **rest: Any) -> dict[str, Any]:
    items = [{"prompt": "çay?", "completion": f"{name}{index} iyi", "origin": f"model-{name}"} for name in "ab"]
    return {"run": "r", "step": 0, "index": index, "items": items} | rest


@pytest.fixture
def desk(anywhere: str) -> Iterator[Desk]:
    """On SQLite, and on PostgreSQL."""
    made = Desk(anywhere)
    yield made
    made.database.close()


def routes() -> list[tuple[str, str, str]]:
    """Method, path and the scope that its summary names."""
    found = []
    for path, operations in api(Database("sqlite://")).openapi()["paths"].items():
        for method, operation in operations.items():
            found.append((method.upper(), path, operation["summary"].rsplit("scope ")[-1].rstrip(")")))
    return found


@pytest.mark.parametrize(("method", "path", "scope"), routes())
def test_every_route_asks_for_its_scope_and_no_other_opens_it(desk: Desk, method: str, path: str, scope: str) -> None:
    assert scope in SCOPES
    place = path.format(project="shop", question="x", seat=9, name="zoe")
    keys = desk.keys | {"wrong": "tercih_" + "x" * 30, "revoked": desk.keys["admin"]}
    for holder in (*SCOPES, None, "revoked", "wrong"):
        if holder == "revoked":
            assert revoke(desk.database, digest(desk.keys["admin"]))
        headers = {} if holder is None else {"Authorization": f"Bearer {keys[holder]}"}
        status = desk.client.request(method, place, json={}, headers=headers).status_code
        if holder in (scope, "admin"):
            assert status not in (401, 403)
        else:
            assert status == (403 if holder in SCOPES else 401), holder


def test_keys_are_hashed_and_die_with_their_rater(desk: Desk) -> None:
    key = make_key(desk.database, "bob", "laptop", ["read"])
    desk.call("GET", "/projects", scope=key)
    with desk.database.transaction(write=True) as connection:
        assert key not in repr(connection.execute(sa.select(api_key)).all())
        connection.execute(sa.update(rater).where(rater.c.id == "bob").values(state="erased"))
    desk.call("GET", "/projects", scope=key, status=401)
    for scopes, name in ((["root"], "ann"), ([], "ann"), (["read"], "nobody")):
        with pytest.raises(ValueError, match=r"scopes must be|no rater"):
            make_key(desk.database, name, "x", scopes)


def test_asking_again_is_the_same_and_otherwise_is_refused(desk: Desk) -> None:
    ids = [q["id"] for q in desk.call("GET", "/projects/shop/questions", scope="read")]
    again = desk.call("PUT", "/projects/shop/questions", {"questions": [question(0), question(9)]}, scope="write")
    assert again["new"] == 1
    assert again["ids"][0] in ids
    other = question(0, items=question(5)["items"])
    wrong = desk.call("PUT", "/projects/shop/questions", {"questions": [question(11), other]}, status=422)
    assert "questions.1: question" in wrong["error"]
    assert len(desk.call("GET", "/projects/shop/questions")) == 4
    assert (
        "items"
        in desk.call("PUT", "/projects/shop/questions", {"questions": [question(7, items=[])]}, status=422)["error"]
    )
    assert desk.call("PUT", "/projects/none/questions", {"questions": []}, status=404)["error"]


def test_a_rater_answers_changes_skips_and_takes_back(desk: Desk) -> None:
    seat = desk.call("POST", "/projects/shop/seats", scope="label")["seat"]
    assert desk.call("POST", "/projects/shop/seats", scope="label")["seat"]["id"] == seat["id"]
    assert "model-" not in repr(seat)
    place = f"/seats/{seat['id']}/answer"
    said = {"answer": {"choice": "a"}, "key": "k1", "seconds": 3.5}
    assert desk.call("PUT", place, said, scope="label") == {"version": 1}
    assert desk.call("PUT", place, said, scope="label") == {"version": 1}
    assert desk.call("PUT", place, {"answer": {"choice": "b"}, "version": 1}, scope="label") == {"version": 2}
    desk.call("PUT", place, {"answer": {"choice": "a"}, "version": 1}, scope="label", status=409)
    assert desk.call("PUT", place, {"answer": {"choice": "c"}}, scope="label", status=422)["where"] == "choice"
    second = desk.call("POST", "/projects/shop/seats", scope="label")["seat"]
    desk.call("POST", f"/seats/{second['id']}/skip", {"reason": "hard"}, scope="label")
    assert desk.call("POST", "/projects/shop/undo", {}, scope="label")["seat"]["id"] == second["id"]
    bob = make_key(desk.database, "bob", "x", ["label"])
    desk.call("GET", f"/seats/{seat['id']}", scope=bob, status=403)
    desk.call("GET", "/seats/999", scope=bob, status=404)
    assert [e["kind"] for e in desk.call("GET", "/projects/shop/events")["events"]] == [
        "answer",
        "edit",
        "skip",
        "undo",
    ]


def test_events_since(desk: Desk) -> None:
    for _ in range(3):
        seat = desk.call("POST", "/projects/shop/seats", scope="label")["seat"]
        desk.call("PUT", f"/seats/{seat['id']}/answer", {"answer": {"choice": "tie"}}, scope="label")
    first = desk.call("GET", "/projects/shop/events?limit=2", scope="read")
    rest = desk.call("GET", f"/projects/shop/events?after={first['last']}", scope="read")
    assert [len(first["events"]), len(rest["events"])] == [2, 1]
    assert desk.call("GET", f"/projects/shop/events?after={rest['last']}") == {"events": [], "last": rest["last"]}
    assert desk.call("POST", "/projects/shop/seats", scope="label") == {"seat": None}


def test_questions_and_answers_are_found_by_filters_and_words(desk: Desk) -> None:
    rated = {"questions": [question(4, kind="thumb", items=[{"prompt": "q", "completion": "100% ŞEKER_"}])]}
    desk.call("PUT", "/projects/shop/questions", rated)
    for words, count in (
        ("çay", 3),
        ("A1 İYİ".lower(), 0),
        ("A1 iyi", 1),
        ("100%", 1),
        ("%", 1),
        ("ŞEKER_", 1),
        ("zz", 0),
    ):
        found = desk.client.get(
            "/projects/shop/questions",
            params={"words": words},
            headers={"Authorization": f"Bearer {desk.keys['read']}"},
        )
        assert len(found.json()) == count, words
    assert len(desk.call("GET", "/projects/shop/questions?kind=thumb&state=open&run=r&step=0")) == 1
    assert desk.call("GET", "/projects/shop/questions?step=1") == []
    first, second = (desk.call("GET", f"/projects/shop/questions?limit=2{more}") for more in ("", "&kind=pair"))
    assert len(first) == len(second) == 2
    page = desk.call("GET", f"/projects/shop/questions?after={first[-1]['id']}")
    assert not {q["id"] for q in page} & {q["id"] for q in first}
    seat = desk.call("POST", "/projects/shop/seats", scope="label")["seat"]
    answer = {"good": True} if seat["kind"] == "thumb" else {"choice": "a"}
    desk.call("PUT", f"/seats/{seat['id']}/answer", {"answer": answer | {"note": "çok güzel"}}, scope="label")
    assert [a["rater"] for a in desk.call("GET", "/projects/shop/answers?words=güzel&rater=ann")] == ["ann"]
    assert (
        desk.call("GET", "/projects/shop/answers?words=kötü")
        == desk.call("GET", "/projects/shop/answers?rater=bob")
        == []
    )
    assert len(desk.call("GET", "/projects/shop/questions?rater=ann")) == 1


def test_suggestions_are_shown_to_a_share_and_the_seat_says_so(desk: Desk) -> None:
    desk.call("PATCH", "/projects/shop", {"suggestions": 1.0})
    ids = [q["id"] for q in desk.call("GET", "/projects/shop/questions")]
    for key in ids:
        place = f"/projects/shop/questions/{key}/suggestion"
        desk.call("PUT", place, {"answer": {"choice": "b"}, "source": "m"}, scope="write")
        desk.call("PUT", place, {"answer": {"choice": "x"}, "source": "m"}, scope="write", status=422)
    desk.app.state.queue._projects.clear()
    seat = desk.call("POST", "/projects/shop/seats", scope="label")["seat"]
    assert seat["suggestion"] == {"answer": {"choice": "b", "strength": 1.0}, "source": "m"}
    place = f"/projects/shop/questions/{seat['question']}/suggestion"
    desk.call("PUT", place, {"answer": {"choice": "a"}, "source": "m"}, scope="write", status=409)


def test_golds_are_not_told_to_raters(desk: Desk) -> None:
    gold = question(8, state="gold", spec={"gold": {"choice": "a"}, "hint": "x"})
    desk.call("PUT", "/projects/shop/questions", {"questions": [gold]})
    make_project(desk.database, Project(id="shop", repeats=0, golds=0.5))
    dice = Random()
    dice.random = lambda: 0.999  # the draw that asks a gold question
    seat = Queue(database=desk.database, dice=dice).claim("shop", "ann")
    assert seat is not None
    assert seat.spec["gold"] == {"choice": "a"}
    told = desk.call("GET", f"/seats/{seat.id}", scope="label")["seat"]
    assert told["spec"] == {"hint": "x"}
    assert "gold" not in repr(told)


def test_withdrawing_ends_a_question(desk: Desk) -> None:
    seat = desk.call("POST", "/projects/shop/seats", scope="label")["seat"]
    place = f"/projects/shop/questions/{seat['question']}"
    assert desk.call("POST", f"{place}/withdraw", scope="write")["state"] == "withdrawn"
    desk.call("POST", f"{place}/withdraw", scope="write")
    assert desk.call("GET", place)["state"] == "withdrawn"
    desk.call("PUT", f"/seats/{seat['id']}/answer", {"answer": {"choice": "a"}}, scope="label", status=410)
    desk.call("POST", "/projects/shop/questions/nothing/withdraw", scope="write", status=404)


def test_projects_guidelines_and_raters(desk: Desk) -> None:
    made = desk.call("POST", "/projects", {"id": "new", "kind": "thumb"}, status=201)
    assert made["settings"]["kind"] == "thumb"
    desk.call("POST", "/projects", {"id": "new"}, status=409)
    for body in (
        {"id": "Ü"},
        {"id": "x", "kind": "y"},
        {"id": "x", "golds": 2},
        {"id": "x", "colour": 1},
        {"id": "x", "webhook": "file:///x"},
        {},
        [],
    ):
        desk.call("POST", "/projects", body, status=422)
    assert desk.call("PATCH", "/projects/new", {"votes": 5})["settings"]["votes"] == 5
    assert desk.call("PATCH", "/projects/new", {"title": "T"})["settings"]["votes"] == 5
    for _ in range(2):
        versions = desk.call("POST", "/projects/shop/guidelines", {"text": "Be kinder."})
    assert [v["version"] for v in versions] == [1, 2]
    assert desk.call("POST", "/raters", {"id": "eve", "stratum": "north"}, status=201)["stratum"] == "north"
    desk.call("POST", "/raters", {"id": "simulated-x"}, status=422)
    desk.call("POST", "/raters", {"id": "fatma@example.org"}, status=422)
    assert desk.call("PATCH", "/raters/eve", {"state": "paused"})["state"] == "paused"
    assert len(desk.call("GET", "/raters")) == 3


def test_export_streams_what_the_command_writes(desk: Desk) -> None:
    seat = desk.call("POST", "/projects/shop/seats", scope="label")["seat"]
    desk.call("PUT", f"/seats/{seat['id']}/answer", {"answer": {"choice": "a"}}, scope="label")
    assert desk.call("GET", "/projects/shop/export", scope="read").count("\n") == 1
    assert desk.call("GET", "/projects/shop/export?everything=true", scope="read").count("\n") == 3
    desk.call("GET", "/projects/none/export", scope="read", status=404)


@pytest.mark.parametrize(
    "body", [b'{"questions": "\\ud800"}', b'{"a": "\\ud800"}', b"{", b"\xff", b"[" * 100_000, b'{"questions": NaN}']
)
def test_odd_bodies_are_bad_input(desk: Desk, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {desk.keys['admin']}", "content-type": "application/json"}
    answer = desk.client.put("/projects/shop/questions", content=body, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]


@pytest.mark.parametrize("spec", [{"x": "a\0"}, {"x": 10**30}, {"x": [[[[[[[[[[[[[[]]]]]]]]]]]]]]}, {"\0": 1}])
def test_values_no_database_can_keep_are_bad_input(desk: Desk, spec: dict[str, Any]) -> None:
    asked = {"questions": [question(3, spec=spec)]}
    assert "questions.0.spec" in desk.call("PUT", "/projects/shop/questions", asked, status=422)["error"]


def test_bodies_are_bounded_whether_they_say_their_length_or_not(desk: Desk) -> None:
    headers = {"Authorization": f"Bearer {desk.keys['admin']}"}
    client = TestClient(Bounded(desk.app, most=100))
    for content in (b" " * 101, (b" " * 60 for _ in range(2))):
        answer = client.put("/projects/shop/questions", content=content, headers=headers)
        assert answer.status_code == 413
    assert LARGEST == 16 * 2**20


def test_a_broken_database_is_503_without_its_place(desk: Desk) -> None:
    with desk.database.transaction(write=True) as connection:
        connection.execute(sa.text("DROP TABLE event"))
    told = desk.call("GET", "/projects/shop/events", status=503)
    assert "s.db" not in told["error"]


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize(("method", "path", "scope"), routes())
def test_nothing_that_fits_the_description_or_does_not_breaks_the_server(
    desk: Desk, method: str, path: str, scope: str, mode: GenerationMode
) -> None:
    described = schemathesis.openapi.from_asgi("/openapi.json", desk.app)[path][method]
    headers = {"Authorization": f"Bearer {desk.keys[scope]}"}
    if mode is GenerationMode.NEGATIVE and "{" not in path and "requestBody" not in described.definition.raw:
        return  # nothing about this request can be wrong

    @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=described.as_strategy(generation_mode=mode))
    def no_case_breaks_it(case: Any) -> None:
        if "project" in (case.path_parameters or {}) and mode is GenerationMode.POSITIVE:
            case.path_parameters["project"] = "shop"
        case.validate_response(case.call(headers=headers), checks=CHECKS)

    no_case_breaks_it()


def test_it_works_where_it_is_mounted(desk: Desk) -> None:
    client = TestClient(Starlette(routes=[Mount("/api", desk.app)]))
    headers = {"Authorization": f"Bearer {desk.keys['read']}"}
    assert client.get("/api/projects/shop", headers=headers).json()["questions"] == {"open": 3}
    assert client.get("/api/nothing", headers=headers).json() == {"error": "Not Found", "where": None}
    assert client.put("/api/projects/shop/questions", content=b" " * (LARGEST + 1), headers=headers).status_code == 413


def test_a_curve_is_checked_at_the_door(desk: Desk) -> None:
    good = {"curve": [{"answers": 9, "accuracy": {"value": 0.7, "low": 0.6, "high": 0.8}}]}
    desk.call("PUT", "/projects/shop/told/learning", {"result": good})
    told = desk.call("PUT", "/projects/shop/told/learning", {"result": {"curve": 5}}, status=422)
    assert "curve" in told["error"]
    desk.call("PUT", "/projects/shop/told/other", {"result": {"curve": 5}})


def test_what_is_asked_next_and_the_population_are_settings(desk: Desk) -> None:
    settings = {"population": {"east": 0.4, "west": 0.6}, "rule": "bald", "random_share": 0.25, "ahead": 9}
    made = desk.call("PATCH", "/projects/shop", settings)["settings"]
    assert {name: made[name] for name in settings} == settings
    for wrong in ({"random_share": 0.1}, {"rule": "best"}, {"ahead": 0}, {"population": {"east": 0}}):
        desk.call("PATCH", "/projects/shop", wrong, status=422)
    desk.call("PATCH", "/projects/shop", {"population": {"east": "many"}}, status=422)
