"""Why a row of `parity.py` differs, as numbers: ours with that one thing as TRL has it, which has to agree."""

from dataclasses import replace
from unittest.mock import patch

import torch
from torch import Tensor

from harness.frozen import SAMPLES, Frozen, T
from harness.our_side import (
    Value,
    by,
    later,
    matches,
    pairs,
    ppo,
    prepared,
    reference_of,
    rollout,
    table_of,
    tokens,
)
from tercih import families
from tercih.algorithms.cpo import CPO
from tercih.algorithms.dapo import DAPO
from tercih.algorithms.grpo import GRPO
from tercih.algorithms.orpo import ORPO
from tercih.algorithms.ppo import PPO
from tercih.algorithms.rloo import RLOO
from tercih.algorithms.sft import SFT
from tercih.batches import Batch, Compared
from tercih.forward import Models
from tercih.ops import clipped_surrogate, kl1, kl3, masked_mean, row_mean, row_sum, whiten


def plus(first: Value, second: Value) -> Value:
    return first[0] + second[0], first[1] + second[1]


def better(data: Frozen) -> Batch:
    """To learn by heart."""
    made = tokens(data, 1)
    return Batch(tokens=made.take(torch.arange(0, made.rows, 2)))


def better_with_prompts(data: Frozen) -> Batch:
    """All but the first token of the prompt is learned, too."""
    answers = better(data).tokens
    prompts_PS = answers.prompt_ids_PS
    return Batch(
        tokens=replace(
            answers, prompt_ids_PS=prompts_PS[:, :1], prompt_len_P=torch.ones_like(answers.prompt_len_P),
            response_ids_BT=torch.cat([prompts_PS[:, 1:], answers.response_ids_BT], 1),
            response_len_B=answers.response_len_B + prompts_PS.shape[1] - 1,
            loss_mask_BT=torch.cat([torch.ones_like(prompts_PS[:, 1:]).bool(), answers.loss_mask_BT], 1),
        )
    )  # fmt: skip


def imitation_by_tokens(data: Frozen) -> Value:
    return plus(by(CPO(nll_coef=0.0), pairs)(data), by(SFT(), better)(data))


def imitation_of_prompts(data: Frozen) -> Value:
    return plus(by(ORPO(), pairs, "preference")(data), by(SFT(), better_with_prompts)(data))


def clipped_answers(data: Frozen) -> Value:
    """RLOO's advantages, and the ratio of whole answers."""
    model, weight = table_of(data)
    models = Models(policy=model, reference=reference_of(data))
    (batch,) = RLOO(kl_coef=0.05).batches(rollout(data), models, {})
    assert isinstance(batch, Compared)
    mask_BT = batch.tokens.loss_mask_BT
    logp_B, old_logp_B = (row_sum(x_BT, mask_BT) for x_BT in (model(batch.tokens).logp_BT, batch.old_logp_BT))
    return at_weight(clipped_surrogate(logp_B, old_logp_B, batch.advantage_B, 0.2).mean(), weight)


def corrected_kl(data: Frozen) -> Value:
    model, weight = table_of(data)
    rolled = rollout(data)
    logp_BT = model(rolled.tokens).logp_BT
    kl_BT = (logp_BT - rolled.logp_BT).exp() * kl3(logp_BT, reference_of(data)(rolled.tokens))
    kl = 0.04 * row_mean(kl_BT, rolled.tokens.loss_mask_BT).mean()
    return plus(by(GRPO(kl_coef=0.0), rollout)(data), at_weight(kl, weight))


def all_tokens_counted(data: Frozen) -> Value:
    loss, gradient = by(DAPO(minibatches=1), lambda data: rollout(data, flat=True))(data)
    share = float(data.mask_BT[SAMPLES:].sum() / data.mask_BT.sum())
    return share * loss, share * gradient


def kl_by_tokens(data: Frozen) -> Value:
    model, weight = table_of(data)
    rolled = matches(data)
    mask_BT, logp_BT = rolled.tokens.loss_mask_BT, model(rolled.tokens).logp_BT
    kl_BT = kl1(rolled.logp_BT, reference_of(data)(rolled.tokens)) * logp_BT
    match_B = (rolled.reward_B - 0.5) * row_sum(logp_BT, mask_BT)
    return at_weight((0.1 * row_sum(kl_BT, mask_BT) - match_B).mean(), weight)


def at_weight(loss: Tensor, weight: Tensor) -> Value:
    (gradient,) = torch.autograd.grad(loss, weight)
    return float(loss.detach()), gradient


def unbiased(x: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Whitened by the variance of n − 1."""
    white = whiten(x, mask) * ((mask.sum() - 1) / mask.sum()).sqrt()
    return white if shift_mean else white + masked_mean(x, mask)


def whitened_unbiased(data: Frozen, **options: bool) -> Value:
    with patch.object(families, "whiten", unbiased):
        return ppo(data, **options)


def rewarded_later(data: Frozen) -> Value:
    """An answer that ended early has one token more, which costs no KL, has its reward, and whose value is learned;
    advantages of the others are whitened by the variance of n − 1."""
    method = PPO(epochs=1, whiten_advantages=False)
    longer = replace(data, length_B=(data.length_B + 1).clamp(max=T))
    rolled, added_BT = rollout(longer), longer.mask_BT & ~data.mask_BT
    free_BT = torch.where(added_BT, reference_of(data)(rolled.tokens), rolled.logp_BT)
    batch = prepared(method, longer, replace(rolled, logp_BT=free_BT))
    said = replace(batch, tokens=tokens(data), advantage_BT=unbiased(batch.advantage_BT, data.mask_BT))
    return plus(later(method, data, said, "policy"), later(method, data, batch, "value"))
