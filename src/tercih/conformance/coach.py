"""Proof of COACH: its steps are the paper's recursion, and it learns from praise that fades as the policy improves."""

import numpy as np
import torch

from tercih.agents.coach import Coach, CoachLearner
from tercih.agents.live import Press, Taught
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Lab
from tercih.conformance.taught import ACTIONS, SECONDS, STATES, Clock, Praise, approve, best, spaces, teach

DELAY = 0.6  # seconds: three steps
SLACK = 0.02
WORTH = (1.0, 0.5, 0.0)  # of the wanted action, the one after it, and the last


class Improvement:
    """Praises what is better than what this trainer has lately seen in the same state, blames what is worse, and
    presses nothing where all is as usual: the paper's improvement feedback, which depends on the policy."""

    def __init__(self) -> None:
        self.usual = [sum(WORTH) / ACTIONS] * STATES  # of acting at random

    def __call__(self, state: int, action: int) -> float:
        worth = WORTH[(action - best(state)) % ACTIONS]
        above = worth - self.usual[state]
        self.usual[state] += 0.3 * above
        return float(np.sign(above)) if abs(above) > 0.1 else 0.0


def prove(lab: Lab, method: type[Coach] = Coach) -> Findings:
    steps = lab.of(quick=800, full=2000)
    seeds = [lab.seed * 100 + i for i in range(lab.of(quick=3, full=5))]
    improved = [coached(method, Improvement(), steps, seed) for seed in seeds]
    approved = coached(method, approve, steps, seeds[0])
    hasty = coached(method, Improvement(), steps, seeds[0], delay=0.0)
    control = coached(method, Improvement(), steps, seeds[0], shuffled=True)
    return Findings(
        identity=every(
            at_most("|θ − the paper's recursion by hand|", recursion_difference(method), 1e-5),
            at_most("|θ − θ before a press that was taken back|", taken_back(method), 1e-6),
            at_least("P(right action), action feedback", right(approved), 0.9),
            at_least("P(right action), task feedback", goal(method, steps, seeds[0]), 0.9),
            at_least("P(right action), improvement feedback", float(np.mean([right(each) for each in improved])), 0.85),
        ),
        ordering=above_zero(
            "P(right action) under improvement feedback, after − before",
            [
                right(each) - right(coached(method, approve, 0, seed))
                for each, seed in zip(improved, seeds, strict=True)
            ],
        ),
        negative_control=at_most("P(right action), praise of arbitrary steps", right(control), 0.6, "1/3 by chance"),
        ablation=at_most("P(right action), no delay assumed", right(hasty), 0.6),
    )


def coached(
    kind: type[Coach], praise: Praise, steps: int, seed: int, *, delay: float = DELAY, shuffled: bool = False
) -> CoachLearner:
    clock = Clock()
    learner = kind(delay=delay, decays=((0.0, 0.0),), lr=0.12, hidden=()).learner(*spaces(), seed=seed, clock=clock)
    teach(learner, clock, praise, steps, low=DELAY, high=DELAY + SLACK, seed=seed, shuffled=shuffled)
    return learner


@torch.no_grad()
def right(learner: CoachLearner, wanted: list[int] | None = None) -> float:
    """The mean probability of what the trainer wants, over all states."""
    wanted = [best(state) for state in range(STATES)] if wanted is None else wanted
    judged = learner.policy(torch.arange(len(wanted)), torch.tensor(wanted))
    return float(judged.logp_B.exp().mean())


def goal(kind: type[Coach], steps: int, seed: int) -> float:
    """Task feedback: a walk of four places; only who arrives is praised, by 4, which reaches far back (λ = .95).
    Action 0 leads on, 1 stays, 2 leads to the start. P(0) over the places."""
    clock, place, waiting = Clock(), 0, list[Press]()
    settings = kind(delay=DELAY, decays=((0.0, 0.35), (4.0, 0.9)), lr=0.1, hidden=())
    learner = settings.learner(*spaces(), seed=seed, clock=clock)
    for step in range(steps):
        clock.now = step * SECONDS
        learner.hear([press for press in waiting if press.seconds <= clock.now])
        waiting = [press for press in waiting if press.seconds > clock.now]
        place = (place + 1, place, 0)[int(learner.act(np.int64(place)))]
        if place == 4:
            waiting.append(Press(id=step, value=4.0, seconds=(step + 1) * SECONDS + DELAY + 0.01))
            place = 0
    return right(learner, [0, 0, 0, 0])


def recursion_difference(kind: type[Coach]) -> float:
    """Of a linear softmax policy, whose gradient is (1[a] − π) at the state's column and the bias, after 60 steps of
    three presses each ten: e ← λe + ∇ log π(a_(t−d) | s_(t−d)), θ ← θ + αfe, with two traces."""
    decays, rate, late = (0.35, 0.8), 0.1, 3
    settings = kind(delay=late * SECONDS, decays=((0.0, decays[0]), (2.0, decays[1])), lr=rate, hidden=())
    learner = settings.learner(*spaces(), seed=1, clock=Clock())
    actor = learner.policy.actor
    weight_AS, bias_A = (x.detach().double().numpy().copy() for x in (actor.weight, actor.bias))
    traces = [[np.zeros_like(weight_AS), np.zeros_like(bias_A)] for _ in decays]
    dice, done = np.random.default_rng(5), list[tuple[int, int]]()
    for step in range(60):
        done.append((int(dice.integers(STATES)), int(dice.integers(ACTIONS))))
        learner.show(np.int64(done[-1][0]), done[-1][1], since=step * SECONDS)
        if step >= late:
            state, action = done[step - late]
            score_A = weight_AS[:, state] + bias_A
            pull_A = np.eye(ACTIONS)[action] - np.exp(score_A) / np.exp(score_A).sum()
            for trace, decay in zip(traces, decays, strict=True):
                trace[0] *= decay
                trace[1] = decay * trace[1] + pull_A
                trace[0][:, state] += pull_A
        if step % 10 in (2, 3, 7):
            value = (1.0, -1.0, 2.5)[step % 3]
            learner.hear([Press(id=step, value=value, seconds=step * SECONDS)])
            trace = traces[int(abs(value) >= 2)]
            weight_AS += rate * value * trace[0]
            bias_A += rate * value * trace[1]
    off_AS, off_A = actor.weight.detach().numpy() - weight_AS, actor.bias.detach().numpy() - bias_A
    return float(max(abs(off_AS).max(), abs(off_A).max()))


def taken_back(kind: type[Coach]) -> float:
    learner = kind(delay=0.0).learner(*spaces(), seed=2, clock=Clock())
    before = parameters(learner)
    learner.show(np.int64(1), 2, since=0.0)
    learner.hear([Press(id=7, value=1.0, seconds=0.5)])
    moved = float((parameters(learner) - before).abs().max())
    learner.hear([Press(id=8, value=0.0, seconds=0.6, takes_back=7)])
    return float((parameters(learner) - before).abs().max()) if moved else float("nan")


def parameters(learner: Taught) -> torch.Tensor:
    assert isinstance(learner, CoachLearner)
    return torch.cat([p.detach().flatten().clone() for p in learner.parameters])
