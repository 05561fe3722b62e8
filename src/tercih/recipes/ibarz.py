"""Demonstrations and preferences (Ibarz et al. 2018): Q-learning from both, for tasks that chance never solves.

Any environment of Gymnasium's with Discrete actions whose episodes end by time alone. In the maze of our own a scripted
guide shows the way; elsewhere somebody's steps are read from a file. A simulated teacher compares by the environment's
own reward, which the trainer never sees; with `--ask` people compare, while the agent goes on training.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from tercih.agents.clips import Schedule
from tercih.agents.demonstrations import record
from tercih.agents.dqfd import DQfD
from tercih.agents.dqn import DQN
from tercih.agents.folder import save
from tercih.agents.ibarz import FromDemonstrationsAndPreferences, episodes_of
from tercih.agents.milestones import TrainerMilestones
from tercih.agents.off_policy import MEND
from tercih.agents.preferences import Asking
from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.checkpoint import Checkpoints
from tercih.data.steps import Steps, read_steps, write_steps
from tercih.environments.control import Array
from tercih.environments.maze import planned
from tercih.feedback.simulated import Control
from tercih.feedback.store import Store
from tercih.feedback.teachers import Teacher
from tercih.recipes.clip_answers import PeopleAnswers, TeacherAnswers, own_reward
from tercih.recipes.control_loop import REWARD, ControlTask, check_horizon, clip_steps, option
from tercih.recipes.control_run import AHEAD, answers_of, asked_as, check_ask, conclude, look_back
from tercih.run import Run, read_json
from tercih.train import run as drive

MAZE = "Tercih/Maze-v0"
SHOWN = "demonstrations.npz"


@dataclass(frozen=True, kw_only=True, slots=True)
class IbarzSettings:
    """`steps` of the environment in all, `copies` of it at once; after every `length` steps of each, questions may be
    asked and metrics are written. An update follows `every` steps. A clip lasts `clip_seconds` of the environment's own
    time (None: 1.5, or an episode where that is shorter); `auto` answers are automatic. Sizes are those of the maze."""

    steps: int = 4000
    copies: int = 10
    length: int = 40
    every: int = 10
    auto: int = 10
    recent: int = 3
    clip_seconds: float | None = None
    schedule: Schedule = Schedule(labels=400, first=0.3, decay=10.0)
    reward: RewardLearning = RewardLearning(hidden=(32,), updates=25, first_updates=50, lr=1e-2, weight_decay=1e-2)
    agent: DQfD = field(
        default_factory=lambda: DQfD(
            dqn=DQN(
                hidden=(64,), lr=5e-3, gamma=0.95, batch=256, capacity=20_000, starts=1, explore_over=1,
                explore_to=0.1, target_every=5, dueling=False,
            ),
            long=5, pretrain=100,
        )
    )  # fmt: skip

    @property
    def rows(self) -> int:
        return max(1, round(self.steps / (self.copies * self.length)))


TINY = IbarzSettings(
    steps=480, copies=3, auto=4, schedule=Schedule(labels=12),
    reward=RewardLearning(hidden=(8,), updates=5, first_updates=10),
    agent=DQfD(dqn=DQN(hidden=(16,), batch=16, capacity=480, starts=1, explore_over=1), pretrain=10),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Ibarz:
    """An agent learns from demonstrations, and from comparisons of what it did."""

    environment: str = MAZE
    """Gymnasium's id."""
    options: tuple[tuple[str, str], ...] = ()
    """Options of the environment with their values as JSON: --options NAME VALUE."""
    demonstrations: Path | None = None
    """Steps that somebody showed, an archive (.npz) as `tercih.data.steps` describes it. None: --shown episodes of a
    scripted guide, who knows the way through the maze."""
    shown: int = 1
    """Episodes that the scripted guide shows; 0: nothing is shown, and only the comparisons are learned from."""
    out: Path = Path("runs/ibarz")
    """Run folder; the same command on the same folder goes on where it was."""
    seed: int = 0
    labels: int = 400
    """Comparisons that are asked for; 0: only the demonstrations are learned from."""
    steps: int | None = None
    """Of the environment. None: 4,000."""
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
    """The sentence that people read above every pair: --ask-for "Which one comes nearer to the door?"."""
    tiny: bool = False
    """A small version of everything, to see that it runs."""
    loop: IbarzSettings = IbarzSettings()


def settings_of(config: Ibarz) -> IbarzSettings:
    if config.tiny and config.loop != IbarzSettings():
        raise ValueError("--tiny has settings of its own; leave out --tiny, or the options --loop.…")
    if min(config.labels, config.shown) < 0:
        raise ValueError(f"--labels and --shown must be >= 0, got {config.labels} and {config.shown}")
    if not (config.labels or config.shown or config.demonstrations):
        raise ValueError("with --labels 0 and --shown 0 there is nothing to learn from")
    if config.tiny:
        return TINY
    settings = config.loop
    if config.steps is not None:
        settings = replace(settings, steps=config.steps)
    if config.labels:
        settings = replace(settings, schedule=replace(settings.schedule, labels=config.labels))
    return settings


def demonstrated(config: Ibarz, task: ControlTask) -> Steps | None:
    """What was shown. Raises ValueError where nobody knows the way."""
    if config.demonstrations:
        if config.shown != Ibarz().shown:
            raise ValueError("--shown counts the scripted guide's episodes; leave it out with --demonstrations")
        return read_steps(config.demonstrations)
    if not config.shown:
        return None
    if config.environment != MAZE:
        raise ValueError(
            f"the scripted guide knows {MAZE} alone: give steps of {config.environment} by --demonstrations FILE, or"
            " learn without by --shown 0"
        )
    with task.worlds(1, seed=30_000 + config.seed) as worlds:
        return record(lambda seen_N: np.array([planned(seen) for seen in seen_N]), worlds, config.shown)


def main(config: Ibarz) -> dict[str, Any]:
    check_ask(config)
    settings = settings_of(config)
    task = ControlTask(environment=config.environment, options={n: option(n, text) for n, text in config.options})
    steps = demonstrated(config, task)
    with task.worlds(settings.copies, config.seed) as worlds:
        if config.labels:
            check_horizon(worlds)
        spaces = worlds.observation_space, worlds.action_space
        settings.agent.dqn.learner(*spaces, seed=config.seed)  # what cannot be learned is said first
        shown = episodes_of(steps, worlds) if steps else []
        run = Run(
            config.out, "ibarz", config, seed=config.seed, control=config.control, simulated_raters=not config.ask
        )
        if steps:
            write_steps(run.folder / SHOWN, steps)
        with Store(run.folder / "feedback.sqlite") as store:
            answers = answers_of(config, run, store, worlds, own_reward(config.teacher))
            trained = FromDemonstrationsAndPreferences(
                settings=settings.agent, worlds=worlds, shown=shown, schedule=settings.schedule,
                asking=Asking(
                    learner=RewardLearner(settings.reward, *spaces, seed=config.seed), answers=answers,
                    random_share=1.0, seed=config.seed,
                ),
                clip=clip_steps(worlds, settings.clip_seconds), steps=settings.rows, length=settings.length,
                every=settings.every, auto=settings.auto, recent=settings.recent, rewards=bool(config.labels),
                seed=config.seed,
            )  # fmt: skip
            run.stage("policy", "Ask and train", lambda folder: _train(folder, trained, answers))
            _recall(run.folder / "policy", trained)
            run.stage("evaluation", "Evaluate", lambda folder: _evaluate(run, folder, store, task, trained, config))
    found = read_json(run.folder / "evaluation" / "returns.json")
    summary = {
        "environment": config.environment, "labels": settings.schedule.labels if config.labels else 0,
        "shown": len(shown), "control": config.control, "raters": "people" if config.ask else "a simulated teacher",
        "seed": config.seed, "steps": _steps(trained), "return": found["policy"], "random": found["random"],
    }  # fmt: skip
    conclude(run, summary)
    return summary


def _train(
    folder: Path, trained: FromDemonstrationsAndPreferences, answers: PeopleAnswers | TeacherAnswers
) -> str:  # fmt: skip
    kept = TrainerMilestones(trained, trained.steps, trained.learner.network, folder)
    drive(kept, trained.steps, folder, title="training the policy", mend=MEND)
    kept.keep(trained.steps)
    if isinstance(answers, PeopleAnswers):
        answers.live.end()
    said = f"{_steps(trained)} steps, demonstrations: {len(trained.shown)}"
    if not trained.rewards:
        return f"{said}, nobody was asked"
    save(folder / REWARD, trained.asking.learner.ensemble, trained.worlds)
    return f"{said}, {len(trained.asking.row_of)} answers to {trained.asking.asked} questions"


def _recall(folder: Path, trained: FromDemonstrationsAndPreferences) -> None:
    """What was trained, also where an earlier start of this command did it."""
    saved = Checkpoints(folder / "checkpoints").load()
    if saved:
        trained.learner.load_state_dict(saved[1]["learner"])


@dataclass(frozen=True, slots=True)
class _Player:
    """The agent of a milestone, whose weights are put into the learner."""

    trained: FromDemonstrationsAndPreferences

    @property
    def network(self) -> nn.Module:
        return self.trained.learner.network

    def likeliest(self, observation_N: Array) -> Array:
        return self.trained.likeliest(observation_N)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.network.load_state_dict(saved)


def _evaluate(
    run: Run, folder: Path, store: Store, task: ControlTask, trained: FromDemonstrationsAndPreferences, config: Ibarz
) -> str:  # fmt: skip
    rows = trained.steps
    due = [trained.schedule.due(step / max(1, rows - 1)) for step in range(rows)] if trained.rewards else []
    return look_back(
        run, folder, store, task, trained.worlds, _Player(trained), due, asked_as=asked_as(config, run),
        simulated=not config.ask, rollouts=rows, steps=_steps(trained), clip=trained.clip, seed=config.seed,
    )  # fmt: skip


def _steps(trained: FromDemonstrationsAndPreferences) -> int:
    return trained.steps * trained.length * len(trained.worlds)
