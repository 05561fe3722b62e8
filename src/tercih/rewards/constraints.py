"""Distributional constraints: how often something should be so, in place of how good it is (Khalifa et al. 2021,
arXiv:2012.11635).

The distribution nearest to π0 (in KL(p‖π0)) that has given moments E_p[φ] is p ∝ π0 exp(λ·φ). So a constraint becomes a
reward φ with a weight λ, and any method whose optimum is π0 exp(r/β) can be asked for it, with β = 1.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tercih.ops import group_softmax
from tercih.records import Content

TOLERANCE = 1e-3  # of a moment, over the spread of its feature
ROUNDS = 200
FARTHEST = 30.0  # of λ times the spread of its feature: e^30 is no weight that samples could bear


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraint:
    """That `feature(prompt, completion, **columns)` should be `moment` on average."""

    name: str
    feature: Callable[..., float]
    moment: float


def constraints(rows: Sequence[Mapping[str, Any]], place: Path | str, named: Callable[[str], Any]) -> list[Constraint]:
    """From the rows of a file: {"feature": "FILE.py:FUNCTION", "moment": 0.5}, or {"words": ["she", "her"], …}, whose
    feature is whether the answer has one of them; "name" is the word or function where it is not given. ValueError
    names the row and what is wrong with it."""
    found: list[Constraint] = []
    for number, row in enumerate(rows, 1):
        where = f"constraint {number} of {place}"
        if unknown := set(row) - {"feature", "words", "moment", "name"}:
            raise ValueError(f"{where} has {', '.join(sorted(unknown))}; it may have feature or words, moment, name")
        if not isinstance(row.get("moment"), int | float):
            raise ValueError(f'{where} needs a number "moment": what the feature should be on average')
        if ("feature" in row) == ("words" in row):
            raise ValueError(f'{where} needs either "feature": "FILE.py:FUNCTION" or "words": ["…", …]')
        feature = _has_one_of(row["words"], where) if "words" in row else named(str(row["feature"]))
        if not callable(feature):
            raise ValueError(f"{where}: {row['feature']} is no FILE.py:FUNCTION")
        default = row["words"][0] if "words" in row else str(row["feature"]).rpartition(":")[2]
        found.append(Constraint(name=str(row.get("name", default)), feature=feature, moment=float(row["moment"])))
    if not found:
        raise ValueError(f"{place} holds no constraint")
    names = [one.name for one in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f'{place} has two constraints called {", ".join(sorted(twice))}; give one another "name"')
    return found


def _has_one_of(words: Any, where: str) -> Callable[..., float]:
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        raise ValueError(f'{where}: "words" must be a list of words, got {words!r}')
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, words))})\b", re.IGNORECASE)

    def has_one_of(_prompt: Content, completion: Content, **_columns: Any) -> float:
        return float(pattern.search(str(completion)) is not None)

    return has_one_of


def fitted(
    feature_NC: Tensor, moment_C: Tensor, names: Sequence[str], prompt_of_N: Tensor | None = None
) -> tuple[Tensor, float]:
    """λ with mean over prompts of Σ w φ / Σ w = moment, where w = exp(λ·φ) and sums are over the samples of π0 for a
    prompt: what π0(y|x) exp(λ·φ)/Z(x) has on average. All samples are of one prompt where nothing else is said. Gives
    (λ of shape (C,), effective number of samples).

    The minimum of mean log mean exp(λ·φ) − λ·moment, which is convex, by Newton's method: the released code descends
    its squared error. ValueError where no finite λ does it: no answer that was sampled, or not enough, has the feature.
    """
    feature_NC, moment_C = feature_NC.double(), moment_C.double()
    group_N = torch.zeros(len(feature_NC), dtype=torch.long) if prompt_of_N is None else prompt_of_N
    centre_C, spread_C = feature_NC.mean(0), feature_NC.std(0, unbiased=False)
    for name, spread in zip(names, spread_C.tolist(), strict=True):
        if not spread > 0:
            raise ValueError(
                f"all {len(feature_NC)} answers that were sampled are alike in {name!r}: nothing can be fitted"
            )
    aim_C, x_NC = (moment_C - centre_C) / spread_C, (feature_NC - centre_C) / spread_C
    groups = int(group_N.max()) + 1

    def tilted(weight_C: Tensor) -> tuple[Tensor, Tensor]:
        """Every sample's share of its own prompt, and the means of the prompts, shape (P, C)."""
        share_N = group_softmax(x_NC @ weight_C, group_N)
        return share_N, torch.zeros(groups, len(aim_C)).double().index_add(0, group_N, share_N[:, None] * x_NC)

    weight_C = torch.zeros_like(aim_C)
    for _ in range(ROUNDS):
        share_N, mean_PC = tilted(weight_C)
        missed_C = aim_C - mean_PC.mean(0)
        if float(missed_C.abs().max()) < TOLERANCE / 10:
            break
        curve_CC = ((x_NC * share_N[:, None]).T @ x_NC - mean_PC.T @ mean_PC) / groups
        step_C = torch.linalg.solve(curve_CC + 1e-6 * torch.eye(len(aim_C), dtype=torch.float64), missed_C)
        weight_C = (weight_C + step_C.clamp(-1, 1)).clamp(-FARTHEST, FARTHEST)
    share_N, mean_PC = tilted(weight_C)
    missed_C = mean_PC.mean(0) - aim_C
    if float(missed_C.abs().max()) > TOLERANCE:
        worst = int(missed_C.abs().argmax())
        raise ValueError(
            f"no weight gives {names[worst]!r} the mean {float(moment_C[worst]):g}: over {len(feature_NC)} answers of"
            f" the model it is {float(centre_C[worst]):.3g}, from {float(feature_NC[:, worst].min()):g} to"
            f" {float(feature_NC[:, worst].max()):g}; ask for less, or sample more (--constraint-samples)"
        )
    squares_P = torch.zeros(groups).double().index_add(0, group_N, share_N**2)
    return weight_C / spread_C, float((1 / squares_P).sum())
