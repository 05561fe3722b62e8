"""Proof of RWR: its optimum is that of the KL-regularised reward, from data of the reference alone."""

from tercih.algorithms.rwr import RWR
from tercih.conformance.checks import Findings, above_zero, at_least
from tercih.conformance.enumerable import total_variation
from tercih.conformance.lab import Lab
from tercih.conformance.weighing import fitted, furthest, learns_nothing, weighed

BETA = 0.7


def prove(lab: Lab, method: type[RWR] = RWR) -> Findings:
    steps = lab.of(quick=60, full=130)
    configured, world = method(beta=BETA), lab.worlds[0]
    found = [fitted(w, configured, steps) for w in lab.worlds]
    gains = [w.gain(policy_Y) for w, policy_Y in zip(lab.worlds, found, strict=True)]
    mild = [w.gain(fitted(w, method(beta=3 * BETA), steps)) for w in lab.worlds]
    expected = [weighed(w.base_Y, (w.reward_Y / BETA).exp()) for w in lab.worlds]
    return Findings(
        identity=furthest(found, expected),
        ordering=above_zero(
            f"gain in true reward, β {BETA:g} − {3 * BETA:g}", [a - b for a, b in zip(gains, mild, strict=True)]
        ),
        negative_control=learns_nothing(lab, configured, steps, gains),
        ablation=at_least(
            "TV to π0·exp(r/β)/Z where all weigh the same",
            total_variation(fitted(world, method(beta=1e9), steps), expected[0]),
            0.1,
        ),
    )
