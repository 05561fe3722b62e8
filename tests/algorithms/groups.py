"""A rollout of groups for tests of methods without a critic: not the policy's own, so that no ratio is 1."""

from typing import Any

import torch
from torch import Tensor

from small import causal, random_tokens, rollout
from tercih.batches import Compared, Rollout
from tercih.forward import Models
from tercih.method import Method
from tercih.models.language_model import LanguageModel, Reference

SIZES = [2, 3, 2, 4]


def setting(sizes: list[int] = SIZES) -> tuple[Models, Rollout]:
    policy = LanguageModel(causal())
    tokens = random_tokens(sizes, holes=True)
    noise_BT = torch.randn(tokens.loss_mask_BT.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    logp_BT = policy(tokens).logp_BT.detach() + torch.where(tokens.loss_mask_BT, 0.3 * noise_BT, 0.0)
    return Models(policy=policy, reference=Reference(LanguageModel(causal(seed=1)))), rollout(tokens, logp_BT)


def first(method: Method, models: Models, data: Rollout) -> Compared:
    (batch,) = method.batches(data, models, method.init(models))
    assert isinstance(batch, Compared)
    return batch


def never(_tokens: Any) -> Tensor:
    raise AssertionError("nobody may ask the reference")


def by_row(data: Rollout, policy: Any, other_BT: Tensor) -> list[list[float]]:
    """log π − other of every learned token, row by row."""
    logp_BT = policy(data.tokens).logp_BT.detach()
    mask = data.tokens.loss_mask_BT.tolist()
    return [
        [x for x, real in zip(row, learned, strict=True) if real]
        for row, learned in zip((logp_BT - other_BT).tolist(), mask, strict=True)
    ]


def of_groups(data: Rollout) -> list[list[float]]:
    """The rewards of every row's group."""
    reward, prompt = data.reward_B.tolist(), data.tokens.prompt_of_B.tolist()
    return [[r for r, q in zip(reward, prompt, strict=True) if q == p] for p in prompt]
