"""Wrong versions of the policy gradients and their targets; see test_mutations."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tercih.algorithms.a2c import A2C
from tercih.algorithms.f_dpg import FDPG
from tercih.algorithms.mrt import MRT
from tercih.algorithms.nlpo import NLPO
from tercih.algorithms.reinforce import REINFORCE
from tercih.algorithms.reinforce_pp import ReinforcePP
from tercih.batches import Compared, Credited, Rollout, Valued
from tercih.conformance import a2c, f_dpg, mrt, nlpo, reinforce, reinforce_pp
from tercih.families import ActorCritic
from tercih.forward import Loss, Models, Term
from tercih.method import State
from tercih.ops import mean_of_others, row_mean, row_sum


class PerToken(REINFORCE):
    """The mean of a response's log-probabilities, so that short answers count for more."""

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        logp_B = row_mean(policy(batch.tokens).logp_BT, batch.tokens.loss_mask_BT)
        return Loss(terms={"policy": Term(-(batch.advantage_B * logp_B).sum(), per="rows")}, metrics={})


class OwnBaseline(REINFORCE):
    """The mean that holds the response's own reward, too."""

    def batches(self, data: Rollout, models: Models, state: State) -> Any:
        for batch in REINFORCE.batches(self, data, models, state):
            assert isinstance(batch, Compared)
            yield replace(batch, advantage_B=batch.advantage_B - batch.advantage_B.mean())


class NoBaseline(REINFORCE):
    def batches(self, data: Rollout, models: Models, state: State) -> Any:
        return REINFORCE.batches(replace(self, baseline="none"), data, models, state)


class Worse(REINFORCE):
    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        return REINFORCE.loss(self, policy, replace(batch, advantage_B=-batch.advantage_B))


class Flat(MRT):
    """Every sample weighs the same, whatever the policy says of it: REINFORCE's sum, as a number."""

    def loss(self, policy: nn.Module, batch: Rollout) -> Loss:
        logp_B = row_sum(policy(batch.tokens).logp_BT, batch.tokens.loss_mask_BT)
        return replace(
            MRT.loss(self, policy, batch), terms={"risk": Term(-(batch.reward_B * logp_B).sum(), per="rows")}
        )


class Unsharpened(MRT):
    def loss(self, policy: nn.Module, batch: Rollout) -> Loss:
        return MRT.loss(replace(self, alpha=1.0), policy, batch)


class Risky(MRT):
    def loss(self, policy: nn.Module, batch: Rollout) -> Loss:
        return MRT.loss(self, policy, replace(batch, reward_B=-batch.reward_B))


class Uncriticised(A2C):
    """R in place of R − V."""

    def acted(self, logp_BT: Tensor, batch: Valued) -> Tensor:
        return -batch.return_BT * logp_BT


class Absolute(A2C):
    def valued(self, value_BT: Tensor, batch: Valued) -> Tensor:
        return (batch.return_BT - value_BT).abs()


class Shy(A2C):
    """The bonus is a penalty."""

    def loss(self, policy: nn.Module, batch: Any) -> Loss:
        loss = A2C.loss(self, policy, batch)
        return replace(loss, terms={k: replace(t, weight=abs(t.weight)) for k, t in loss.terms.items()})


class OneReturn(ReinforcePP):
    """Every token has the return of the whole response, whitened over responses."""

    def batches(self, data: Rollout, models: Models, state: State) -> Any:
        for batch in ReinforcePP.batches(self, data, models, state):
            assert isinstance(batch, Credited)
            yield replace(batch, advantage_BT=batch.advantage_BT[:, :1].expand_as(batch.advantage_BT))


class Unclipped(ReinforcePP):
    def loss(self, policy: nn.Module, batch: Credited) -> Loss:
        return ReinforcePP.loss(replace(self, clip=1e9), policy, batch)


class PerResponse(ReinforcePP):
    """A mean over each response, and of that over responses."""

    def loss(self, policy: nn.Module, batch: Credited) -> Loss:
        loss, mask_BT = ReinforcePP.loss(self, policy, batch), batch.tokens.loss_mask_BT
        ratio_BT = (policy(batch.tokens).logp_BT - batch.old_logp_BT).exp()
        return replace(
            loss, terms={"policy": Term(-row_mean(ratio_BT * batch.advantage_BT, mask_BT).sum(), per="rows")}
        )


class NoGroups(ReinforcePP):
    """Forgets the baseline of the group."""

    def batches(self, data: Rollout, models: Models, state: State) -> Any:
        yield from ReinforcePP.batches(replace(self, group_baseline=False), data, models, state)


class OthersMean(ReinforcePP):
    """RLOO's baseline, of the other responses alone."""

    def batches(self, data: Rollout, models: Models, state: State) -> Any:
        if self.group_baseline:
            off_B = mean_of_others(data.reward_B, data.tokens.prompt_of_B)
            data = replace(data, reward_B=data.reward_B - off_B)
        yield from ReinforcePP.batches(replace(self, group_baseline=False), data, models, state)


class Myopic(ReinforcePP):
    """Each token has its own reward alone."""

    def batches(self, data: Rollout, models: Models, state: State) -> Any:
        for batch in ReinforcePP.batches(self, data, models, state):
            assert isinstance(batch, Credited)
            return_BT = batch.advantage_BT
            later_BT = torch.cat([return_BT[:, 1:], torch.zeros_like(return_BT[:, :1])], 1)
            yield replace(batch, advantage_BT=return_BT - later_BT)


class Otherwise(FDPG):
    """The other direction of KL, whatever was asked for."""

    def batches(self, data: Rollout, models: Models, state: State) -> Any:
        turned = {"forward_kl": "reverse_kl", "reverse_kl": "forward_kl"}.get(self.divergence, "reverse_kl")
        return FDPG.batches(replace(self, divergence=turned), data, models, state)


class Away(FDPG):
    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        return FDPG.loss(self, policy, replace(batch, advantage_B=-batch.advantage_B))


class OnlyTheReward(FDPG):
    """The base model is no part of the target."""

    def batches(self, data: Rollout, models: Models, state: State) -> Any:
        kl_BT = data.logp_BT - models.reference_logp(data.tokens)
        kl_B = row_sum(kl_BT, data.tokens.loss_mask_BT)
        return FDPG.batches(self, replace(data, reward_B=data.reward_B + self.beta * kl_B), models, state)


class Unmasked(NLPO):
    """What is sampled is masked, what is trained is not."""

    def prepare(self, data: Rollout, models: Models, kl_coef: float) -> Valued:
        batch = NLPO.prepare(self, data, models, kl_coef)
        return replace(batch, tokens=replace(batch.tokens, allowed_BTW=None))


class MaskedKL(NLPO):
    """The KL in the reward is that of the masked policy."""

    def prepare(self, data: Rollout, models: Models, kl_coef: float) -> Valued:
        batch = NLPO.prepare(self, data, models, kl_coef)
        masked = ActorCritic.prepare(self, data, models, kl_coef)
        return replace(batch, advantage_BT=masked.advantage_BT, return_BT=masked.return_BT)


class NeverMoves(NLPO):
    def before(self, models: Models, state: State) -> State:
        return NLPO.before(replace(self, mask_every=10**9), models, state)


class AlwaysMoves(NLPO):
    def before(self, models: Models, state: State) -> State:
        return NLPO.before(replace(self, mask_every=1), models, state)


GRADIENTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "reinforce": (
        reinforce.prove,
        {"per token": PerToken, "its own baseline": OwnBaseline, "no baseline": NoBaseline, "sign": Worse},
    ),
    "mrt": (mrt.prove, {"flat": Flat, "not sharpened": Unsharpened, "sign": Risky}),
    "f_dpg": (f_dpg.prove, {"another direction": Otherwise, "sign": Away, "no base": OnlyTheReward}),
    "a2c": (a2c.prove, {"no critic": Uncriticised, "absolute error": Absolute, "entropy's sign": Shy}),
    "nlpo": (
        nlpo.prove,
        {
            "trained unmasked": Unmasked,
            "masked KL": MaskedKL,
            "a mask for ever": NeverMoves,
            "a mask of its own": AlwaysMoves,
        },
    ),
    "reinforce_pp": (
        reinforce_pp.prove,
        {
            "one return": OneReturn,
            "unclipped": Unclipped,
            "per response": PerResponse,
            "own reward": Myopic,
            "no group's baseline": NoGroups,
            "mean of the others": OthersMean,
        },
    ),
}
