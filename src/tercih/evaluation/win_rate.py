"""How often ours beats theirs, as it is and with the length of the answers held equal."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from tercih.evaluation.intervals import Estimate, wilson

PRIOR_VARIANCE = 25.0  # of both coefficients: hardly felt, but all wins must not send the logit to infinity


def win_rate(ours: ArrayLike, theirs: ArrayLike) -> Estimate:
    """The share of prompts on which `ours` [N] scores above `theirs` [N]; a tie counts ½.

    The interval is Wilson's whether there are ties or not: with ties it is on the wide side, but it needs no seed and
    never shrinks to a point (a bootstrap of all wins, or of all ties, would).
    """
    first, second = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"scores must be two rows of equal length, got {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("scores must be finite: a NaN neither wins nor loses")
    return wilson(float((first > second).sum() + 0.5 * (first == second).sum()), first.size)


def length_controlled_win_rate(wins: ArrayLike, length_difference: ArrayLike, level: float = 0.95) -> Estimate:
    """The win rate that would be seen if both answers were of equal length (AlpacaEval-LC, Dubois et al. 2024, eq. 2).

    `wins` [N] is 1 for a win, 0 for a loss, ½ for a tie (a soft label) and `length_difference` [N] is length(ours) −
    length(theirs) in any unit. Fits logit P(win) = θ + φ·tanh(Δ/std Δ), the paper's length term, and reports σ(θ), with
    a delta-method interval on the logit. The paper's term for the difficulty of a prompt is left out.
    """
    outcome, difference = np.asarray(wins, dtype=np.float64), np.asarray(length_difference, dtype=np.float64)
    if outcome.shape != difference.shape or outcome.ndim != 1 or not outcome.size:
        raise ValueError(f"wins and length_difference must be equal rows, got {outcome.shape} and {difference.shape}")
    if not ((outcome >= 0) & (outcome <= 1)).all() or not np.isfinite(difference).all():
        raise ValueError("wins must lie in [0, 1] and length_difference must be finite")
    design = np.stack([np.ones_like(difference), np.tanh(difference / (difference.std() or 1.0))], axis=1)

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logit = design @ weights
        loss = np.logaddexp(0, logit).sum() - outcome @ logit + weights @ weights / (2 * PRIOR_VARIANCE)
        return float(loss), design.T @ (special.expit(logit) - outcome) + weights / PRIOR_VARIANCE

    weights = optimize.minimize(objective, np.zeros(2), jac=True, method="BFGS").x
    probability = special.expit(design @ weights)
    information = (design.T * (probability * (1 - probability))) @ design + np.eye(2) / PRIOR_VARIANCE
    half = float(stats.norm.ppf((1 + level) / 2)) * math.sqrt(np.linalg.inv(information)[0, 0])
    value, low, high = (float(special.expit(weights[0] + shift)) for shift in (0.0, -half, half))
    return Estimate(value, low, high, outcome.size)
