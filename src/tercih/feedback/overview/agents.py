"""Who answers best, task by task: every agent (an item's `origin`) on every task (an item's column `task`).

Bradley–Terry (1952) among agents, a tie half a win to either, with a weak prior s ~ N(0, 2²). What is shown is the
chance to be preferred to another agent, mean over the others. Intervals resample raters and prompts alike (Owen 2007,
"The pigeonhole bootstrap"): judgements by one person, or of one prompt, stand or fall together.

Shape suffixes: R resamples (the first is what was said), K agents, J judgements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from tercih.feedback.acquisition import Floats, Ints
from tercih.feedback.overview.figures import Figure
from tercih.feedback.quality.intervals import resampled_counts
from tercih.records import Comparison, Text

RESAMPLES = 500
MOST_JUDGEMENTS = 20_000  # the newest ones
SPREAD = 2.0  # of strengths beforehand, in log-odds
WORTH = {"a": 1.0, "b": 0.0, "tie": 0.5}


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """One agent: P(preferred to another) over all tasks and on each, the task it is worst at, and how far that lies
    below its `overall`. `gap` is None where it was judged on one task alone; its interval holds whichever task is the
    worst (Bonferroni)."""

    agent: str
    overall: Figure
    tasks: Mapping[str, Figure]
    worst: str
    gap: Figure | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Standing":
        tasks = {name: Figure.of(each) for name, each in row["tasks"].items()}
        gap = None if row["gap"] is None else Figure.of(row["gap"])
        return cls(agent=row["agent"], worst=row["worst"], overall=Figure.of(row["overall"]), tasks=tasks, gap=gap)


def standings(comparisons: Sequence[Comparison]) -> list[Standing]:
    """Agents that were compared with others, the best first. Raises ValueError where there are none."""
    said = [each for each in comparisons if each.a.origin and each.b.origin and each.a.origin != each.b.origin]
    said = said[-MOST_JUDGEMENTS:]
    if not said:
        raise ValueError("no two answers of different origins were compared")
    agents = sorted({item.origin for each in said for item in (each.a, each.b)})
    if len({each.rater for each in said}) < 2:
        raise ValueError("an interval needs two raters or more")
    place = {name: at for at, name in enumerate(agents)}
    pair_J = np.array([place[each.a.origin] * len(agents) + place[each.b.origin] for each in said])
    worth_J = np.array([WORTH[each.answer] for each in said])
    task_J = np.array([task_of(each) for each in said])
    weight_RJ = _weights([each.rater for each in said], [_prompt(each) for each in said])
    tasks = [name for name in np.unique(task_J).tolist() if name]
    overall_RK = _preferred(pair_J, worth_J, weight_RJ, len(agents))
    on = {task: task_J == task for task in tasks}
    by_task = {
        task: _preferred(pair_J[on[task]], worth_J[on[task]], weight_RJ[:, on[task]], len(agents)) for task in tasks
    }
    return sorted(
        (_standing(name, place[name], said, overall_RK, by_task, task_J) for name in agents),
        key=lambda each: -each.overall.value,
    )


def task_of(said: Comparison) -> str:
    """The column `task` of the items; empty where they say none."""
    return str(said.a.columns.get("task") or said.b.columns.get("task") or "")


def _standing(
    name: str, k: int, said: Sequence[Comparison], overall_RK: Floats, by_task: Mapping[str, Floats], task_J: Any
) -> Standing:
    own_J = np.array([name in (each.a.origin, each.b.origin) for each in said])
    judged = {task: int((own_J & (task_J == task)).sum()) for task in by_task}
    known = [task for task, count in judged.items() if count]
    worst = min(known, key=lambda task: by_task[task][0, k]) if len(known) > 1 else ""
    gap = None
    if worst:
        gap = _figure("gap", overall_RK[:, k] - by_task[worst][:, k], judged[worst], tail=0.025 / len(known))
    return Standing(
        agent=name,
        overall=_figure("overall", overall_RK[:, k], int(own_J.sum())),
        tasks={task: _figure(task, by_task[task][:, k], judged[task]) for task in known},
        worst=worst,
        gap=gap,
    )


def _figure(name: str, value_R: Floats, n: int, tail: float = 0.025) -> Figure:
    low, high = np.quantile(value_R[1:], [tail, 1 - tail])
    return Figure(name=name, value=float(value_R[0]), low=float(low), high=float(high), n=n, percent=True)


def _weights(raters: Sequence[str], prompts: Sequence[str], seed: int = 0) -> Floats:
    """[R, J]: how often each judgement counts: as often as its rater times as often as its prompt is drawn."""
    weight_RJ = np.ones((RESAMPLES + 1, len(raters)))
    for at, names in enumerate((raters, prompts)):
        groups, group_J = np.unique(names, return_inverse=True)
        if len(groups) > 1:
            weight_RJ[1:] *= resampled_counts(len(groups), RESAMPLES, seed + at)[:, group_J]
    return weight_RJ


def _preferred(pair_J: Ints, worth_J: Floats, weight_RJ: Floats, agents: int) -> Floats:
    """[R, K]: P(preferred to another agent, any alike), by Newton's method in all resamples at once."""
    shape = (len(weight_RJ), agents, agents)
    asked_RKK, won_RKK = np.zeros(shape), np.zeros(shape)
    for pair in np.unique(pair_J).tolist():
        i, j = divmod(pair, agents)
        inside_RJ, worth = weight_RJ[:, pair_J == pair], worth_J[pair_J == pair]
        asked, won = inside_RJ.sum(axis=1), inside_RJ @ worth
        asked_RKK[:, i, j] += asked
        asked_RKK[:, j, i] += asked
        won_RKK[:, i, j] += won
        won_RKK[:, j, i] += asked - won
    strength_RK = np.zeros(shape[:2])
    for _ in range(30):
        p_RKK = expit(strength_RK[:, :, None] - strength_RK[:, None, :])
        slope_RK = (won_RKK - asked_RKK * p_RKK).sum(axis=2) - strength_RK / SPREAD**2
        curve_RKK = -asked_RKK * p_RKK * (1 - p_RKK)
        curve_RKK[:, np.arange(agents), np.arange(agents)] = -curve_RKK.sum(axis=2) + SPREAD**-2
        step_RK = np.linalg.solve(curve_RKK, slope_RK[:, :, None])[:, :, 0]
        strength_RK += np.clip(step_RK, -2, 2)
        if np.abs(step_RK).max() < 1e-6:
            break
    p_RKK = expit(strength_RK[:, :, None] - strength_RK[:, None, :])
    return np.asarray((p_RKK.sum(axis=2) - 0.5) / (agents - 1))


def _prompt(said: Comparison) -> str:
    return str(said.a.prompt) if isinstance(said.a, Text) else said.a.id


def as_rows(found: Sequence[Standing]) -> list[dict[str, Any]]:
    return [asdict(each) for each in found]
