"""How many judgements a second the labelling store takes, with how many items and raters, and how long each one waits.

    python benchmarks/labelling.py --json FILE          # the store, with 20,000 and 1,000,000 questions
    python benchmarks/labelling.py --http --json FILE   # a server, from as many programs as there are processes

Several processes claim and submit at once, as several servers would; what is printed is their sum. `durable` waits for
the disk with every answer, `quick` for the operating system alone (an answer then outlives the process, but perhaps not
a loss of power). Rates belong to this machine; what carries over is how they change with size.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import platform
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tercih.feedback.database import Database
from tercih.feedback.projects import Project, make_project
from tercih.feedback.queue import Queue
from tercih.feedback.store import Question, Store
from tercih.feedback.web.keys import make_key
from tercih.records import Text

CHUNK = 20_000


def fill(place: str, questions: int, raters: int) -> float:
    """Seconds it took."""
    began = time.monotonic()
    with Database(place, durable=False) as database:
        make_project(database, Project(id="p"))
        store = Store(database)
        for name in range(raters):
            store.enrol(f"rater{name}")
        for start in range(0, questions, CHUNK):
            store.ask([pair(index) for index in range(start, min(start + CHUNK, questions))])
    return time.monotonic() - began


def pair(index: int) -> Question:
    a, b = (Text(prompt=f"Prompt {index}", completion=f"Answer {side} to {index}") for side in "ab")
    return Question(items=(a, b), run="p", step=0, index=index, votes=3)


def work(place: str, durable: bool, raters: list[str], seconds: float, gate: Any, out: Any) -> None:
    """Every answer goes to a rater drawn at random, as from many browsers."""
    waited: list[float] = []
    dice = random.Random(raters[0])
    with Database(place, durable=durable) as database:
        queue = Queue(database=database)
        seats = {name: queue.claim("p", name) for name in raters}
        gate.wait()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            name = dice.choice(raters)
            began = time.perf_counter()
            seat = seats[name]
            if seat is None:
                raise SystemExit(f"{name} has nothing left to judge; give more --questions")
            _, seats[name] = queue.turn(seat.id, name, {"choice": "a"}, key=f"{name} {seat.id}")
            waited.append(time.perf_counter() - began)
    out.put(waited)


def measure(place: str, durable: bool, raters: int, processes: int, seconds: float) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    gate, out = context.Barrier(processes), context.Queue()
    names = [f"rater{index}" for index in range(raters)]
    workers = [
        context.Process(target=work, args=(place, durable, names[at::processes], seconds, gate, out))
        for at in range(processes)
    ]
    for worker in workers:
        worker.start()
    waited = sorted(second for _ in workers for second in out.get())
    for worker in workers:
        worker.join()
    return rates(waited, seconds)


def call(port: int, keys: list[str], seconds: float, gate: Any, out: Any) -> None:
    """Answers over HTTP, each with the claim of the next question, by raters drawn at random; connections stay open."""
    waited: list[float] = []
    dice, connection = random.Random(keys[0]), http.client.HTTPConnection("127.0.0.1", port)

    def ask(method: str, path: str, key: str, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request(method, f"/api{path}", json.dumps(body), headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        if answer.status != 200:
            raise SystemExit(f"{answer.status}: {content}")
        return content

    seats = {key: ask("POST", "/projects/p/seats", key, {})["seat"] for key in keys}
    gate.wait()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        key = dice.choice(keys)
        began = time.perf_counter()
        body = {"answer": {"choice": "a"}, "key": f"{seats[key]['id']}", "next": True}
        seats[key] = ask("PUT", f"/seats/{seats[key]['id']}/answer", key, body)["seat"]
        waited.append(time.perf_counter() - began)
    out.put(waited)


def measure_http(place: str, raters: int, processes: int, seconds: float) -> dict[str, float]:
    with Database(place) as database:
        keys = [make_key(database, f"rater{index}", "benchmark", ["label"]) for index in range(raters)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tercih.cli", "serve", "--database", place, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(port)
            context = multiprocessing.get_context("spawn")
            gate, out = context.Barrier(processes), context.Queue()
            callers = [
                context.Process(target=call, args=(port, keys[at::processes], seconds, gate, out))
                for at in range(processes)
            ]
            for caller in callers:
                caller.start()
            waited = sorted(second for _ in callers for second in out.get())
            for caller in callers:
                caller.join()
        finally:
            server.terminate()
    return rates(waited, seconds)


def wait_for(port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the server did not start")


def rates(waited: list[float], seconds: float) -> dict[str, float]:
    return {
        "per_second": len(waited) / seconds,
        "p50_ms": 1000 * waited[len(waited) // 2],
        "p99_ms": 1000 * waited[int(0.99 * len(waited))],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 1_000_000])
    parser.add_argument("--raters", type=int, default=200)
    parser.add_argument("--http", action="store_true", help="through a server, in place of the store itself")
    parser.add_argument("--database", help="a URL to measure instead of SQLite files; it must be empty")
    options = parser.parse_args()
    rows = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            place = options.database or str(Path(folder) / "tercih.db")
            filled = fill(place, size, options.raters)
            for durable in (True,) if options.http else (False, True):
                if options.http:
                    found = measure_http(place, options.raters, options.processes, options.seconds)
                else:
                    found = measure(place, durable, options.raters, options.processes, options.seconds)
                row = {"questions": size, "raters": options.raters, "durable": durable, "fill_seconds": filled} | found
                rows.append(row)
                kind = "http" if options.http else "durable" if durable else "quick"
                print(
                    f"{size:>9} questions, {options.raters} raters, {options.processes} processes, {kind:<7}"
                    f" {found['per_second']:8.0f} claims with answers a second, p50 {found['p50_ms']:.2f} ms,"
                    f" p99 {found['p99_ms']:.2f} ms",
                    flush=True,
                )
        if options.database:
            break
    if options.json:
        about = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
