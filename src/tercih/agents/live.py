"""What learners share that are taught while they act: what was on the screen when, and what a rater meant by a press.

Times are seconds. A signal speaks of what an action led to, which is on the screen from the moment the next frame is
shown until the one after it.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tercih.data.steps import Steps
from tercih.records import TimedSignal

REMEMBERED = 1000  # steps back that a signal may speak of, and signals that may be taken back


class Heard(Protocol):
    """A press: +1 or −1 (or another size, from a script), or 0 for one that takes back the signal `takes_back`."""

    @property
    def id(self) -> int: ...
    @property
    def value(self) -> float: ...
    @property
    def takes_back(self) -> int | None: ...
    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Press:
    """A signal that was not given to the web pages: from a record, or a script."""

    id: int
    value: float
    seconds: float
    takes_back: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shown:
    """One step: in `observation` the agent did `action`, and what came of it was on the screen from `since` on."""

    observation: Any
    action: Any
    since: float


class Taught:
    """An agent of `tercih worker`: `act` and `hear`, with the times between them by a clock of its own.

    A subclass says how it chooses an action (`choose`), and what it learns from a signal (`learn`) and forgets with one
    (`forget`), and from what was done in its place (`taught`). The newest steps are in `shown`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began: float | None = None
        self.last: tuple[Any, Any] | None = None
        self.shown: deque[Shown] = deque(maxlen=REMEMBERED)
        self.heard = 0

    def choose(self, observation: Any) -> Any:
        """The next action."""
        raise NotImplementedError

    def learn(self, signal: Heard) -> None:
        raise NotImplementedError

    def forget(self, key: int) -> None:
        """The signal of this id was taken back."""
        raise NotImplementedError

    def taught(self, observation: Any, action: Any, value: float) -> None:
        """What a press of `value` would say that is known to be about this action, here."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What was learned, and `heard`; not the steps of the act at hand."""
        raise NotImplementedError

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        raise NotImplementedError

    def act(self, observation: Any) -> Any:
        """This observation is on the screen now; it is what the action before it led to."""
        now = self.clock()
        if self.began is None:
            self.began = now
        if self.last is not None:
            self.show(*self.last, since=now - self.began)
        action = self.choose(observation)
        self.last = (np.array(observation), action)
        return action

    def replaced(self, done: Any) -> None:
        """Somebody did this in the place of the action that was just chosen: it is praised, and the other one blamed.
        No delay is guessed, for the step is known."""
        assert self.last is not None, "an action is replaced after it was chosen"
        observation, wanted = self.last
        self.last = (observation, done)
        self.taught(observation, done, 1.0)
        self.taught(observation, wanted, -1.0)
        self.heard += 1

    def show(self, observation: Any, action: Any, since: float) -> None:
        self.shown.append(Shown(observation=observation, action=action, since=since))

    def hear(self, signals: Sequence[Heard]) -> None:
        for signal in signals:
            if signal.takes_back is None:
                self.learn(signal)
            else:
                self.forget(signal.takes_back)
            self.heard += 1


def replay_to(learner: Taught, steps: Steps, record: TimedSignal[Any]) -> None:
    """Let a learner hear from a record what was said of these steps; before a press it is shown what was seen by then.

    Raises ValueError where the steps do not say when they were seen.
    """
    if not len(steps.times):
        raise ValueError("these steps do not say when people saw them (times): nobody watched them live")
    at = 0
    for key, (seconds, value) in enumerate(sorted(record.signals)):
        while at < len(steps) and steps.times[at] <= seconds:
            learner.show(steps.observations[at], steps.actions[steps.first + at], float(steps.times[at]))
            at += 1
        learner.hear([Press(id=key, value=value, seconds=seconds)])
