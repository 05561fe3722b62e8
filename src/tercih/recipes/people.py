"""People in place of simulated raters: the run puts its questions to a labelling server and learns as answers arrive.

Questions carry the hash of the run, the step and their index; the run's own store remembers the last event it has seen.
So either side may be killed at any moment: nothing is asked twice, and no answer is lost or counted twice.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tercih.feedback.client import Client
from tercih.feedback.mirror import receive, received
from tercih.feedback.store import Store
from tercih.progress import Progress, console
from tercih.run import write_jsonl

KEY = "TERCIH_API_KEY"
PATIENCE = 30.0  # seconds at most between two tries to reach the server


@dataclass(frozen=True, kw_only=True, slots=True)
class People:
    """The raters of a labelling server, asked in the project `name`, which is made if it is not there.

    The run goes on when a share `enough` of the answers that are wanted has come. After every `refit` new answers a
    reward model is learned from those there are, so that its lead can watch it grow.
    """

    server: str
    name: str
    title: str = ""
    votes: int = 3
    enough: float = 1.0
    refit: int = 200
    every: float = 2.0
    """Seconds between two looks at the server."""

    def __post_init__(self) -> None:
        if not 0 < self.enough <= 1:
            raise ValueError(f"ask_enough must be in (0, 1], got {self.enough}")
        if self.refit < 1:
            raise ValueError(f"ask_refit must be >= 1, got {self.refit}")

    def client(self) -> Client:
        """Raises ValueError where there is no key."""
        key = os.environ.get(KEY, "")
        if not key:
            raise ValueError(
                f"--ask needs an API key of the server in the environment variable {KEY}; make one with"
                " `tercih key NAME`"
            )
        return Client(url=f"{self.server.rstrip('/')}/api", key=key)

    def check(self) -> None:
        """Raises ConnectionError or ApiError where nothing could be asked."""
        self.client().projects()

    def answer(self, folder: Path, store: Store, learn: Callable[[], dict[str, Any]]) -> str:
        """Put every open question and wait for the answers; `learn` fits a reward model to those in the store and
        returns what it is worth on held-out pairs."""
        client = self.client()
        questions = store.questions(self.name)
        wanted = sum(question.votes for question in questions)
        self._patiently(lambda: client.make_project(self.name, title=self.title, votes=self.votes))
        self._patiently(lambda: client.ask(self.name, questions))
        console.print(f"{len(questions)} questions are on {self.server} in the project {self.name}")
        curve: list[dict[str, Any]] = []
        had, learned = receive(store.database, self.name, []), 0
        with Progress("answers", total=wanted, done=had) as progress:
            while had < self.enough * wanted:
                events = self._patiently(
                    lambda: list(client.events(self.name, after=received(store.database, self.name)))
                )
                now = receive(store.database, self.name, events)
                if now > had:
                    progress.advance(by=now - had)
                had = now
                if had - learned >= self.refit and had < self.enough * wanted:
                    learned = had
                    curve.append({"answers": had} | learn())
                    write_jsonl(folder / "learning.jsonl", curve)
                    self._patiently(lambda: client.tell(self.name, "learning", {"curve": curve}))
                elif not events:
                    states = self._patiently(lambda: client.project(self.name))["questions"]
                    if not states.get("open") and not states.get("full"):
                        break  # everything is answered, withdrawn, or for the lead to decide
                    time.sleep(self.every)
        return f"{had} answers by people to {len(questions)} questions"

    def _patiently(self, call: Callable[[], Any]) -> Any:
        """Try until the server is there again."""
        wait = 1.0
        while True:
            try:
                return call()
            except ConnectionError as error:
                if wait == 1.0:
                    console.print(f"{error}; waiting for it (Ctrl-C stops; the same command goes on)")
                time.sleep(wait)
                wait = min(2 * wait, PATIENCE)
