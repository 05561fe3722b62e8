import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.dialects import postgresql

from tercih.feedback import jobs
from tercih.feedback.database import Database, StoreError

CHILD = """
    import sys, time
    from tercih.feedback import jobs
    from tercih.feedback.database import Database
    with Database(sys.argv[1]) as database:
"""


def child(code: str, place: str) -> subprocess.Popen[str]:
    program = textwrap.dedent(CHILD) + textwrap.indent(textwrap.dedent(code), "    ")
    return subprocess.Popen([sys.executable, "-c", program, place], stdout=subprocess.PIPE, text=True)


def test_a_job_goes_round(database: Database) -> None:
    key = jobs.put(database, "chat", {"prompt": "hello"})
    assert jobs.result(database, key).state == "waiting"
    assert jobs.take(database, ["clip"]) is None  # not of this kind
    job = jobs.take(database, ["clip", "chat"])
    assert job is not None
    assert (job.id, job.kind, job.payload, job.tries) == (key, "chat", {"prompt": "hello"}, 1)
    assert jobs.take(database, ["chat"]) is None
    assert jobs.result(database, key).state == "running"
    assert jobs.finish(database, job, {"text": "hi"})
    assert jobs.result(database, key) == jobs.Outcome(state="done", result={"text": "hi"}, error="")
    with pytest.raises(StoreError, match="no job 99"):
        jobs.result(database, 99)


def test_first_come_first_served_and_a_key_is_one_job(database: Database) -> None:
    first, second = jobs.put(database, "fit", {"n": 1}, "a"), jobs.put(database, "fit", {"n": 2})
    assert jobs.put(database, "fit", {"n": 3}, "a") == first
    taken = [jobs.take(database, ["fit"]) for _ in range(3)]
    assert [job and job.id for job in taken] == [first, second, None]


def test_an_error_is_tried_again_and_then_told(database: Database) -> None:
    key = jobs.put(database, "fit", {})
    for attempt in range(1, jobs.MOST_TRIES + 1):
        job = jobs.take(database, ["fit"])
        assert job is not None
        assert job.tries == attempt
        assert jobs.fail(database, job, f"error {attempt}")
    assert jobs.take(database, ["fit"]) is None
    assert jobs.result(database, key) == jobs.Outcome(state="failed", result=None, error=f"error {jobs.MOST_TRIES}")


def test_what_cannot_be_done_is_not_tried_again(database: Database) -> None:
    key = jobs.put(database, "clip", {})
    job = jobs.take(database, ["clip"])
    assert job is not None
    jobs.fail(database, job, "no", again=False)
    assert jobs.take(database, ["clip"]) is None
    assert jobs.result(database, key).error == "no"


def test_a_late_worker_cannot_overwrite(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    key = jobs.put(database, "fit", {})
    late = jobs.take(database, ["fit"], lease_seconds=10)
    monkeypatch.setattr(jobs.clock, "time", lambda: now + 20)
    fresh = jobs.take(database, ["fit"], lease_seconds=10)
    assert late is not None
    assert fresh is not None
    assert (fresh.id, fresh.tries) == (late.id, 2)
    assert not jobs.finish(database, late, "old")
    assert not jobs.fail(database, late, "old")
    assert not jobs.extend(database, late)
    assert jobs.extend(database, fresh, 100)
    monkeypatch.setattr(jobs.clock, "time", lambda: now + 60)
    assert jobs.take(database, ["fit"]) is None  # the lease was prolonged
    assert jobs.finish(database, fresh, "new")
    assert jobs.result(database, key).result == "new"


def test_a_job_that_kills_its_workers_fails_in_the_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    key = jobs.put(database, "fit", {})
    for attempt in range(jobs.MOST_TRIES):
        monkeypatch.setattr(jobs.clock, "time", lambda at=now + 100 * attempt: at)
        assert jobs.take(database, ["fit"], lease_seconds=10) is not None
    monkeypatch.setattr(jobs.clock, "time", lambda: now + 1000)
    healthy = jobs.put(database, "fit", {})
    job = jobs.take(database, ["fit"])
    assert job is not None
    assert job.id == healthy  # the next one is not held up
    outcome = jobs.result(database, key)
    assert outcome.state == "failed"
    assert "lost 3 times" in outcome.error


def test_postgresql_skips_what_others_are_taking() -> None:
    statement = str(jobs.free_job(["fit"], 0.0).compile(dialect=postgresql.dialect()))
    assert statement.endswith("FOR UPDATE SKIP LOCKED")


def test_a_lease_has_a_length(database: Database) -> None:
    with pytest.raises(ValueError, match="lease_seconds"):
        jobs.take(database, ["fit"], lease_seconds=0)


def test_several_processes_never_do_a_job_twice(anywhere: str) -> None:
    with Database(anywhere, durable=False) as database:
        for n in range(60):
            jobs.put(database, "fit", {"n": n})
    code = """
    while (job := jobs.take(database, ["fit"])) is not None:
        print(job.payload["n"], flush=True)
        assert jobs.finish(database, job, job.payload["n"])
    """
    workers = [child(code, anywhere) for _ in range(3)]
    said = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert all(worker.returncode == 0 for worker in workers)
    assert sorted(int(n) for each in said for n in each) == list(range(60))
    with Database(anywhere) as database:
        assert {jobs.result(database, key).state for key in range(1, 61)} == {"done"}


def test_many_threads_put_one_job_of_a_key(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: jobs.put(database, "fit", {}, "same"), range(24)))
    assert len(set(ids)) == 1


def test_a_killed_workers_job_is_taken_again(anywhere: str) -> None:
    with Database(anywhere, durable=False) as database:
        key = jobs.put(database, "fit", {})
        victim = child('jobs.take(database, ["fit"], 0.5); print("took", flush=True); time.sleep(60)', anywhere)
        assert victim.stdout
        assert victim.stdout.readline() == "took\n"
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
        assert jobs.take(database, ["fit"]) is None  # still its lease
        time.sleep(0.6)
        job = jobs.take(database, ["fit"])
        assert job is not None
        assert (job.id, job.tries) == (key, 2)
        assert jobs.finish(database, job, "done")
