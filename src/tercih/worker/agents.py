"""What acts before people. An agent is made by a function of (world, seed); AGENTS names those that are always there.

Others are named on the worker's own command line, never by a job: a job could then run any code it names.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from tercih.environments.control import ControlError, World
from tercih.feedback.acts import Signal


class Agent(Protocol):
    def hear(self, signals: Sequence[Signal]) -> None:
        """What the rater has said since the last step."""

    def act(self, observation: Any) -> Any:
        """The next action."""


Maker = Callable[[World, int], Agent]


class Random:
    """Acts at random and listens to nobody."""

    def __init__(self, world: World, seed: int) -> None:
        self.space = world.env.action_space
        self.space.seed(seed)

    def hear(self, signals: Sequence[Signal]) -> None:
        pass

    def act(self, observation: Any) -> Any:
        return self.space.sample()


def coach(world: World, seed: int) -> Agent:
    """Learns from what raters press, as `tercih.agents.coach` says."""
    from tercih.agents.coach import Coach  # torch, which a worker without it does not need

    return _learner(Coach(), world, seed)


def tamer(world: World, seed: int) -> Agent:
    """Learns from what raters press, as `tercih.agents.tamer` says; for Discrete actions."""
    from tercih.agents.tamer import Tamer

    return _learner(Tamer(), world, seed)


def _learner(settings: Any, world: World, seed: int) -> Agent:
    try:
        learner: Agent = settings.learner(world.env.observation_space, world.env.action_space, seed=seed)
    except ValueError as error:
        raise ControlError(str(error)) from error
    return learner


AGENTS: Mapping[str, Maker] = {"random": Random, "coach": coach, "tamer": tamer}
