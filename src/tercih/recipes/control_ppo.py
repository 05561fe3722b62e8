"""Deep RL from human preferences (Christiano et al. 2017): an agent learns what people want from comparisons of clips.

Any environment of Gymnasium's. A simulated teacher compares by the environment's own reward, which the trainer never
sees; with `--ask` people do, while the agent goes on training.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tercih.agents.clips import Schedule
from tercih.agents.ppo import PPO
from tercih.feedback.simulated import Control
from tercih.feedback.teachers import Teacher
from tercih.optimisation import Optimisation
from tercih.recipes.clip_answers import own_reward
from tercih.recipes.control_loop import ControlSettings, ControlTask, option
from tercih.recipes.control_run import AHEAD, check_ask, conclude, learn_from_clips

TASKS: dict[str, dict[str, Any]] = {
    "HalfCheetah-v5": {"length": 128, "method": PPO(gamma=0.98, lam=0.92), "deviation": 0.3},
    "LunarLander-v3": {
        "copies": 16,
        "length": 1024,
        "method": PPO(gamma=0.999, lam=0.98, epochs=4, entropy_coef=0.01),
    },
    "Pendulum-v1": {"method": PPO(gamma=0.9), "optimisation": Optimisation(lr=1e-3, eps=1e-5, max_norm=0.5)},
    "Swimmer-v5": {
        "copies": 4,
        "length": 1024,
        "method": PPO(gamma=0.9999, lam=0.98, minibatch=256),
        "optimisation": Optimisation(lr=6e-4, eps=1e-5, max_norm=0.5),
    },
}
"""What differs from the usual settings, by environment. The discounts are those of RL Baselines3 Zoo's tuned PPO,
and so are all settings of LunarLander and Swimmer."""

TINY = ControlSettings(
    steps=2048, copies=4, length=128, schedule=Schedule(labels=24), method=PPO(epochs=2),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlPPO:
    """An agent learns from comparisons of what it did."""

    environment: str = "HalfCheetah-v5"
    """Gymnasium's id."""
    options: tuple[tuple[str, str], ...] = ()
    """Options of the environment with their values as JSON: --options terminate_when_unhealthy false."""
    out: Path = Path("runs/control_ppo")
    """Run folder; the same command on the same folder goes on where it was."""
    seed: int = 0
    labels: int = 700
    """Comparisons that are asked for; 0: the environment's own reward is learned from, for comparison."""
    steps: int | None = None
    """Of the environment. None: 800,000."""
    teacher: Teacher = Teacher()
    """The simulated teacher; by default one without faults."""
    control: Control = "none"
    """"shuffled-labels" is the negative control: half of the answers are turned around by lot."""
    ask: str = ""
    """Address of a labelling server whose raters are asked in place of a teacher: --ask http://127.0.0.1:8000. Its API
    key is read from the environment variable TERCIH_API_KEY."""
    ask_ahead: int = AHEAD
    """Training goes on while at most so many answers of people are awaited."""
    ask_for: str = ""
    """The sentence that people read above every pair: --ask-for "Which one stands better?"."""
    tiny: bool = False
    """A minute's version of everything, to see that it runs."""
    loop: ControlSettings = ControlSettings()
    """On the command line it begins as what is usual for the environment."""


def usual(environment: str) -> ControlSettings:
    """The settings that an environment has where nobody says otherwise."""
    return replace(ControlSettings(), **TASKS.get(environment, {}))


def defaults(arguments: Sequence[str]) -> ControlPPO:
    """What the command line changes: the usual settings of the environment that it names."""
    named = ArgumentParser(add_help=False, allow_abbrev=False)
    named.add_argument("--environment", default=ControlPPO().environment)
    environment = named.parse_known_args(arguments)[0].environment
    return ControlPPO(environment=environment, loop=usual(environment))


def settings_of(config: ControlPPO) -> ControlSettings:
    if config.tiny and config.loop not in (ControlSettings(), usual(config.environment)):
        raise ValueError("--tiny has settings of its own; leave out --tiny, or the options --loop.…")
    if config.labels < 0:
        raise ValueError(f"--labels must be >= 0, got {config.labels}")
    if config.tiny:
        return TINY
    settings = config.loop
    if config.steps is not None:
        settings = replace(settings, steps=config.steps)
    if config.labels:
        settings = replace(settings, schedule=replace(settings.schedule, labels=config.labels))
    return settings


def main(config: ControlPPO) -> dict[str, Any]:
    check_ask(config)
    settings = settings_of(config)
    task = ControlTask(environment=config.environment, options={n: option(n, text) for n, text in config.options})
    run, summary = learn_from_clips(config, "control_ppo", task, settings, own_reward(config.teacher))
    conclude(run, summary)
    return summary
