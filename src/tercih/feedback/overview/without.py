"""What each rater and each source of comparisons does to the reward that is learned: learned again without them.

`tercih worker` works this out, on the features of its reward model where it has one; no page waits for it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tercih.feedback.acquisition import Floats
from tercih.feedback.quality import Effect, Interval, clustered_mean, leave_out
from tercih.feedback.voices import Voices, voices_of
from tercih.records import Comparison

KIND = "without"  # of the row of `fit`
MOST_VOICES = 20_000  # the newest ones
MOST_GROUPS = 40  # those who said most
LEAST_JUDGEMENTS = 20
POINTS = 5  # of the learning curve


def without(said: Sequence[tuple[Comparison, str]], features: Mapping[str, Floats] | None = None) -> dict[str, Any]:
    """For JSON: the learning curve, and the effects of leaving out each rater and each source.

    `said` are judgements with the kind of question each comes from, in their order; `features` are of items by id.
    Raises ValueError for too few.
    """
    comparisons = [each for each, _ in said[-MOST_VOICES:]]
    voices = voices_of(comparisons, features)
    sources = {
        "kind": [kind for _, kind in said[-MOST_VOICES:]],
        "sampler": [each.sampler for each in comparisons],
        "origin": [" – ".join(sorted({each.a.origin or "?", each.b.origin or "?"})) for each in comparisons],
    }
    return {
        "judgements": len(comparisons),
        "features": features is not None,
        "curve": _curve(voices),
        "raters": _effects(voices, [each.rater for each in comparisons], own=False),
        "sources": [row | {"by": by} for by, names in sources.items() for row in _effects(voices, names, own=True)],
    }


def _curve(voices: Voices) -> list[dict[str, Any]]:
    """Held-out accuracy of what is learned from the first answers alone, over all answers."""
    count, rows = len(voices.pair_J), []
    for most in np.unique(np.linspace(count / POINTS, count, POINTS).round().astype(np.int64)).tolist():
        credit_J = voices.credit(np.arange(count) < most)
        judged_J = np.isfinite(credit_J)
        found = clustered_mean(credit_J[judged_J], voices.pair_J[judged_J])
        rows.append({"answers": most, "accuracy": _interval(found)})
    return rows


def _effects(voices: Voices, groups: Sequence[str], *, own: bool) -> list[dict[str, Any]]:
    """Of those groups that said enough, at most MOST_GROUPS; none where there is one group alone."""
    counts = Counter(groups)
    among = [name for name, count in counts.most_common(MOST_GROUPS) if count >= LEAST_JUDGEMENTS]
    if len(counts) < 2 or not among:
        return []
    group_J = np.asarray(groups)

    def row(effect: Effect) -> dict[str, Any]:
        named = {"name": effect.name, "judgements": effect.judgements, "change": _interval(effect.change)}
        return named | {"turned": voices.turned(group_J != effect.name)}

    return [row(each) for each in leave_out(groups, voices.credit, voices.pair_J, among=among, own=own)]


def _interval(found: Interval) -> dict[str, Any]:
    return asdict(found)
