"""Mutants of the methods that learn control from demonstrations; the proofs of `conformance/` must fail for each."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from tercih.agents.airl import AIRL
from tercih.agents.apprenticeship import Apprentice, apprenticeship
from tercih.agents.bc import BC
from tercih.agents.dagger import DAgger
from tercih.agents.demonstrations import Demonstrated
from tercih.agents.experience import Acts
from tercih.agents.gail import GAIL
from tercih.agents.max_ent_irl import Inferred, max_ent_irl
from tercih.conformance import airl, bc, dagger, gail
from tercih.conformance import apprenticeship as apprentices
from tercih.conformance import max_ent_irl as inferences
from tercih.data.steps import Steps
from tercih.forward import Loss


class Unlearn(BC):
    """Pushes demonstrations away."""

    def loss(self, policy: nn.Module, batch: Acts) -> Loss:
        loss = BC.loss(self, policy, batch)
        return replace(loss, terms={"nll": replace(loss.terms["nll"], weight=-1.0)})


class Brier(BC):
    """(1 − π)² instead of −log π."""

    def loss(self, policy: nn.Module, batch: Acts) -> Loss:
        loss = BC.loss(self, policy, batch)
        missed = (1 - policy(batch.observation_B, batch.action_B).logp_B.exp()).square().sum()
        return replace(loss, terms={"nll": replace(loss.terms["nll"], sum=missed)})


class SelfTaught(DAgger):
    """Takes what the learner did for what should have been done."""

    def _act(self, step: int) -> Steps:
        told = DAgger._act(self, step)
        return told if step == 0 else replace(told, actions=self.policy.likeliest(told.observations))


class ExpertOnly(DAgger):
    """Goes where the expert goes, whatever `beta` says."""

    def __post_init__(self) -> None:
        self.beta = 1.0


class Airls(GAIL):
    """AIRL's reward."""

    def reward(self, batch: Demonstrated) -> Tensor:
        return self.logit(batch)


class Turned(GAIL):
    """Takes the expert for the agent."""

    def reward(self, batch: Demonstrated) -> Tensor:
        return -logsigmoid(self.logit(batch))


class WithoutPolicy(AIRL):
    """D = σ(f), without π."""

    def logit(self, batch: Demonstrated) -> Tensor:
        with torch.no_grad():
            logp_B = self.policy(batch.observation_B, batch.action_B).logp_B
        return AIRL.logit(self, batch) + logp_B


class TurnedShaping(AIRL):
    """γh(s) − h(s')."""

    def logit(self, batch: Demonstrated) -> Tensor:
        before_B, after_B = (self.h(self.states(each)).squeeze(-1) for each in (batch.observation_B, batch.following_B))
        return AIRL.logit(self, batch) + (1 + self.gamma) * (before_B - after_B)


def timid(*of: Any, **options: Any) -> Inferred:
    """Plans for half of what it inferred."""
    world, _, _, horizon = of
    found = max_ent_irl(*of, **options)
    return replace(found, reward_S=found.reward_S / 2, policy_TSA=world.soft_policy(found.reward_S / 2, horizon))


def greedy(*of: Any, **options: Any) -> Inferred:
    """Plans for the most reward, and not for entropy."""
    world, _, _, horizon = of
    found = max_ent_irl(*of, **options)
    return replace(found, policy_TSA=world.soft_policy(100 * found.reward_S, horizon))


def last_alone(*of: Any, **options: Any) -> Apprentice:
    found = apprenticeship(*of, **options)
    return replace(found, share_I=np.eye(len(found.share_I))[-1])


def all_alike(*of: Any, **options: Any) -> Apprentice:
    found = apprenticeship(*of, **options)
    return replace(found, share_I=np.full(len(found.share_I), 1 / len(found.share_I)))


IMITATORS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "bc": (bc.prove, {"sign": Unlearn, "brier": Brier}),
    "dagger": (dagger.prove, {"self-taught": SelfTaught, "expert only": ExpertOnly}),
    "gail": (gail.prove, {"airl's reward": Airls, "turned round": Turned}),
    "airl": (airl.prove, {"without π": WithoutPolicy, "shaping turned round": TurnedShaping}),
    "max_ent_irl": (inferences.prove, {"half": timid, "greedy": greedy}),
    "apprenticeship": (apprentices.prove, {"last policy alone": last_alone, "all alike": all_alike}),
}
