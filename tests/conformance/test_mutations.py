"""Every proof fails when its method computes something else: what passes is the method, not its name."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from conformance.imitators import IMITATORS
from conformance.mutants_of_gradients import GRADIENTS
from conformance.mutants_of_pairs import PAIRS
from conformance.mutants_of_rewards import REWARDS
from conformance.mutants_of_rules import RULES
from conformance.mutants_of_scores import SCORES
from conformance.mutants_of_signals import SIGNALS
from conformance.mutants_of_values import VALUES
from tercih import families as families_module
from tercih.agents.cpl import CPL, Shown
from tercih.agents.few_shot import FewShot
from tercih.agents.ibarz import FromDemonstrationsAndPreferences
from tercih.agents.ipl import IPL
from tercih.agents.pebble import FromPreferencesOffPolicy
from tercih.agents.request import ReQueST
from tercih.algorithms import grpo as grpo_module
from tercih.algorithms import gspo as gspo_module
from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.algorithms.dapo import DAPO
from tercih.algorithms.dpo import DPO
from tercih.algorithms.dr_grpo import DrGRPO
from tercih.algorithms.grpo import GRPO
from tercih.algorithms.gspo import GSPO
from tercih.algorithms.plackett_luce import PlackettLuce
from tercih.algorithms.ppo import PPO, Pretraining
from tercih.algorithms.rloo import RLOO
from tercih.algorithms.sft import SFT
from tercih.batches import Batch, Compared, Pairs, Rankings, Valued
from tercih.conformance import (
    PROOFS,
    best_of_n,
    bradley_terry,
    cpl,
    dapo,
    dpo,
    dr_grpo,
    few_shot,
    from_preferences,
    grpo,
    gspo,
    ibarz,
    ipl,
    pebble,
    plackett_luce,
    ppo,
    preference_transformer,
    request,
    rloo,
    sft,
    verify,
)
from tercih.conformance.lab import Lab
from tercih.divergences import DIVERGENCES
from tercih.forward import Loss, Models, Term
from tercih.method import Method, State
from tercih.models.preference_transformer import PreferenceTransformer
from tercih.ops import clipped_surrogate, group_mean, group_normalised, kl1, kl3, mean_of_others, row_mean, row_sum
from tercih.segments import SegmentPairs, Segments

pytestmark = pytest.mark.learns


class AllTokens(SFT):
    """Learns the tokens that the mask leaves out."""

    def loss(self, policy: nn.Module, batch: Batch) -> Loss:
        position_T = torch.arange(batch.tokens.response_ids_BT.shape[1])
        mask_BT = position_T < batch.tokens.response_len_B[:, None]
        return SFT.loss(self, policy, replace(batch, tokens=replace(batch.tokens, loss_mask_BT=mask_BT)))


class MeanOverEachAnswer(SFT):
    """Every answer weighs the same, whatever its length."""

    def loss(self, policy: nn.Module, batch: Batch) -> Loss:
        mask_BT = batch.tokens.loss_mask_BT
        nll_B = -row_sum(policy(batch.tokens).logp_BT, mask_BT) / mask_BT.sum(1).clamp(min=1)
        return Loss(terms={"nll": Term(nll_B.sum(), per="rows")}, metrics={})


class Unlearn(SFT):
    """Pushes demonstrations away."""

    def loss(self, policy: nn.Module, batch: Batch) -> Loss:
        term = SFT.loss(self, policy, batch).terms["nll"]
        return Loss(terms={"nll": replace(term, weight=-1.0)}, metrics={})


def on_differences(loss_of: Callable[[Tensor, Tensor], Tensor]) -> type[BradleyTerry]:
    class Replaced(BradleyTerry):
        def loss(self, scorer: nn.Module, batch: Pairs) -> Loss:
            score_B = scorer(batch.items)
            difference_N = score_B[batch.first_row_N] - score_B[batch.second_row_N]
            loss_N = loss_of(difference_N, batch.target_N3)
            return Loss(terms={"preference": Term((batch.weight_N * loss_N).sum(), per="comparisons")}, metrics={})

    return Replaced


def squared(difference_N: Tensor, target_N3: Tensor) -> Tensor:
    return (difference_N - (target_N3[:, 0] - target_N3[:, 1])) ** 2


def hinge(difference_N: Tensor, target_N3: Tensor) -> Tensor:
    return target_N3[:, 0] * (1 - difference_N).relu() + target_N3[:, 1] * (1 + difference_N).relu()


def inverted(difference_N: Tensor, target_N3: Tensor) -> Tensor:
    return -target_N3[:, 0] * logsigmoid(-difference_N) - target_N3[:, 1] * logsigmoid(difference_N)


class PerPrompt(BradleyTerry):
    """Forgets that comparisons have weights."""

    def loss(self, scorer: nn.Module, batch: Pairs) -> Loss:
        return BradleyTerry.loss(self, scorer, replace(batch, weight_N=batch.weight_N.square()))


class FirstPlace(PlackettLuce):
    """Only who came first, whatever `places` says."""

    def loss(self, scorer: nn.Module, batch: Rankings) -> Loss:
        return PlackettLuce.loss(PlackettLuce(places=1), scorer, batch)


class EveryPair(PlackettLuce):
    """Bradley–Terry on all pairs of the order."""

    def loss(self, scorer: nn.Module, batch: Rankings) -> Loss:
        score_NK = scorer(batch.tokens)[batch.order_row_NK]
        first, second = torch.combinations(torch.arange(score_NK.shape[1])).unbind(1)
        loss = -logsigmoid(score_NK[:, first] - score_NK[:, second]).sum()
        return Loss(terms={"ranking": Term(loss, per="rankings")}, metrics={})


class WorstFirst(PlackettLuce):
    def loss(self, scorer: nn.Module, batch: Rankings) -> Loss:
        return PlackettLuce.loss(self, scorer, replace(batch, order_row_NK=batch.order_row_NK.flip(1)))


class MutantPPO(PPO):
    """Another loss on rollouts; pre-training text is left alone."""

    def loss(self, policy: nn.Module, batch: Any) -> Loss:
        loss = PPO.loss(self, policy, batch)
        return loss if isinstance(batch, Pretraining) else self.mutated(loss, policy, batch)

    def mutated(self, loss: Loss, policy: nn.Module, batch: Valued) -> Loss:
        raise NotImplementedError


class Descent(MutantPPO):
    """The surrogate's sign is flipped."""

    def mutated(self, loss: Loss, policy: nn.Module, batch: Valued) -> Loss:
        return replace(loss, terms={**loss.terms, "policy": replace(loss.terms["policy"], weight=-1.0)})


class Unclipped(MutantPPO):
    def mutated(self, loss: Loss, policy: nn.Module, batch: Valued) -> Loss:
        return PPO.loss(PPO(clip=1e9), policy, batch)


class Reinforce(MutantPPO):
    """−A log π, without a ratio."""

    def mutated(self, loss: Loss, policy: nn.Module, batch: Valued) -> Loss:
        surrogate = -(policy(batch.tokens).logp_BT * batch.advantage_BT).sum()
        return replace(loss, terms={**loss.terms, "policy": Term(surrogate, per="tokens")})


class NoValue(MutantPPO):
    def mutated(self, loss: Loss, policy: nn.Module, batch: Valued) -> Loss:
        return replace(loss, terms={"policy": loss.terms["policy"]})


class ForgetsPretraining(PPO):
    """Its text counts for next to nothing."""

    def loss(self, policy: nn.Module, batch: Any) -> Loss:
        loss = PPO.loss(self, policy, batch)
        if not isinstance(batch, Pretraining):
            return loss
        return replace(loss, terms={name: replace(term, weight=1e-6) for name, term in loss.terms.items()})


class ForgetsReference(PPO):
    """Penalises nothing."""

    def prepare(self, data: Any, models: Models, kl_coef: float) -> Valued:
        return PPO.prepare(self, data, models, 0.0)


class StaleLogp(PPO):
    """Off by a temperature: what sampled is not what the ratio divides by."""

    def prepare(self, data: Any, models: Models, kl_coef: float) -> Valued:
        return PPO.prepare(self, replace(data, logp_BT=0.9 * data.logp_BT), models, kl_coef)


class Unadapted(PPO):
    """The KL coefficient stays where it is."""

    def after(self, state: State, data: Any, metrics: Any) -> State:
        return {"kl_coef": state["kl_coef"], "updates": state["updates"] + 1}


def on_margins(loss_of: Callable[[Tensor, float], Tensor], *, per_token: bool = False) -> type[DPO]:
    """Another loss of the log-ratio's margin, for a label that says the first is better."""

    class Replaced(DPO):
        def loss(self, policy: nn.Module, batch: Pairs) -> Loss:
            tokens = batch.tokens
            assert batch.reference_logp_B is not None
            ratio_B = row_sum(policy(tokens).logp_BT, tokens.loss_mask_BT) - batch.reference_logp_B
            if per_token:
                ratio_B = ratio_B / tokens.response_len_B
            worth_B = DIVERGENCES[self.divergence].slope(ratio_B)
            margin_N = worth_B[batch.first_row_N] - worth_B[batch.second_row_N]
            first_N, second_N = batch.target_N3[:, 0], batch.target_N3[:, 1]
            loss_N = first_N * loss_of(margin_N, self.beta) + second_N * loss_of(-margin_N, self.beta)
            return Loss(terms={"dpo": Term(loss_N.sum(), per="comparisons")}, metrics={})

    return Replaced


def logistic(margin_N: Tensor, beta: float) -> Tensor:
    return -logsigmoid(beta * margin_N)


def slic(margin_N: Tensor, beta: float) -> Tensor:
    return (1 - beta * margin_N).relu()


def ipo(margin_N: Tensor, beta: float) -> Tensor:
    return (margin_N - 1 / (2 * beta)) ** 2


class OneDivergence(DPO):
    """The reverse KL, whatever `divergence` says."""

    def worth(self, logp_BT: Tensor, batch: Pairs) -> Tensor:
        return DPO.worth(replace(self, divergence="reverse_kl"), logp_BT, batch)


class WithoutReference(DPO):
    """Bradley–Terry on the policy's own log-probabilities."""

    def batches(self, data: Pairs, models: Models, _state: State) -> Any:
        yield replace(data, reference_logp_B=torch.zeros(data.tokens.rows, dtype=torch.float64))


class Negated(Method):
    """The policy's term has its sign flipped. Mixed into a method."""

    def loss(self, policy: nn.Module, batch: Any) -> Loss:
        loss = super().loss(policy, batch)
        return replace(loss, terms={**loss.terms, "policy": replace(loss.terms["policy"], weight=-1.0)})


class NegatedRLOO(Negated, RLOO): ...


class NegatedGRPO(Negated, GRPO): ...


class NegatedDrGRPO(Negated, DrGRPO): ...


class NegatedDAPO(Negated, DAPO): ...


class NegatedGSPO(Negated, GSPO): ...


def with_advantage(kind: type[Any], advantage: Callable[[Tensor, Tensor], Tensor]) -> type[Any]:
    """Another comparison of rewards with those of the group."""

    class Replaced(kind):  # type: ignore[misc]
        def batches(self, data: Any, models: Models, state: State) -> Any:
            whole = advantage(data.reward_B, data.tokens.prompt_of_B)
            for batch in replace(self, minibatches=1)._batches(data, models, state):
                yield from replace(batch, advantage_B=whole).updates(1, self.minibatches, seed=data.version)

        def _batches(self, data: Any, models: Models, state: State) -> Any:
            return kind.batches(self, data, models, state)

    return Replaced


def batch_normalised(reward_B: Tensor, prompt_of_B: Tensor) -> Tensor:
    """Whitened over the whole rollout, whatever the groups."""
    return (reward_B - reward_B.mean()) / (reward_B.std() + 1e-4)


def leave_one_out(reward_B: Tensor, prompt_of_B: Tensor) -> Tensor:
    return reward_B - mean_of_others(reward_B, prompt_of_B)


def centred(reward_B: Tensor, prompt_of_B: Tensor) -> Tensor:
    return reward_B - group_mean(reward_B, prompt_of_B)


class GroupMeanRLOO(RLOO):
    """A response is its own baseline, too."""

    def batches(self, data: Any, models: Models, state: State) -> Any:
        for batch in RLOO.batches(self, data, models, state):
            yield replace(batch, advantage_B=centred(batch.advantage_B, data.tokens.prompt_of_B) * 2 / 3)  # type: ignore[arg-type,union-attr,call-arg]


class PerTokenRLOO(RLOO):
    """The mean log-probability of a token in place of the response's."""

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        logp_B = row_mean(policy(batch.tokens).logp_BT, batch.tokens.loss_mask_BT)
        return Loss(terms={"policy": Term(-(batch.advantage_B * logp_B).sum(), per="rows")}, metrics={})


class LowKL(RLOO):
    """The KL penalty is halved."""

    def batches(self, data: Any, models: Models, state: State) -> Any:
        return RLOO.batches(RLOO(kl_coef=self.kl_coef / 2), data, models, state)


class TokenMeanGRPO(GRPO):
    """DAPO's mean: over all tokens."""

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        whole = DrGRPO(kl_coef=self.kl_coef, clip=self.clip).loss(policy, batch)
        return replace(whole, terms={name: replace(term, per="tokens") for name, term in whole.terms.items()})


class SumOverTokensGRPO(GRPO):
    """Dr. GRPO's loss under GRPO's advantages."""

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        return DrGRPO(kl_coef=self.kl_coef, clip=self.clip, constant_length=2.0).loss(policy, batch)


class UnclippedGRPO(GRPO):
    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        return GRPO.loss(GRPO(kl_coef=self.kl_coef, clip=1e9), policy, batch)


class PerResponseDrGRPO(DrGRPO):
    """GRPO's loss under Dr. GRPO's advantages."""

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        return GRPO.loss(GRPO(kl_coef=self.kl_coef, clip=self.clip), policy, batch)


class VaryingLength(DrGRPO):
    """The longest response of the batch in place of the constant."""

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        longest = float(batch.tokens.response_len_B.max())
        return DrGRPO.loss(replace(self, constant_length=longest), policy, batch)


class EvenClip(DAPO):
    """What falls may fall as far as what rises may rise."""

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        return DAPO.loss(replace(self, clip_low=self.clip_high), policy, batch)


class TurnedClip(DAPO):
    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        return DAPO.loss(replace(self, clip_low=self.clip_high, clip_high=self.clip_low), policy, batch)


class PerResponseDAPO(DAPO):
    """A mean over each response first."""

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        mask_BT = batch.tokens.loss_mask_BT
        loss_BT = clipped_surrogate(
            policy(batch.tokens).logp_BT, batch.old_logp_BT, batch.advantage_B[:, None], self.clip_low, self.clip_high
        )
        return Loss(terms={"policy": Term(row_mean(loss_BT, mask_BT).sum(), per="rows")}, metrics={})


class TokenRatioGSPO(GSPO):
    """GRPO's ratio of every token, with the clips as they are."""

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        loss = GSPO.loss(self, policy, batch)
        surrogate_BT = clipped_surrogate(
            policy(batch.tokens).logp_BT, batch.old_logp_BT, batch.advantage_B[:, None], self.clip_low, self.clip_high
        )
        term = Term(row_mean(surrogate_BT, batch.tokens.loss_mask_BT).sum(), per="rows")
        return replace(loss, terms={**loss.terms, "policy": term})


class WholeRatioGSPO(GSPO):
    """π(y)/π_old(y) itself, without the length's root."""

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        loss, mask_BT = GSPO.loss(self, policy, batch), batch.tokens.loss_mask_BT
        logp_B, old_B = row_sum(policy(batch.tokens).logp_BT, mask_BT), row_sum(batch.old_logp_BT, mask_BT)
        surrogate_B = clipped_surrogate(logp_B, old_B, batch.advantage_B, self.clip_low, self.clip_high)
        return replace(loss, terms={**loss.terms, "policy": Term(surrogate_B.sum(), per="rows")})


class WiderClipGSPO(GSPO):
    """One bound for both sides."""

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        return GSPO.loss(replace(self, clip_low=self.clip_high), policy, batch)


def best_of_two(score_PN: Tensor) -> Tensor:
    return score_PN[:, :2].argmax(1)


class Contrarian(CPL):
    """Takes the worse clip for the better one."""

    def loss(self, policy: nn.Module, batch: Any) -> Loss:
        if isinstance(batch, Shown):
            return CPL.loss(self, policy, batch)
        return CPL.loss(self, policy, replace(batch, target_N3=batch.target_N3[:, [1, 0, 2]]))


class Undiscounted(CPL):
    def loss(self, policy: nn.Module, batch: Any) -> Loss:
        return CPL.loss(CPL(alpha=self.alpha, lam=self.lam), policy, batch)


class OnlyClones(CPL):
    def batches(self, data: SegmentPairs, models: Models, state: State) -> Iterator[Shown]:
        yield Shown(items=data.items)


class ForgetsWhatFollows(IPL):
    """r = Q."""

    def loss(self, model: nn.Module, batch: SegmentPairs) -> Loss:
        return IPL.loss(replace(self, gamma=0.0), model, batch)


class UnweighedActor(IPL):
    """Whose actor clones."""

    def loss(self, model: nn.Module, batch: SegmentPairs) -> Loss:
        return IPL.loss(replace(self, temperature=1e6), model, batch)


class LooksAhead(PreferenceTransformer):
    """Every step reads the whole clip."""

    def _read(self, segments: Segments) -> Tensor:
        ahead = PreferenceTransformer._read(self, segments)
        return ahead + ahead.mean(1, keepdim=True)


class AllStepsAlike(PreferenceTransformer):
    """Without preference attention."""

    def judge(self, segments: Segments) -> tuple[Tensor, Tensor]:
        reward_BT, weight_BT = PreferenceTransformer.judge(self, segments)
        return reward_BT, torch.full_like(weight_BT, 1 / weight_BT.shape[1])


class SeesTheAnswers(FewShot):
    """Adapts to what it is then asked."""

    def loss(self, model: nn.Module, batch: Any) -> Loss:
        return FewShot.loss(self, model, replace(batch, support=batch.query))


class OneStep(FewShot):
    """One inner step, whatever was asked."""

    def loss(self, model: nn.Module, batch: Any) -> Loss:
        return FewShot.loss(FewShot(inner_steps=1), model, batch)


class Unjudged(FromPreferencesOffPolicy):
    """Never judges anew what it remembers."""

    def __post_init__(self) -> None:
        FromPreferencesOffPolicy.__post_init__(self)
        self.loop.replay.relabel = lambda reward, **_: None  # type: ignore[method-assign]


class OnlyUpToTheNewest(FromPreferencesOffPolicy):
    """Judges anew what stands before the newest, which is not all once the memory has wrapped around."""

    def __post_init__(self) -> None:
        FromPreferencesOffPolicy.__post_init__(self)
        replay, relabel = self.loop.replay, self.loop.replay.relabel

        def short(reward: Any, **_: Any) -> None:
            held, replay.held = replay.held, replay.at
            relabel(reward)
            replay.held = held

        replay.relabel = short  # type: ignore[method-assign]


class WithoutMargin(FromDemonstrationsAndPreferences):
    """Demonstrations are only one more experience."""

    def __post_init__(self) -> None:
        self.settings = replace(self.settings, margin_weight=0.0)
        FromDemonstrationsAndPreferences.__post_init__(self)


class OnceAndForAll(FromDemonstrationsAndPreferences):
    """What is remembered keeps the reward that it first had."""

    def __post_init__(self) -> None:
        FromDemonstrationsAndPreferences.__post_init__(self)
        self.learner.relabel = lambda reward: None  # type: ignore[method-assign]


class ChanceShowsTheWay(FromDemonstrationsAndPreferences):
    """Automatic answers are turned around."""

    def begin(self) -> None:
        learner = self.asking.learner
        add = learner.add
        learner.add = lambda clips, target, blind: add(clips, target[:, [1, 0, 2]], blind)  # type: ignore[method-assign]
        FromDemonstrationsAndPreferences.begin(self)
        learner.add = add  # type: ignore[method-assign]


MUTANTS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "sft": (sft.prove, {"all tokens": AllTokens, "mean over each answer": MeanOverEachAnswer, "sign": Unlearn}),
    "bradley_terry": (
        bradley_terry.prove,
        {
            "squared error": on_differences(squared),
            "hinge": on_differences(hinge),
            "labels inverted": on_differences(inverted),
            "weights squared": PerPrompt,
        },
    ),
    "plackett_luce": (
        plackett_luce.prove,
        {"first place only": FirstPlace, "every pair": EveryPair, "worst first": WorstFirst},
    ),
    "ppo": (
        ppo.prove,
        {
            "sign": Descent,
            "unclipped": Unclipped,
            "reinforce": Reinforce,
            "no value loss": NoValue,
            "forgets pre-training text": ForgetsPretraining,
            "no reference": ForgetsReference,
            "stale log-probabilities": StaleLogp,
            "coefficient not adapted": Unadapted,
        },
    ),
    "rloo": (
        rloo.prove,
        {
            "sign": NegatedRLOO,
            "group mean": GroupMeanRLOO,
            "per token": PerTokenRLOO,
            "half the KL": LowKL,
        },
    ),
    "grpo": (
        grpo.prove,
        {
            "sign": NegatedGRPO,
            "without spread": with_advantage(GRPO, centred),
            "normalised over the batch": with_advantage(GRPO, batch_normalised),
            "mean over all tokens": TokenMeanGRPO,
            "sum over tokens": SumOverTokensGRPO,
            "unclipped": UnclippedGRPO,
        },
    ),
    "dr_grpo": (
        dr_grpo.prove,
        {
            "sign": NegatedDrGRPO,
            "with spread": with_advantage(DrGRPO, group_normalised),
            "leave one out": with_advantage(DrGRPO, leave_one_out),
            "mean over each response": PerResponseDrGRPO,
            "a length that varies": VaryingLength,
        },
    ),
    "dapo": (
        dapo.prove,
        {
            "sign": NegatedDAPO,
            "even clip": EvenClip,
            "clips turned round": TurnedClip,
            "groups without spread counted": dapo.Undropped,
            "mean over each response": PerResponseDAPO,
        },
    ),
    "gspo": (
        gspo.prove,
        {
            "sign": NegatedGSPO,
            "ratios of tokens": TokenRatioGSPO,
            "ratio without the root": WholeRatioGSPO,
            "even clip": WiderClipGSPO,
            "without spread": with_advantage(GSPO, centred),
        },
    ),
    "dpo": (
        dpo.prove,
        {
            "hinge": on_margins(slic),
            "ipo": on_margins(ipo),
            "per token": on_margins(logistic, per_token=True),
            "no reference": WithoutReference,
            "one divergence": OneDivergence,
        },
    ),
    "pebble": (pebble.prove, {"never judged anew": Unjudged, "only up to the newest": OnlyUpToTheNewest}),
    "request": (request.prove, {"near home": partial(ReQueST, length=1)}),
    "ibarz": (
        ibarz.prove,
        {
            "never judged anew": OnceAndForAll,
            "no margin": WithoutMargin,
            "automatic answers turned around": ChanceShowsTheWay,
        },
    ),
    "best_of_n": (
        best_of_n.prove,
        {
            "worst": lambda score_PN: score_PN.argmin(1),
            "first": lambda score_PN: torch.zeros(len(score_PN), dtype=torch.long),
            "best of two": best_of_two,
        },
    ),
    "from_preferences": (
        from_preferences.prove,
        {"squared error": on_differences(squared), "labels inverted": on_differences(inverted)},
    ),
    **IMITATORS,
    **SIGNALS,
    **PAIRS,
    **GRADIENTS,
    **SCORES,
    **REWARDS,
    **RULES,
    **VALUES,
    "cpl": (cpl.prove, {"inverted": Contrarian, "undiscounted": Undiscounted, "clones": OnlyClones}),
    "ipl": (ipl.prove, {"no V(s')": ForgetsWhatFollows, "unweighed actor": UnweighedActor}),
    "preference_transformer": (
        preference_transformer.prove,
        {"looks ahead": LooksAhead, "all steps alike": AllStepsAlike},
    ),
    "few_shot": (few_shot.prove, {"one step": OneStep, "sees the answers": SeesTheAnswers}),
}


def status(monkeypatch: pytest.MonkeyPatch, name: str, subject: Any) -> str:
    proof = MUTANTS[name][0]
    monkeypatch.setitem(PROOFS, name, lambda lab: proof(lab, subject))
    with verify.one_quiet_thread():
        return verify.prove(name, Lab()).status


def test_every_proof_has_mutants() -> None:
    assert set(MUTANTS) == set(PROOFS)


# Proofs of several seconds: one mutant of each is always tried, the others with the full tests.
SLOW = {
    "ppo", "dagger", "gail", "airl", "tamer", "coach", "pessimistic_mle", "pebble", "request",
    "ibarz", "mil", "preference_transformer", "few_shot", "conservative_dpo", "robust_dpo", "dpop", "ipo", "kwise_dpo",
    "online_dpo", "kto", "cpo", "simpo", "orpo", "slic", *GRADIENTS, *SCORES, *REWARDS, *RULES, *VALUES,
}  # fmt: skip
MUTATIONS = [
    pytest.param(name, mutant, marks=[pytest.mark.full] if at and name in SLOW else [])
    for name in MUTANTS
    for at, mutant in enumerate(MUTANTS[name][1])
]


@pytest.mark.parametrize(("name", "mutant"), MUTATIONS)
def test_a_mutant_fails(monkeypatch: pytest.MonkeyPatch, name: str, mutant: str) -> None:
    assert status(monkeypatch, name, MUTANTS[name][1][mutant]) == "failed"


def test_the_same_loss_written_anew_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails above fails by its formula, not by being replaced."""
    assert status(monkeypatch, "dpo", on_margins(logistic)) == "passed"


def test_another_kl_estimate_in_the_reward_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """k3 is unbiased for the KL, but its gradient as a penalty is another's."""
    monkeypatch.setattr(families_module, "kl1", kl3)
    assert status(monkeypatch, "ppo", PPO) == "failed"


@pytest.mark.parametrize(("name", "module", "kind"), [("grpo", grpo_module, GRPO), ("gspo", gspo_module, GSPO)])
def test_another_kl_estimate_in_the_loss_fails(
    monkeypatch: pytest.MonkeyPatch, name: str, module: Any, kind: type[Any]
) -> None:
    """k1 is unbiased for the KL, but as a loss its gradient is 0 on average."""
    monkeypatch.setattr(module, "kl3", kl1)
    assert status(monkeypatch, name, kind) == "failed"
