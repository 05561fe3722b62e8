"""Deep RL from human preferences (Christiano et al. 2017): an agent learns what people want from comparisons of clips.

Any environment of Gymnasium's. A simulated teacher compares by the environment's own reward, which the trainer never
sees; with `--ask` people do, while the agent goes on training.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tercih.agents.clips import Schedule
from tercih.agents.folder import load
from tercih.agents.ppo import PPO
from tercih.agents.preferences import FromPreferences
from tercih.environments.worlds import Worlds
from tercih.evaluation.run_folder import read_run
from tercih.evaluation.warning_signs import find_warnings
from tercih.feedback.simulated import Control
from tercih.feedback.store import Store
from tercih.feedback.teachers import Teacher
from tercih.models.control import ActorCritic
from tercih.models.ensemble import RewardEnsemble
from tercih.optimisation import Optimisation
from tercih.progress import console
from tercih.recipes.ask_live import CLIPS, LivePeople
from tercih.recipes.clip_answers import PeopleAnswers, TeacherAnswers, own_reward
from tercih.recipes.control_evaluation import describe_feedback, evaluate_training
from tercih.recipes.control_loop import (
    REWARD,
    ControlSettings,
    ControlTask,
    at_random,
    clip_steps,
    evaluate,
    finish,
    from_preferences,
    option,
    policy_of,
    train,
)
from tercih.recipes.people import People
from tercih.report import write_report
from tercih.run import Run, peak_rss_mb, read_json, write_json

TASKS: dict[str, dict[str, Any]] = {
    "Pendulum-v1": {"method": PPO(gamma=0.9), "optimisation": Optimisation(lr=1e-3, eps=1e-5, max_norm=0.5)},
    "Swimmer-v5": {"method": PPO(gamma=0.9999)},
}
"""What differs from the usual settings, by environment."""

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
    ask_ahead: int = 20
    """Training goes on while at most so many answers of people are awaited."""
    tiny: bool = False
    """A minute's version of everything, to see that it runs."""
    loop: ControlSettings = ControlSettings()


def settings_of(config: ControlPPO) -> ControlSettings:
    if config.tiny and config.loop != ControlSettings():
        raise ValueError("--tiny has settings of its own; leave out --tiny, or the options --loop.…")
    if config.labels < 0:
        raise ValueError(f"--labels must be >= 0, got {config.labels}")
    if config.tiny:
        return TINY
    plain, own = ControlSettings(), config.loop
    usual = {name: value for name, value in TASKS.get(config.environment, {}).items()
             if getattr(own, name) == getattr(plain, name)}  # fmt: skip
    settings = replace(own, **usual)
    if config.steps is not None:
        settings = replace(settings, steps=config.steps)
    if config.labels:
        settings = replace(settings, schedule=replace(settings.schedule, labels=config.labels))
    return settings


def check_ask(config: ControlPPO) -> None:
    """What cannot be asked of people is said before anything is done."""
    if config.ask and config.control != "none":
        raise ValueError(f"--control {config.control} is of simulated raters; people's answers are not shuffled")
    if config.ask and not config.labels:
        raise ValueError("--ask asks for --labels comparisons; 0 leaves nothing to ask")
    if config.ask:
        People(server=config.ask, name="check").check()
    elif config.ask_ahead != 20:
        raise ValueError("--ask-ahead has no effect without --ask; leave it out")


def answers_of(config: ControlPPO, run: Run, store: Store, worlds: Worlds) -> PeopleAnswers | TeacherAnswers:
    """People where there is a server to ask them, else the simulated teacher."""
    if not config.ask:
        return TeacherAnswers(
            run.folder, store, worlds, config.teacher, own_reward(config.teacher), run=CLIPS, seed=config.seed,
            control=config.control,
        )  # fmt: skip
    people = People(server=config.ask, name=f"{run.recipe}-{run.id}", title=config.environment, votes=1)
    return PeopleAnswers(LivePeople(people=people, folder=run.folder), worlds, ahead=config.ask_ahead)


def main(config: ControlPPO) -> dict[str, Any]:
    check_ask(config)
    settings = settings_of(config)
    task = ControlTask(environment=config.environment, options={n: option(n, text) for n, text in config.options})
    with task.worlds(
        settings.copies, config.seed, processes=settings.processes, hide_ends=settings.hide_ends
    ) as worlds:
        policy = policy_of(worlds, settings, config.seed, settings.rollouts)  # what cannot be learned is said first
        run = Run(
            config.out, "control_ppo", config, seed=config.seed, control=config.control, simulated_raters=not config.ask
        )
        clip = clip_steps(worlds, settings.clip_seconds)
        with Store(run.folder / "feedback.sqlite") as store:
            data: FromPreferences | None = None
            if config.labels:
                data = from_preferences(worlds, answers_of(config, run, store, worlds), settings, config.seed)
                policy = data.collector
            run.stage("policy", "Ask and train", lambda folder: train(run, folder, data or policy, settings))
            run.stage(
                "evaluation",
                "Evaluate",
                lambda folder: _evaluate(run, folder, store, task, worlds, settings, clip, config),
            )
    found = read_json(run.folder / "evaluation" / "returns.json")
    labels = settings.schedule.labels if config.labels else 0
    summary = {
        "environment": config.environment, "labels": labels, "control": config.control, "seed": config.seed,
        "raters": "people" if config.ask else "a simulated teacher",
        "steps": settings.rollouts * settings.copies * settings.length, "return": found["policy"],
        "random": found["random"], "minutes": round(run.minutes, 2), "peak_rss_mb": peak_rss_mb(),
    }  # fmt: skip
    finish(run, summary)
    write_report(run.folder)
    announce(run, summary)
    return summary


def compare(folder: Path, task: ControlTask, act: Any, seed: int) -> str:
    """returns.json: what the trained policy earns, and what chance does."""
    found = {"policy": evaluate(task, act, seed), "random": evaluate(task, at_random(task, seed), seed)}
    write_json(folder / "returns.json", found)
    return f"return {found['policy']['value']:.1f}, at random {found['random']['value']:.1f}"


def _evaluate(
    run: Run, folder: Path, store: Store, task: ControlTask, worlds: Worlds, settings: ControlSettings, clip: int,
    config: ControlPPO,
) -> str:  # fmt: skip
    """From what the training left behind, so that it can be done by another session."""
    about: dict[str, Any] = {"environment": task.environment}
    policy, reward = load(run.folder / "policy", ActorCritic, worlds), None
    if config.labels:
        reward = load(run.folder / "policy" / REWARD, RewardEnsemble, worlds).reward
        due = [settings.schedule.due(at / max(1, settings.rollouts - 1)) for at in range(settings.rollouts)]
        about["feedback"] = describe_feedback(
            folder,
            store,
            f"{run.recipe}-{run.id}" if config.ask else CLIPS,
            run.folder / CLIPS,
            rollouts=settings.rollouts,
            due=due,
            simulated=not config.ask,
        )
    said = compare(folder, task, policy.likeliest, config.seed)
    about |= evaluate_training(
        run.folder, folder, task, policy, reward, rollouts=settings.rollouts,
        steps=settings.rollouts * settings.copies * settings.length, clip=clip, seed=config.seed,
    )  # fmt: skip
    write_json(folder / "control.json", about)
    return said


def announce(run: Run, summary: dict[str, Any]) -> None:
    ours, chance = summary["return"], summary["random"]
    console.rule("[bold]What came out", align="left")
    console.print(
        f"return of the environment's own reward  {ours['value']:.1f} [{ours['low']:.1f}, {ours['high']:.1f}] over"
        f" {ours['n']} unseen episodes; at random {chance['value']:.1f} [{chance['low']:.1f}, {chance['high']:.1f}]\n"
        f"learned from {summary['labels']} comparisons by {summary['raters']}, {summary['steps']} steps,"
        f" {summary['minutes']:.1f} minutes, {summary['peak_rss_mb']:.0f} MB",
    )
    for warning in find_warnings(read_run(run.folder)):
        console.print(f"[bold red]{warning.kind}[/bold red]: {warning.text}")
    console.print(f"\nReport: {run.folder / 'report.html'}")
