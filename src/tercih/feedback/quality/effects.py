"""What something does to the answers: a suggestion that was shown, or one rater or source that was there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tercih.feedback.quality.intervals import Interval, clustered_mean
from tercih.feedback.quality.votes import Bools, Floats


def anchoring(agreed: npt.ArrayLike, shown: npt.ArrayLike, raters: Sequence[str], seed: int = 0) -> Interval:
    """P(agrees with the suggestion | it was shown) − P(agrees | it was hidden), over judgements [J].

    `agreed` and `shown` are booleans; where the suggestion was hidden, `agreed` says whether the answer happens to be
    what would have been suggested. Only if who sees it is drawn at random is the difference an effect. The interval is
    a bootstrap over raters.
    """
    hidden = [not each for each in list(shown)]  # type: ignore[arg-type]
    return clustered_mean(agreed, raters, minus=hidden, seed=seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """`change` is credit(all but these) − credit(all): above 0, what is learned gets better without them."""

    name: str
    judgements: int
    change: Interval


def leave_out(
    groups: Sequence[str],
    credit: Callable[[Bools], Floats],
    clusters: npt.ArrayLike,
    *,
    among: Sequence[str] = (),
    own: bool = False,
) -> list[Effect]:
    """Learn again without each group of judgements, such as a rater's, those first without whom it is best.

    `groups` names the group of each of J judgements, `clusters` what it is about (the interval is a bootstrap over
    these). `credit` maps the judgements that may be learned from, booleans [J], to how well each of all J is foretold
    by what was learned from *others*; it should draw no random numbers that depend on its input. A group's own
    judgements do not count in its effect unless `own`; NaN never does. `among` limits it to these groups, where
    learning is dear. Raises `ValueError` for a name that judged nothing, and where nobody else is left.
    """
    group_J, cluster_J = np.asarray(groups), np.asarray(clusters)
    names, counts = np.unique(group_J, return_counts=True)
    if unknown := sorted(set(among) - set(names.tolist())):
        raise ValueError(f"these have judged nothing: {', '.join(unknown)}")
    if len(names) < 2:
        raise ValueError("leaving one out needs at least two")
    whole_J = credit(np.ones(len(group_J), dtype=bool))
    found = []
    for name, judgements in zip(names.tolist(), counts.tolist(), strict=True):
        if among and name not in among:
            continue
        rest_J = group_J != name
        change_J = credit(rest_J) - whole_J
        counted_J = np.isfinite(change_J) & (rest_J | own)
        change = clustered_mean(change_J[counted_J], cluster_J[counted_J])
        found.append(Effect(name=name, judgements=judgements, change=change))
    return sorted(found, key=lambda each: -each.change.value)
