"""What a label is worth: query rules against random questions, on clips of an agent at all stages of its training.

The agent is trained on the environment's own reward and its clips are kept. Then each rule asks a teacher that is
always right about more and more of them, several times over, and the reward learned is held against comparisons that
nobody asked about.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tercih.agents.clips import cut, pairs
from tercih.agents.preferences import RULES
from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.environments.control import Array
from tercih.evaluation.intervals import bootstrap_mean
from tercih.feedback.acquisition import choose
from tercih.feedback.samplers import RANDOM
from tercih.feedback.savings import labels_saved
from tercih.forward import Models
from tercih.progress import Progress, console
from tercih.recipes.control_loop import ControlSettings, ControlTask, clip_steps, policy_of
from tercih.report import write_report
from tercih.run import Run, peak_rss_mb, read_json, write_json
from tercih.train import fit

HELD_OUT = 500  # comparisons
CANDIDATES = 10  # times as many pairs as are asked about
ROLLOUTS = 4  # that would lie between two numbers of labels: the updates that follow so many
RANDOM_SHARE = 0.2  # of the questions of the other rules, as in training


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelEfficiency:
    """Which questions teach the most."""

    environment: str = "HalfCheetah-v5"
    """Gymnasium's id."""
    out: Path = Path("runs/label_efficiency")
    """Run folder; the same command on the same folder goes on where it was."""
    seed: int = 0
    """Of the agent; repetitions have seeds of their own."""
    steps: int = 80_000
    """Of the environment, which the agent trains for."""
    seeds: int = 6
    """Repetitions: draws of the clips, the questions and the networks."""
    labels: tuple[int, ...] = (16, 32, 64, 96, 128, 192, 256)
    """After how many labels the reward is measured."""
    shuffled: bool = False
    """The negative control: half of the answers are turned around by lot."""
    reward: RewardLearning = RewardLearning()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pool:
    """Clips with what they earn of the environment's own reward, (B, L, …) and (B,)."""

    observation_BL: Array
    action_BL: Array
    worth_B: NDArray[np.float64]

    def take(self, rows: Array) -> list[tuple[Array, Array]]:
        return [(self.observation_BL[row], self.action_BL[row]) for row in rows]


def main(config: LabelEfficiency) -> dict[str, Any]:
    if config.seeds < 2:
        raise ValueError(f"--seeds must be >= 2 for an interval, got {config.seeds}")
    if sorted(set(config.labels)) != list(config.labels) or len(config.labels) < 2 or config.labels[0] < 1:
        raise ValueError(f"--labels must be two or more numbers >= 1 that rise, got {config.labels}")
    control = "shuffled-labels" if config.shuffled else "none"
    run = Run(config.out, "label_efficiency", config, seed=config.seed, control=control, simulated_raters=True)
    task, settings = ControlTask(environment=config.environment), ControlSettings(steps=config.steps)
    run.stage("clips", "Train an agent and keep its clips", lambda folder: _make(folder, task, settings, config.seed))
    run.stage("evaluation", "Ask by every rule", lambda folder: _compare(run, folder, task, config))
    found = read_json(run.folder / "evaluation" / "efficiency.json")
    rules = {name: rule.get("saved") for name, rule in found["rules"].items()}
    summary = {"environment": config.environment, "saved": rules, "minutes": run.minutes, "peak_rss_mb": peak_rss_mb()}
    write_json(run.folder / "summary.json", summary)
    run.finish()
    write_report(run.folder)
    announce(run, found)
    return summary


def _make(folder: Path, task: ControlTask, settings: ControlSettings, seed: int) -> str:
    """Clips of every rollout, from the untrained agent to the last."""
    clips: list[tuple[Array, Array, float]] = []
    with task.worlds(settings.copies, seed) as worlds:
        collector = policy_of(worlds, settings, seed, settings.rollouts)
        length = clip_steps(worlds, None)
        play = collector.play

        def kept(step: int) -> Any:
            played = play(step)
            found = cut(played, {}, length)
            clips.extend((each.observation_L, each.action_L, float(each.reward_L.sum())) for each in found)
            return played

        collector.play = kept  # type: ignore[method-assign]
        fit(settings.method, Models(policy=collector.policy), collector, settings.optimisation, title="training")
    observation_BL, action_BL, worth_B = (np.stack(each) for each in zip(*clips, strict=True))
    np.savez_compressed(folder / "pool.npz", observation_BL=observation_BL, action_BL=action_BL, worth_B=worth_B)
    return f"{len(clips)} clips of {length} steps, {worth_B.min():.4g} to {worth_B.max():.4g}"


def _compare(run: Run, folder: Path, task: ControlTask, config: LabelEfficiency) -> str:
    """Every curve is written down when it is done, so that who was stopped goes on with the next one."""
    with np.load(run.folder / "clips" / "pool.npz") as archive:
        pool = Pool(**{name: archive[name] for name in ("observation_BL", "action_BL", "worth_B")})
    with task.worlds(1, 0) as worlds:
        spaces = worlds.observation_space, worlds.action_space
    names = (RANDOM, *RULES)
    (folder / "curves").mkdir(exist_ok=True)
    found_RSK2 = np.zeros((len(names), config.seeds, len(config.labels), 2))
    with Progress("asking", total=len(names) * config.seeds) as progress:
        for seed in range(config.seeds):
            for r, name in enumerate(names):
                place = folder / "curves" / f"{name}-{seed}.json"
                if not place.exists():
                    learner = RewardLearner(config.reward, *spaces, seed=seed)
                    done_K2 = curve(pool, learner, name, config.labels, seed, shuffled=config.shuffled)
                    write_json(place, done_K2.tolist())
                found_RSK2[r, seed] = read_json(place)
                progress.advance()
    rules: dict[str, Any] = {}
    for r, name in enumerate(names):
        rules[name] = {
            measure: [bootstrap_mean(found_RSK2[r, :, k, m], seed=0).as_dict() for k in range(len(config.labels))]
            for m, measure in enumerate(("accuracy", "correlation"))
        }
        if name != RANDOM:
            saved = labels_saved(config.labels, found_RSK2[0, :, :, 0], found_RSK2[r, :, :, 0])
            rules[name]["saved"] = {key: getattr(saved, key) for key in ("saved", "low", "high", "share")}
    about = {
        "environment": config.environment, "labels": config.labels, "seeds": config.seeds, "clips": len(pool.worth_B),
        "rules": rules, "curves": {name: found_RSK2[r].tolist() for r, name in enumerate(names)},
    }  # fmt: skip
    write_json(folder / "efficiency.json", about)
    return f"{len(names)} rules, {config.seeds} repetitions of {config.labels[-1]} labels"


def curve(
    pool: Pool, learner: RewardLearner, rule: str, labels: Sequence[int], seed: int, *, shuffled: bool = False
) -> NDArray[np.float64]:
    """Held-out accuracy and the correlation with true reward after each number of labels, (K, 2).

    A third of the clips is held out. Rules that share a `seed` share clips, networks and their first questions, which
    are random for all of them.
    """
    split, dice = np.random.default_rng((seed, 0)), np.random.default_rng((seed, 1))
    order_B = split.permutation(len(pool.worth_B))
    held_B, free_B = np.split(order_B, [len(order_B) // 3])
    held_segments = learner.segments(pool.take(held_B))
    held_N2 = pairs(len(held_B), HELD_OUT, split)
    learner.ensemble.observe(learner.segments(pool.take(free_B)).observation_BTO.flatten(0, 1))
    found = []
    for before, until in zip((0, *labels), labels, strict=False):
        pair_N2 = free_B[pairs(len(free_B), CANDIDATES * (until - before), dice)]
        asked_N2 = pair_N2[_choose(pool, learner, rule, pair_N2, until - before, dice)]
        worth_N2 = pool.worth_B[asked_N2]
        first_N = (worth_N2[:, 0] > worth_N2[:, 1]) != (shuffled & (dice.random(len(asked_N2)) < 0.5))
        target_N3 = np.stack([first_N, ~first_N, np.zeros(len(first_N))], 1)
        learner.add(pool.take(asked_N2.flatten()), target_N3, np.ones(len(first_N), dtype=bool))
        for _ in range(ROLLOUTS):
            learner.learn()
        found.append(_judge(pool, learner, held_segments, held_B, held_N2))
    return np.array(found)


def _choose(
    pool: Pool, learner: RewardLearner, rule: str, pair_N2: Array, count: int, dice: np.random.Generator
) -> list[int]:
    if rule == RANDOM or not len(learner):
        return [each.index for each in choose(np.zeros(len(pair_N2)), count, 1.0, dice)]
    clips_B, place_2N = np.unique(pair_N2, return_inverse=True)
    with torch.no_grad():
        score_MB = learner.ensemble.every(learner.segments(pool.take(clips_B))).double().numpy(force=True)
    scores_N = RULES[rule](score_MB, place_2N.reshape(-1, 2), dice)
    return [each.index for each in choose(scores_N, count, RANDOM_SHARE, dice, sampler=rule)]


def _judge(pool: Pool, learner: RewardLearner, segments: Any, held_B: Array, held_N2: Array) -> tuple[float, float]:
    """Of held-out pairs that differ, and over held-out clips."""
    with torch.no_grad():
        score_MB = learner.ensemble.every(segments) * learner.ensemble.scale_M[:, None]
    score_B, worth_B = score_MB.mean(0).numpy(force=True), pool.worth_B[held_B]
    (a, b), (x, y) = score_B[held_N2].T, worth_B[held_N2].T
    return float(((a > b) == (x > y))[x != y].mean()), float(np.corrcoef(score_B, worth_B)[0, 1])


def announce(run: Run, found: dict[str, Any]) -> None:
    console.rule("[bold]What came out", align="left")
    for name, rule in found["rules"].items():
        accuracy, saved = rule["accuracy"][-1], rule.get("saved")
        said = "" if saved is None else f"; labels saved {saved['saved']:.0f} [{saved['low']:.0f}, {saved['high']:.0f}]"
        console.print(
            f"{name:<16} held-out accuracy {100 * accuracy['value']:.1f} % [{100 * accuracy['low']:.1f},"
            f" {100 * accuracy['high']:.1f}] after {found['labels'][-1]} labels{said}"
        )
    console.print(f"\nA simulated teacher that is always right.\nReport: {run.folder / 'report.html'}")
