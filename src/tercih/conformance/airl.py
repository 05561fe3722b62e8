"""Proof of AIRL: what it learns is the expert's reward, up to a constant, and not merely what the expert does."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from tercih.agents.airl import AIRL
from tercih.agents.demonstrations import Demonstrated
from tercih.agents.tabular import Floats
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.field import GAMMA, SIDE, Field, Learned, compete, every_act
from tercih.conformance.lab import Lab


class Unshaped(AIRL):
    """Without γh(s') − h(s): what the expert expects of the future must be a reward, too."""

    def logit(self, batch: Demonstrated) -> Tensor:
        with torch.no_grad():
            logp_B = self.policy(batch.observation_B, batch.action_B).logp_B
        logit_B: Tensor = self.learned(batch) - logp_B
        return logit_B


def prove(lab: Lab, method: type[AIRL] = AIRL) -> Findings:
    rounds = lab.of(quick=25, full=100)
    fields = [Field(key=(lab.seed, i)) for i in range(len(lab.worlds))]
    runs = [infer(field, method, rounds) for field in fields]
    field = fields[0]
    aimless, unshaped = infer(field, method, rounds, aimless=True), infer(field, Unshaped, rounds)
    slopes, likeness = ([of(*each) for each in zip(fields, runs, strict=True)] for of in (slope, alike))
    gains = [
        f.distance(np.full_like(f.expert_SA, 0.25)) - f.distance(r.policy_SA) for f, r in zip(fields, runs, strict=True)
    ]
    return Findings(
        identity=every(
            at_most("|logit| where π, g and h are the expert's policy, reward and value", rest(field, method), 1e-5),
            at_most("mean |slope − 1| of g on the true reward", float(np.abs(np.array(slopes) - 1).mean()), 0.3),
            at_least("mean correlation of g with the true reward", float(np.mean(likeness)), 0.8),
        ),
        ordering=above_zero("TV to the expert's actions, random − AIRL", gains),
        negative_control=at_most(
            "|slope| of g on the true reward, from one who acts at random", abs(slope(field, aimless)), 0.3
        ),
        ablation=at_most(
            "slope of g on the true reward, without shaping", slope(field, unshaped), 0.75, f"{slopes[0]:.2f} with it"
        ),
    )


def infer(field: Field, method: type[AIRL], rounds: int, *, aimless: bool = False) -> Learned:
    table = partial(method, gamma=GAMMA, hidden=())
    return compete(field, table, rounds=rounds, lr=0.05, discriminators_lr=0.05, aimless=aimless)


def reward_of(learned: Learned) -> Floats:
    """g of every state."""
    assert isinstance(learned.discriminator, AIRL)
    with torch.no_grad():
        return np.asarray(learned.discriminator.g(torch.eye(SIDE * SIDE)).squeeze(-1).double())


def alike(field: Field, learned: Learned) -> float:
    return float(np.corrcoef(reward_of(learned), field.reward_S)[0, 1])


def slope(field: Field, learned: Learned) -> float:
    """Of a regression of the learned reward on the true one: 1 where it is recovered, 0 by chance."""
    true_S = field.reward_S - field.reward_S.mean()
    return float(reward_of(learned) @ true_S / (true_S @ true_S))


def rest(field: Field, method: type[AIRL]) -> float:
    """There D is 1/2 everywhere, and nothing is left to learn (Fu et al. 2018, §6)."""
    with field.worlds() as worlds:
        policy = field.policy(worlds)
    discriminator = method(policy, gamma=GAMMA, hidden=())
    state_B, action_B = every_act().observation_B, every_act().action_B
    following_B = torch.from_numpy(field.table.transition_SAS.argmax(-1))[state_B, action_B]
    with torch.no_grad():
        policy.actor.weight.copy_(torch.from_numpy(np.log(field.expert_SA).T))
        for network, table_S in ((discriminator.g, field.reward_S), (discriminator.h, field.value_S)):
            network.get_parameter("0.weight").copy_(torch.from_numpy(table_S)[None])
        at_rest = Demonstrated(observation_B=state_B, action_B=action_B, following_B=following_B)
        return float(discriminator.logit(at_rest).abs().max())
