"""Which questions are worth asking: scores of candidate pairs, and the draw that always keeps a random arm.

Every score is better when larger. Members of an ensemble must be independent (trained apart, on labels resampled):
members that share what they learned agree where they are wrong together (Gleave & Irving 2022, arXiv:2203.07472).

Shape suffixes: N candidate pairs, M members, B items, D features, 2 the items of a pair.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import entr
from scipy.stats import hypergeom

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RULES = ("d_optimal", "bald", "variance", "double_thompson")
RANDOM = "random"
LEAST_RANDOM = 0.2
"""The smallest share of the random arm: what is evaluated without bias, and what the active arm is measured against."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """One question to ask: the candidate's index, which sampler chose it, and how likely that was.

    `propensity` is the probability that this sampler chose it, `inclusion` that either did; both are exact given the
    scores.
    """

    index: int
    sampler: str
    propensity: float
    inclusion: float


def bald(probability_MN: npt.ArrayLike) -> Floats:
    """H(mean p) − mean H(p) in nats: what a label says of which member is right (Houlsby et al. 2011, arXiv:1112.5745).

    `probability_MN` is each member's P(first is better). A pair that all members call a coin toss scores 0: its label
    would be noise, which plain p ≈ ½ goes after. Raises ValueError for fewer than two members, or what is no
    probability.
    """
    p_MN = _members(probability_MN, "bald")
    if not ((p_MN >= 0) & (p_MN <= 1)).all():
        raise ValueError("bald needs probabilities in [0, 1]")
    spread_N = _entropy(p_MN.mean(axis=0)) - _entropy(p_MN).mean(axis=0)
    return np.asarray(np.maximum(spread_N, 0.0))  # negative by rounding alone


def variance(score_difference_MN: npt.ArrayLike) -> Floats:
    """Var over members of the difference of scores (Christiano et al. 2017, §2.2.4). Needs two members or more."""
    return np.asarray(_members(score_difference_MN, "variance").var(axis=0))


def d_optimal(
    phi_ND: npt.ArrayLike,
    p_N: npt.ArrayLike,
    count: int,
    *,
    ridge: float = 1.0,
    known_DD: Floats | None = None,
) -> list[int]:
    """Greedy argmax of log det(λI + Σ p(1−p) φφᵀ), the information about a linear Bradley–Terry reward (Shen et al.
    2025, "Active Reward Modeling", arXiv:2502.04354, D-optimal design).

    `phi_ND` is the difference of the pair's last-layer features, `p_N` the present P(first is better), `ridge` λ and
    `known_DD` the information Σ p(1−p) φφᵀ of what has been answered already. Returns indices, the best first. Each
    further one costs O(N·D): adding φ changes every gain by a rank-one update. Raises ValueError for shapes that do not
    fit, or fewer candidates than `count`.
    """
    phi, p = np.asarray(phi_ND, dtype=np.float64), np.asarray(p_N, dtype=np.float64)
    if phi.ndim != 2 or p.shape != phi.shape[:1]:
        raise ValueError(f"d_optimal needs features [N, D] and probabilities [N], got {phi.shape} and {p.shape}")
    if not (np.isfinite(phi).all() and ((p >= 0) & (p <= 1)).all()):
        raise ValueError("d_optimal needs finite features and probabilities in [0, 1]")
    if not 0 <= count <= len(phi):
        raise ValueError(f"d_optimal cannot choose {count} of {len(phi)} candidates")
    if not ridge > 0:
        raise ValueError(f"d_optimal.ridge must be > 0, got {ridge}")
    design_ND = phi * np.sqrt(p * (1 - p))[:, None]
    information_DD = ridge * np.eye(phi.shape[1]) + (0.0 if known_DD is None else known_DD)
    solved_ND = np.linalg.solve(information_DD, design_ND.T).T
    leverage_N = (design_ND * solved_ND).sum(axis=1)  # adding pair i multiplies the determinant by 1 + leverage_i
    free_N = np.ones(len(phi), dtype=bool)
    chosen: list[int] = []
    for _ in range(count):
        best = int(np.where(free_N, leverage_N, -np.inf).argmax())
        chosen.append(best)
        free_N[best] = False
        direction_D, grown = solved_ND[best].copy(), 1 + leverage_N[best]
        shared_N = design_ND @ direction_D
        solved_ND -= np.outer(shared_N / grown, direction_D)
        leverage_N -= shared_N**2 / grown
    return chosen


def double_thompson(score_MB: npt.ArrayLike, pairs_N2: npt.ArrayLike, rng: np.random.Generator) -> Floats:
    """Pairs drawn as double Thompson sampling draws them (Dwaracherla et al. 2024, arXiv:2402.00396).

    One member drawn at random names the best answer to a prompt, another the best that is not that one (where all
    agree, any other). `score_MB` scores items, `pairs_N2` are the pairs that may be asked; items joined by pairs answer
    one prompt. Returns log P(pair) + a Gumbel draw: the largest `count` are then a sample without replacement by
    those probabilities. Where each prompt has a single pair all are equally likely: the rule then is the random arm.
    """
    score, pairs = _members(score_MB, "double_thompson"), np.asarray(pairs_N2, dtype=np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or (pairs.size and not 0 <= pairs.min() <= pairs.max() < score.shape[1]):
        raise ValueError(f"double_thompson needs pairs [N, 2] of items 0 … {score.shape[1] - 1}, got {pairs.shape}")
    items, one = score.shape[1], np.ones(len(pairs))
    graph = coo_array((one, (pairs[:, 0], pairs[:, 1])), shape=(items, items))
    prompts, prompt_B = connected_components(graph, directed=False)
    order_B = np.argsort(prompt_B, kind="stable")
    first_B = np.zeros(items)
    for place_S in np.split(order_B, np.cumsum(np.bincount(prompt_B, minlength=prompts))[:-1]):
        best_M = score[:, place_S].argmax(axis=1)
        first_B[place_S] = np.bincount(best_M, minlength=len(place_S)) / len(score)
    others_B = np.bincount(prompt_B, minlength=prompts)[prompt_B] - 1
    a, b = pairs.T
    probability_N = _second(first_B, others_B, a, b) + _second(first_B, others_B, b, a)
    return np.log(probability_N + 1e-12) + rng.gumbel(size=len(pairs))


def choose(
    scores: npt.ArrayLike,
    count: int,
    random_share: float = 0.5,
    rng: np.random.Generator | None = None,
    *,
    sampler: str = "active",
) -> list[Chosen]:
    """`count` of the candidates: ⌈random_share · count⌉ at random, the rest the best by score among those left.

    The random arm draws R of N without replacement: propensity R/N. The active arm takes the best A of what is left, so
    that the candidate of rank k (0 the best; equal scores in the order given) is taken by it if fewer than A of the k
    better ones are left:

        propensity = (1 − R/N) · P(H > k − A),   H ~ Hypergeometric(N − 1, k, R)

    Both are exact given the scores, in which any randomness of the rule lies; so weights 1/inclusion make any mean over
    the candidates unbiased. Raises ValueError for random_share < 0.2, or scores that are NaN.
    """
    score_N = np.asarray(scores, dtype=np.float64)
    if not LEAST_RANDOM <= random_share <= 1:
        raise ValueError(f"random_share must be in [{LEAST_RANDOM}, 1], got {random_share}: without a random arm"
                         " nothing can be evaluated without bias")  # fmt: skip
    if score_N.ndim != 1 or np.isnan(score_N).any():
        raise ValueError(f"choose needs one score per candidate, none of them NaN, got {score_N.shape}")
    if sampler == RANDOM:
        raise ValueError("the active arm cannot be called 'random'")
    count, total = min(count, len(score_N)), len(score_N)
    if count < 1:
        return []
    rng = np.random.default_rng() if rng is None else rng
    by_chance = min(count, math.ceil(random_share * count - 1e-9))
    active = count - by_chance
    drawn = rng.choice(total, size=by_chance, replace=False)
    ranked_N = np.argsort(-score_N, kind="stable")
    taken = ranked_N[~np.isin(ranked_N, drawn)][:active]
    rank_N = np.empty(total, dtype=np.int64)
    rank_N[ranked_N] = np.arange(total)
    random_p = by_chance / total
    active_p_N = _active_propensity(rank_N, total, by_chance, active)
    arms: Sequence[tuple[str, Ints]] = ((RANDOM, drawn), (sampler, taken))
    return [
        Chosen(
            index=int(i),
            sampler=name,
            propensity=float(random_p if name == RANDOM else active_p_N[i]),
            inclusion=min(1.0, float(random_p + active_p_N[i])),
        )
        for name, places in arms
        for i in places
    ]


def _active_propensity(rank_N: Ints, total: int, by_chance: int, active: int) -> Floats:
    if active == 0:
        return np.zeros(total)
    gone_N = hypergeom.sf(rank_N - active, total - 1, rank_N, by_chance) if total > 1 else np.ones(total)
    return np.asarray((1 - by_chance / total) * gone_N)


def _second(first_B: Floats, others_B: Ints, a: Ints, b: Ints) -> Floats:
    """P(a is drawn first and b second): b again by the members, given that it is not a."""
    left_N = 1 - first_B[a]
    with np.errstate(invalid="ignore", divide="ignore"):
        again_N = np.where(left_N > 1e-12, first_B[b] / left_N, 1 / others_B[a])
    return np.asarray(first_B[a] * again_N)


def _entropy(p: Floats) -> Floats:
    return np.asarray(entr(p) + entr(1 - p))


def _members(values: npt.ArrayLike, rule: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or len(array) < 2:
        raise ValueError(f"{rule} needs two independent members or more, as rows, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{rule} needs finite numbers from every member")
    return array
