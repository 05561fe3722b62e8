"""Agreement beyond chance: Krippendorff's alpha, Fleiss' and Cohen's kappa, with bootstrap intervals over tasks.

    alpha = 1 − (n − 1) · Σ_ck o_ck δ²_ck / Σ_ck n_c n_k δ²_ck                 (Krippendorff 2011)

with coincidences o_ck = Σ_tasks n_c (n_k − [c=k]) / (m − 1), where m raters judged the task; n_c = Σ_k o_ck. Nominal:
δ = [c ≠ k]; ordinal: δ_ck = n_c/2 + Σ_{c<g<k} n_g + n_k/2. Tasks that one rater alone judged do not count.

    kappa = (p_o − p_e) / (1 − p_e)

Fleiss (1971): p_o the mean share of agreeing couples of a task, p_e = Σ_c (share of c)². Cohen (1960): of two raters,
with p_e = Σ_c (share of c by the one) (share by the other). 1 is perfect agreement, 0 what chance gives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tercih.feedback.quality.intervals import Interval, resampled_sums
from tercih.feedback.quality.labels import Labels
from tercih.feedback.quality.votes import TIE, A, B, Floats, tabulate
from tercih.records import Comparison

Level = Literal["nominal", "ordinal"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Alpha with its 95 % interval from a bootstrap over pairs; NaN where nobody ever gave a different answer."""

    alpha: float
    low: float
    high: float
    pairs: int
    judgements: int


def krippendorff(
    said: Sequence[Comparison] | Labels, resamples: int = 1000, seed: int = 0, level: Level = "nominal"
) -> Agreement:
    """Agreement on a, b and tie, or on classes, over what two or more judged; raises `ValueError` if there is none.

    `level="ordinal"`: classes in their order (of comparisons: a, tie, b).
    """
    if level not in ("nominal", "ordinal"):
        raise ValueError(f"krippendorff.level must be 'nominal' or 'ordinal', got {level!r}")
    counts_NZ = said.counts_NZ if isinstance(said, Labels) else _ordered_counts(said)
    counts_NZ = counts_NZ[counts_NZ.sum(axis=1) >= 2]
    if not len(counts_NZ):
        raise ValueError("agreement needs pairs that two or more raters have judged")
    votes_N = counts_NZ.sum(axis=1)
    classes = counts_NZ.shape[1]
    coincidence_NZZ = counts_NZ[:, :, None] * (counts_NZ[:, None, :] - np.eye(classes)) / (votes_N - 1)[:, None, None]
    table = coincidence_NZZ.reshape(len(counts_NZ), -1)

    def alpha(sums_RC: Floats) -> Floats:
        return _alpha(sums_RC.reshape(-1, classes, classes), level)

    found = _bootstrap(table, alpha, resamples, seed)
    return Agreement(alpha=found.value, low=found.low, high=found.high, pairs=len(table), judgements=int(votes_N.sum()))


def fleiss_kappa(labels: Labels, resamples: int = 1000, seed: int = 0) -> Interval:
    """Fleiss' kappa over tasks; raises `ValueError` unless all have the same number (≥ 2) of labels."""
    counts_NZ = labels.counts_NZ
    votes_N = counts_NZ.sum(axis=1)
    if votes_N.min() != votes_N.max() or votes_N[0] < 2:
        raise ValueError("Fleiss' kappa needs the same number (two or more) of labels for every task; use krippendorff")
    agreed_N = (counts_NZ * (counts_NZ - 1)).sum(axis=1) / (votes_N * (votes_N - 1))
    table = np.column_stack([agreed_N, np.ones(len(votes_N)), counts_NZ / votes_N[:, None]])

    def kappa(sums_RC: Floats) -> Floats:
        tasks_R = sums_RC[:, 1]
        return _kappa(sums_RC[:, 0] / tasks_R, ((sums_RC[:, 2:] / tasks_R[:, None]) ** 2).sum(axis=1))

    return _bootstrap(table, kappa, resamples, seed)


def cohen_kappa(labels: Labels, first: str, second: str, resamples: int = 1000, seed: int = 0) -> Interval:
    """Cohen's kappa of two raters over the tasks that both labelled; raises `ValueError` if there are none."""
    class_J = labels.agrees_JZ.argmax(axis=1)
    said = []
    for name in (first, second):
        if name not in labels.raters:
            raise ValueError(f"there is no rater {name!r}")
        own_J = labels.rater_J == labels.raters.index(name)
        said.append(dict(zip(labels.task_J[own_J].tolist(), class_J[own_J].tolist(), strict=True)))
    common = sorted(said[0].keys() & said[1].keys())
    if not common:
        raise ValueError(f"{first!r} and {second!r} have no task in common")
    one_NZ, other_NZ = (np.eye(len(labels.classes))[[each[task] for task in common]] for each in said)
    table = np.column_stack([(one_NZ * other_NZ).sum(axis=1), np.ones(len(common)), one_NZ, other_NZ])

    def kappa(sums_RC: Floats) -> Floats:
        share_RC = sums_RC / sums_RC[:, 1:2]
        one_RZ, other_RZ = np.split(share_RC[:, 2:], 2, axis=1)
        return _kappa(share_RC[:, 0], (one_RZ * other_RZ).sum(axis=1))

    return _bootstrap(table, kappa, resamples, seed)


def _bootstrap(table_NC: Floats, statistic: Callable[[Floats], Floats], resamples: int, seed: int) -> Interval:
    """A statistic of column sums, with an interval over resampled rows."""
    sums_RC = resampled_sums(table_NC, resamples, seed)
    resampled_R = statistic(sums_RC[1:])
    low, high = np.nanquantile(resampled_R, [0.025, 0.975]) if np.isfinite(resampled_R).any() else (np.nan, np.nan)
    value = float(statistic(sums_RC[:1])[0])
    return Interval(value=value, low=float(low), high=float(high), clusters=len(table_NC))


def _alpha(coincidence_RZZ: Floats, level: Level) -> Floats:
    """Alpha from summed coincidences; one per resample."""
    total_RZ = coincidence_RZZ.sum(axis=2)
    n_R = total_RZ.sum(axis=1)
    distance_RZZ = _distance(total_RZ, level)
    observed_R = (coincidence_RZZ * distance_RZZ).sum(axis=(1, 2))
    expected_R = (total_RZ[:, :, None] * total_RZ[:, None, :] * distance_RZZ).sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(expected_R > 0, 1 - (n_R - 1) * observed_R / expected_R, np.nan))


def _distance(total_RZ: Floats, level: Level) -> Floats:
    """δ² of classes, [R, Z, Z]."""
    if level == "nominal":
        return np.asarray(1 - np.eye(total_RZ.shape[1])[None])
    middle_RZ = total_RZ.cumsum(axis=1) - total_RZ / 2
    return np.asarray((middle_RZ[:, :, None] - middle_RZ[:, None, :]) ** 2)


def _kappa(observed_R: Floats, expected_R: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(expected_R < 1, (observed_R - expected_R) / (1 - expected_R), np.nan))


def _ordered_counts(comparisons: Sequence[Comparison]) -> Floats:
    """How many said a, tie, b. Which item is called "a" must be arbitrary: where it is always the chosen one, chance
    would agree as well."""
    votes = tabulate(comparisons)
    counts_N3 = votes.counts_N3.astype(np.float64)
    counts_N3[votes.swapped_N] = counts_N3[votes.swapped_N][:, [B, A, TIE]]
    return np.asarray(counts_N3[:, [A, TIE, B]])
