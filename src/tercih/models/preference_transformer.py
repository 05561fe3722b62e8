"""Preference transformer (Kim et al. 2023, arXiv:2303.00957): what a moment is worth may depend on what came before it,
and some moments of a clip count for more than others.

Suffixes: B clips, T steps, O and A numbers of an observation and an action, H hidden units.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tercih.card import Card
from tercih.models.control import FAR, inputs_of, outputs_of
from tercih.models.running import Running
from tercih.segments import Segments

CARD = Card(
    does="a reward in which a moment's worth depends on the past",
    paper="Kim et al. 2023",
    link="arXiv:2303.00957",
    family="control from people",
    when="Answers about clips in which what a moment is worth depends on what came before it.",
)


def attention_weights(query_BTH: Tensor, key_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """w_t = mean over i of softmax_t(⟨q_i, k_t⟩ / √H), shape (B, T), with sum 1; 0 behind a clip's end."""
    match_BTT = query_BTH @ key_BTH.mT / math.sqrt(query_BTH.shape[-1])
    share_BTT = match_BTT.masked_fill(~mask_BT[:, None], -math.inf).softmax(-1) * mask_BT[..., None]
    return share_BTT.sum(1) / mask_BT.sum(1, keepdim=True)


class PreferenceTransformer(nn.Module):
    """`scorer(segments) -> score_B`: Σ_t w_t r_t, where r_t reads the clip up to step t and w_t all of it.

    Observations and actions are tokens in turn, read by a causal transformer; from what stands at each action the
    preference attention layer makes r_t, a query and a key. Without `preference_attention` every step counts the same.
    Clips may have up to `longest` steps. `observe` clips before learning: what is a number is standardised by them.
    """

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        *,
        hidden: int = 256,
        heads: int = 4,
        layers: int = 1,
        dropout: float = 0.1,
        longest: int = 100,
        preference_attention: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise ValueError(f"preference_transformer.hidden must be a multiple of its {heads} heads, got {hidden}")
        self.longest, self.preference_attention = longest, preference_attention
        self.categories, observed = inputs_of(observation_space)
        self.discrete, acted = outputs_of(action_space)
        self.actions = acted
        self.seen, self.done = Running(observed), Running(acted)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.observation, self.action = nn.Linear(observed, hidden), nn.Linear(acted, hidden)
            self.position = nn.Embedding(longest, hidden)
            layer = nn.TransformerEncoderLayer(
                hidden, heads, 4 * hidden, dropout, "gelu", batch_first=True, norm_first=True
            )
            self.trunk = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(hidden), enable_nested_tensor=False)
            self.reward, self.query, self.key = (
                nn.Linear(hidden, 1),
                nn.Linear(hidden, hidden),
                nn.Linear(hidden, hidden),
            )

    def forward(self, segments: Segments) -> Tensor:
        reward_BT, weight_BT = self.judge(segments)
        return (weight_BT * reward_BT).sum(-1)

    def judge(self, segments: Segments) -> tuple[Tensor, Tensor]:
        """Each step's reward and weight, both (B, T)."""
        x_BTH, mask_BT = self._read(segments), segments.mask_BT
        reward_BT = self.reward(x_BTH).squeeze(-1)
        if not self.preference_attention:
            return reward_BT, mask_BT / mask_BT.sum(1, keepdim=True)
        return reward_BT, attention_weights(self.query(x_BTH), self.key(x_BTH), mask_BT)

    @torch.no_grad()
    def observe(self, segments: Segments) -> None:
        """More of what steps look like."""
        mask_BT = segments.mask_BT
        if not self.categories:
            self.seen.absorb(segments.observation_BTO[mask_BT])
        if not self.discrete:
            self.done.absorb(segments.action_BTA[mask_BT])

    def _read(self, segments: Segments) -> Tensor:
        """What stands at each action, having read all that came before: (B, T, H)."""
        rows, steps = segments.mask_BT.shape
        if steps > self.longest:
            raise ValueError(
                f"clips of {steps} steps are longer than the preference transformer's longest, {self.longest}; raise"
                " it, or cut shorter clips"
            )
        seen_BTH = self.observation(_numbers(segments.observation_BTO, self.categories, self.seen))
        done_BTH = self.action(_numbers(segments.action_BTA, self.actions if self.discrete else 0, self.done))
        x_BT2H = torch.stack([seen_BTH, done_BTH], 2) + self.position.weight[:steps, None]
        causal = nn.Transformer.generate_square_subsequent_mask(2 * steps, device=x_BT2H.device)
        x_BTH: Tensor = self.trunk(x_BT2H.flatten(1, 2), mask=causal, is_causal=True)
        return x_BTH.view(rows, steps, 2, -1)[:, :, 1]


def _numbers(x: Tensor, categories: int, seen: Running) -> Tensor:
    if categories:
        return F.one_hot(x, categories).float()
    return ((x - seen.mean.to(x)) / seen.deviation.to(x)).clamp(-FAR, FAR)
