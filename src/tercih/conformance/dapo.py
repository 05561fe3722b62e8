"""Proof of DAPO: its gradient is equation 8's on the groups with spread, and from samples it finds the best answers."""

from collections.abc import Iterator
from dataclasses import replace
from math import exp
from statistics import mean

import torch
from torch import Tensor

from tercih.algorithms.dapo import DAPO
from tercih.batches import Batch, Compared, Rollout
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.groups import UNLIKE, OffPolicy, kept, largest, reinforce, worlds
from tercih.conformance.lab import Lab, World
from tercih.forward import Models
from tercih.method import State
from tercih.ops import group_normalised

SAMPLES = 4
MINIBATCHES = 2
LOW, HIGH = 0.1, 0.5  # clips that some of the off-policy tokens leave and others do not
WAY = 8.0  # far enough to find the best answer; without a KL term, shuffled rewards lead the further astray


def prove(lab: Lab, method: type[DAPO] = DAPO) -> Findings:
    steps = lab.of(quick=100, full=200)
    on = worlds(lab)
    world, configured = on[0], method(minibatches=MINIBATCHES)
    policies = [reinforce(w, configured, steps, samples=SAMPLES, way=WAY) for w in on]
    controls = [reinforce(w, configured, steps, samples=SAMPLES, way=WAY, shuffled=True) for w in on]
    gains = list(map(World.gain, on, policies))
    case = OffPolicy(world=World(language=UNLIKE, key=(*world.key, 80)))
    whole = method(minibatches=1, clip_low=LOW, clip_high=HIGH)
    even, undropped = replace(whole, clip_high=LOW), Undropped(clip_low=LOW, clip_high=HIGH)
    expected_VD = loop(case)
    return Findings(
        identity=every(
            at_least("mean gain in true reward / the largest there is", mean(map(share, on, policies)), 0.9),
            at_most("gradient − explicit loop of eq. 8", largest(case.gradient(whole), expected_VD), 1e-12),
            at_most(
                "what the higher clip adds − tokens with A > 0 and ρ between the clips",
                largest(case.gradient(whole) - case.gradient(even), added(case)),
                1e-12,
            ),
            at_most("updates on groups without spread", updates_without_spread(case, whole), 0),
        ),
        ordering=above_zero("true reward, DAPO − π0", gains),
        negative_control=at_most(
            "mean gain in true reward, shuffled / real", mean(map(World.gain, on, controls)) / mean(gains), 0.2
        ),
        ablation=every(
            at_least(
                "gradient's change, groups without spread counted / DAPO", changed(case, undropped, expected_VD), 0.1
            ),
            at_least("the same, symmetric clip", changed(case, even, expected_VD), 0.1),
        ),
    )


def share(world: World, policy_Y: Tensor) -> float:
    """Without a KL term the optimum is the best answer alone: what was gained of what that would gain."""
    return world.gain(policy_Y) / float(world.reward_Y.max() - world.base_Y @ world.reward_Y)


def loop(case: OffPolicy) -> Tensor:
    """Clipped ρA of every token, over all tokens of the groups with spread."""
    advantage, flat = case.advantage, case.flat
    tokens = sum(length for length, alike in zip(case.length, flat, strict=True) if not alike)

    def pull(row: int, t: int) -> float:
        return kept(exp(case.log_ratio[row][t]), advantage[row], LOW, HIGH) / tokens

    return case.loop(pull)


def added(case: OffPolicy) -> Tensor:
    """ρA of the tokens that only the higher clip leaves alone."""
    advantage, flat = case.advantage, case.flat
    tokens = sum(length for length, alike in zip(case.length, flat, strict=True) if not alike)

    def pull(row: int, t: int) -> float:
        ratio = exp(case.log_ratio[row][t])
        between = advantage[row] > 0 and 1 + LOW < ratio <= 1 + HIGH
        return ratio * advantage[row] / tokens if between else 0.0

    return case.loop(pull)


def updates_without_spread(case: OffPolicy, method: DAPO) -> float:
    """How many updates there are where every answer to every prompt has the same reward."""
    alike = replace(case.rollout, reward_B=torch.full_like(case.rollout.reward_B, 0.1))
    return float(len(list(method.batches(alike, case.world.models(case.policy), {}))))


def changed(case: OffPolicy, method: DAPO, expected_VD: Tensor) -> float:
    """How far another gradient lies from DAPO's, relative to its size."""
    return float((case.gradient(method) - expected_VD).norm() / expected_VD.norm())


class Undropped(DAPO):
    """Groups without spread stay, and count in the mean over tokens."""

    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Batch]:
        advantage_B = group_normalised(data.reward_B, data.tokens.prompt_of_B)
        yield Compared(tokens=data.tokens, old_logp_BT=data.logp_BT, advantage_B=advantage_B)
