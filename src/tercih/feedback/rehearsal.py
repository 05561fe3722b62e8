"""Every acquisition rule on a problem whose truth is known: a linear reward, simulated answers, nothing else.

A prompt has several answers, each a vector of features; any two answers to a prompt may be asked about. P(first is
better) = σ(w·φ) with φ their difference (Bradley–Terry). The quality of a fit is its mean log-likelihood under the true
probabilities of fresh pairs, so that labels' noise is not in the measurement.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import expit

from tercih.feedback.acquisition import (
    RANDOM,
    Bools,
    Floats,
    Ints,
    bald,
    choose,
    d_optimal,
    double_thompson,
    variance,
)
from tercih.feedback.linear import fit_linear, log_likelihood, members
from tercih.feedback.savings import Savings, labels_saved

POOLS = ("plain", "redundant", "unrelated")
ARMS = ("helps", "faint", "random", "alike", "noise")


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """`pool` "plain": Gaussian features. "redundant": four prompts in five have answers that are nearly alike, as a
    policy of little entropy gives them. "unrelated": as redundant, but the answers people give come from features that
    the model does not see: the negative control."""

    pool: str = "redundant"
    prompts: int = 100
    answers: int = 4
    features: int = 12
    strength: float = 3.0
    """The typical |w·φ| of two answers that differ, in log-odds."""
    labels: int = 160
    batch: int = 20
    random_share: float = 0.2
    members: int = 8

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise ValueError(f"problem.pool must be one of {', '.join(POOLS)}, got {self.pool!r}")

    @property
    def ridge(self) -> float:
        """The precision of the weights' true prior: every rule's fits are calibrated alike."""
        return 2 * self.features / self.strength**2


def learning_curve(problem: Problem, rule: str, seed: int) -> Floats:
    """Quality [K] after each batch of labels, asked by `rule` ("random", or one of acquisition.RULES) beside the random
    arm of `problem.random_share`. The same seed gives the same problem, whatever the rule."""
    rng = np.random.default_rng((seed, 0))
    truth_D = rng.normal(size=problem.features) * problem.strength / np.sqrt(2 * problem.features)
    pool_BD, pairs_N2, truth_N = _pool(problem, truth_D, rng)
    fresh_BD, fresh_N2, fresh_truth_N = _pool(problem, truth_D, rng)
    phi_ND = pool_BD[pairs_N2[:, 0]] - pool_BD[pairs_N2[:, 1]]
    fresh_ND = fresh_BD[fresh_N2[:, 0]] - fresh_BD[fresh_N2[:, 1]]
    label_N = (rng.random(len(truth_N)) < truth_N).astype(np.float64)
    draw = np.random.default_rng((seed, 1))
    asked: Ints = np.zeros(0, dtype=np.int64)
    curve = []
    for _ in range(problem.labels // problem.batch):
        left = np.setdiff1d(np.arange(len(phi_ND)), asked)
        scores = score(problem, rule, pool_BD, pairs_N2[left], phi_ND[asked], label_N[asked], draw)
        share = 1.0 if rule == RANDOM else problem.random_share
        asked = np.concatenate([asked, left[[each.index for each in choose(scores, problem.batch, share, draw)]]])
        w_D = fit_linear(phi_ND[asked], label_N[asked], problem.ridge)
        curve.append(log_likelihood(w_D, fresh_ND, fresh_truth_N))
    return np.array(curve)


def score(
    problem: Problem,
    rule: str,
    item_BD: Floats,
    pairs_N2: Ints,
    asked_ND: Floats,
    label_N: Floats,
    rng: np.random.Generator,
) -> Floats:
    """Scores [N] of candidate pairs by a rule, from what has been answered."""
    phi_ND = item_BD[pairs_N2[:, 0]] - item_BD[pairs_N2[:, 1]]
    if rule == RANDOM:
        return np.zeros(len(phi_ND))
    if rule == "d_optimal":
        w_D = fit_linear(asked_ND, label_N, problem.ridge)
        p_N, known_N = expit(phi_ND @ w_D), expit(asked_ND @ w_D)
        known_DD = (asked_ND * (known_N * (1 - known_N))[:, None]).T @ asked_ND
        order = d_optimal(phi_ND, p_N, problem.batch, ridge=problem.ridge, known_DD=known_DD)
        scores = np.full(len(phi_ND), -np.inf)
        scores[order] = -np.arange(len(order), dtype=np.float64)
        return scores
    w_MD = members(asked_ND, label_N, problem.members, rng, problem.ridge)
    if rule == "bald":
        return bald(expit(w_MD @ phi_ND.T))
    if rule == "variance":
        return variance(w_MD @ phi_ND.T)
    if rule == "double_thompson":
        return double_thompson(w_MD @ item_BD.T, pairs_N2, rng)
    raise ValueError(f"there is no rule {rule!r}")


def rehearse(problem: Problem, rule: str, seeds: int, first: int = 0) -> tuple[Floats, Floats, Savings]:
    """Random's curves [S, K], the rule's, and the labels it saves, over `seeds` seeds from `first` on."""
    labels_K = np.arange(problem.batch, problem.labels + 1, problem.batch)
    random_SK, active_SK = (
        np.stack([learning_curve(problem, name, seed) for seed in range(first, first + seeds)])
        for name in (RANDOM, rule)
    )
    return random_SK, active_SK, labels_saved(labels_K, random_SK, active_SK)


def planted(arm: str, seed: int, each: int) -> tuple[Floats, Floats, Bools]:
    """One project's answers as `trial` reads them: `each` questions of either arm, in turns, three voices a question.

    Random questions are about items that are rather alike. The active arm's are about such as differ ("helps"; "faint":
    the same with one voice a question), are random as well ("random"), are about items that are nearly the same
    ("alike"), or differ, where all voices toss coins ("noise").
    """
    if arm not in ARMS:
        raise ValueError(f"there is no arm {arm!r}; there are {', '.join(ARMS)}")
    rng = np.random.default_rng(seed)
    active_N = np.arange(2 * each) % 2 == 1
    apart = {"random": 0.2, "alike": 0.05}.get(arm, 0.8)
    phi_ND = rng.normal(size=(2 * each, 32)) * np.where(active_N, apart, 0.2)[:, None]
    p_N = np.full(2 * each, 0.5) if arm == "noise" else expit(-phi_ND @ rng.normal(size=32))
    voices = 1 if arm == "faint" else 3
    return phi_ND, rng.binomial(voices, p_N) / voices, active_N


def _pool(problem: Problem, w_D: Floats, rng: np.random.Generator) -> tuple[Floats, Ints, Floats]:
    """Items [B, D], the pairs within prompts [N, 2], and P(first is better) [N]."""
    shape = (problem.prompts, problem.answers, problem.features)
    spread_P = np.ones(problem.prompts)
    if problem.pool != "plain":
        spread_P[: problem.prompts * 4 // 5] = 0.1
    item_BD = (rng.normal(size=shape) * spread_P[:, None, None]).reshape(-1, problem.features)
    pairs = [
        (p * problem.answers + i, p * problem.answers + j)
        for p in range(problem.prompts)
        for i, j in combinations(range(problem.answers), 2)
    ]
    pairs_N2 = np.array(pairs, dtype=np.int64)
    seen_BD = rng.normal(size=item_BD.shape) if problem.pool == "unrelated" else item_BD
    truth_N = expit((seen_BD[pairs_N2[:, 0]] - seen_BD[pairs_N2[:, 1]]) @ w_D)
    return item_BD, pairs_N2, truth_N
