"""The loop for control on one page: act, ask about clips, learn the reward, train the policy, measure it."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tercih.agents.clips import Schedule
from tercih.agents.evaluate import Act, returns
from tercih.agents.experience import Collector
from tercih.agents.folder import save
from tercih.agents.milestones import Milestones
from tercih.agents.ppo import PPO
from tercih.agents.preferences import Answers, FromPreferences
from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.environments.control import ControlError
from tercih.environments.worlds import Worlds
from tercih.evaluation.intervals import bootstrap_mean
from tercih.forward import Models
from tercih.models.control import ActorCritic
from tercih.optimisation import Optimisation
from tercih.run import Run, write_json
from tercih.train import fit

EPISODES = 20
REWARD = "reward"  # what was learned as one, in the folder of the policy
USUAL_CLIP = 1.5  # seconds (Christiano et al. 2017, App. A.1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlSettings:
    """Everything the loop can vary; a recipe gives its own values.

    `steps` of the environment in all, `copies` of it at once, `length` steps of each in a rollout; `hidden` and
    `deviation` are the policy's (`ActorCritic`). A clip lasts `clip_seconds` of the environment's own time (None: 1.5,
    or an episode where that is shorter). Of the pairs asked about a share `random_share` is drawn at random, the others
    by `rule` (`tercih.agents.preferences.RULES`).
    """

    steps: int = 800_000
    copies: int = 8
    length: int = 256
    processes: int = 1
    hide_ends: bool = False
    clip_seconds: float | None = None
    schedule: Schedule = Schedule()
    candidates: int = 10
    random_share: float = 0.2
    rule: str = "disagreement"
    reward: RewardLearning = RewardLearning()
    hidden: tuple[int, ...] = (64, 64)
    deviation: float = 1.0
    method: PPO = PPO()
    optimisation: Optimisation = Optimisation(lr=3e-4, eps=1e-5, max_norm=0.5)

    @property
    def rollouts(self) -> int:
        return max(1, round(self.steps / (self.copies * self.length)))


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlTask:
    """An environment by its id and options."""

    environment: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def worlds(self, count: int, seed: int, **rest: Any) -> Worlds:
        return Worlds(self.environment, count, options=self.options, seed=seed, **rest)


def policy_of(worlds: Worlds, settings: ControlSettings, seed: int, steps: int) -> Collector:
    """An untrained policy, and what collects its rollouts."""
    return Collector(
        policy=ActorCritic(
            worlds.observation_space, worlds.action_space, hidden=settings.hidden, deviation=settings.deviation,
            seed=seed,
        ),
        worlds=worlds, steps=steps, length=settings.length, reward_discount=settings.method.gamma, seed=seed,
    )  # fmt: skip


def from_preferences(worlds: Worlds, answers: Answers, settings: ControlSettings, seed: int) -> FromPreferences:
    """The data of PPO: rollouts, rewarded by what has been learned from the answers.

    Raises ControlError where the length of episodes would tell how good they are.
    """
    check_horizon(worlds)
    collector = policy_of(worlds, settings, seed, settings.rollouts)
    return FromPreferences(
        collector=collector,
        learner=RewardLearner(settings.reward, worlds.observation_space, worlds.action_space, seed=seed),
        answers=answers,
        schedule=settings.schedule,
        clip=clip_steps(worlds, settings.clip_seconds),
        candidates=settings.candidates,
        random_share=settings.random_share,
        rule=settings.rule,
        seed=seed,
    )


def check_horizon(worlds: Worlds) -> None:
    """ControlError where the length of episodes would tell how good they are."""
    if not (worlds.fixed_horizon or worlds.hide_ends):
        raise ControlError(
            f"episodes of {worlds.id} can end before their limit of steps, and so their length would tell what is"
            " good: hide the ends (--loop.hide-ends), or let nothing end them (--options terminate_when_unhealthy"
            " false where the environment has it)"
        )


def clip_steps(worlds: Worlds, seconds: float | None) -> int:
    if seconds is None:
        return min(max(1, round(USUAL_CLIP * worlds.rate)), worlds.limit or sys.maxsize)
    if not seconds > 0:
        raise ValueError(f"clip_seconds must be > 0, got {seconds}")
    return max(1, round(seconds * worlds.rate))


def train(run: Run, folder: Path, data: Collector | FromPreferences, settings: ControlSettings) -> str:
    policy = data.policy if isinstance(data, Collector) else data.collector.policy
    kept = Milestones(data, policy, folder)
    metrics = fit(
        settings.method, Models(policy=policy), kept, settings.optimisation, folder, title="training the policy"
    )
    save(folder, policy, data.worlds if isinstance(data, Collector) else data.collector.worlds)
    kept.keep(data.steps)
    steps = settings.rollouts * settings.copies * settings.length
    if isinstance(data, Collector):
        return f"{steps} steps on the environment's own reward"
    save(folder / REWARD, data.learner.ensemble, data.collector.worlds)
    return f"{steps} steps, {len(data.learner)} answers to {data.asked} questions, loss {metrics['loss']:.3f}"


def evaluate(task: ControlTask, act: Act, seed: int, episodes: int = EPISODES) -> dict[str, Any]:
    """The environment's own return over unseen episodes, for which nothing was trained; with its interval."""
    with task.worlds(min(8, episodes), seed=10_000 + seed) as worlds:
        found = returns(act, worlds, episodes)
    return {**bootstrap_mean(found, seed=seed).as_dict(), "returns": found}


def at_random(task: ControlTask, seed: int) -> Act:
    """What acts without having learned anything."""
    with task.worlds(1, seed=0) as worlds:
        space = worlds.action_space
    space.seed(seed)
    return lambda observation_N: np.stack([space.sample() for _ in observation_N])


def option(name: str, text: str) -> Any:
    """The value of an environment's option, as JSON. Raises ValueError."""
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"--options {name} must be JSON, such as false or 0.5, got {text!r}") from None


def finish(run: Run, summary: dict[str, Any]) -> None:
    write_json(run.folder / "summary.json", summary)
    run.finish()
