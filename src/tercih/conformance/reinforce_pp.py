"""Proof of REINFORCE++: its gradient is a plain loop's, normalisation included, and it finds the optimum of
KL-regularised reward: what it takes off a return hangs on nothing that is still to be said. With the group's mean,
which each response is part of, it finds the optimum of a smaller reward."""

from collections.abc import Iterator
from dataclasses import replace
from math import exp, sqrt
from statistics import mean

import torch

from tercih.algorithms.reinforce_pp import ReinforcePP, returns_to_go
from tercih.batches import Batch, Credited, Rollout
from tercih.conformance.checks import Findings, at_least, at_most, every
from tercih.conformance.enumerable import optimum, total_variation
from tercih.conformance.groups import UNLIKE, OffPolicy, gradient, kept, largest, reinforce, rewarded, worlds
from tercih.conformance.lab import Lab, World
from tercih.forward import Models
from tercih.method import State
from tercih.ops import kl1, token_rewards

BETA = 1.0
TIMES = 10.0  # another unit of rewards
SAMPLES = 2  # of a prompt, where their mean is the baseline


def prove(lab: Lab, method: type[ReinforcePP] = ReinforcePP) -> Findings:
    steps = lab.of(quick=60, full=300)
    on, configured, grouped = worlds(lab), method(kl_coef=BETA), method(kl_coef=BETA, group_baseline=True)
    world, unlike = on[0], World(language=UNLIKE, key=(*on[0].key, 80))
    policies = [reinforce(w, configured, steps, samples=1) for w in on]
    control_Y = reinforce(world, configured, steps, samples=1, shuffled=True)
    free_Y = reinforce(world, method(kl_coef=0.0), steps, samples=1)
    targets = [optimum(w.base_Y, w.reward_Y, BETA) for w in on]
    grouped_Y = reinforce(world, grouped, steps, samples=SAMPLES)
    left_Y = optimum(world.base_Y, (1 - 1 / SAMPLES) * world.reward_Y, BETA)
    return Findings(
        identity=every(
            at_most("mean TV to π*", mean(map(total_variation, policies, targets)), 0.05),
            at_most("gradient − explicit loop", loop_difference(unlike, configured), 1e-12),
            at_most("gradient's change by another unit of rewards", change(unlike, method(kl_coef=0.0)), 1e-6),
            at_most(f"baseline of {SAMPLES}: TV to π0 exp((1 − 1/K) r/β)", total_variation(grouped_Y, left_Y), 0.05),
            at_most("baseline: gradient − explicit loop", loop_difference(unlike, grouped), 1e-12),
            at_most("baseline: gradient's change where a prompt pays more", easier(unlike, grouped), 1e-12),
        ),
        ordering=rewarded("REINFORCE++", on, policies),
        negative_control=at_most(
            "|gain in true reward|, shuffled / real", abs(world.gain(control_Y)) / world.gain(policies[0]), 0.2
        ),
        ablation=every(
            at_least("TV to π*, KL removed", total_variation(free_Y, targets[0]), 0.1),
            at_least("gradient's change by another unit, not normalised", change(unlike, Raw(kl_coef=0.0)), 0.1),
            at_least(
                "gradient's change where a prompt pays more, no group's baseline", easier(unlike, configured), 0.01
            ),
        ),
    )


def loop_difference(world: World, method: ReinforcePP) -> float:
    case = OffPolicy(world=world)
    with torch.no_grad():
        reference_BT = world.policy()(case.rollout.tokens).logp_BT
    kl, reward = (case.rollout.logp_BT - reference_BT).tolist(), case.rollout.reward_B.tolist()
    if method.group_baseline:
        groups = [reward[start : start + case.samples] for start in range(0, len(reward), case.samples)]
        reward = [r - mean(group) for group in groups for r in group]
    returns = [
        [reward[row] - BETA * sum(kl[row][t:length]) for t in range(length)] for row, length in enumerate(case.length)
    ]
    every_return = [x for row in returns for x in row]
    centre, count = mean(every_return), len(every_return)
    spread = sqrt(sum((x - centre) ** 2 for x in every_return) / count + 1e-8)

    def pull(row: int, t: int) -> float:
        advantage = (returns[row][t] - centre) / spread
        return kept(exp(case.log_ratio[row][t]), advantage, method.clip, method.clip) / count

    return largest(gradient_of(case, method, case.rollout), case.loop(pull))


def gradient_of(case: OffPolicy, method: ReinforcePP, rollout: Rollout) -> torch.Tensor:
    models = case.world.models(case.policy)
    (batch,) = method.batches(rollout, models, method.init(models))
    return gradient(method, case.policy, batch)


def change(world: World, method: ReinforcePP) -> float:
    case = OffPolicy(world=world)
    other = replace(case.rollout, reward_B=TIMES * case.rollout.reward_B)
    return largest(gradient_of(case, method, other), gradient_of(case, method, case.rollout))


def easier(world: World, method: ReinforcePP) -> float:
    """How far the gradient moves where every other prompt pays more, whatever is answered."""
    case = OffPolicy(world=world)
    more_B = 3.0 * (case.rollout.tokens.prompt_of_B % 2)
    other = replace(case.rollout, reward_B=case.rollout.reward_B + more_B)
    return largest(gradient_of(case, method, other), gradient_of(case, method, case.rollout))


class Raw(ReinforcePP):
    """Returns as they are."""

    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Batch]:
        for batch in ReinforcePP.batches(self, data, models, state):
            assert isinstance(batch, Credited)
            mask_BT, reference_logp_BT = data.tokens.loss_mask_BT, models.reference_logp(data.tokens)
            reward_BT = token_rewards(data.reward_B, kl1(data.logp_BT, reference_logp_BT), mask_BT, self.kl_coef)
            yield replace(batch, advantage_BT=returns_to_go(reward_BT, mask_BT))
