"""PEBBLE (Lee et al. 2021): SAC learns from comparisons of clips, and judges what it remembers anew after each session.

Any environment of Gymnasium's whose actions are a bounded Box. A simulated teacher compares by the environment's own
reward, which the trainer never sees. SURF and RUNE are options: --loop.reward.surf … and --loop.method.bonus 0.05.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from tercih.agents.clips import Schedule
from tercih.agents.folder import save
from tercih.agents.milestones import TrainerMilestones
from tercih.agents.off_policy import MEND, OffPolicy
from tercih.agents.pebble import PEBBLE, FromPreferencesOffPolicy, asked_by
from tercih.agents.preferences import Asking
from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.agents.sac import SAC, SACLearner
from tercih.checkpoint import Checkpoints
from tercih.environments.control import Array
from tercih.feedback.simulated import Control
from tercih.feedback.store import Store
from tercih.feedback.teachers import Teacher
from tercih.recipes.ask_live import CLIPS
from tercih.recipes.clip_answers import TeacherAnswers, own_reward
from tercih.recipes.control_loop import REWARD, ControlTask, check_horizon, clip_steps, option
from tercih.recipes.control_run import conclude, look_back
from tercih.run import Run, read_json
from tercih.train import Trainer
from tercih.train import run as drive


@dataclass(frozen=True, kw_only=True, slots=True)
class PebbleSettings:
    """`steps` of the environment in all, `copies` of it at once; after every `row` steps questions may be asked and
    metrics are written. A clip lasts `clip_seconds` of the environment's own time (None: 1.5, or an episode where that
    is shorter). The agent's and the reward's sizes are those of small tasks; the paper's are 2×1024 and 3×256."""

    steps: int = 20_000
    copies: int = 1
    row: int = 500
    hide_ends: bool = False
    clip_seconds: float | None = None
    schedule: Schedule = Schedule()
    candidates: int = 10
    random_share: float = 0.2
    method: PEBBLE = PEBBLE()
    reward: RewardLearning = RewardLearning(bounded=True, updates=50)
    agent: SAC = SAC(hidden=(64, 64), lr=1e-3, batch=128, capacity=100_000)

    @property
    def rows(self) -> int:
        return max(1, round(self.steps / self.row))


TINY = PebbleSettings(
    steps=1200, row=200, method=PEBBLE(explore=400, reset_updates=10), schedule=Schedule(labels=12),
    reward=RewardLearning(bounded=True, hidden=(32,), updates=10, first_updates=30),
    agent=SAC(hidden=(16,), lr=1e-3, batch=32, capacity=1000, starts=200),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Pebble:
    """An agent learns from comparisons of what it remembers."""

    environment: str = "Pendulum-v1"
    """Gymnasium's id."""
    options: tuple[tuple[str, str], ...] = ()
    """Options of the environment with their values as JSON: --options terminate_when_unhealthy false."""
    out: Path = Path("runs/pebble")
    """Run folder; the same command on the same folder goes on where it was."""
    seed: int = 0
    labels: int = 200
    """Comparisons that are asked for; 0: SAC on the environment's own reward, for comparison."""
    steps: int | None = None
    """Of the environment. None: 20,000."""
    teacher: Teacher = Teacher()
    """The simulated teacher; by default one without faults."""
    control: Control = "none"
    """"shuffled-labels" is the negative control: half of the answers are turned around by lot."""
    tiny: bool = False
    """A minute's version of everything, to see that it runs."""
    loop: PebbleSettings = PebbleSettings()


def settings_of(config: Pebble) -> PebbleSettings:
    if config.tiny and config.loop != PebbleSettings():
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


def from_preferences(
    loop: OffPolicy, answers: TeacherAnswers, settings: PebbleSettings, seed: int
) -> FromPreferencesOffPolicy:
    """What `train.run` drives."""
    worlds = loop.worlds
    learner = RewardLearner(settings.reward, worlds.observation_space, worlds.action_space, seed=seed)
    asking = Asking(
        learner=learner, answers=answers, candidates=settings.candidates, random_share=settings.random_share, seed=seed
    )
    return FromPreferencesOffPolicy(
        settings=settings.method, loop=loop, asking=asking, schedule=settings.schedule,
        clip=clip_steps(worlds, settings.clip_seconds), steps=settings.rows,
    )  # fmt: skip


def main(config: Pebble) -> dict[str, Any]:
    settings = settings_of(config)
    task = ControlTask(environment=config.environment, options={n: option(n, text) for n, text in config.options})
    with task.worlds(settings.copies, config.seed, hide_ends=settings.hide_ends) as worlds:
        if config.labels:
            check_horizon(worlds)
        loop = OffPolicy(settings.agent, worlds, seed=config.seed, row=settings.row)  # what cannot be learned is said
        run = Run(config.out, "pebble", config, seed=config.seed, control=config.control, simulated_raters=True)
        with Store(run.folder / "feedback.sqlite") as store:
            run.stage("policy", "Ask and train", lambda folder: _train(run, folder, loop, store, config, settings))
            _recall(run.folder / "policy", loop, config)
            run.stage(
                "evaluation", "Evaluate", lambda folder: _evaluate(run, folder, store, task, loop, config, settings)
            )
    found = read_json(run.folder / "evaluation" / "returns.json")
    summary = {
        "environment": config.environment, "labels": settings.schedule.labels if config.labels else 0,
        "control": config.control, "raters": "a simulated teacher", "seed": config.seed,
        "steps": settings.rows * settings.row,
        "return": found["policy"], "random": found["random"],
    }  # fmt: skip
    conclude(run, summary)
    return summary


def _recall(folder: Path, loop: OffPolicy, config: Pebble) -> None:
    """What was trained, also where an earlier start of this command did it."""
    saved = Checkpoints(folder / "checkpoints").load()
    if saved:
        loop.load_state_dict(saved[1]["loop"] if config.labels else saved[1])


def _train(run: Run, folder: Path, loop: OffPolicy, store: Store, config: Pebble, settings: PebbleSettings) -> str:
    if not config.labels:
        _drive(loop, loop, folder, settings, "training on the environment's own reward")
        return f"{loop.taken} steps on the environment's own reward"
    answers = TeacherAnswers(
        run.folder, store, loop.worlds, config.teacher, own_reward(config.teacher), run=CLIPS, seed=config.seed,
        control=config.control,
    )  # fmt: skip
    trained = from_preferences(loop, answers, settings, config.seed)
    _drive(trained, loop, folder, settings, "training the policy")
    save(folder / REWARD, trained.asking.learner.ensemble, loop.worlds)
    return f"{loop.taken} steps, {len(trained.asking.learner)} answers to {trained.asking.asked} questions"


def _drive(trainer: Trainer, loop: OffPolicy, folder: Path, settings: PebbleSettings, title: str) -> None:
    kept = TrainerMilestones(trainer, settings.rows, _actor(loop), folder)
    drive(kept, settings.rows, folder, title=title, mend=MEND)
    kept.keep(settings.rows)


def _actor(loop: OffPolicy) -> nn.Module:
    assert isinstance(loop.learner, SACLearner)
    return loop.learner.actor


@dataclass(frozen=True, slots=True)
class _Player:
    """The agent of a milestone, whose actor's weights are put into the loop."""

    loop: OffPolicy

    def likeliest(self, observation_N: Array) -> Array:
        return self.loop.likeliest(observation_N)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        _actor(self.loop).load_state_dict(saved)


def _evaluate(
    run: Run, folder: Path, store: Store, task: ControlTask, loop: OffPolicy, config: Pebble, settings: PebbleSettings
) -> str:
    explored, rows = settings.method.explored(settings.row), settings.rows
    due = [asked_by(step, rows, explored, settings.schedule) for step in range(rows)] if config.labels else []
    return look_back(
        run, folder, store, task, loop.worlds, _Player(loop), due, asked_as=CLIPS, simulated=True, rollouts=rows,
        steps=rows * settings.row, clip=clip_steps(loop.worlds, settings.clip_seconds), seed=config.seed,
    )  # fmt: skip
