"""A learned reward: a language model's trunk with a scalar head on the last token."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tercih.models.language_model import context_length, switch_dropout_off
from tercih.models.layout import Places
from tercih.models.trunk import read
from tercih.tokens import Tokens

READOUTS = ("last", "mean")


class RewardModel(nn.Module):
    """`model(tokens) -> score_B`: one number for every prompt and response.

    With readout "last" the score is read at the last real token, which under causal attention has seen everything and
    no padding; with "mean" it is the mean of what the head says at every token of the response, which small models
    learn from fewer comparisons. The head starts as N(0, 1/sqrt(D+1)) with bias 0; `normalise` sets `gain` and `shift`
    so that scores have mean 0 and variance 1 on the reference policy's samples, before training and again after it
    (Ziegler et al. 2019): KL coefficients then carry over from one reward model to the next.

    With `bins`, numbers in rising order, the head says how likely each of them is, and the score is their mean.
    """

    gain: Tensor
    shift: Tensor

    def __init__(self, causal: Any, *, readout: str = "last", seed: int = 0, bins: Sequence[float] = ()) -> None:
        super().__init__()
        if readout not in READOUTS:
            raise ValueError(f"reward_model.readout must be one of {READOUTS}, got {readout!r}")
        self.readout, self.centres = readout, tuple(bins)
        self.causal = causal
        self.peft: Any = None
        self.in_step = False  # with other processes that hold parts of the weights
        weight = causal.get_output_embeddings().weight
        width, dtype = weight.shape[1], torch.promote_types(weight.dtype, torch.float32)
        self.score_head = nn.Linear(width, len(bins) or 1, dtype=dtype)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.score_head.weight.normal_(std=1 / math.sqrt(width + 1), generator=generator)
            self.score_head.bias.zero_()
        self.log_tie = nn.Parameter(
            torch.zeros(1, dtype=dtype)
        )  # log ν of Davidson's model of ties; a number has no parts
        self.register_buffer("gain", torch.ones((), dtype=dtype))
        self.register_buffer("shift", torch.zeros((), dtype=dtype))
        self.to(weight.device)
        switch_dropout_off(self)

    @property
    def config(self) -> Any:
        return self.causal.config

    @property
    def context(self) -> int:
        return context_length(self.config)

    def forward(self, tokens: Tokens, *, by_bin: bool = False) -> Tensor:
        """Shape (B,); the log-probability of every bin with `by_bin`, (B, bins)."""
        hidden_BD = self.features(tokens)
        return self._head(hidden_BD).log_softmax(1) if by_bin else self.score(hidden_BD)

    def score(self, hidden_BD: Tensor) -> Tensor:
        """What the head makes of `features`; shape (B,)."""
        raw_BK = self._head(hidden_BD)
        raw_B = raw_BK.squeeze(-1)
        if self.centres:
            raw_B = raw_BK.softmax(1) @ torch.tensor(self.centres, device=raw_BK.device, dtype=raw_BK.dtype)
        return raw_B * self.gain + self.shift

    def _head(self, hidden_BD: Tensor) -> Tensor:
        found_BK: Tensor = self.score_head(hidden_BD.to(self.score_head.weight.dtype))
        return found_BK

    def features(self, tokens: Tokens) -> Tensor:
        """What the head reads, of the trunk's last layer; shape (B, D)."""
        row_M, at_M = self._read_at(tokens)
        hidden_MD = read(self.causal.base_model, tokens, Places(row_M, at_M), in_step=self.in_step)
        if self.readout == "last":
            return hidden_MD
        sum_BD = hidden_MD.new_zeros(tokens.rows, hidden_MD.shape[1]).index_add(0, row_M, hidden_MD)
        return sum_BD / tokens.response_len_B[:, None]

    def _read_at(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        if self.readout == "last":
            return torch.arange(tokens.rows, device=tokens.response_len_B.device), tokens.lengths_B - 1
        position_T = torch.arange(tokens.response_ids_BT.shape[1], device=tokens.response_len_B.device)
        row_M, t_M = (position_T < tokens.response_len_B[:, None]).nonzero(as_tuple=True)
        return row_M, tokens.prompt_len_P[tokens.prompt_of_B[row_M]] + t_M

    @torch.no_grad()
    def normalise(self, batches: list[Tokens]) -> None:
        """Make scores of these samples mean 0 and variance 1."""
        score_B = torch.cat([self(tokens) for tokens in batches])
        spread = score_B.std(unbiased=False)
        if not (torch.isfinite(spread) and spread > 1e-8):
            raise ValueError(
                f"the reward model scores {len(score_B)} samples all alike (spread {spread:.3g}); nothing to normalise"
            )
        self.gain /= spread
        self.shift -= score_B.mean()
        self.shift /= spread
