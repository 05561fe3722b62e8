"""Krippendorff's alpha for nominal answers (Krippendorff 2011, "Computing Krippendorff's alpha-reliability").

    alpha = 1 − (n − 1) · Σ_{c≠k} o_ck / Σ_{c≠k} n_c n_k

with coincidences o_ck = Σ_pairs n_c (n_k − [c=k]) / (m − 1), where m raters judged the pair; n_c = Σ_k o_ck. 1 is
perfect agreement, 0 what chance gives. Pairs that one rater alone judged do not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tercih.feedback.quality.votes import A, B, Floats, tabulate
from tercih.records import Comparison


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Alpha with its 95 % interval from a bootstrap over pairs; NaN where nobody ever gave a different answer."""

    alpha: float
    low: float
    high: float
    pairs: int
    judgements: int


def krippendorff(comparisons: Sequence[Comparison], resamples: int = 1000, seed: int = 0) -> Agreement:
    """Agreement on a, b and tie, over the pairs that two or more judged; raises `ValueError` if there are none."""
    votes = tabulate(comparisons)
    counts_N3 = votes.counts_N3.astype(float)
    # which item is called "a" must be arbitrary: where it is always the chosen one, chance would agree as well
    counts_N3[votes.swapped_N] = counts_N3[votes.swapped_N][:, [B, A, 2]]
    counts_N3 = counts_N3[counts_N3.sum(axis=1) >= 2]
    if not len(counts_N3):
        raise ValueError("agreement needs pairs that two or more raters have judged")
    votes_N = counts_N3.sum(axis=1)
    disagreement_N = (votes_N**2 - (counts_N3**2).sum(axis=1)) / (votes_N - 1)  # Σ_{c≠k} of a pair's coincidences
    table = np.column_stack([disagreement_N, counts_N3])
    times = np.random.default_rng(seed).multinomial(len(table), np.full(len(table), 1 / len(table)), size=resamples)
    resampled = _alpha(times @ table)
    low, high = np.nanquantile(resampled, [0.025, 0.975]) if np.isfinite(resampled).any() else (np.nan, np.nan)
    alpha = float(_alpha(table.sum(axis=0, keepdims=True))[0])
    return Agreement(alpha=alpha, low=float(low), high=float(high), pairs=len(table), judgements=int(votes_N.sum()))


def _alpha(sums_R4: Floats) -> Floats:
    """Alpha from the summed disagreement (column 0) and the summed counts of a, b, tie; one row per resample."""
    observed_R, total_R3 = sums_R4[:, 0], sums_R4[:, 1:]
    n_R = total_R3.sum(axis=1)
    expected_R = n_R**2 - (total_R3**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        alpha_R: Floats = np.where(expected_R > 0, 1 - (n_R - 1) * observed_R / expected_R, np.nan)
    return alpha_R
