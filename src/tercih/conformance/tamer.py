"""Proof of Deep TAMER: presses that come late are shared out by the distribution of their delay."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import integrate

from tercih.agents.live import Shown
from tercih.agents.tamer import Delay, Tamer, TamerLearner, credit, tamer_loss
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Lab, generator
from tercih.conformance.taught import ACTIONS, STATES, Clock, approve, best, spaces, teach

LATE = Delay(low=0.6, high=0.8)  # seconds: three to four steps


class OnScreen(TamerLearner):
    """w ≡ 1: a press is all about what is on the screen when it comes."""

    def credited(self, pressed: float) -> list[tuple[Shown, float]]:
        return [(shown, 1.0) for shown in list(self.shown)[-1:]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unshared(Tamer):
    def learner(
        self, observation_space: Any, action_space: Any, *, seed: int, clock: Callable[[], float] = time.monotonic
    ) -> TamerLearner:
        return OnScreen(self, observation_space, action_space, seed=seed, clock=clock)


def prove(lab: Lab, method: type[Tamer] = Tamer) -> Findings:
    steps = lab.of(quick=400, full=1500)
    seeds = [lab.seed * 100 + i for i in range(lab.of(quick=3, full=5))]
    ours = [taught(method, steps, seed) for seed in seeds]
    unshared = [taught(Unshared, steps, seed) for seed in seeds]
    control = taught(method, steps, seeds[0], shuffled=True)
    blame = min(float(values(learner).min()) for learner in ours)
    return Findings(
        identity=every(
            at_most("|credit − integral of the delay's density|", integral_difference(), 1e-9),
            at_most("|weights of 40 steps − their share of the delay's range|", share_difference(method), 1e-9),
            at_most("gradient of the loss − explicit loop", loop_difference(), 1e-12),
            at_most("lowest Ĥ: it can blame", blame, -0.1),
        ),
        ordering=above_zero(
            f"share of right actions after {steps} steps, shared credit − w ≡ 1",
            [right(a) - right(b) for a, b in zip(ours, unshared, strict=True)],
        ),
        negative_control=at_most(
            "share of right actions, praise of arbitrary steps", right(control), 0.67, "1/3 by chance"
        ),
        ablation=every(
            at_most("share of right actions, w ≡ 1", float(np.mean([right(learner) for learner in unshared])), 0.67),
            at_least("with shared credit", float(np.mean([right(learner) for learner in ours])), 0.9),
        ),
    )


def taught(kind: type[Tamer], steps: int, seed: int, *, shuffled: bool = False) -> TamerLearner:
    clock = Clock()
    settings = kind(delay=LATE, hidden=(32,), lr=0.02, every=2, batch=64)
    learner = settings.learner(*spaces(), seed=seed, clock=clock)
    teach(learner, clock, approve, steps, low=LATE.low, high=LATE.high, seed=seed, shuffled=shuffled)
    return learner


@torch.no_grad()
def values(learner: TamerLearner) -> torch.Tensor:
    """Ĥ of all actions in all states, (S, A)."""
    value_SA: torch.Tensor = learner.network(learner.numbers(list(range(STATES))))
    return value_SA


def right(learner: TamerLearner) -> float:
    """In how many states it does what the trainer wants."""
    chosen: list[int] = values(learner).argmax(1).tolist()
    return sum(chosen[state] == best(state) for state in range(STATES)) / STATES


def integral_difference() -> float:
    """Over steps before, within and after the delay's range."""
    delay, pressed = Delay(low=0.3, high=1.1), 5.0

    def density(moment: float) -> float:
        return 1 / 0.8 if 0.3 <= pressed - moment <= 1.1 else 0.0

    worst = 0.0
    for since in np.arange(3.0, 6.0, 0.17):
        edges = [edge for edge in (3.9, 4.7) if since < edge < since + 0.25]
        area = integrate.quad(density, since, since + 0.25, points=edges or None)[0]
        worst = max(worst, abs(credit(delay, since, since + 0.25, pressed) - float(area)))
    return worst


def share_difference(kind: type[Tamer]) -> float:
    """Of the learner's own weights from how much of each step's time on the screen lies in the press's range."""
    delay, pressed = Delay(low=0.3, high=1.1), 5.0
    learner = kind(delay=delay).learner(*spaces(), seed=0, clock=Clock())
    for step in range(40):
        learner.show(0, 0, step * 0.13)
    found = {shown.since: weight for shown, weight in learner.credited(pressed)}
    worst = 0.0
    for shown in learner.shown:
        overlap = min(shown.since + 0.13, pressed - delay.low) - max(shown.since, pressed - delay.high)
        worst = max(worst, abs(found.get(shown.since, 0.0) - max(overlap, 0.0) / (delay.high - delay.low)))
    return worst


def loop_difference() -> float:
    dice = generator(80)
    praise_BA = torch.randn(7, ACTIONS, generator=dice, dtype=torch.float64, requires_grad=True)
    action_B = torch.randint(ACTIONS, (7,), generator=dice)
    said_B, weight_B = (torch.randn(7, generator=dice, dtype=torch.float64) for _ in range(2))
    (gradient_BA,) = torch.autograd.grad(tamer_loss(praise_BA, action_B, said_B, weight_B), praise_BA)
    for b in range(7):
        a = int(action_B[b])
        gradient_BA[b, a] -= 2 / 7 * weight_B[b] * (praise_BA.detach()[b, a] - said_B[b])
    return float(gradient_BA.abs().max())
