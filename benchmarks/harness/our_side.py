"""Our side of `parity.py`: frozen tensors as the batches that our methods read, and what their losses are on them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.frozen import PROMPTS, SAMPLES, WORD, Frozen, S, Table
from tercih.algorithms.ppo import PPO
from tercih.batches import Batch, Pairs, Rollout, Thumbs, Valued
from tercih.forward import Models
from tercih.method import Method
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.mixture import geometric
from tercih.tokens import Tokens

Value = tuple[float, Tensor]
"""A loss, and its gradient at the table (or the scores)."""
Ours = Callable[[Frozen], Value]


def tokens(data: Frozen, samples: int = SAMPLES) -> Tokens:
    """With `samples` answers to a prompt."""
    prompts = PROMPTS * SAMPLES // samples
    return Tokens(
        prompt_ids_PS=data.prompt_ids_BS[::samples],
        prompt_len_P=torch.full((prompts,), S),
        response_ids_BT=data.response_ids_BT,
        response_len_B=data.length_B,
        prompt_of_B=torch.arange(PROMPTS * SAMPLES) // samples,
        loss_mask_BT=data.mask_BT,
    )


def pairs(data: Frozen) -> Pairs:
    first_N = torch.arange(0, PROMPTS * SAMPLES, 2)
    return Pairs(
        tokens=tokens(data), first_row_N=first_N, second_row_N=first_N + 1,
        target_N3=torch.tensor([1.0, 0.0, 0.0]).expand(len(first_N), -1), weight_N=torch.ones(len(first_N)),
        margin_N=torch.zeros(len(first_N)),
    )  # fmt: skip


def with_margin(data: Frozen) -> Pairs:
    return replace(pairs(data), margin_N=data.margin_N)


def thumbs(data: Frozen) -> Thumbs:
    return Thumbs(tokens=tokens(data), good_B=data.good_B.float(), weight_B=torch.ones(len(data.good_B)))


def rollout(data: Frozen, samples: int = SAMPLES, *, flat: bool = False, on_policy: bool = False) -> Rollout:
    made, sampled = tokens(data, samples), data.policy_XV if on_policy else data.old_XV
    alike_B = made.prompt_of_B == 0 if flat else torch.zeros(made.rows, dtype=torch.bool)
    with torch.no_grad():
        logp_BT = LanguageModel(Table(sampled))(made).logp_BT
    assert logp_BT is not None
    return Rollout(
        tokens=made, logp_BT=logp_BT, reward_B=torch.where(alike_B, 0.0, data.reward_B),
        ended_B=torch.ones(made.rows, dtype=torch.bool), parts={}, version=0,
    )  # fmt: skip


def matches(data: Frozen) -> Rollout:
    """Rewards are the chances to be preferred to a rival's answers."""
    return replace(rollout(data, on_policy=True), reward_B=torch.sigmoid(data.reward_B - data.rival_reward_B))


def demonstrations(data: Frozen) -> Batch:
    return Batch(tokens=tokens(data))


def behind_a_word(data: Frozen) -> Batch:
    """Prompts are shorter by the place that a context of one word takes."""
    made = tokens(data)
    return Batch(tokens=replace(made, prompt_ids_PS=made.prompt_ids_PS[:, 1:], prompt_len_P=made.prompt_len_P - 1))


class Scores(nn.Module):
    def __init__(self, score_B: Tensor) -> None:
        super().__init__()
        self.score_B = nn.Parameter(score_B.clone())

    def forward(self, _: Tokens) -> Tensor:
        return self.score_B


def table_of(data: Frozen) -> tuple[LanguageModel, Tensor]:
    """The policy, and its logits."""
    table = Table(data.policy_XV)
    return LanguageModel(table), table.head.weight


def reference_of(data: Frozen) -> Reference:
    return Reference(LanguageModel(Table(data.reference_XV)))


def by(method: Method, batch: Callable[[Frozen], Any], only: str = "") -> Ours:
    """The method itself, through the forward pass of every model. `only` names the one term of its loss that counts,
    where that is not all of it."""

    def found(data: Frozen) -> Value:
        if method.trains == "reward_model":
            scores = Scores(data.score_B)
            weight: Tensor = scores.score_B
            models = Models(policy=scores)
        else:
            model, weight = table_of(data)
            words = {text: [WORD] for text in method.words} | {"": []}
            models = Models(policy=model, reference=reference_of(data), words=words)
        (made,) = method.batches(batch(data), models, method.init(models))
        assert isinstance(made, Batch)
        loss = loss_of(method, models.policy, made, only)
        (gradient,) = torch.autograd.grad(loss, weight)
        return float(loss.detach()), gradient

    return found


def loss_of(method: Method, policy: nn.Module, batch: Batch, only: str = "") -> Tensor:
    """Added up as the training loop does it."""
    units = batch.units()
    terms = method.loss(policy, batch).terms
    parts = [t.weight * t.sum / units[t.per] for name, t in terms.items() if t.weight and only in ("", name)]
    return torch.stack(parts).sum()


def mixture(data: Frozen) -> tuple[float, Tensor]:
    """Log-probabilities of the answers in place of a gradient."""
    with torch.no_grad():
        logp_BT = geometric(table_of(data)[0], reference_of(data), 0.25)(tokens(data)).logp_BT
    assert logp_BT is not None
    return float(logp_BT.sum()), logp_BT


def critic_of(data: Frozen) -> LanguageModel:
    """The policy that sampled, with its critic."""
    model = LanguageModel(Table(data.old_XV), value="shared")
    return at(model, data.old_XV, data.old_value_X)


@torch.no_grad()
def at(model: LanguageModel, logits_XV: Tensor, value_X: Tensor) -> LanguageModel:
    """The same model with these weights."""
    table, value = weights_of(model)
    table.copy_(logits_XV.T)
    value.copy_(value_X[None])
    return model


def weights_of(model: LanguageModel) -> tuple[Tensor, Tensor]:
    """Of its table, and of its critic."""
    assert model.value_head is not None
    return model.causal.head.weight, model.value_head.weight


def prepared(method: PPO, data: Frozen, rolled: Rollout) -> Valued:
    """By the policy that sampled, and what its critic said: nothing has been updated."""
    models = Models(policy=critic_of(data), reference=reference_of(data))
    (batch,) = method.batches(rolled, models, method.init(models))
    assert isinstance(batch, Valued)
    return batch


def later(method: PPO, data: Frozen, batch: Valued, only: str = "") -> Value:
    """What a second update makes of it, when the policy and its critic have moved; the gradient at both."""
    model = at(critic_of(data), data.policy_XV, data.value_X)
    loss = loss_of(method, model, batch, only)
    gradients = torch.autograd.grad(loss, weights_of(model), materialize_grads=True)
    return float(loss.detach()), torch.cat(gradients)


def advantages(data: Frozen) -> Value:
    """In place of a gradient, before they are whitened."""
    advantage_BT = prepared(PPO(epochs=1, whiten_advantages=False), data, rollout(data)).advantage_BT
    return float(advantage_BT.mean()), advantage_BT


def ppo(data: Frozen, **options: Any) -> Value:
    method = PPO(epochs=1, **options)
    return later(method, data, prepared(method, data, rollout(data)))


def of_policy(data: Frozen) -> Value:
    """With advantages that are given."""
    method = PPO(epochs=1, value_coef=0.0)
    batch = replace(prepared(method, data, rollout(data)), advantage_BT=data.advantage_BT)
    return later(method, data, batch)


def of_critic(data: Frozen) -> Value:
    method = PPO(epochs=1, value_coef=1.0)
    return later(method, data, prepared(method, data, rollout(data)), "value")
