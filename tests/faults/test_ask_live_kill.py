"""People answer about clips while an agent learns, and the server and the trainer are killed: no label is lost, and no
question is asked twice."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tercih.feedback.client import ApiError, Client
from tercih.feedback.database import Database
from tercih.feedback.store import Store
from tercih.feedback.web.keys import make_key

STEPS, PAIRS = 8, 2  # every step asks about so many pairs

# A trainer: it acts, cuts clips out, asks, takes what is there, and keeps a checkpoint of all that every third step.
TRAINER = """
import hashlib, os, pickle, sys, time
from pathlib import Path
import numpy as np
from tercih.agents.clip_steps import clip_steps
from tercih.environments.worlds import Worlds
from tercih.feedback.questions import Question
from tercih.recipes.ask_live import LivePeople
from tercih.recipes.people import People

address, folder, steps, pairs = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
settings = {"repeats": 0.0, "golds": 0.0}
people = LivePeople(people=People(server=address, name="live", votes=1, every=0.05), folder=folder, settings=settings)
checkpoint, names = folder / "checkpoint", ("observation", "action", "following", "reward", "terminated", "truncated")
with Worlds("CartPole-v1", pairs + 1, seed=1) as worlds:
    worlds.reset()
    done, learned = 0, b""
    if checkpoint.exists():
        done, learned, before, taken = pickle.loads(checkpoint.read_bytes())
        worlds.load_state_dict(before)
        people.load_state_dict(taken)
    while done < steps or len(people.standing) < steps * pairs:
        heard = people.take()
        # What is learned depends on every label, on its order, and on the step it came at; what is asked depends on it.
        for each in heard:
            learned = hashlib.sha256(learned + f"{done} {each.pair} {each.answer} {each.rater}".encode()).digest()
        if done < steps:
            dice = np.random.default_rng(list(learned) + [done])
            began, kept, seen = worlds.state_dict(), [], worlds.observation_N
            for _ in range(10):
                action = dice.integers(0, 2, pairs + 1)
                made = worlds.step(action)
                kept.append((seen, action, made.following_N, made.reward_N, made.terminated_N, made.truncated_N))
                seen = made.observation_N
            rollout = dict(zip(names, map(np.stack, zip(*kept))))
            clips = [people.keep(clip_steps(worlds, began, rollout, n, 2, 6)) for n in range(pairs + 1)]
            people.put([Question(items=(clips[at], clips[at + 1]), run="live", step=done, index=at, votes=1)
                        for at in range(pairs)])
        done += 1
        if done % 3 == 0:
            part = folder / "part"
            part.write_bytes(pickle.dumps((done, learned, worlds.state_dict(), people.state_dict())))
            part.replace(checkpoint)
        (folder / "heard").write_text(str(len(people.standing)))
        time.sleep(0.05)
people.close()
"""


def answer(client: Client, stop: threading.Event) -> None:
    """Scripted, and slow enough to be interrupted."""
    while not stop.is_set():
        try:
            if seat := client.claim("live"):
                client.submit(seat["id"], {"choice": "ab"[seat["id"] % 2]}, seconds=2.0)
            time.sleep(0.03)
        except (ConnectionError, ApiError):
            time.sleep(0.1)


def serve(place: Path, port: int, clips: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tercih.cli", "serve", "--database", str(place), "--port", str(port)]
    return subprocess.Popen([*command, "--clips", str(clips)], stdout=subprocess.DEVNULL)


@pytest.mark.learns
def test_a_trainer_that_asks_as_it_goes_survives_the_death_of_either_side(tmp_path: Path) -> None:
    place, folder, clips, stop = tmp_path / "s.db", tmp_path / "run", tmp_path / "clips", threading.Event()
    clips.mkdir()
    folder.mkdir()
    with Database(place) as database:
        for name in ("ann", "run"):
            Store(database).enrol(name)
        ann, key = make_key(database, "ann", "ann", ["label", "read"]), make_key(database, "run", "run", ["admin"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"

    def train() -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", TRAINER, address, str(folder), str(STEPS), str(PAIRS)]
        return subprocess.Popen(command, env=os.environ | {"TERCIH_API_KEY": key}, stdout=subprocess.DEVNULL)

    def heard(least: int) -> None:
        until = time.monotonic() + 60
        while not (folder / "heard").exists() or int((folder / "heard").read_text() or 0) < least:
            assert time.monotonic() < until, f"fewer than {least} answers were heard"
            assert training.poll() is None
            time.sleep(0.02)

    client = Client(url=f"{address}/api", key=ann, tries=1, timeout=5.0)
    rater = threading.Thread(target=answer, args=(client, stop))
    server, training = serve(place, port, clips), train()
    rater.start()
    try:
        heard(3)
        server.kill()  # training goes on without it
        server.wait()
        time.sleep(0.3)
        assert training.poll() is None
        server = serve(place, port, clips)
        heard(8)
        training.kill()
        training.wait()
        training = train()
        assert training.wait(60) == 0
    finally:
        stop.set()
        rater.join(10)
        for process in (training, server):
            process.kill()
            process.wait()
    with Database(place) as database, Database(folder / "feedback.sqlite") as own:
        there, here = Store(database).comparisons(), Store(own).comparisons()
    assert len(there) == len({each.pair for each in there}) == STEPS * PAIRS
    assert sorted((each.pair, each.answer, each.rater, each.left) for each in here) == sorted(
        (each.pair, each.answer, each.rater, each.left) for each in there
    )
    wanted = {f"{item.digest}.npz" for each in there for item in (each.a, each.b)}  # type: ignore[attr-defined]
    assert {each.name for each in clips.iterdir()} >= wanted
