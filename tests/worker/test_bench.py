import os
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tercih.commands.worker import Worker, main
from tercih.config import ConfigError
from tercih.feedback import jobs
from tercih.feedback.fits import read_fit, write_fit
from tercih.feedback.jobs import Job
from tercih.feedback.overview import QUALITY, Report, look
from tercih.feedback.overview.without import KIND
from tercih.feedback.projects import Project, make_project
from tercih.feedback.questions import Question
from tercih.feedback.store import Store
from tercih.feedback.web.oversight import record
from tercih.records import Text
from tercih.worker import bench as bench_module
from tercih.worker import chat as chat_module
from tercih.worker.bench import Bench, work
from tercih.worker.chat import chat

from .conftest import ask


def judge_all(store: Store, ids: list[str]) -> None:
    for index, key in enumerate(ids):
        for rater in ("ann", "bob", "eve"):
            store.judge(key, rater, "a" if (index + (rater == "eve" and index % 2)) % 2 else "b")


def test_raters_are_weighed_when_answers_are_new(store: Store) -> None:
    bench = Bench(database=store.database)
    ids = ask(store, 8, votes=3)
    assert work(bench) == 0
    judge_all(store, ids[:4])
    assert work(bench) == 2  # a fit, and who does what to the reward
    raters = read_fit(store.database, "p", "raters")
    assert raters is not None
    assert [row["rater"] for row in raters["result"]] == ["ann", "bob", "eve"]
    assert raters["events"] == 12
    assert work(bench) == 0
    judge_all(store, ids[4:])
    assert work(bench) == 2  # a fit, and who does what to the reward
    consensus = read_fit(store.database, "p", "consensus")
    assert consensus is not None
    assert len(consensus["result"]) == 8
    assert all(0 <= row["p_a"] <= 1 and row["votes"] == 3 for row in consensus["result"])


def test_the_page_on_quality_is_worked_out_and_kept(store: Store) -> None:
    settings = Project(id="p", golds=0, repeats=0)
    judge_all(store, ask(store, 8, votes=3))
    work(Bench(database=store.database))
    kept = read_fit(store.database, "p", QUALITY)
    assert kept is not None
    fresh = look(store.database, settings).report
    assert fresh is not None
    assert Report.of(kept["result"]).row == fresh.row
    make_project(store.database, replace(settings, population={"east": 1, "west": 2}))
    record(store.database, "project", "lead", "p")
    assert work(Bench(database=store.database)) == 2
    again = read_fit(store.database, "p", QUALITY)
    assert again is not None
    assert again["result"]["settings"] != kept["result"]["settings"]


def test_a_runs_own_project_is_weighed_and_no_more(store: Store, models: tuple[Path, ...]) -> None:
    a, b = (Text(prompt="x", completion=word) for word in ("yes", "no"))
    key = store.ask([Question(items=(a, b), run="My Run", step=0, index=0)])[0]
    store.judge(key, "ann", "a")
    assert work(Bench(database=store.database, models=models[:1])) == 1
    assert read_fit(store.database, "My Run", "raters") is not None
    assert read_fit(store.database, "My Run", QUALITY) is None


def test_who_does_what_to_the_reward_is_learned_when_a_tenth_is_new(store: Store, models: tuple[Path, ...]) -> None:
    bench = Bench(database=store.database, models=models[:1])
    ids = ask(store, 60, votes=3)
    judge_all(store, ids[:50])
    work(bench)
    first = read_fit(store.database, "p", KIND)
    assert first is not None
    assert first["result"]["features"]
    assert {row["name"] for row in first["result"]["raters"]} == {"ann", "bob", "eve"}
    judge_all(store, ids[50:52])
    work(bench)
    assert read_fit(store.database, "p", KIND) == first
    judge_all(store, ids[52:])
    work(Bench(database=store.database))
    second = read_fit(store.database, "p", KIND)
    assert second is not None
    assert (second["result"]["judgements"], second["result"]["features"]) == (180, False)


def test_an_older_fit_does_not_replace_a_newer_one_and_nan_is_null(store: Store) -> None:
    write_fit(store.database, "p", "raters", 7, [{"left_rate": float("nan")}])
    write_fit(store.database, "p", "raters", 6, "old")
    fit = read_fit(store.database, "p", "raters")
    assert fit is not None
    assert (fit["events"], fit["result"]) == (7, [{"left_rate": None}])


def test_one_bad_job_does_not_stop_the_others(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(bench_module.HANDLERS, "fit", "worker.test_bench:broken")
    bad, clip = jobs.put(store.database, "fit", {}), jobs.put(store.database, "clip", {"steps": "none.npz"})
    told: list[str] = []
    assert work(Bench(database=store.database, clips=tmp_path), told.append) == jobs.MOST_TRIES + 1
    outcome = jobs.result(store.database, bad)
    assert outcome.state == "failed"
    assert "ZeroDivisionError: by nought" in outcome.error
    refused = jobs.result(store.database, clip)
    assert refused.state == "failed"
    assert "there is no file" in refused.error
    assert sum("clip" in line for line in told) == 1  # a refusal is not tried again


def broken(bench: Bench, job: Job) -> None:
    raise ZeroDivisionError("by nought")


def test_the_lease_lives_as_long_as_the_job(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench_module.HANDLERS, "fit", "worker.test_bench:slow")
    key = jobs.put(store.database, "fit", {})
    work(Bench(database=store.database, lease_seconds=0.3))
    assert jobs.result(store.database, key).result == "alone"


def slow(bench: Bench, job: Job) -> str:
    import time

    time.sleep(0.8)
    return "alone" if jobs.take(bench.database, ["fit"]) is None else "taken by another"


def test_a_turn_of_chat(store: Store, models: tuple[Path, ...]) -> None:
    bench = Bench(database=store.database, policy=models[2])
    asked = {"prompt": "hello there", "seed": 3, "max_new_tokens": 5}
    first, again = jobs.put(store.database, "chat", asked), jobs.put(store.database, "chat", asked)
    other = jobs.put(store.database, "chat", asked | {"seed": 4})
    work(bench)
    said = [jobs.result(store.database, key).result for key in (first, again, other)]
    texts = [each["text"] for each in said]
    assert texts[0] == texts[1] != texts[2]
    assert len(said[0]["completion_ids"]) == 5
    assert said[0]["prompt_ids"] != []
    assert said[0]["tokenizer"] == said[2]["tokenizer"] != ""
    assert said[0]["model"] == str(models[2])


def test_an_answer_without_a_word_is_none(
    store: Store, models: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Text(prompt="hello", completion=" \n", origin="x")
    monkeypatch.setattr(chat_module, "sample_items", lambda *_, **__: [silent])
    key = jobs.put(store.database, "chat", {"prompt": "hello"})
    work(Bench(database=store.database, policy=models[2]))
    assert jobs.result(store.database, key).error == "the model said nothing"


@pytest.mark.parametrize(("payload", "why"), [
    ({}, "either a prompt or messages"),
    ({"prompt": "x", "messages": []}, "either a prompt or messages"),
    ({"messages": [{"role": "root", "content": "x"}]}, "either a prompt or messages"),
    ({"messages": [{"role": "user", "content": "x"}]}, "no chat template"),
    ({"prompt": "the cat " * 2000}, "longer than the model's context"),
    ({"prompt": "x", "model": "/etc"}, "not for /etc"),
    ({"prompt": "x", "temperature": -1}, "temperature"),
])  # fmt: skip
def test_a_chat_that_cannot_be_is_refused(
    payload: dict[str, object], why: str, store: Store, models: tuple[Path, ...]
) -> None:
    key = jobs.put(store.database, "chat", payload)
    assert work(Bench(database=store.database, policy=models[2])) == 1
    outcome = jobs.result(store.database, key)
    assert outcome.state == "failed"
    assert why in outcome.error
    assert "model" in payload or str(models[2]) not in outcome.error  # raters read it


def test_a_worker_without_a_policy_leaves_chats_to_others(store: Store) -> None:
    key = jobs.put(store.database, "chat", {"prompt": "x"})
    assert work(Bench(database=store.database)) == 0
    assert jobs.result(store.database, key).state == "waiting"
    with pytest.raises(ValueError, match="no policy"):
        chat(Bench(database=store.database), Job(id=1, kind="chat", project=None, payload={}, tries=1))


def test_the_command(store: Store, models: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    ids = ask(store, 10, votes=3)
    judge_all(store, ids[:2])
    main(Worker(database=store.place, model=models[:1], once=True))
    assert read_fit(store.database, "p", "savings") is not None
    assert "3 jobs" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="holds no reward model"):
        main(Worker(database=store.place, model=models[2:], once=True))


def test_a_worker_without_models_needs_no_torch(store: Store) -> None:
    judge_all(store, ask(store, 3, votes=3))
    code = (
        "import sys; from tercih.commands.worker import Worker, main;"
        f"main(Worker(database={store.place!r}, once=True)); assert 'torch' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ.copy())
    assert ran.returncode == 0, ran.stderr
    assert read_fit(store.database, "p", "raters") is not None


def test_answers_are_told_to_the_webhook_where_there_is_a_secret(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[tuple[bytes, str | None]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append((self.rfile.read(int(self.headers["Content-Length"])), self.headers.get("X-Tercih-Signature")))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    ids = ask(store, 2, votes=3)
    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        make_project(store.database, Project(id="p", webhook=f"http://127.0.0.1:{server.server_port}/told"))
        judge_all(store, ids)
        main(Worker(database=store.place, once=True))
        assert heard == []
        assert "webhooks need a secret in TERCIH_WEBHOOK_SECRET" in capsys.readouterr().out
        monkeypatch.setenv("TERCIH_WEBHOOK_SECRET", "a secret of enough signs")
        main(Worker(database=store.place, once=True, private_webhooks=True))
        main(Worker(database=store.place, once=True, private_webhooks=True))
        server.shutdown()
    assert len(heard) == 6
    assert all(signature for _, signature in heard)
