import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from feedback.web.test_api import Desk
from tercih.commands.serve import keeper_of
from tercih.data import steps
from tercih.data.steps import Steps, clip_of, read_steps, write_steps
from tercih.feedback.client import ApiError, Client
from tercih.feedback.questions import Question
from tercih.feedback.web.door import LARGEST
from tercih.records import Clip, Message, Text


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Desk, str]]:
    """A real server on a free port."""
    desk = Desk(tmp_path / "s.db")
    server = uvicorn.Server(uvicorn.Config(desk.app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield desk, f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
    desk.database.close()


def test_a_program_asks_answers_and_hears(served: tuple[Desk, str], tmp_path: Path) -> None:
    desk, url = served
    client = Client(url=url, key=desk.keys["admin"])
    assert client.make_project("p", votes=1, repeats=0.0, golds=0.0)["settings"]["votes"] == 1
    assert client.make_project("p", title="P")["settings"]["title"] == "P"
    assert [p["id"] for p in client.projects()] == ["p", "shop"]
    texts = [Text(prompt=(Message(role="user", content="çay?"),), completion=c, origin="m") for c in "xy"]
    clips = [Clip(media=f"{c}.mp4", digest=c, seconds=1.0) for c in "xy"]
    asked = [Question(items=tuple(i), run="c", step=0, index=n, votes=1) for n, i in enumerate((texts, clips))]
    assert client.ask("p", asked) == client.ask("p", asked) == [q.id for q in asked]
    client.suggest("p", asked[0].id, {"choice": "a"}, "model")
    seat = client.claim("p")
    assert seat
    assert (
        client.submit(seat["id"], {"choice": "b"}, key="k") == client.submit(seat["id"], {"choice": "b"}, key="k") == 1
    )
    assert client.submit(seat["id"], {"choice": "a"}, version=1) == 2
    other = client.claim("p")
    assert other
    client.skip(other["id"], "hard")
    back = client.undo("p")
    assert back
    assert back["id"] == other["id"]
    client.withdraw("p", other["question"])
    events = list(client.events("p"))
    assert [e["kind"] for e in events] == [
        "project", "project", "suggest", "answer", "edit", "skip", "undo", "withdraw",
    ]  # fmt: skip
    assert list(client.events("p", after=events[-1]["id"])) == []
    assert [q["id"] for q in client.questions("p", words="çay")] == [asked[0].id]
    assert [a["answer"]["choice"] for a in client.answers("p")] == ["a"]
    assert client.export("p", tmp_path / "x.jsonl", everything=True) > 100
    assert json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0])["project"] == "p"
    client.add_rater("simulated-x", "simulated")
    assert "simulated-x" in [r["id"] for r in client.raters()]
    assert client.add_guidelines("p", "Be kind.")[0]["version"] == 1
    assert client.project("p")["answers"] == 1


def test_answering_and_claiming_in_one_call(served: tuple[Desk, str]) -> None:
    desk, url = served
    client = Client(url=url, key=desk.keys["label"])
    seat, seen = client.claim("shop"), []
    while seat:
        seen.append(seat["question"])
        seat = client.submit_and_claim(seat["id"], {"choice": "a"})
    assert len(seen) == len(set(seen)) == 3
    assert client.claim("shop") is None


def test_refusals_are_one_sentence(served: tuple[Desk, str]) -> None:
    desk, url = served
    with pytest.raises(ApiError, match=r"no scope 'write'") as refused:
        Client(url=url, key=desk.keys["read"]).ask(
            "shop", [Question(items=(Text(prompt="q", completion="x"),), run="r", step=0, index=0)]
        )
    assert refused.value.status == 403
    with pytest.raises(ApiError, match=r"there is no project .none ğ."):
        Client(url=url, key=desk.keys["read"]).project("none ğ")
    assert desk.keys["read"] not in repr(Client(url=url, key=desk.keys["read"]))


class Flaky(BaseHTTPRequestHandler):
    """Hangs up on the first request, is busy at the second, and answers the third."""

    seen: list[bytes]

    def do_PUT(self) -> None:
        self.seen.append(self.rfile.read(int(self.headers["Content-Length"])))
        if len(self.seen) == 1:
            return
        self.send_response(503 if len(self.seen) == 2 else 200)
        self.end_headers()
        self.wfile.write(b'{"version": 1}')

    def log_message(self, *args: object) -> None:
        pass


def test_a_broken_connection_is_tried_again_with_the_same_key() -> None:
    Flaky.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Flaky) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        assert Client(url=url, key="k", wait=0.01).submit(1, {"choice": "a"}) == 1
        server.shutdown()
    assert len({json.loads(body)["key"] for body in Flaky.seen}) == 1
    assert len(Flaky.seen) == 3
    with pytest.raises(ConnectionError, match="cannot be reached after 2 tries"):
        Client(url=url, key="k", wait=0.01, tries=2).projects()


def test_a_clip_of_another_machine(served: tuple[Desk, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its steps are checked before they are kept, under their digest; what comes back is what to ask about."""
    desk, url = served
    given = Steps(
        environment="CartPole-v1", actions=np.zeros(3, int), starts=np.array([0]), seeds=np.array([1]), rate=50.0,
        observations=np.zeros((3, 4)), following=np.zeros((3, 4)), rewards=np.ones(3),
        terminated=np.zeros(3, bool), truncated=np.zeros(3, bool),
    )  # fmt: skip
    write_steps(tmp_path / "a.npz", given)
    sent, folder = (tmp_path / "a.npz").read_bytes(), tmp_path / "clips"
    client = Client(url=url, key=desk.keys["write"])
    with pytest.raises(ApiError, match="start it with --clips FOLDER") as none:
        client.put_clip(sent)
    assert none.value.status == 409
    desk.app.state.keep = keeper_of(folder)
    clip = client.put_clip(sent, "policy 3")
    assert clip == client.put_clip(sent, "policy 3") == clip_of(given, "policy 3")
    assert [each.name for each in folder.iterdir()] == [f"{given.digest}.npz"]
    assert read_steps(folder / clip.steps).digest == given.digest
    write_steps(tmp_path / "b.npz", replace(given, rate=0.0))
    for wrong, said in ((b"PK no archive", "holds no steps"), ((tmp_path / "b.npz").read_bytes(), "rate must be > 0"),
                        (bytes(LARGEST), "holds no steps"), (b"", "body: Field required")):  # fmt: skip
        with pytest.raises(ApiError, match=said) as refused:
            client.put_clip(wrong)
        assert refused.value.status == 422
    with pytest.raises(ApiError) as forbidden:
        Client(url=url, key=desk.keys["label"]).put_clip(sent)
    assert forbidden.value.status == 403
    monkeypatch.setattr(steps, "MOST_SENT", 100)
    with pytest.raises(ApiError, match="more than 100"):
        client.put_clip(sent)
    assert len(list(folder.iterdir())) == 1
