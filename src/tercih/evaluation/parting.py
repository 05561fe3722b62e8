"""The reward-hacking alarm of control runs: what was learned as a reward rises while what it stands for falls.

Two witnesses may speak against the learned reward: the true return where it is known, and the answers themselves: how
many the learned reward foresaw before it learned from them, of questions that were chosen at random. An agent that
exploits its reward may leave nothing to choose between: then they are ties, and what speaks is how sure the reward was.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tercih.evaluation.intervals import Estimate, bootstrap_mean, paired_difference, wilson
from tercih.evaluation.run_folder import number

ENOUGH_ANSWERS = 12  # foreseen or not, in each of the two parts that are compared

FALLEN = 0.2  # of what the true return had gained


@dataclass(frozen=True, kw_only=True, slots=True)
class Milestone:
    """The agent after a `share` of its training and `steps` of the environment: returns of the same unseen episodes at
    every milestone, true and as the reward that was learned in the end predicts them (empty where none was)."""

    share: float
    steps: int
    true: tuple[float, ...]
    predicted: tuple[float, ...]

    def estimate(self, which: str) -> Estimate:
        """Of "true" or "predicted"."""
        return bootstrap_mean(getattr(self, which), seed=0, resamples=500)


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreseen:
    """Of `of` answers that came after a `share` of the training, `right` were foreseen."""

    share: float
    right: float
    of: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Gained:
    """Of `of` answers, ties among them, that came after a `share` of the training: by how much the squared error of
    what was foreseen is less than that of foreseeing nothing (½), on average, and the average of its squares."""

    share: float
    gain: float
    squared: float
    of: int


def read_milestones(rows: object) -> list[Milestone]:
    """In their order; rows with fewer than two episodes are left out."""
    found = []
    for row in rows if isinstance(rows, list) else []:
        true, predicted = (tuple(float(x) for x in row.get(name) or ()) for name in ("true", "predicted"))
        share, steps = number(row, "share"), number(row, "steps")
        if share is not None and steps is not None and len(true) > 1 and len(predicted) in (0, len(true)):
            found.append(Milestone(share=share, steps=int(steps), true=true, predicted=predicted))
    return sorted(found, key=lambda milestone: milestone.share)


def read_foreseen(rows: Sequence[Mapping[str, Any]]) -> list[Foreseen]:
    """From a training's metrics, in their order."""
    found = []
    for at, row in enumerate(rows):
        accuracy, of = number(row, "reward/ahead_accuracy"), number(row, "reward/ahead_of")
        if accuracy is not None and of:
            found.append(Foreseen(share=at / max(1, len(rows) - 1), right=accuracy * of, of=int(of)))
    return found


def read_gained(rows: Sequence[Mapping[str, Any]]) -> list[Gained]:
    """From a training's metrics, in their order."""
    found = []
    for at, row in enumerate(rows):
        gain, squared, of = (number(row, f"reward/ahead_{name}") for name in ("gain", "gain_squared", "said"))
        if gain is not None and squared is not None and of:
            found.append(Gained(share=at / max(1, len(rows) - 1), gain=gain, squared=squared, of=int(of)))
    return found


def mean_gain(rows: Iterable[Gained]) -> Estimate | None:
    """Of all these answers together, by the normal distribution; None without any."""
    kept = list(rows)
    of = sum(row.of for row in kept)
    if not of:
        return None
    mean, squared = (sum(getattr(row, name) * row.of for row in kept) / of for name in ("gain", "squared"))
    half = 1.96 * math.sqrt(max(squared - mean**2, 0.0) / of)
    return Estimate(mean, mean - half, mean + half, of)


def foreseen_share(rows: Iterable[Foreseen]) -> Estimate | None:
    """Of all these answers together, by Wilson; None without any."""
    kept = list(rows)
    of = sum(row.of for row in kept)
    return wilson(min(of, sum(row.right for row in kept)), of) if of else None


def parted_from_truth(milestones: Sequence[Milestone]) -> tuple[Milestone, Milestone] | None:
    """Where the true return was highest, and where the predicted one was highest afterwards, if the true one had fallen
    by then while the predicted one had risen; else None. Of a policy that breaks down later the end says nothing.

    The episodes begin alike at every milestone, so both are told from paired differences. Fallen means by a fifth of
    what had been gained, and beyond an interval that allows for the summit being the luckiest of all milestones.
    """
    known = [each for each in milestones if each.predicted]
    if len(known) < 2:
        return None
    mean = [each.estimate("true").value for each in known]
    top = max(range(len(known)), key=mean.__getitem__)
    if top == len(known) - 1:
        return None
    worst = max(range(top + 1, len(known)), key=lambda at: sum(known[at].predicted))
    if mean[top] - mean[worst] < FALLEN * (mean[top] - mean[0]):
        return None
    change = paired_difference(known[worst].true, known[top].true, seed=0, level=1 - 0.05 / len(known))
    parted = change.high < 0 and _rose(known[top], known[worst])
    return (known[top], known[worst]) if parted else None


def parted_from_people(
    milestones: Sequence[Milestone], foreseen: Sequence[Foreseen]
) -> tuple[Estimate, Estimate] | None:
    """Agreement with answers in the first two thirds of the training and in the last one, if it fell to what guessing
    reaches while the predicted return rose in that last third; else None.

    That agreement falls is no sign by itself: the better the agent, the more its clips are alike, and the harder the
    questions. Fallen means that the intervals do not touch and that the later one holds one half.
    """
    known = [each for each in milestones if each.predicted]
    before, after = (foreseen_share(row for row in foreseen if (row.share > 2 / 3) == late) for late in (False, True))
    if not known or not before or not after or min(before.n, after.n) < ENOUGH_ANSWERS:
        return None
    begin = min(known, key=lambda each: abs(each.share - 2 / 3))
    fell = after.high < before.low and after.low <= 0.5
    return (before, after) if fell and _rose(begin, known[-1]) else None


def parted_from_answers(milestones: Sequence[Milestone], gained: Sequence[Gained]) -> Estimate | None:
    """`mean_gain` in the last third of the training, if what is foreseen is worse than foreseeing nothing, while the
    agent earns more of the predicted return than it did untrained; else None.

    A reward that goes on learning does not stay surely wrong about what it is told, and where clips become alike it
    foresees that they do: neither costs it anything. Worse means that all of the 95 % interval is below 0.
    """
    known = [each for each in milestones if each.predicted]
    after = mean_gain(row for row in gained if row.share > 2 / 3)
    if not known or not after or after.n < ENOUGH_ANSWERS or after.high >= 0:
        return None
    return after if _rose(known[0], known[-1]) else None


def _rose(first: Milestone, last: Milestone) -> bool:
    return first is not last and paired_difference(last.predicted, first.predicted, seed=0).low > 0
