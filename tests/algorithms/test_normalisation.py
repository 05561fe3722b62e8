"""64 responses at once, or in micro-batches of any size: the gradient is that of each paper's formula, written out."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from small import Fixed, causal, gradients, random_tokens, rollout
from tercih.algorithms.dapo import DAPO
from tercih.algorithms.dr_grpo import DrGRPO
from tercih.algorithms.grpo import GRPO
from tercih.algorithms.gspo import GSPO
from tercih.algorithms.rloo import RLOO
from tercih.batches import Rollout
from tercih.forward import Models
from tercih.method import Method
from tercih.models.language_model import LanguageModel, Reference
from tercih.optimisation import Optimisation
from tercih.train import fit

BETA, LENGTH = 0.5, 7.0
Case = tuple[Models, Rollout]


def case(sizes: list[int]) -> Case:
    """64 responses of unlike lengths, some of whose tokens are not learned from; rewards are 0 or 1, the ratios not 1.
    GPT-2's layers are float64 throughout, Llama's are not."""
    policy = LanguageModel(causal("gpt2"))
    tokens = random_tokens(sizes, holes=True)
    noise_BT = torch.randn(tokens.loss_mask_BT.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    logp_BT = policy(tokens).logp_BT.detach() + torch.where(tokens.loss_mask_BT, 0.3 * noise_BT, 0.0)
    made = rollout(tokens, logp_BT)
    models = Models(policy=policy, reference=Reference(LanguageModel(causal("gpt2", seed=1))))
    return models, replace(made, reward_B=(made.reward_B > 0.8).double())


def advantages(data: Rollout, of_group: Callable[[Tensor], Tensor]) -> Tensor:
    prompt_of_B = data.tokens.prompt_of_B
    return torch.cat([of_group(data.reward_B[prompt_of_B == p]) for p in range(data.tokens.prompts)])


def z_score(reward_K: Tensor) -> Tensor:
    return (reward_K - reward_K.mean()) / (reward_K.std() + 1e-4)


def clipped(ratio: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    return torch.min(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def k3(difference: Tensor) -> Tensor:
    """Of log π0 − log π."""
    return difference.exp() - difference - 1


def rows(models: Models, data: Rollout) -> list[tuple[Tensor, Tensor, Tensor]]:
    """log π (with gradient), log π_old and log π0 of each response's learned tokens."""
    logp_BT, reference_BT = models.policy(data.tokens).logp_BT, models.reference_logp(data.tokens)
    three = zip(logp_BT, data.logp_BT, reference_BT, data.tokens.loss_mask_BT, strict=True)
    return [(logp[mask], old[mask], base[mask]) for logp, old, base, mask in three]


def grpo(models: Models, data: Rollout) -> Tensor:
    advantage_B = advantages(data, z_score)
    each = [
        (clipped((logp - old).exp(), a, 0.2, 0.2) - BETA * k3(base - logp)).mean()
        for (logp, old, base), a in zip(rows(models, data), advantage_B, strict=True)
    ]
    return -torch.stack(each).mean()


def dr_grpo(models: Models, data: Rollout) -> Tensor:
    advantage_B = advantages(data, lambda reward_K: reward_K - reward_K.mean())
    each = [
        (clipped((logp - old).exp(), a, 0.2, 0.2) - BETA * k3(base - logp)).sum() / LENGTH
        for (logp, old, base), a in zip(rows(models, data), advantage_B, strict=True)
    ]
    return -torch.stack(each).mean()


def gspo(models: Models, data: Rollout) -> Tensor:
    advantage_B = advantages(data, z_score)
    each = [
        clipped((logp - old).mean().exp(), a, 0.1, 0.15)
        for (logp, old, _), a in zip(rows(models, data), advantage_B, strict=True)
    ]
    return -torch.stack(each).mean()


def dapo(models: Models, data: Rollout) -> Tensor:
    advantage_B = advantages(data, z_score)
    tokens = [
        clipped((logp - old).exp(), a, 0.2, 0.28)
        for (logp, old, _), a in zip(rows(models, data), advantage_B, strict=True)
        if a != 0  # with rewards of 0 and 1: in a group that has both
    ]
    return -torch.cat(tokens).mean()


def rloo(models: Models, data: Rollout) -> Tensor:
    three = rows(models, data)
    penalised_B = data.reward_B - BETA * torch.stack([(old - base).sum() for _, old, base in three])
    advantage_B = advantages(replace(data, reward_B=penalised_B), lambda r_K: r_K - (r_K.sum() - r_K) / (len(r_K) - 1))
    return -torch.stack([a * logp.sum() for (logp, _, _), a in zip(three, advantage_B, strict=True)]).mean()


METHODS: dict[str, tuple[Method, Callable[[Models, Rollout], Tensor]]] = {
    "rloo": (RLOO(kl_coef=BETA), rloo),
    "grpo": (GRPO(kl_coef=BETA), grpo),
    "dr_grpo": (DrGRPO(kl_coef=BETA, constant_length=LENGTH), dr_grpo),
    "dapo": (DAPO(minibatches=1), dapo),
    "gspo": (GSPO(clip_low=0.1, clip_high=0.15, minibatches=1), gspo),
}
SIZES = {"8 groups of 8": [8] * 8, "unlike groups": [2, 9, 3, 16, 2, 7, 21, 4], "one group of 64": [64]}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", METHODS)
def test_any_cut_gives_the_gradient_of_the_formula(name: str, sizes: list[int]) -> None:
    method, formula = METHODS[name]
    models, data = case(sizes)
    formula(models, data).backward()  # type: ignore[no-untyped-call]
    expected = gradients(models.policy)
    scale = max(float(g.abs().max()) for g in expected.values())
    assert scale > 1e-3
    for micro_rows in (64, 8, 5, 1):
        models, data = case(sizes)
        fit(method, models, Fixed(data), Optimisation(lr=1e-3, max_norm=None, micro_rows=micro_rows))
        for parameter, gradient in gradients(models.policy).items():
            assert float((gradient - expected[parameter]).abs().max()) < 1e-12 * max(scale, 1), (micro_rows, parameter)


@pytest.mark.parametrize("name", ["grpo", "dapo"])
def test_a_mean_of_means_would_be_another_gradient(name: str) -> None:
    """What the test above would find: each micro-batch normalised by itself, its advantages and its token count."""
    models, data = case(SIZES["unlike groups"])
    formula = METHODS[name][1]
    whole = float(formula(models, data).detach())
    parts = [part for part in data.split(16) if bool(part.spread_P.any())]
    assert not math.isclose(sum(float(formula(models, p).detach()) for p in parts) / len(parts), whole, rel_tol=1e-3)
