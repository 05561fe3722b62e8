"""Proof of DAPO: its gradient is equation 8's on the groups with spread, and from samples it finds the best answer."""

from collections.abc import Iterator
from dataclasses import replace
from math import exp
from statistics import mean

import torch
from torch import Tensor

from tercih.algorithms.dapo import DAPO
from tercih.batches import Batch, Compared, Models, Rollout
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.groups import UNLIKE, OffPolicy, kept, largest, reinforce
from tercih.conformance.lab import Lab, World
from tercih.method import State
from tercih.ops import group_normalised

SAMPLES = 4
MINIBATCHES = 2
WAY = 8.0  # far enough to find the best answer; without a KL term, shuffled rewards lead the further astray


def prove(lab: Lab, method: type[DAPO] = DAPO) -> Findings:
    steps = lab.of(quick=100, full=200)
    world, configured = lab.worlds[0], method(minibatches=MINIBATCHES)
    policies = [reinforce(w, configured, steps, samples=SAMPLES, way=WAY) for w in lab.worlds]
    controls = [reinforce(w, configured, steps, samples=SAMPLES, way=WAY, shuffled=True) for w in lab.worlds]
    gains = list(map(World.gain, lab.worlds, policies))
    case = OffPolicy(world=World(language=UNLIKE, key=(*world.key, 80)))
    whole, even = method(minibatches=1), method(minibatches=1, clip_high=method().clip_low)
    own_VD = case.gradient(whole)
    return Findings(
        identity=every(
            at_least("π(best answer)", min(map(best, lab.worlds, policies)), 0.9),
            at_most("gradient − explicit loop of eq. 8", largest(own_VD, loop(case, whole)), 1e-12),
            at_most(
                "what the higher clip adds − tokens with A > 0 and ρ between the clips",
                largest(own_VD - case.gradient(even), added(case, whole)),
                1e-12,
            ),
            at_most("updates on groups without spread", updates_without_spread(case, whole), 0),
        ),
        ordering=above_zero("true reward, DAPO − π0", gains),
        negative_control=at_most(
            "mean gain in true reward, shuffled / real", mean(map(World.gain, lab.worlds, controls)) / mean(gains), 0.2
        ),
        ablation=every(
            at_least("gradient's change, groups without spread counted / DAPO", changed(case, Undropped()), 0.1),
            at_least("the same, symmetric clip", changed(case, even), 0.01),
        ),
    )


def best(world: World, policy_Y: Tensor) -> float:
    return float(policy_Y[world.reward_Y.argmax()])


def loop(case: OffPolicy, method: DAPO) -> Tensor:
    """Clipped ρA of every token, over all tokens of the groups with spread."""
    advantage, flat = case.advantage, case.flat
    tokens = sum(length for length, alike in zip(case.length, flat, strict=True) if not alike)

    def pull(row: int, t: int) -> float:
        return kept(exp(case.log_ratio[row][t]), advantage[row], method.clip_low, method.clip_high) / tokens

    return case.loop(pull)


def added(case: OffPolicy, method: DAPO) -> Tensor:
    """ρA of the tokens that only the higher clip leaves alone."""
    advantage, flat = case.advantage, case.flat
    tokens = sum(length for length, alike in zip(case.length, flat, strict=True) if not alike)

    def pull(row: int, t: int) -> float:
        ratio = exp(case.log_ratio[row][t])
        between = advantage[row] > 0 and 1 + method.clip_low < ratio <= 1 + method.clip_high
        return ratio * advantage[row] / tokens if between else 0.0

    return case.loop(pull)


def updates_without_spread(case: OffPolicy, method: DAPO) -> float:
    """How many updates there are where every answer to every prompt has the same reward."""
    alike = replace(case.rollout, reward_B=torch.full_like(case.rollout.reward_B, 0.1))
    return float(len(list(method.batches(alike, case.world.models(case.policy), {}))))


def changed(case: OffPolicy, method: DAPO) -> float:
    """How far another gradient lies from DAPO's, relative to its size."""
    own_VD = case.gradient(DAPO(minibatches=1))
    return float((case.gradient(method) - own_VD).norm() / own_VD.norm())


class Undropped(DAPO):
    """Groups without spread stay, and count in the mean over tokens."""

    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Batch]:
        advantage_B = group_normalised(data.reward_B, data.tokens.prompt_of_B)
        yield Compared(tokens=data.tokens, old_logp_BT=data.logp_BT, advantage_B=advantage_B)
