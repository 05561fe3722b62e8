"""A rater's hands: what they do in the agent's place while it acts before them, and the log of it."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from tercih.data.steps import write_whole
from tercih.environments.control import ControlError
from tercih.environments.override import Log
from tercih.feedback.acts import Signal


class Hands:
    """An action is held from a press until it is let go, and for one step at least.

    Where the project names actions, `log` has every one that was wanted and every one that was done, also where these
    are the same; `replaced` counts where they are not.
    """

    def __init__(self, space: Any, actions: int, who: str) -> None:
        """`actions` is how many the project names (0: none may be replaced). ControlError where there are others."""
        self.first = int(getattr(space, "start", 0))
        if actions and getattr(space, "n", None) != actions:
            raise ControlError(
                f"the project names {actions} actions to act in the agent's place, but the environment's are {space};"
                " name each of them in its setting `actions`, or none"
            )
        self.offered = actions > 0
        self.log, self.replaced = Log(who=who), 0
        self.held: int | None = None
        self.fresh = self.ends = False

    def hear(self, signals: Sequence[Signal]) -> list[Signal]:
        """Those that are for the agent to hear."""
        for signal in signals:
            if signal.action is None:
                continue
            if signal.action >= 0:
                self.held, self.fresh, self.ends = signal.action, True, False
            elif self.fresh:  # a tap, shorter than a step
                self.ends = True
            else:
                self.held = None
        return [signal for signal in signals if signal.action is None]

    def instead(self, observation: Any, wanted: Any) -> Any:
        """What is done: `wanted` itself where nobody holds another action."""
        done = wanted
        if self.held is not None and self.first + self.held != wanted:
            done = np.int64(self.first + self.held)
            self.replaced += 1
        self.fresh = False
        if self.ends:
            self.held, self.ends = None, False
        if self.offered:
            self.log.add(np.array(observation)[None], np.array(wanted)[None], np.array(done)[None])
        return done

    def save(self, path: Path) -> None:
        """The log, where anything was replaced."""
        if self.replaced:
            packed = BytesIO()
            self.log.write(packed)
            write_whole(path, packed.getvalue())
