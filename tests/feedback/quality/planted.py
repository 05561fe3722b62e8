"""Comparisons by simulated raters whose faults and whose truth are known; `a` is the better item of every pair."""

import numpy as np

from tercih.feedback.simulated import SimulatedRater
from tercih.records import Comparison, Consensus, Text


def plant(
    raters: list[SimulatedRater], pairs: int, votes: int, seed: int = 0, gap: float = 1.0, ordered: bool = True
) -> list[Comparison]:
    """`votes` judgements by different raters on each of `pairs` pairs, the order shown drawn anew each time.

    Half of the pairs are presented with the better item as `b`; its completion is "better …" in both cases.
    """
    rng = np.random.default_rng(seed)
    said = []
    for index in range(pairs):
        better, worse = (Text(prompt="p", completion=f"{kind} {index}") for kind in ("better", "worse"))
        a, b = (better, worse) if index % 2 else (worse, better)
        for at in rng.choice(len(raters), votes, replace=False):
            left = "a" if rng.random() < 0.5 else "b"
            on_left = gap if (a if left == "a" else b) is better else -gap
            side = raters[at].answer(on_left, rng.random(), rng.random())
            answer = "tie" if side == "tie" else left if side == "left" else {"a": "b", "b": "a"}[left]
            said.append(Comparison(a=a, b=b, answer=answer, rater=raters[at].name, left=left if ordered else None))
    return said


def crowd(count: int, **fault: float) -> list[SimulatedRater]:
    """Raters that share a fault."""
    kind = "-".join(fault)
    return [SimulatedRater(name=f"simulated-{kind}-{index}", **fault) for index in range(count)]


def accuracy(beliefs: list[Consensus]) -> float:
    """Share of pairs whose better item is believed better; half a point where belief is even."""
    even = [(c.p_a == c.p_b, (c.p_a > c.p_b) == str(c.a.completion).startswith("better")) for c in beliefs]
    return float(np.mean([0.5 if same else right for same, right in even]))
