"""Wrong versions of the methods that select, weigh or condition on scores; see test_mutations."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tercih.algorithms.awr import AWR
from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.algorithms.conditional import Conditional
from tercih.algorithms.context_distillation import ContextDistillation
from tercih.algorithms.filtered_sft import FilteredSFT
from tercih.algorithms.quark import Quark
from tercih.algorithms.raft import RAFT
from tercih.algorithms.rwr import RWR
from tercih.algorithms.unlikelihood import Unlikelihood
from tercih.batches import Beside, Scored
from tercih.conformance import (
    awr,
    conditional,
    context_distillation,
    filtered_sft,
    pm_pretraining,
    quark,
    raft,
    rwr,
    unlikelihood,
)
from tercih.families import WeightedMLE
from tercih.forward import Loss, Models, Term, Want
from tercih.method import State
from tercih.ops import row_mean, row_sum


def per_token(kind: type[WeightedMLE]) -> type[Any]:
    """The mean log-probability of a token in place of the response's: short answers pull as much as long ones."""

    class Replaced(kind):  # type: ignore[misc,valid-type]
        def loss(self, policy: nn.Module, batch: Scored) -> Loss:
            nll_B = -row_mean(policy(batch.tokens).logp_BT, batch.tokens.loss_mask_BT)
            return Loss(terms={"nll": Term((batch.weight_B * nll_B).sum(), per="rows")}, metrics={})

    return Replaced


class Worst(RAFT):
    def batches(self, data: Any, models: Any, state: Any) -> Any:
        return RAFT.batches(self, replace(data, reward_B=-data.reward_B), models, state)


class Anything(RAFT):
    """Keeps everything."""

    def weight(self, data: Scored) -> Tensor:
        return torch.ones_like(data.weight_B)


class BestOfAll(RAFT):
    """The best of the whole rollout, where the best of every prompt is meant."""

    def weight(self, data: Scored) -> Tensor:
        return RAFT.weight(replace(self, fraction=0.5) if self.fraction is None else self, data)


class Rejected(FilteredSFT):
    """Imitates what is not accepted."""

    def weight(self, data: Scored) -> Tensor:
        return 1 - FilteredSFT.weight(self, data)


class AllOfThem(FilteredSFT):
    def weight(self, data: Scored) -> Tensor:
        return torch.ones_like(data.weight_B)


class Linear(RWR):
    """Lee et al. 2023: weights are the scores themselves (from 0 on)."""

    def weight(self, data: Scored) -> Tensor:
        return data.score_B - data.score_B.min()


class AlwaysOne(RWR):
    """Forgets β."""

    def weight(self, data: Scored) -> Tensor:
        return data.score_B.exp()


class Untaught(AWR):
    """Korbak et al.'s RWR: values are subtracted, but nothing teaches them."""

    def loss(self, policy: nn.Module, batch: Scored) -> Loss:
        loss = AWR.loss(self, policy, batch)
        return replace(loss, terms={"nll": loss.terms["nll"]})


class Uncapped(AWR):
    def loss(self, policy: nn.Module, batch: Scored) -> Loss:
        return AWR.loss(replace(self, cap=1e9), policy, batch)


class OneWeight(AWR):
    """Imitates, whatever the score."""

    def loss(self, policy: nn.Module, batch: Scored) -> Loss:
        return AWR.loss(replace(self, beta=1e9), policy, batch)


class Turned(Conditional):
    def batches(self, data: Any, models: Any, state: Any) -> Any:
        return Conditional.batches(replace(self, good=self.bad, bad=self.good), data, models, state)


class Wordless(Conditional):
    """Learns from everything alike, without a word."""

    def batches(self, data: Any, models: Any, state: Any) -> Any:
        return WeightedMLE.batches(self, data, models, state)


class Blind(Conditional):
    """Calls everything good."""

    def batches(self, data: Any, models: Any, state: Any) -> Any:
        return Conditional.batches(replace(self, threshold=-1e9), data, models, state)


class Pushed(Unlikelihood):
    """Maximises the loss of bad text: log p in place of −log(1 − p), for which nothing is bad enough."""

    def loss(self, policy: nn.Module, batch: Scored) -> Loss:
        loss, mask_BT = Unlikelihood.loss(self, policy, batch), batch.tokens.loss_mask_BT
        bad_B = batch.weight_B * (batch.score_B < self.threshold)
        logp_B = row_sum(policy(batch.tokens).logp_BT, mask_BT)
        return replace(loss, terms={**loss.terms, "unlikelihood": Term((bad_B * logp_B).sum(), "tokens", self.alpha)})


class OnlyImitates(Unlikelihood):
    def loss(self, policy: nn.Module, batch: Scored) -> Loss:
        return Unlikelihood.loss(replace(self, alpha=0.0), policy, batch)


class FullPush(Unlikelihood):
    """Forgets α."""

    def loss(self, policy: nn.Module, batch: Scored) -> Loss:
        return Unlikelihood.loss(replace(self, alpha=1.0), policy, batch)


class WorstAsked(Quark):
    """Quantiles are numbered from the best down."""

    def batches(self, data: Any, models: Any, state: Any) -> Any:
        return Quark.batches(self, replace(data, reward_B=-data.reward_B), models, state)


class KLTurned(Quark):
    """KL(π0‖π)."""

    def loss(self, policy: nn.Module, batch: Any) -> Loss:
        outputs = policy(batch.tokens, Want(logp=False, kl_from=batch.other))
        turned = Term(outputs.kl_BT.sum(), per="tokens", weight=self.kl_coef)
        loss = Quark.loss(self, policy, batch)
        return replace(loss, terms={**loss.terms, "kl": turned})


class NoEntropy(Quark):
    def loss(self, policy: nn.Module, batch: Beside) -> Loss:
        return Quark.loss(replace(self, entropy_coef=0.0), policy, batch)


class SampledKL(Quark):
    """log π/π0 of the token alone, whose gradient is no KL's for text that another policy wrote."""

    def loss(self, policy: nn.Module, batch: Any) -> Loss:
        loss, mask_BT = Quark.loss(self, policy, batch), batch.tokens.loss_mask_BT
        logp = torch.where(mask_BT, policy(batch.tokens).logp_BT, 0.0).sum()
        return replace(loss, terms={**loss.terms, "kl": Term(logp, per="tokens", weight=self.kl_coef)})


class Imitates(ContextDistillation):
    """The data's tokens, whatever the other model makes of them."""

    def loss(self, policy: nn.Module, batch: Beside) -> Loss:
        nll_B = -row_sum(policy(batch.tokens).logp_BT, batch.tokens.loss_mask_BT)
        return Loss(terms={"kl": Term(nll_B.sum(), per="tokens")}, metrics={})


class ReverseKL(ContextDistillation):
    """KL(π‖teacher): a table reaches the same optimum, so only what it costs on the way tells them apart."""

    def loss(self, policy: nn.Module, batch: Beside) -> Loss:
        kl_BT = policy(batch.tokens, Want(logp=False, kl_to=batch.other)).kl_BT
        return Loss(terms={"kl": Term(kl_BT.sum(), per="tokens")}, metrics={})


class KeepsContext(ContextDistillation):
    """The student reads the context too, and so need not learn it."""

    def batches(self, data: Any, models: Any, state: Any) -> Any:
        for batch in ContextDistillation.batches(self, data, models, state):
            word, which_B = models.words[self.context], torch.zeros_like(data.tokens.prompt_of_B)
            yield replace(batch, tokens=data.tokens.with_words([word], which_B, after=1))


class Contrarian(BradleyTerry):
    """Labels turned around."""

    def loss(self, scorer: nn.Module, batch: Any) -> Loss:
        return BradleyTerry.loss(self, scorer, replace(batch, target_N3=batch.target_N3[:, [1, 0, 2]]))


class Forgets(BradleyTerry):
    """Begins anew with every stage: what was read before is lost."""

    def init(self, models: Models) -> State:
        with torch.no_grad():
            for weight in models.policy.parameters():
                weight.zero_()
        return {}


class SquaredError(BradleyTerry):
    def loss(self, scorer: nn.Module, batch: Any) -> Loss:
        score_B = scorer(batch.items)
        miss_N = score_B[batch.first_row_N] - score_B[batch.second_row_N] - (2 * batch.target_N3[:, 0] - 1)
        return Loss(terms={"preference": Term((batch.weight_N * miss_N**2).sum(), per="comparisons")}, metrics={})


SCORES: dict[str, tuple[Any, dict[str, Any]]] = {
    "raft": (
        raft.prove,
        {"keeps everything": Anything, "the worst": Worst, "the best of all": BestOfAll, "per token": per_token(RAFT)},
    ),
    "filtered_sft": (
        filtered_sft.prove,
        {"per token": per_token(FilteredSFT), "what is rejected": Rejected, "everything": AllOfThem},
    ),
    "quark": (
        quark.prove,
        {"KL turned": KLTurned, "worst asked": WorstAsked, "no entropy": NoEntropy, "KL of samples": SampledKL},
    ),
    "context_distillation": (
        context_distillation.prove,
        {"imitates": Imitates, "KL turned": ReverseKL, "keeps the context": KeepsContext},
    ),
    "pm_pretraining": (
        pm_pretraining.prove,
        {"begins anew": Forgets, "labels turned": Contrarian, "squared error": SquaredError},
    ),
    "rwr": (rwr.prove, {"per token": per_token(RWR), "scores as weights": Linear, "forgets beta": AlwaysOne}),
    "awr": (awr.prove, {"values untaught": Untaught, "uncapped": Uncapped, "unweighed": OneWeight}),
    "conditional": (
        conditional.prove,
        {"no words": Wordless, "words turned around": Turned, "all called good": Blind},
    ),
    "unlikelihood": (
        unlikelihood.prove,
        {"log p pushed": Pushed, "only imitates": OnlyImitates, "forgets alpha": FullPush},
    ),
}
