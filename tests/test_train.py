"""The loop: any cut into micro-batches is the same step, bad losses stop it, and what is resumed is what was."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from small import (
    AnyWords,
    Fixed,
    causal,
    gradients,
    random_pairs,
    random_rankings,
    random_ratings,
    random_scored,
    random_thumbs,
    random_tokens,
    random_turns,
    rollout,
)
from tercih.algorithms import METHODS
from tercih.algorithms.a2c import A2C
from tercih.algorithms.awac import AWAC
from tercih.algorithms.awr import AWR
from tercih.algorithms.binned_regression import BinnedRegression
from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.algorithms.conditional import Conditional
from tercih.algorithms.conservative_dpo import ConservativeDPO
from tercih.algorithms.context_distillation import ContextDistillation
from tercih.algorithms.cpo import CPO
from tercih.algorithms.cql import CQL
from tercih.algorithms.dapo import DAPO
from tercih.algorithms.dpo import DPO
from tercih.algorithms.dpop import DPOP
from tercih.algorithms.dr_grpo import DrGRPO
from tercih.algorithms.f_dpg import FDPG
from tercih.algorithms.filtered_sft import FilteredSFT
from tercih.algorithms.grpo import GRPO
from tercih.algorithms.gspo import GSPO
from tercih.algorithms.ilql import ILQL
from tercih.algorithms.ipo import IPO
from tercih.algorithms.kto import KTO
from tercih.algorithms.kwise_dpo import KwiseDPO
from tercih.algorithms.mrt import MRT
from tercih.algorithms.nash_md import NashMD
from tercih.algorithms.nlpo import NLPO
from tercih.algorithms.online_dpo import OnlineDPO
from tercih.algorithms.orpo import ORPO
from tercih.algorithms.plackett_luce import PlackettLuce
from tercih.algorithms.ppo import PPO
from tercih.algorithms.process_reward import ProcessReward
from tercih.algorithms.quark import Quark
from tercih.algorithms.raft import RAFT
from tercih.algorithms.reinforce import REINFORCE
from tercih.algorithms.reinforce_pp import ReinforcePP
from tercih.algorithms.rloo import RLOO
from tercih.algorithms.robust_dpo import RobustDPO
from tercih.algorithms.rrhf import RRHF
from tercih.algorithms.rule_model import RuleModel
from tercih.algorithms.rwr import RWR
from tercih.algorithms.score_regression import ScoreRegression
from tercih.algorithms.sft import SFT
from tercih.algorithms.simpo import SimPO
from tercih.algorithms.slic import SLiC
from tercih.algorithms.unlikelihood import Unlikelihood
from tercih.batches import Batch
from tercih.forward import Loss, Models, Term
from tercih.method import Method
from tercih.metrics import read_metrics
from tercih.models.action_values import ActionValueModel
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.reward_model import RewardModel
from tercih.optimisation import Optimisation
from tercih.train import TrainingError, fit

Case = tuple[Method, Models, Any]
LR = 1e-3
KIND = "gpt2"  # a Llama of transformers normalises in float32, whatever its weights are


def policy_models(dtype: torch.dtype, value: str | None = None) -> Models:
    policy = LanguageModel(causal(KIND, dtype=dtype), value=value)
    reference = Reference(LanguageModel(causal(KIND, dtype=dtype, seed=1)))
    return Models(policy=policy, reference=reference, words=AnyWords())


def sft(dtype: torch.dtype) -> Case:
    return SFT(), policy_models(dtype), Batch(tokens=random_tokens([1, 2, 1, 3, 1, 1], holes=True))


def bradley_terry(dtype: torch.dtype) -> Case:
    return (
        BradleyTerry(centre_coef=0.1),
        Models(policy=RewardModel(causal(KIND, dtype=dtype))),
        random_pairs(6, dtype=dtype),
    )


def davidson(dtype: torch.dtype) -> Case:
    scorer = RewardModel(causal(KIND, dtype=dtype), readout="mean")
    pairs = random_pairs(6, dtype=dtype)
    return (
        BradleyTerry(ties="davidson"),
        Models(policy=scorer),
        replace(pairs, margin_N=torch.zeros_like(pairs.margin_N)),
    )


def plackett_luce(dtype: torch.dtype) -> Case:
    return PlackettLuce(), Models(policy=RewardModel(causal(KIND, dtype=dtype))), random_rankings()


def score_regression(dtype: torch.dtype) -> Case:
    return (
        ScoreRegression(),
        Models(policy=RewardModel(causal(KIND, dtype=dtype))),
        random_ratings([1, 2, 3, 1, 1, 2], dtype=dtype),
    )


def binned_regression(dtype: torch.dtype) -> Case:
    method = BinnedRegression(bins=4)
    scorer = RewardModel(causal(KIND, dtype=dtype), bins=method.centres)
    return method, Models(policy=scorer), random_ratings([1, 2, 3, 1, 1, 2], dtype=dtype)


def process_reward(dtype: torch.dtype) -> Case:
    scorer = RewardModel(causal(KIND, dtype=dtype))
    return ProcessReward(), Models(policy=scorer), random_thumbs([1, 2, 3, 1, 1, 2], dtype=dtype)


def rule_model(dtype: torch.dtype) -> Case:
    scorer = RewardModel(causal(KIND, dtype=dtype), readout="mean")
    return RuleModel(), Models(policy=scorer), random_thumbs([1, 2, 3, 1, 1, 2], seed=1, dtype=dtype)


def of_pairs(method: Method, dtype: torch.dtype) -> Case:
    return method, policy_models(dtype), random_pairs(6, dtype=dtype)


def dpo(dtype: torch.dtype) -> Case:
    return of_pairs(DPO(beta=1.0, divergence="js"), dtype)


def conservative_dpo(dtype: torch.dtype) -> Case:
    return of_pairs(ConservativeDPO(), dtype)


def robust_dpo(dtype: torch.dtype) -> Case:
    return of_pairs(RobustDPO(), dtype)


def dpop(dtype: torch.dtype) -> Case:
    return of_pairs(DPOP(), dtype)


def ipo(dtype: torch.dtype) -> Case:
    return of_pairs(IPO(tau=0.5), dtype)


def ipo_per_token(dtype: torch.dtype) -> Case:
    return of_pairs(IPO(tau=0.5, per_token=True), dtype)


def cpo(dtype: torch.dtype) -> Case:
    return of_pairs(CPO(), dtype)


def simpo(dtype: torch.dtype) -> Case:
    return of_pairs(SimPO(), dtype)


def orpo(dtype: torch.dtype) -> Case:
    return of_pairs(ORPO(), dtype)


def slic(dtype: torch.dtype) -> Case:
    return of_pairs(SLiC(), dtype)


def kwise_dpo(dtype: torch.dtype) -> Case:
    return KwiseDPO(), policy_models(dtype), random_rankings()


def rrhf(dtype: torch.dtype) -> Case:
    return RRHF(), policy_models(dtype), random_rankings()


def kto(dtype: torch.dtype) -> Case:
    return KTO(undesirable=1.3), policy_models(dtype), random_thumbs([1, 2, 3, 1, 1, 2], dtype=dtype)


def ppo(dtype: torch.dtype) -> Case:
    models = policy_models(dtype, value="shared")
    made = random_tokens([2, 1, 3, 2, 1], holes=True)
    noise_BT = torch.randn(made.loss_mask_BT.shape, dtype=dtype, generator=torch.Generator().manual_seed(3)) * 0.3
    logp_BT = models.policy(made).logp_BT.detach() + torch.where(made.loss_mask_BT, noise_BT, 0.0)
    return PPO(epochs=1, entropy_coef=0.01, whiten_rewards=True), models, rollout(made, logp_BT)


def a2c(dtype: torch.dtype) -> Case:
    return (A2C(), *ppo(dtype)[1:])


def nlpo(dtype: torch.dtype) -> Case:
    """Some tokens are outside the mask: nothing reaches them."""
    return (NLPO(epochs=1, entropy_coef=0.01, top_p=0.9, min_keep=1), *ppo(dtype)[1:])


def ppo_ptx(dtype: torch.dtype) -> Case:
    _, models, data = ppo(dtype)
    text = Batch(tokens=random_tokens([1] * 5, seed=9))
    return PPO(epochs=1, pretraining_coef=0.7), models, rollout(data.tokens, data.logp_BT, pretraining=text)


def grouped(method: Method, dtype: torch.dtype, *, flat: bool = False) -> Case:
    """Groups of unlike sizes and lengths, not sampled by the policy itself; with `flat` some have one reward."""
    models = policy_models(dtype)
    made = random_tokens([2, 4, 3, 2, 3], holes=True)
    noise_BT = torch.randn(made.loss_mask_BT.shape, dtype=dtype, generator=torch.Generator().manual_seed(3)) * 0.3
    data = rollout(made, models.policy(made).logp_BT.detach() + torch.where(made.loss_mask_BT, noise_BT, 0.0))
    if flat:
        data = replace(data, reward_B=torch.where(made.prompt_of_B % 2 == 0, data.reward_B, 0.1))
    return method, models, data


def rloo(dtype: torch.dtype) -> Case:
    return grouped(RLOO(kl_coef=0.5), dtype)


def reinforce(dtype: torch.dtype) -> Case:
    return grouped(REINFORCE(kl_coef=0.5), dtype)


def reinforce_pp(dtype: torch.dtype) -> Case:
    return grouped(ReinforcePP(kl_coef=0.5), dtype)


def reinforce_pp_baseline(dtype: torch.dtype) -> Case:
    return grouped(ReinforcePP(kl_coef=0.5, group_baseline=True), dtype)


def mrt(dtype: torch.dtype) -> Case:
    return grouped(MRT(alpha=0.3), dtype)


def f_dpg(dtype: torch.dtype) -> Case:
    return grouped(FDPG(), dtype)


def grpo(dtype: torch.dtype) -> Case:
    return grouped(GRPO(kl_coef=0.5), dtype)


def dr_grpo(dtype: torch.dtype) -> Case:
    return grouped(DrGRPO(kl_coef=0.5, constant_length=7.0), dtype)


def dapo(dtype: torch.dtype) -> Case:
    return grouped(DAPO(minibatches=1), dtype, flat=True)


def online_dpo(dtype: torch.dtype) -> Case:
    return grouped(OnlineDPO(), dtype)


def nash_md(dtype: torch.dtype) -> Case:
    return grouped(NashMD(tau=0.3), dtype)


def gspo(dtype: torch.dtype) -> Case:
    return grouped(GSPO(kl_coef=0.5, clip_low=0.1, clip_high=0.15, minibatches=1), dtype)


def of_scored(method: Method, dtype: torch.dtype) -> Case:
    models = policy_models(dtype, value="shared" if method.needs_values else None)
    return method, models, random_scored([1, 2, 3, 1, 1, 2], dtype=dtype)


def raft(dtype: torch.dtype) -> Case:
    return grouped(RAFT(epochs=1), dtype)


def raft_top(dtype: torch.dtype) -> Case:
    return grouped(RAFT(epochs=1, fraction=0.5), dtype)


def quark(dtype: torch.dtype) -> Case:
    """Every prompt ends with the two tokens of a word."""
    method, models, data = grouped(Quark(quantiles=3, kl_coef=0.5, entropy_coef=0.2, updates=1, rows=9), dtype)
    asked = data.tokens.with_words([models.words[method.asks_with]], torch.zeros_like(data.tokens.prompt_of_B))
    return method, models, replace(data, tokens=asked)


def context_distillation(dtype: torch.dtype) -> Case:
    return ContextDistillation(), policy_models(dtype), sft(dtype)[2]


def filtered_sft(dtype: torch.dtype) -> Case:
    return of_scored(FilteredSFT(threshold=-1.0, fraction=0.8), dtype)


def rwr(dtype: torch.dtype) -> Case:
    return of_scored(RWR(beta=0.7), dtype)


def awr(dtype: torch.dtype) -> Case:
    return of_scored(AWR(beta=0.7, cap=2.0), dtype)


def conditional(dtype: torch.dtype) -> Case:
    return of_scored(Conditional(drop=0.3), dtype)


def unlikelihood(dtype: torch.dtype) -> Case:
    return of_scored(Unlikelihood(alpha=0.6), dtype)


def ilql(dtype: torch.dtype) -> Case:
    policy = ActionValueModel(causal(KIND, dtype=dtype))
    return ILQL(awac_beta=0.5), Models(policy=policy), random_scored([1, 2, 3, 1, 1, 2], dtype=dtype)


def awac(dtype: torch.dtype) -> Case:
    policy = ActionValueModel(causal(KIND, dtype=dtype))
    return AWAC(), Models(policy=policy), random_scored([1, 2, 3, 1, 1, 2], dtype=dtype)


def cql(dtype: torch.dtype) -> Case:
    return CQL(updates=1), Models(policy=RewardModel(causal(KIND, dtype=dtype))), random_turns(dtype=dtype)


CASES: tuple[Callable[[torch.dtype], Case], ...] = (
    sft, bradley_terry, davidson, plackett_luce, reinforce, mrt, a2c, f_dpg, ppo, nlpo, ppo_ptx, reinforce_pp,
    reinforce_pp_baseline, rloo, grpo, dr_grpo, dapo, gspo, dpo, conservative_dpo, robust_dpo, dpop, ipo,
    ipo_per_token, kwise_dpo, online_dpo, kto, cpo, simpo, orpo, slic, rrhf,
    raft, raft_top, quark, context_distillation, filtered_sft, rwr, awr, conditional, unlikelihood,
    score_regression, binned_regression, process_reward, rule_model,
    nash_md, ilql, awac, cql,
)  # fmt: skip


def one_step(case: Case, micro_rows: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    method, models, data = case
    torch.manual_seed(0)
    optimisation = Optimisation(lr=LR, max_norm=1e9, micro_rows=micro_rows)
    metrics = fit(method, models, Fixed(data), optimisation)
    return metrics, gradients(models.policy)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=["f32", "f64"])
def test_any_micro_batch_gives_the_same_gradient(
    case: Callable[[torch.dtype], Case], dtype: torch.dtype, tolerance: float
) -> None:
    metrics, whole = one_step(case(dtype), 64)
    scale = max(float(g.abs().max()) for g in whole.values())
    assert scale > 1e-3, "no gradient to compare"
    for micro_rows in (1, 3, 8):
        micro_metrics, parts = one_step(case(dtype), micro_rows)
        assert parts.keys() == whole.keys()
        for name, gradient in whole.items():
            difference = float((parts[name] - gradient).abs().max())
            assert difference <= tolerance * max(scale, 1.0) * 4, f"{name} at micro_rows={micro_rows}"
        assert micro_metrics.keys() == metrics.keys()
        for name, value in metrics.items():
            assert micro_metrics[name] == pytest.approx(value, rel=max(tolerance, 1e-6), abs=1e-6), name


def test_the_cases_above_are_all_methods() -> None:
    assert {type(case(torch.float32)[0]) for case in CASES} == set(METHODS.values())


def of_64_rows(name: str, dtype: torch.dtype) -> Case:
    """The method `name` on a batch of 64 responses of the kind it learns from; a method on the shelf needs no more than
    its name to be tested."""
    method = METHODS[name]()
    if "minibatches" in {f.name for f in fields(method)}:  # type: ignore[arg-type]
        method = replace(method, minibatches=1)  # type: ignore[type-var]
    if method.trains == "reward_model":
        models = Models(policy=RewardModel(causal(dtype=dtype), bins=getattr(method, "centres", ())))
    else:
        models = policy_models(dtype, value="shared" if method.needs_values else None)
    if method.needs_action_values:
        models = Models(policy=ActionValueModel(causal(KIND, dtype=dtype)))
    if method.learns_from == "demonstrations":
        return method, models, Batch(tokens=random_tokens([1] * 64, holes=True))
    if method.learns_from == "pairs":
        return method, models, random_pairs(31, dtype=dtype)  # 4 + 30 · 2 rows
    if method.learns_from == "rankings":
        return method, models, random_rankings([4, 3, 5] * 5 + [4])
    if method.learns_from == "turns":
        return replace(method, updates=1), models, random_turns([4, 3, 5] * 5 + [4], dtype=dtype)  # type: ignore[type-var]
    if method.learns_from in ("thumbs", "rules"):
        return method, models, random_thumbs([4, 3, 5] * 5 + [4], dtype=dtype)
    if method.learns_from == "scored":
        scores = random_ratings if method.trains == "reward_model" else random_scored
        return method, models, scores([4, 3, 5] * 5 + [4], dtype=dtype)
    made = random_tokens([4, 3, 5] * 5 + [4] if method.needs_groups else [1] * 64, holes=True)
    if method.asks_with:
        made = made.with_words([models.words[method.asks_with]], torch.zeros_like(made.prompt_of_B))
    noise_BT = torch.randn(made.loss_mask_BT.shape, dtype=dtype, generator=torch.Generator().manual_seed(3)) * 0.3
    logp_BT = models.policy(made).logp_BT.detach() + torch.where(made.loss_mask_BT, noise_BT, 0.0)
    return method, models, rollout(made, logp_BT)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-6)], ids=["f32", "f64"])
def test_64_rows_are_8_times_8(name: str, dtype: torch.dtype, tolerance: float) -> None:
    """In one piece, in equal and in unequal ones: the loss, every metric, the gradient, and the weights after a step.

    Prompts are read once in some pieces and not in others, which also a float64 model shows, for its norms are float32.
    """
    optimisation = Optimisation(lr=0.1, eps=1e-2, max_norm=1e9)

    def step(micro_rows: int) -> tuple[dict[str, float], Tensor, Tensor]:
        method, models, data = of_64_rows(name, dtype)
        assert data.tokens.rows == 64
        metrics = fit(method, models, Fixed(data), replace(optimisation, micro_rows=micro_rows))
        gradient = torch.cat([g.flatten() for g in gradients(models.policy).values()])
        return metrics, gradient, parameters_to_vector(models.policy.parameters()).detach()

    metrics, gradient, weights = step(0)
    scale = float(gradient.abs().max())
    assert scale > 1e-3, "no gradient to compare"
    for micro_rows in (8, 5, 3):
        found, parts, after = step(micro_rows)
        assert found == pytest.approx(metrics, rel=tolerance, abs=tolerance), f"{micro_rows=}"
        assert float((parts - gradient).abs().max()) <= tolerance * scale, f"{micro_rows=}"
        assert float((after - weights).abs().max()) <= tolerance, f"{micro_rows=}"


def test_sft_is_the_mean_over_tokens_not_over_rows() -> None:
    method, models, data = sft(torch.float64)
    logp_BT, mask_BT = models.policy(data.tokens).logp_BT.detach(), data.tokens.loss_mask_BT
    expected = float(-logp_BT[mask_BT].mean())
    metrics, _ = one_step((method, models, data), 2)
    assert metrics["loss"] == pytest.approx(expected, rel=1e-12)
    assert metrics["nats_per_token"] == pytest.approx(expected, rel=1e-6)


class Weight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Told(Batch):
    value_B: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Planted(Method):
    """The loss is whatever the batch says; `fails` stands for a method whose own numbers go wrong before any loss."""

    fails: bool = False

    def batches(self, data: Any, models: Models, state: Any) -> Iterator[Batch]:
        if self.fails and not torch.isfinite(data.value_B).all():
            raise FloatingPointError("the advantages are nan")
        yield data

    def loss(self, policy: nn.Module, batch: Told) -> Loss:
        return Loss(terms={"planted": Term(0.1 * policy.weight.sum() + batch.value_B.sum(), per="rows")}, metrics={})


@dataclass(frozen=True)
class Losses(Fixed):
    def __call__(self, step: int) -> Told:
        return Told(tokens=random_tokens([1]), value_B=torch.tensor([self.item[step]]))


def planted(
    losses: tuple[float, ...], folder: Path | None, *, policy: nn.Module | None = None, fails: bool = False, **more: Any
) -> dict[str, float]:
    models = Models(policy=policy or Weight())
    optimisation = Optimisation(lr=LR, schedule="constant")
    return fit(Planted(fails=fails), models, Losses(losses, steps=len(losses)), optimisation, folder, **more)


@pytest.mark.parametrize(
    ("bad", "said"),
    [(math.nan, "the loss is nan"), (math.inf, "the loss is inf"), (2e6, r"the loss is 2e\+06"), (-1e9, "-1e")],
)
def test_a_bad_loss_stops_and_the_last_good_checkpoint_stays(tmp_path: Path, bad: float, said: str) -> None:
    expected = rf"^step 1: .*{said}.*planted.*last good checkpoint is step 1 in"
    with pytest.raises(TrainingError, match=expected) as caught:
        planted((1.0, bad), tmp_path)
    assert "--optimisation.lr" in str(caught.value)
    assert [f.name for f in (tmp_path / "checkpoints").iterdir()] == ["step-000000001.pt"]
    assert len(read_metrics(tmp_path)) == 1
    planted((1.0, 2.0), tmp_path)  # the mend: from the checkpoint on
    assert [row["loss"] for row in read_metrics(tmp_path)] == [1.0, pytest.approx(2.0, abs=1e-3)]


def test_a_bad_loss_without_a_folder_only_says_so() -> None:
    with pytest.raises(TrainingError, match=r"^step 0: the loss is nan .*A lower learning rate") as caught:
        planted((math.nan,), None)
    assert "checkpoint" not in str(caught.value)


def test_numbers_that_fail_before_the_loss_are_told_the_same_way(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^step 1: the advantages are nan.*last good checkpoint is step 1"):
        planted((7.0, math.nan), tmp_path, fails=True)


def test_an_infinite_gradient_stops() -> None:
    policy = Weight()
    policy.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(TrainingError, match=r"step 0: the gradient norm is inf"):
        planted((1.0,), None, policy=policy)
    assert float(policy.weight.detach()) == 0, "no step was taken"


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    planted((1.0,), tmp_path)
    policy = Weight()
    policy.register_buffer("gain", torch.ones(()))
    with pytest.raises(TrainingError, match=r"the checkpoint does not fit the model: missing gain"):
        planted((1.0, 1.0), tmp_path, policy=policy)
    (tmp_path / "checkpoints").rename(tmp_path / "old")
    planted((1.0,), tmp_path, policy=policy)
    with pytest.raises(TrainingError, match=r"the checkpoint does not fit the model: unknown gain"):
        planted((1.0, 1.0), tmp_path)


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    planted((1.0, 2.0, 3.0), tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    steps: list[int] = []
    metrics = planted((1.0, 2.0, 3.0), tmp_path, on_step=lambda step, _: steps.append(step))
    assert not steps
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert metrics == {k: v for k, v in read_metrics(tmp_path)[-1].items() if k != "step"}
