"""What a reward learned from some of the voices foretells of the others: quick enough to be learned again without each.

Bradley–Terry on differences φ of whatever stands for items: features of a reward model, or the items themselves (their
scores are then all that is learned). Every judgement is foretold from judgements of other folds: of other prompts where
there are features, or else of the same items by other voices.

Shape suffixes: J judgements, N pairs, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import expit, log_expit

from tercih.feedback.acquisition import Bools, Floats, Ints
from tercih.feedback.linear import best_ridge, compress
from tercih.records import Comparison, Text

FOLDS = 5
SPREAD = 2.0  # of items' scores beforehand, in log-odds
WORTH = {"a": 1.0, "b": 0.0, "tie": 0.5}


@dataclass(frozen=True, kw_only=True, slots=True)
class Voices:
    """Judgements in the order they came: the pair of each, what was said (1 its first item, 0 its second, ½ a tie), and
    in which fold it is foretold. `phi_ND` may be sparse."""

    phi_ND: Any
    pair_J: Ints
    target_J: Floats
    fold_J: Ints
    ridge: float

    def learn(self, keep_J: Bools, start_D: Floats | None = None) -> Floats:
        """The weights [D] of most posterior probability, from these judgements alone."""
        pairs, dimensions = self.phi_ND.shape
        total_N = np.bincount(self.pair_J[keep_J], minlength=pairs)
        first_N = np.bincount(self.pair_J[keep_J], weights=self.target_J[keep_J], minlength=pairs)

        def loss(w_D: Floats) -> tuple[float, Floats]:
            gap_N = self.phi_ND @ w_D
            value = first_N @ log_expit(gap_N) + (total_N - first_N) @ log_expit(-gap_N)
            slope_D = self.phi_ND.T @ (first_N - total_N * expit(gap_N))
            return self.ridge / 2 * float(w_D @ w_D) - float(value), self.ridge * w_D - slope_D

        start_D = np.zeros(dimensions) if start_D is None else start_D
        return np.asarray(minimize(loss, start_D, jac=True, method="L-BFGS-B", options={"gtol": 1e-4}).x)

    def credit(self, keep_J: Bools) -> Floats:
        """Of every judgement: 1 where what was learned from the kept ones of other folds foretells it, 0 where it
        foretells the opposite, ½ where it says nothing; NaN for ties, which nobody can foretell."""
        credit_J = np.full(len(self.pair_J), np.nan)
        w_D = self.learn(keep_J)
        for fold in range(FOLDS):
            inside_J = self.fold_J == fold
            gap_J = (self.phi_ND @ self.learn(keep_J & ~inside_J, w_D))[self.pair_J[inside_J]]
            said_J = np.sign(np.where(np.abs(gap_J) < 1e-3, 0.0, gap_J))
            credit_J[inside_J] = (1 + said_J * (2 * self.target_J[inside_J] - 1)) / 2
        credit_J[self.target_J == WORTH["tie"]] = np.nan
        return credit_J

    def turned(self, keep_J: Bools) -> float:
        """The share of pairs of which another item is the better one when these judgements alone are learned from."""
        whole_N, part_N = (self.phi_ND @ self.learn(keep) for keep in (np.ones_like(keep_J), keep_J))
        return float((np.sign(whole_N.round(3)) != np.sign(part_N.round(3))).mean())


def voices_of(comparisons: Sequence[Comparison], features: Mapping[str, Floats] | None = None, seed: int = 0) -> Voices:
    """`features` are of items by id. Raises ValueError for fewer judgements than folds."""
    if len(comparisons) < FOLDS:
        raise ValueError(f"only {len(comparisons)} pairs were judged")
    pairs: dict[tuple[str, str], int] = {}
    topics: dict[str, int] = {}
    rows = []
    for said in comparisons:
        a, b = said.pair
        pair = (min(a, b), max(a, b))
        topic = str(said.a.prompt) if isinstance(said.a, Text) else str(pair)
        worth = WORTH[said.answer] if a < b else 1 - WORTH[said.answer]
        rows.append((pairs.setdefault(pair, len(pairs)), topics.setdefault(topic, len(topics)), worth))
    pair_J, topic_J = np.array([row[:2] for row in rows], dtype=np.int64).T
    target_J = np.array([row[2] for row in rows])
    rng = np.random.default_rng(seed)
    if features is None:
        fold_J = rng.permutation(len(comparisons)) % FOLDS
        phi_ND: Any = _items(list(pairs))
        return Voices(phi_ND=phi_ND, pair_J=pair_J, target_J=target_J, fold_J=fold_J, ridge=SPREAD**-2)
    phi_ND = compress(np.stack([features[a] - features[b] for a, b in pairs]))
    apart_J, apart = (topic_J, len(topics)) if len(topics) >= 2 * FOLDS else (pair_J, len(pairs))
    fold_J = (rng.permutation(apart) % FOLDS)[apart_J]
    share_N = np.bincount(pair_J, weights=target_J) / np.bincount(pair_J)
    return Voices(
        phi_ND=phi_ND, pair_J=pair_J, target_J=target_J, fold_J=fold_J, ridge=best_ridge(phi_ND, share_N)
    )  # fmt: skip


def _items(pairs: Sequence[tuple[str, str]]) -> csr_array:
    """+1 at a pair's first item, −1 at its second."""
    place = {key: at for at, key in enumerate(dict.fromkeys(key for pair in pairs for key in pair))}
    columns = [place[key] for pair in pairs for key in pair]
    rows = np.repeat(np.arange(len(pairs)), 2)
    return csr_array((np.tile([1.0, -1.0], len(pairs)), (rows, columns)), shape=(len(pairs), len(place)))
