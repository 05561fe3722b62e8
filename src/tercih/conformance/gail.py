"""Proof of GAIL: no reward is ever told, and the agent earns what the expert earns."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from tercih.agents.demonstrations import Demonstrated
from tercih.agents.gail import GAIL
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.field import Field, Learned, compete, every_act
from tercih.conformance.lab import Lab, generator


class Constant(GAIL):
    """Never learns to tell anybody apart."""

    def logit(self, batch: Demonstrated) -> Tensor:
        return 0 * GAIL.logit(self, batch)


def prove(lab: Lab, method: type[GAIL] = GAIL) -> Findings:
    rounds = lab.of(quick=20, full=60)
    fields = [Field(key=(lab.seed, i), sure=3.0) for i in range(len(lab.worlds))]
    runs = [imitate(field, method, rounds) for field in fields]
    gains = [field.gain(run.policy_SA) for field, run in zip(fields, runs, strict=True)]
    mine = float(np.mean([field.distance(run.policy_SA) for field, run in zip(fields, runs, strict=True)]))
    field = fields[0]
    aimless = imitate(field, method, rounds, aimless=True)
    constant = [each.distance(imitate(each, Constant, rounds).policy_SA) for each in fields]
    return Findings(
        identity=every(
            at_most("|reward + log(1 − D)|", reward_error(field, method), 1e-6),
            at_most("|D − the expert's share of the density|, agent at rest", ratio_error(field, method), 0.05),
            at_most("mean TV to the expert's actions", mine, 0.2),
        ),
        ordering=above_zero("true return, GAIL − random actions (expert: 1)", gains),
        negative_control=at_most("gain from one who acts at random", field.gain(aimless.policy_SA), 0.35),
        ablation=at_least(
            "mean TV to the expert's actions, constant discriminator",
            float(np.mean(constant)),
            0.3,
            f"GAIL's: {mine:.3f}",
        ),
    )


def imitate(field: Field, method: type[GAIL], rounds: int, *, aimless: bool = False) -> Learned:
    return compete(field, partial(method, hidden=(16,)), rounds=rounds, lr=0.1, discriminators_lr=0.05, aimless=aimless)


def reward_error(field: Field, method: type[GAIL]) -> float:
    """Largest difference of the reward from −log(1 − D) in float64, at logits from −5 to 5."""
    with field.worlds() as worlds:
        discriminator = method(field.policy(worlds))
    batch = every_act()
    with torch.no_grad():
        for weight in discriminator.parameters():
            weight.normal_(generator=generator(*field.key, 3))
        logit_B = discriminator.logit(batch)
        expected_B = -torch.log1p(-logit_B.double().sigmoid())
        return float((discriminator.reward(batch) - expected_B).abs().max())


def ratio_error(field: Field, method: type[GAIL]) -> float:
    """Where the agent does not learn, D becomes ρ_E / (ρ_E + ρ_π) of every state and action (Goodfellow et al. 2014,
    prop. 1). Their mean difference, weighed as often as D sees each.
    """
    found = compete(field, partial(method, hidden=(64,)), rounds=15, lr=1e-12, discriminators_lr=0.01, updates=20)
    experts_SA, agents_SA = (field.density(each_SA) for each_SA in (field.expert_SA, found.policy_SA))
    with torch.no_grad():
        found_SA = found.discriminator.logit(every_act()).view(-1, 4).double().sigmoid().numpy()
    off_SA = np.abs(found_SA - experts_SA / (experts_SA + agents_SA))
    return float((off_SA * (experts_SA + agents_SA)).sum() / 2)
