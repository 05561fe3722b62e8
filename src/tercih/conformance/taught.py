"""A world in which agents are taught as they act, and a scripted trainer who presses late, by a simulated clock."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete

from tercih.agents.live import Press, Taught

STATES, ACTIONS, SECONDS = 6, 3, 0.2  # of a step
Praise = Callable[[int, int], float]
"""`praise(state, action)`: what the trainer thinks of it; 0 is not pressed."""


def best(state: int) -> int:
    """The action that the trainer wants."""
    return state % ACTIONS


def approve(state: int, action: int) -> float:
    return 1.0 if action == best(state) else -1.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def spaces() -> tuple[Any, Any]:
    return Discrete(STATES), Discrete(ACTIONS)


def teach(
    learner: Taught, clock: Clock, praise: Praise, steps: int, *, low: float, high: float, seed: int,
    shuffled: bool = False,
) -> None:  # fmt: skip
    """`steps` steps in states that come at random; presses are about some moment at which what came of a step was on
    the screen, and come `low` to `high` seconds after it.

    `shuffled`: what is pressed is what the trainer thought of a step long past, an arbitrary one.
    """
    dice = np.random.default_rng(seed)
    waiting, thoughts = list[Press](), list[float]()
    for step in range(steps):
        clock.now = step * SECONDS
        learner.hear([press for press in waiting if press.seconds <= clock.now])
        waiting = [press for press in waiting if press.seconds > clock.now]
        state = int(dice.integers(STATES))
        action = int(learner.act(np.int64(state)))
        thoughts.append(praise(state, action))
        said = thoughts[int(dice.integers(len(thoughts)))] if shuffled else thoughts[-1]
        pressed = (step + 1 + dice.random()) * SECONDS + dice.uniform(low, high)
        if said:
            waiting = sorted([*waiting, Press(id=step, value=said, seconds=pressed)], key=lambda press: press.seconds)
