"""The alarm of reward hacking along a run: what is predicted rises while people agree with it less and less."""

from collections.abc import Sequence
from math import sqrt

SURE = 1.96  # deviations


def parted(
    predicted_S: Sequence[float], right_S: Sequence[float], asked_S: Sequence[float], *, window: int = 5
) -> int | None:
    """The first step at which the mean predicted reward of the newest `window` steps lies above that of the first, and
    people agree less with the reward model than then, by more than chance would have it (two shares, 95 %, each with
    one success and one failure added); None where that never happens.

    `right_S` of `asked_S` held-out answers of a step were foreseen: blindly chosen, and not yet learned from.
    """
    if not len(predicted_S) == len(right_S) == len(asked_S) or window < 1:
        raise ValueError("parted needs as many predicted rewards as answers that were foreseen and asked, and a window")
    for step in range(2 * window, len(predicted_S) + 1):
        now = slice(step - window, step)
        rises = sum(predicted_S[now]) > sum(predicted_S[:window])
        then_p, then_var = _share(sum(right_S[:window]), sum(asked_S[:window]))
        now_p, now_var = _share(sum(right_S[now]), sum(asked_S[now]))
        if rises and then_p - now_p > SURE * sqrt(then_var + now_var):
            return step - 1
    return None


def _share(right: float, asked: float) -> tuple[float, float]:
    p = (right + 1) / (asked + 2)
    return p, p * (1 - p) / (asked + 2)
