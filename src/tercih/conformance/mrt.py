"""Proof of MRT: where the responses to a prompt are all there are, its loss is the expected reward itself; where they
are a few, its gradient is a plain loop's."""

from dataclasses import replace
from math import exp

import torch
from torch import Tensor, nn

from tercih.algorithms.mrt import MRT
from tercih.batches import Rollout
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.direct import loss_of
from tercih.conformance.enumerable import distribution
from tercih.conformance.groups import (
    UNLIKE,
    OffPolicy,
    gradient,
    largest,
    moved,
    reinforce,
    reward_gradient,
    rollout_of,
    worlds,
)
from tercih.conformance.lab import Lab, World
from tercih.forward import Loss
from tercih.ops import row_sum

ALPHA = 0.5
SAMPLES = 5  # the paper's
RAISED = 2.0  # a level of rewards that says nothing about which answer is better


def prove(lab: Lab, method: type[MRT] = MRT) -> Findings:
    steps = lab.of(quick=100, full=200)
    on, configured = worlds(lab), method(alpha=ALPHA)
    world, unlike = on[0], World(language=UNLIKE, key=(*on[0].key, 80))
    policies = [reinforce(w, configured, steps, samples=SAMPLES, way=3.0) for w in on]
    controls = [reinforce(w, configured, steps, samples=SAMPLES, way=3.0, shuffled=True) for w in on]
    gains, by_lot = ([w.gain(policy_Y) for w, policy_Y in zip(on, ys, strict=True)] for ys in (policies, controls))
    return Findings(
        identity=every(
            at_most("gradient − explicit loop", loop_difference(unlike, configured), 1e-12),
            at_most("gradient over all answers − exact gradient, α = 1", difference(world, method(alpha=1.0)), 1e-12),
            at_most("|loss + Σ π^α r / Σ π^α|", abs(loss_of_all(world, configured)), 1e-9),
            at_most("gradient's change by a raised reward", change(unlike, configured), 1e-12),
        ),
        ordering=above_zero("true reward, MRT − π0", gains),
        negative_control=at_most("|gain in true reward|, shuffled / real", abs(sum(by_lot)) / sum(gains), 0.2),
        ablation=at_least(
            "gradient's change by a raised reward / gradient, Q not normalised", change(unlike, Bare(alpha=ALPHA)), 0.1
        ),
    )


def everything(world: World) -> Rollout:
    """All answers once, to one prompt."""
    return rollout_of(world, world.policy(), torch.arange(len(world.reward_Y))[None])


def difference(world: World, method: MRT) -> float:
    policy = moved(world, 81)
    return largest(-gradient(method, policy, everything(world)), reward_gradient(world, policy))


def loss_of_all(world: World, method: MRT) -> float:
    policy = moved(world, 81)
    weight_Y = distribution(policy, world.language) ** method.alpha
    return loss_of(world, method, policy, everything(world)) + float(weight_Y @ world.reward_Y / weight_Y.sum())


def loop_difference(world: World, method: MRT) -> float:
    """−α Q (r − Σ Q r) ∇log π, a mean over prompts."""
    case = OffPolicy(world=world, samples=SAMPLES)
    reward, old = case.rollout.reward_B.tolist(), case.rollout.logp_BT.tolist()
    logp = [sum(row) + sum(before[: len(row)]) for row, before in zip(case.log_ratio, old, strict=True)]
    pull: list[float] = []
    for start in range(0, len(logp), SAMPLES):
        weight = [exp(method.alpha * x) for x in logp[start:][:SAMPLES]]
        q, own = [w / sum(weight) for w in weight], reward[start:][:SAMPLES]
        mean = sum(a * b for a, b in zip(q, own, strict=True))
        pull += [method.alpha * a * (b - mean) / case.prompts for a, b in zip(q, own, strict=True)]
    found_VD = gradient(method, case.policy, case.rollout)
    return largest(found_VD, case.loop(lambda row, _: pull[row]))


def change(world: World, method: MRT) -> float:
    """As a share of the gradient."""
    case = OffPolicy(world=world, samples=SAMPLES)
    before_VD = gradient(method, case.policy, case.rollout)
    raised = replace(case.rollout, reward_B=case.rollout.reward_B + RAISED)
    return largest(gradient(method, case.policy, raised), before_VD) / largest(before_VD)


class Bare(MRT):
    """p^α r of every sample, whatever the others are."""

    def loss(self, policy: nn.Module, batch: Rollout) -> Loss:
        loss = MRT.loss(self, policy, batch)
        logp_B: Tensor = row_sum(policy(batch.tokens).logp_BT, batch.tokens.loss_mask_BT)
        weighed = -((self.alpha * logp_B).exp() * batch.reward_B).sum()
        return replace(loss, terms={"risk": replace(loss.terms["risk"], sum=weighed)})
