"""People who answer while the agent goes on learning: nothing waits for them, and it could learn the same once more.

A trainer puts questions when it has some, and takes what was answered since, between two of its steps. What every
`take` returned, and when questions were put, is written down first. So a trainer that was killed and goes on from an
older checkpoint gets the same answers at the same calls until it has caught up, and puts the same questions; from there
on it hears what is new. A server that is away is tried again later.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from tercih.data.steps import Steps, keep_steps
from tercih.feedback.client import BUSY, ApiError, Client
from tercih.feedback.mirror import receive, received
from tercih.feedback.questions import Question
from tercih.feedback.store import Store, comparison_of
from tercih.progress import console
from tercih.recipes.people import PATIENCE, People
from tercih.records import Clip, Comparison

CLIPS = "clips"  # the run's own folder of steps
TAKEN = "taken.jsonl"
TIMEOUT = 5.0  # seconds that training stands still at most, where a server hangs
FIRST_WAIT = 1.0  # seconds until the second try; twice as long before every further one
SENT_AT_ONCE = 10  # questions with their clips
SAID = ("answer", "edit", "undo", "withdraw")


@dataclass(kw_only=True)
class LivePeople:
    """`keep` steps, `put` questions about them, `take` comparisons: all return at once, whether the server is there or
    not. Only one trainer may use a run's `folder` at a time.

    `settings` are further settings of the project, such as its instruction. The server is looked at every
    `people.every` seconds, when `take` is called. Raises ApiError for what the server refuses: no patience mends that.
    """

    people: People
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    taken: int = field(default=0, init=False)
    """How often `take` was called."""
    standing: dict[tuple[str, str], Comparison[Clip]] = field(default_factory=dict, init=False)
    """By question and rater, what was taken and stands: of what was changed the newest, of what was taken back
    nothing. The order is that of the answers."""
    unsure: set[tuple[str, str]] = field(default_factory=set, init=False)
    """By question and rater, who could not judge: nothing more is to be awaited of them."""
    withdrawn: set[str] = field(default_factory=set, init=False)
    """Questions that nobody is asked any more; what was answered stands."""
    event: int = field(default=0, init=False)
    """The last one that was taken, by the server's count."""

    def __post_init__(self) -> None:
        self.store = Store(self.folder / "feedback.sqlite")
        self.client: Client = replace(self.people.client(), tries=1, timeout=TIMEOUT)
        self.asked = {each.id: each for each in self.store.questions(self.people.name)}
        self.unsent = {each.id: each for each in self.store.open_questions(self.people.name)}
        self.sent: set[str] = set()  # digests of clips
        self.made = False
        self.next_look, self.wait = 0.0, FIRST_WAIT
        self.written, self.until = _read(self.folder / TAKEN)

    def close(self) -> None:
        self.store.close()

    def keep(self, steps: Steps, origin: str = "") -> Clip:
        """The run's own copy of a clip's steps; what to ask about."""
        return keep_steps(self.folder / CLIPS, steps, origin)

    def put(self, questions: Sequence[Question]) -> None:
        """Ask about clips that were kept; again is a no-op. They are sent when `take` looks at the server.

        Raises StoreError where the same run, step and index were asked about other clips.
        """
        if wrong := sorted({each.run for each in questions} - {self.people.name}):
            raise ValueError(f"questions of the run {wrong[0]!r} cannot be put by {self.people.name!r}")
        new = {each.id: each for each in questions if each.id not in self.asked}
        if new:
            self._write([])
        self.store.ask(questions)
        self.asked |= new
        self.unsent |= new

    def take(self) -> list[Comparison[Clip]]:
        """Answers since the last call, in the order in which they came; one that was changed comes again."""
        self.taken += 1
        if self.taken > self.until and self.asked:
            events = self._look()
            newest = max((each["id"] for said in self.written.values() for each in said), default=0)
            if said := [each for each in events if each["id"] > newest and self._ours(each)]:
                self._write(said)
            if events:  # after it is written down: else a kill between the two would lose them
                receive(self.store.database, self.people.name, events)
        return self._heard(self.taken)

    def end(self) -> None:
        """Nothing more is heard: who learns the same once more hears no more than this either, until as many calls of
        `take`; else an answer that came later could be heard by its last ones, which heard nothing here."""
        if self.taken > self.until:
            self._write([])

    def state_dict(self) -> dict[str, int]:
        return {"taken": self.taken, "event": self.event}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Raises ValueError where the folder does not hold what had been taken."""
        self.taken, self.event = 0, 0
        self.standing.clear()
        self.unsure.clear()
        self.withdrawn.clear()
        for at in sorted(self.written):
            if at <= state["taken"]:
                self._heard(at)
        if self.event != state["event"]:
            raise ValueError(
                f"{self.folder / TAKEN} ends with answer {self.event}, but the checkpoint has learned from those up to"
                f" answer {state['event']}; put the run's own file back, or begin anew in another folder"
            )
        self.taken = state["taken"]

    def _look(self) -> list[dict[str, Any]]:
        """What happened on the server since the last look; nothing where it is too early or the server is away."""
        if time.monotonic() < self.next_look:
            return []
        try:
            self._send()
            events = list(self.client.events(self.people.name, after=received(self.store.database, self.people.name)))
        except (ConnectionError, ApiError) as error:
            if isinstance(error, ApiError) and error.status not in BUSY:
                raise
            if self.wait == FIRST_WAIT:
                console.print(f"{error}; training goes on, and answers are asked for again", markup=False)
            self.next_look = time.monotonic() + self.wait
            self.wait = min(2 * self.wait, PATIENCE)
            return []
        self.wait = FIRST_WAIT
        self.next_look = 0.0 if self.unsent else time.monotonic() + self.people.every
        return events

    def _send(self) -> None:
        """Some of the questions that the server may not have, their clips first; all of it again is a no-op."""
        name = self.people.name
        if not self.made:
            self.client.make_project(name, **{"title": self.people.title, "votes": self.people.votes, **self.settings})
            self.made = True
        some = list(islice(self.unsent.values(), SENT_AT_ONCE))
        for clip in (item for each in some for item in each.items):
            if isinstance(clip, Clip) and clip.digest not in self.sent:
                self.client.put_clip((self.folder / CLIPS / clip.steps).read_bytes())
                self.sent.add(clip.digest)
        self.client.ask(name, some)
        for each in some:
            del self.unsent[each.id]

    def _ours(self, event: Mapping[str, Any]) -> bool:
        return event["kind"] in SAID and event["payload"].get("question") in self.asked

    def _heard(self, at: int) -> list[Comparison[Clip]]:
        """The comparisons of what was written down for this call of `take`."""
        heard = []
        for event in self.written.get(at, ()):
            self.event = event["id"]
            if event["kind"] == "withdraw":  # by a lead, who may also have answered it
                self.withdrawn.add(event["payload"]["question"])
                continue
            key = event["payload"]["question"], event["rater"]
            before = self.standing.pop(key, None)
            self.unsure.discard(key)
            answer = event["payload"]["answer"]
            if event["kind"] == "undo":
                continue
            if "choice" not in answer:
                self.unsure.add(key)
                continue
            asked = self.asked[key[0]]
            items = {item.id: item for item in asked.items}
            row = {"sampler": asked.sampler, "propensity": asked.propensity, "rater": event["rater"]}
            row |= {"items": list(items), "answer": answer, "shown": event["payload"].get("shown", {})}
            row |= {"time": event["time"], "seconds": event["payload"].get("seconds")}
            said: Comparison[Any] = comparison_of(row, items)
            self.standing[key] = said if before is None else replace(said, left=before.left)  # an edit tells no sides
            heard.append(self.standing[key])
        return heard

    def _write(self, events: Sequence[Mapping[str, Any]]) -> None:
        """What this call of `take` returns, or that questions are put after it: on the disk before it is done."""
        names = ("id", "kind", "rater", "time", "payload")
        kept = [{name: each[name] for name in names} for each in events]
        with (self.folder / TAKEN).open("ab") as file:
            file.write(json.dumps({"take": self.taken, "events": kept}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.written.setdefault(self.taken, []).extend(kept)
        self.until = max(self.until, self.taken)


def _read(path: Path) -> tuple[dict[int, list[dict[str, Any]]], int]:
    """By call of `take`, and the last call that is told of; a line that a kill cut off was never returned."""
    written: dict[int, list[dict[str, Any]]] = {}
    if not path.exists():
        return written, 0
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(path, len(whole))
    for line in whole.splitlines():
        row = json.loads(line)
        written.setdefault(row["take"], []).extend(row["events"])
    return written, max(written, default=0)
