"""A policy that also says what every token is worth: two Q heads and a V head on its trunk (Snell et al. 2022)."""

import torch
from torch import Tensor, nn

from tercih.forward import Want
from tercih.models.language_model import LanguageModel, place
from tercih.models.layout import Learned
from tercih.models.logits import chunk, measure
from tercih.models.mixture import Composed

SPREAD = 0.02  # of the Q heads at the start: two that begin alike would stay alike


class ActionValueModel(LanguageModel):
    """`Want(actions=True)` asks for Q of the tokens there are, and how they stand among all others; V is its value
    head.

    Two heads, so that the lesser of them is believed. Their targets are copies that move only when they are told to
    (`Want(follow=…)`), saved like weights but never trained.
    """

    first_target: Tensor
    second_target: Tensor

    def __init__(self, causal: nn.Module, *, temperature: float = 1.0, seed: int = 0) -> None:
        super().__init__(causal, temperature=temperature, value="shared")
        assert self.value_head is not None
        weight = self.causal.get_output_embeddings().weight
        dtype, draws = self.value_head.weight.dtype, torch.Generator().manual_seed(seed)
        heads = [nn.Linear(weight.shape[1], len(weight), bias=False, dtype=dtype) for _ in range(2)]
        for head, name in zip(heads, ("first_target", "second_target"), strict=True):
            with torch.no_grad():
                head.weight.copy_(SPREAD * torch.randn(head.weight.shape, generator=draws, dtype=dtype))
            head.to(weight.device)
            self.register_buffer(name, head.weight.detach().clone())
        self.q_heads = nn.ModuleList(heads)

    def _actions(self, hidden_MD: Tensor, wanted: Learned, shape: torch.Size, want: Want) -> dict[str, Tensor]:
        if want.follow:
            self.follow(want.follow)
        hidden_MD, target_M = hidden_MD.to(self.first_target.dtype), wanted.target_M
        found = {}
        for head, name in zip(self.q_heads, ("", "other_"), strict=True):
            assert isinstance(head, nn.Linear)
            logp_M, _ = measure(
                hidden_MD, target_M, head, vocabulary=len(head.weight), temperature=1.0, entropy=False
            )  # fmt: skip
            found[f"{name}q_BT"] = place(_of(head.weight, hidden_MD, target_M), wanted, shape)
            found[f"{name}q_logp_BT"] = place(logp_M, wanted, shape)
        targets = [
            _of(weight_VD, hidden_MD.detach(), target_M) for weight_VD in (self.first_target, self.second_target)
        ]
        if want.expected:
            found["mean_q_BT"] = place(self._expected(hidden_MD), wanted, shape)
        return found | {"target_q_BT": place(torch.minimum(*targets), wanted, shape)}

    @torch.no_grad()
    def _expected(self, hidden_MD: Tensor) -> Tensor:
        """Σ_a π(a) min Q̂(a) at each of M places, a chunk of them at a time."""
        size = max(1, chunk(hidden_MD.device) // len(self.first_target))
        return torch.cat([
            ((self.head(part_mD) / self.temperature).softmax(-1) * self._least(part_mD)).sum(-1)
            for part_mD in torch.split(hidden_MD, size)
        ])  # fmt: skip

    def _least(self, hidden: Tensor) -> Tensor:
        """The lesser of both targets, of every token."""
        wide = hidden.to(self.first_target.dtype)
        return torch.minimum(wide @ self.first_target.T, wide @ self.second_target.T)

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """Move the targets towards the heads by this share of the way (Polyak)."""
        for target, head in zip((self.first_target, self.second_target), self.q_heads, strict=True):
            assert isinstance(head, nn.Linear)
            target.lerp_(head.weight, rate)

    def steered(self, beta: float) -> LanguageModel:
        """softmax(log π + β(Q − V)): the policy that prefers what is worth more, to be sampled from and not to be
        trained. With β = 0 it is π; V is the same for all tokens and changes nothing."""
        if not beta >= 0:
            raise ValueError(f"beta must be >= 0, got {beta}")

        def head(hidden: Tensor) -> Tensor:
            return self.head(hidden).log_softmax(-1) + beta * self._least(hidden)

        return LanguageModel(Composed([self.causal], head), temperature=self.temperature)


def _of(weight_VD: Tensor, hidden_MD: Tensor, target_M: Tensor) -> Tensor:
    """Rows of a head at the tokens there are: no other logit is computed."""
    return (weight_VD[target_M] * hidden_MD).sum(-1)
