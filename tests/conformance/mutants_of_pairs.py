"""Wrong versions of the direct preference losses; see test_mutations."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from tercih.algorithms.conservative_dpo import ConservativeDPO, smoothed
from tercih.algorithms.cpo import CPO
from tercih.algorithms.dpop import DPOP, dpop_loss
from tercih.algorithms.ipo import IPO, ipo_loss
from tercih.algorithms.kto import KTO
from tercih.algorithms.kwise_dpo import KwiseDPO
from tercih.algorithms.online_dpo import OnlineDPO
from tercih.algorithms.orpo import ORPO
from tercih.algorithms.robust_dpo import RobustDPO, robust_loss
from tercih.algorithms.rrhf import RRHF
from tercih.algorithms.simpo import SimPO
from tercih.algorithms.slic import SLiC, hinge_loss
from tercih.batches import Pairs, Rankings, Thumbs
from tercih.conformance import (
    conservative_dpo,
    cpo,
    dpop,
    ipo,
    kto,
    kwise_dpo,
    online_dpo,
    orpo,
    robust_dpo,
    rrhf,
    simpo,
    slic,
)
from tercih.families import PairMethod
from tercih.forward import Loss, Models
from tercih.ops import chance_of_first, logistic_loss, row_mean, row_sum


def costing(kind: type[Any], cost: Callable[[Tensor, Tensor], Tensor]) -> type[Any]:
    """The loss of a comparison is another's."""

    class Replaced(kind):  # type: ignore[misc]
        def compared(self, difference_N: Tensor, chance_N: Tensor) -> Tensor:
            return cost(difference_N, chance_N)

    return Replaced


def worth(kind: type[Any], of: Callable[[Any, Tensor, Pairs], Tensor]) -> type[Any]:
    """What a response is worth is something else."""

    class Replaced(kind):  # type: ignore[misc]
        def worth(self, logp_BT: Tensor, batch: Pairs) -> Tensor:
            return of(self, logp_BT, batch)

    return Replaced


def summed(method: Any, logp_BT: Tensor, batch: Pairs) -> Tensor:
    return getattr(method, "beta", 1.0) * row_sum(logp_BT, batch.tokens.loss_mask_BT)


def averaged(method: Any, logp_BT: Tensor, batch: Pairs) -> Tensor:
    return getattr(method, "beta", 1.0) * row_mean(logp_BT, batch.tokens.loss_mask_BT)


def alone(kind: type[PairMethod]) -> type[Any]:
    """Nothing stands beside the comparisons."""

    class Replaced(kind):  # type: ignore[misc,valid-type]
        def beside(self, logp_BT: Tensor, batch: Pairs) -> dict[str, Any]:
            return {}

    return Replaced


class NoZero(KTO):
    """Gains and losses are counted from the reference itself."""

    def loss(self, policy: nn.Module, batch: Thumbs) -> Loss:
        assert batch.zero_B is not None
        return KTO.loss(self, policy, replace(batch, zero_B=torch.zeros_like(batch.zero_B)))


class ThumbsDown(KTO):
    def loss(self, policy: nn.Module, batch: Thumbs) -> Loss:
        return KTO.loss(self, policy, replace(batch, good_B=1 - batch.good_B))


class AlikeInLosses(KTO):
    """Forgets its weights."""

    def loss(self, policy: nn.Module, batch: Thumbs) -> Loss:
        return KTO.loss(KTO(beta=self.beta), policy, batch)


class OnlyFirstPlace(KwiseDPO):
    def loss(self, policy: nn.Module, batch: Rankings) -> Loss:
        return KwiseDPO.loss(replace(self, places=1), policy, batch)


class LastFirst(KwiseDPO):
    def loss(self, policy: nn.Module, batch: Rankings) -> Loss:
        return KwiseDPO.loss(self, policy, replace(batch, order_row_NK=batch.order_row_NK.flip(1)))


class HalfOfBeta(KwiseDPO):
    def loss(self, policy: nn.Module, batch: Rankings) -> Loss:
        return KwiseDPO.loss(replace(self, beta=self.beta / 2), policy, batch)


class Hard(OnlineDPO):
    """The better reward always wins, also where labels should be soft."""

    def batches(self, data: Any, models: Models, state: Any) -> Any:
        return OnlineDPO.batches(replace(self, soft=False), data, models, state)


class WorseWins(OnlineDPO):
    def batches(self, data: Any, models: Models, state: Any) -> Any:
        return OnlineDPO.batches(self, replace(data, reward_B=-data.reward_B), models, state)


class SumRRHF(RRHF):
    """Whole log-probabilities, so that short answers lead."""

    def loss(self, policy: nn.Module, batch: Rankings) -> Loss:
        lengths_B = batch.tokens.loss_mask_BT.sum(1, keepdim=True)

        class Longer(nn.Module):
            def forward(self, tokens: Any) -> Any:
                outputs = policy(tokens)
                return replace(outputs, logp_BT=outputs.logp_BT * lengths_B)

        return RRHF.loss(self, Longer(), batch)


class Unranked(RRHF):
    def loss(self, policy: nn.Module, batch: Rankings) -> Loss:
        return RRHF.loss(replace(self, rank_coef=0.0), policy, batch)


class WorstImitated(RRHF):
    def loss(self, policy: nn.Module, batch: Rankings) -> Loss:
        loss, last = RRHF.loss(self, policy, batch), replace(batch, order_row_NK=batch.order_row_NK.flip(1))
        return replace(loss, terms={**loss.terms, "nll": RRHF.loss(self, policy, last).terms["nll"]})


def likelihood(method: ORPO, logp_BT: Tensor, batch: Pairs) -> Tensor:
    """Not the odds."""
    return row_mean(logp_BT, batch.tokens.loss_mask_BT)


def charging(penalised: Callable[[Any, Tensor, Tensor], Tensor]) -> type[Any]:
    """DPO-Positive with another loss of a comparison that the first of two won, of what both are worth."""

    class Replaced(DPOP):
        def cost(self, worth_B: Tensor, batch: Pairs) -> Tensor:
            first_N, second_N = worth_B[batch.first_row_N], worth_B[batch.second_row_N]
            chance_N = chance_of_first(batch.target_N3)
            return chance_N * penalised(self, first_N, second_N) + (1 - chance_N) * penalised(self, second_N, first_N)

    return Replaced


def penalty_without_beta(method: DPOP, better_N: Tensor, worse_N: Tensor) -> Tensor:
    return dpop_loss(better_N, worse_N, torch.ones_like(better_N), method.lam / method.beta)


def penalty_outside(method: DPOP, better_N: Tensor, worse_N: Tensor) -> Tensor:
    return -logsigmoid(better_N - worse_N) + method.lam * (-better_N).relu()


def penalty_of_the_worse(method: DPOP, better_N: Tensor, worse_N: Tensor) -> Tensor:
    return -logsigmoid(better_N - worse_N - method.lam * (-worse_N).relu())


def penalty_of_any_move(method: DPOP, better_N: Tensor, worse_N: Tensor) -> Tensor:
    return -logsigmoid(better_N - worse_N - method.lam * better_N.abs())


def turned(difference_N: Tensor, chance_N: Tensor) -> Tensor:
    return logistic_loss(difference_N, 1 - chance_N)


def squared_hinge(difference_N: Tensor, chance_N: Tensor) -> Tensor:
    return hinge_loss(difference_N, chance_N, 1.0) ** 2


PAIRS: dict[str, tuple[Any, dict[str, Any]]] = {
    "conservative_dpo": (
        conservative_dpo.prove,
        {
            "labels believed": costing(ConservativeDPO, logistic_loss),
            "robust": costing(ConservativeDPO, lambda d, c: robust_loss(d, c, 0.2)),
            "ipo": costing(ConservativeDPO, lambda d, c: ipo_loss(d, c, 0.5)),
        },
    ),
    "robust_dpo": (
        robust_dpo.prove,
        {
            "labels believed": costing(RobustDPO, logistic_loss),
            "conservative": costing(RobustDPO, lambda d, c: logistic_loss(d, smoothed(c, 0.25))),
            "half the correction": costing(RobustDPO, lambda d, c: robust_loss(d, c, 0.125)),
        },
    ),
    "dpop": (
        dpop.prove,
        {
            "penalty outside": charging(penalty_outside),
            "penalty without beta": charging(penalty_without_beta),
            "penalty of the worse": charging(penalty_of_the_worse),
            "penalty of any move": charging(penalty_of_any_move),
            "no penalty": charging(lambda m, better, worse: -logsigmoid(better - worse)),
            "no reference": worth(DPOP, summed),
        },
    ),
    "ipo": (
        ipo.prove,
        {
            "logistic": costing(IPO, logistic_loss),
            "twice the aim": costing(IPO, lambda d, c: ipo_loss(d, c, 0.25)),
            "always per token": worth(IPO, lambda m, logp, b: IPO.worth(replace(m, per_token=True), logp, b)),
            "no reference": worth(IPO, summed),
        },
    ),
    "kwise_dpo": (
        kwise_dpo.prove,
        {"first place": OnlyFirstPlace, "worst first": LastFirst, "half of beta": HalfOfBeta},
    ),
    "online_dpo": (
        online_dpo.prove,
        {"hard labels": Hard, "the worse wins": WorseWins, "no reference": worth(OnlineDPO, summed)},
    ),
    "kto": (kto.prove, {"no zero point": NoZero, "turned around": ThumbsDown, "no weights": AlikeInLosses}),
    "cpo": (
        cpo.prove,
        {
            "nothing imitated": alone(CPO),
            "per token": worth(CPO, averaged),
            "hinge": costing(CPO, lambda d, c: hinge_loss(d, c, 1.0)),
        },
    ),
    "simpo": (
        simpo.prove,
        {
            "summed": worth(SimPO, summed),
            "no margin": costing(SimPO, logistic_loss),
            "hinge": costing(SimPO, lambda d, c: hinge_loss(d, c, 1.0)),
        },
    ),
    "orpo": (
        orpo.prove,
        {"no odds": worth(ORPO, likelihood), "nothing imitated": alone(ORPO), "turned around": costing(ORPO, turned)},
    ),
    "slic": (
        slic.prove,
        {
            "logistic": costing(SLiC, logistic_loss),
            "nothing imitated": alone(SLiC),
            "squared": costing(SLiC, squared_hinge),
        },
    ),
    "rrhf": (rrhf.prove, {"summed": SumRRHF, "unranked": Unranked, "the worst imitated": WorstImitated}),
}
