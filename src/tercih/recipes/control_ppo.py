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
from tercih.recipes.clip_answers import CLIPS, TeacherAnswers, own_reward
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


def main(config: ControlPPO) -> dict[str, Any]:
    settings = settings_of(config)
    task = ControlTask(environment=config.environment, options={n: option(n, text) for n, text in config.options})
    with task.worlds(
        settings.copies, config.seed, processes=settings.processes, hide_ends=settings.hide_ends
    ) as worlds:
        policy = policy_of(worlds, settings, config.seed, settings.rollouts)  # what cannot be learned is said first
        run = Run(config.out, "control_ppo", config, seed=config.seed, control=config.control, simulated_raters=True)
        clip = clip_steps(worlds, settings.clip_seconds)
        with Store(run.folder / "feedback.sqlite") as store:
            data: FromPreferences | None = None
            if config.labels:
                answers = TeacherAnswers(
                    run.folder, store, worlds, config.teacher, own_reward(config.teacher), run=CLIPS,
                    seed=config.seed, control=config.control,
                )  # fmt: skip
                data = from_preferences(worlds, answers, settings, config.seed)
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
            folder, store, CLIPS, run.folder / CLIPS, rollouts=settings.rollouts, due=due, simulated=True
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
        f"learned from {summary['labels']} comparisons by a simulated teacher, {summary['steps']} steps,"
        f" {summary['minutes']:.1f} minutes, {summary['peak_rss_mb']:.0f} MB",
    )
    for warning in find_warnings(read_run(run.folder)):
        console.print(f"[bold red]{warning.kind}[/bold red]: {warning.text}")
    console.print(f"\nReport: {run.folder / 'report.html'}")
