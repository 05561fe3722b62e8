"""Proof of f-DPG: for every divergence its gradient is that of the divergence itself, by finite differences, and from
samples it finds the target, whether a reward tilts it or a constraint on how often something is so."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import log

import torch
from torch import Tensor

from tercih.algorithms.f_dpg import FDPG, pseudo_reward
from tercih.batches import Batch, Compared, Rollout
from tercih.conformance.checks import Check, Findings, above_zero, at_least, at_most, every
from tercih.conformance.enumerable import distribution, optimum, total_variation
from tercih.conformance.groups import FEW, every_gradient, moved, reinforce, rollout_of, worlds
from tercih.conformance.lab import Lab, World, generator
from tercih.forward import Models
from tercih.method import State
from tercih.ops import kl1, mean_of_others, row_sum
from tercih.rewards.constraints import fitted

BETA = 1.0
SAMPLES = 4  # of a prompt
NAMES = ("forward_kl", "reverse_kl", "js", "tv", "neyman_chi2")
DEFINED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "forward_kl": lambda q_Y, p_Y: p_Y @ (p_Y / q_Y).log(),
    "reverse_kl": lambda q_Y, p_Y: q_Y @ (q_Y / p_Y).log(),
    "js": lambda q_Y, p_Y: p_Y @ (2 * p_Y / (p_Y + q_Y)).log() + q_Y @ (2 * q_Y / (p_Y + q_Y)).log(),
    "tv": lambda q_Y, p_Y: (q_Y - p_Y).abs().sum() / 2,
    "neyman_chi2": lambda q_Y, p_Y: ((q_Y - p_Y) ** 2 / q_Y).sum(),
}
"""Written anew, from their names: of π = q from the target p."""
RAISED = 2.0  # a level of rewards, which Z takes off again
MANY = 1e12  # samples that have told Z, so that a few more change nothing
STEP = 1e-4  # of finite differences
MOMENT, BASE_MOMENT = 0.5, 0.235
TOLD = 4000  # answers from which λ is fitted


def prove(lab: Lab, method: type[FDPG] = FDPG) -> Findings:
    steps = lab.of(quick=40, full=300)
    on, few = worlds(lab), World(language=FEW, key=(*lab.worlds[0].key, 80))
    raised = Tilted(language=FEW, key=few.key, wanted_Y=few.reward_Y + RAISED)
    world, names = on[0], lab.of(quick=("forward_kl", "reverse_kl"), full=tuple(n for n in NAMES if n != "js"))
    run = partial(reinforce, steps=steps, samples=SAMPLES)
    targets = [optimum(w.base_Y, w.reward_Y, BETA) for w in on]
    policies = [run(w, method(beta=BETA)) for w in on]
    control_Y = run(world, method(beta=BETA), shuffled=True)
    far = [
        at_most(f"TV to the target, {name}", total_variation(run(world, method(divergence=name)), targets[0]), 0.1)
        for name in names
    ]
    return Findings(
        identity=every(
            at_most("TV to the target, js", max(map(total_variation, policies, targets)), 0.05),
            *far,
            *(at_most(f"slope − finite differences, {n}", difference(few, method(divergence=n)), 1e-6) for n in NAMES),
            constrained(world, method(), steps),
        ),
        ordering=above_zero(
            "TV to the target, π0 − f-DPG",
            [
                total_variation(w.base_Y, target_Y) - total_variation(policy_Y, target_Y)
                for w, policy_Y, target_Y in zip(on, policies, targets, strict=True)
            ],
        ),
        negative_control=at_most(
            "|gain in true reward|, shuffled / real", abs(world.gain(control_Y)) / world.gain(policies[0]), 0.2
        ),
        ablation=at_least("slope − finite differences, js without Z", difference(raised, WithoutZ()), 0.01),
    )


def target_of(world: World) -> Tensor:
    return optimum(world.base_Y, world.reward_Y, BETA)


def told(world: World, method: FDPG) -> State:
    """A state in which Z is known: what it was before a prompt is asked the first time tells its name."""
    answer_PK = torch.zeros(1, 2, dtype=torch.long)
    policy, state = world.policy(), method.init(world.models(world.policy()))
    list(method.batches(rollout_of(world, policy, answer_PK), world.models(policy), state))
    log_z = float((world.base_Y.log() + world.reward_Y / BETA).logsumexp(0))
    return {"z": {name: [log_z + log(MANY), MANY] for name in state["z"]}}


def difference(world: World, method: FDPG) -> float:
    """The mean gradient over all groups of two, where π is not π0, along four directions, less how D_f changes."""
    policy = moved(world, 81)
    found_GVD, chance_G = every_gradient(method, world, policy, 2, state=told(world, method))
    gradient_VD, weight_VD = torch.einsum("gvd,g->vd", found_GVD, chance_G), policy.causal.table.weight
    cost, draws = DEFINED[method.divergence], generator(*world.key, 82)
    worst = 0.0
    for _ in range(4):
        way_VD = torch.randn(weight_VD.shape, generator=draws, dtype=weight_VD.dtype)

        def at(step: float, way_VD: Tensor = way_VD) -> float:
            with torch.no_grad():
                weight_VD.add_(way_VD, alpha=step)
                value = float(cost(distribution(policy, world.language), target_of(world)))
                weight_VD.sub_(way_VD, alpha=step)
            return value

        slope = (at(STEP) - at(-STEP)) / (2 * STEP)
        worst = max(worst, abs(slope - float((gradient_VD * way_VD).sum())))
    return worst


def constrained(world: World, method: FDPG, steps: int) -> Check:
    """A feature that less than a quarter of the reference's answers have, and half of them should."""
    order_Y = torch.randperm(len(world.base_Y), generator=generator(*world.key, 83))
    until_Y = world.base_Y[order_Y].cumsum(0)
    having = order_Y[: 1 + int((until_Y - BASE_MOMENT).abs().argmin())]
    feature_Y = torch.zeros_like(world.base_Y).index_fill(0, having, 1.0)
    answer_N = torch.multinomial(world.base_Y, TOLD, replacement=True, generator=generator(*world.key, 84))
    weight_C, _ = fitted(feature_Y[answer_N, None], torch.tensor([MOMENT]), ["feature"])
    tilted = Tilted(language=world.language, key=world.key, wanted_Y=float(weight_C[0]) * feature_Y)
    found = float(reinforce(tilted, method, steps, samples=SAMPLES) @ feature_Y)
    detail = f"from {float(world.base_Y @ feature_Y):.3f}"
    return at_most(f"|mean of a constrained feature − {MOMENT}|", abs(found - MOMENT), 0.03, detail)


@dataclass(frozen=True, kw_only=True)
class Tilted(World):
    """With a reward of its own."""

    wanted_Y: Tensor

    @cached_property
    def reward_Y(self) -> Tensor:
        return self.wanted_Y


class WithoutZ(FDPG):
    """Takes P for p."""

    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Batch]:
        for batch in FDPG.batches(self, data, models, state):
            assert isinstance(batch, Compared)
            kl_BT = kl1(data.logp_BT, models.reference_logp(data.tokens))
            log_t_B = row_sum(kl_BT, data.tokens.loss_mask_BT) - data.reward_B / self.beta
            worth_B = pseudo_reward(log_t_B, self.divergence)
            yield replace(batch, advantage_B=worth_B - mean_of_others(worth_B, data.tokens.prompt_of_B))
