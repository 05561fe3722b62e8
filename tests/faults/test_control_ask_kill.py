"""An agent learns from people, scripted ones, on a real server; trainer and server are killed. No label is lost, none
is asked twice, and the same answers at the same times make the same bits."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from faults.test_ask_live_kill import serve
from tercih.feedback.client import ApiError, Client
from tercih.feedback.database import Database
from tercih.feedback.store import Store
from tercih.feedback.web.keys import make_key
from tercih.metrics import read_metrics

LABELS = 24
PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
from tercih.recipes.control_ppo import ControlPPO, TINY, main, settings_of
from tercih.recipes import control_ppo, control_run
control_ppo.TINY = replace(TINY, steps=4096)
control_run.evaluate_training = lambda *_, **__: {}  # which draws
main(ControlPPO(environment="Reacher-v5", tiny=True, ask=sys.argv[1], ask_ahead=3, out=Path(sys.argv[2])))
"""


def answer(client: Client, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            names = [each["id"] for each in client.projects()]
            if names and (seat := client.claim(names[0])):
                client.submit(seat["id"], {"choice": "ab"[seat["id"] % 2]}, seconds=2.0)
            time.sleep(0.03)
        except (ConnectionError, ApiError):
            time.sleep(0.1)


@pytest.mark.learns
def test_people_teach_an_agent_and_either_side_may_die(tmp_path: Path) -> None:
    place, folder, clips, stop = tmp_path / "s.db", tmp_path / "run", tmp_path / "clips", threading.Event()
    clips.mkdir()
    with Database(place) as database:
        for name in ("ann", "run"):
            Store(database).enrol(name)
        ann, key = make_key(database, "ann", "ann", ["label", "read"]), make_key(database, "run", "run", ["admin"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"

    def train(out: Path) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, address, str(out)],
            env=os.environ | {"TERCIH_API_KEY": key, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def trained(least: int) -> None:
        until = time.monotonic() + 90
        while len(read_metrics(folder / "policy")) < least:
            assert time.monotonic() < until, f"fewer than {least} rollouts were learned from"
            assert training.poll() is None
            time.sleep(0.05)

    client = Client(url=f"{address}/api", key=ann, tries=1, timeout=5.0)
    rater = threading.Thread(target=answer, args=(client, stop))
    server = serve(place, port, clips)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            client.projects()
            break
        except ConnectionError:
            time.sleep(0.1)
    training = train(folder)
    rater.start()
    try:
        trained(2)
        server.kill()
        server.wait()
        time.sleep(0.5)
        assert training.poll() is None
        server = serve(place, port, clips)
        trained(4)
        training.kill()
        training.wait()
        training = train(folder)
        assert training.wait(120) == 0
        again = tmp_path / "again"
        again.mkdir()
        for name in ("run.json", "taken.jsonl"):
            shutil.copy(folder / name, again / name)
        assert train(again).wait(120) == 0
    finally:
        stop.set()
        rater.join(10)
        for process in (training, server):
            process.kill()
            process.wait()
    with Database(place) as database, Database(folder / "feedback.sqlite") as own:
        there, here = Store(database).comparisons(), Store(own).comparisons()
    assert len(there) == len({each.pair for each in there}) <= LABELS
    assert {(each.pair, each.answer) for each in here} <= {(each.pair, each.answer) for each in there}
    assert len(here) >= LABELS - 3 - 6
    first, second = ((out / "policy" / "metrics.jsonl").read_bytes() for out in (folder, again))
    assert first == second
    assert any("reward/labels" in row for row in read_metrics(folder / "policy"))
