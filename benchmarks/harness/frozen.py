"""What both sides of `parity.py` read: three small language models as tables of logits, and answers with what was said
of them. Only torch and numpy: it is also imported by the peers' Pythons, which have nothing of ours.

Shape suffixes: X states (a place and the token there), V vocabulary, P prompts, S prompt tokens, B responses, T
response tokens, N comparisons; the two rows of comparison n are 2n (the better one) and 2n + 1.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

VOCABULARY, PROMPTS, SAMPLES, S, T = 11, 2, 4, 3, 6
PAD = 0
WORD = 1  # a context
LENGTHS = (6, 2, 3, 5, 4, 6, 2, 4)


@dataclass(frozen=True, kw_only=True)
class Frozen:
    policy_XV: Tensor
    old_XV: Tensor  # of the policy that sampled
    reference_XV: Tensor
    prompt_ids_PS: Tensor
    response_ids_BT: Tensor
    length_B: Tensor
    reward_B: Tensor
    rival_reward_B: Tensor  # of other answers to the same prompts
    score_B: Tensor
    margin_N: Tensor
    good_B: Tensor
    value_X: Tensor  # what a critic says of states
    old_value_X: Tensor
    advantage_BT: Tensor

    @property
    def mask_BT(self) -> Tensor:
        return torch.arange(T) < self.length_B[:, None]

    @property
    def prompt_ids_BS(self) -> Tensor:
        return self.prompt_ids_PS.repeat_interleave(SAMPLES, 0)

    def save(self, path: Path) -> None:
        np.savez(path, **{f.name: getattr(self, f.name).numpy() for f in fields(self)})


def load(path: Path) -> Frozen:
    with np.load(path) as held:
        return Frozen(**{name: torch.from_numpy(held[name]) for name in held.files})


def frozen(seed: int) -> Frozen:
    """Float32, as training is. The policy has moved a little from the one that sampled, and more from the reference."""
    draws = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draws)

    rows, states = PROMPTS * SAMPLES, (S + T) * VOCABULARY
    old_XV, ids_BT = normal(states, VOCABULARY), torch.randint(1, VOCABULARY, (rows, T), generator=draws)
    length_B = torch.tensor(LENGTHS)
    held = Frozen(
        policy_XV=old_XV + 0.1 * normal(states, VOCABULARY),
        old_XV=old_XV,
        reference_XV=old_XV + 0.3 * normal(states, VOCABULARY),
        prompt_ids_PS=torch.randint(1, VOCABULARY, (PROMPTS, S), generator=draws),
        response_ids_BT=torch.where(torch.arange(T) < length_B[:, None], ids_BT, PAD),
        length_B=length_B,
        reward_B=normal(rows),
        rival_reward_B=normal(rows),
        score_B=normal(rows),
        margin_N=normal(rows // 2).abs(),
        good_B=torch.tensor([1, 0, 1, 1, 0, 0, 1, 0]),
        value_X=normal(states),
        old_value_X=normal(states),
        advantage_BT=normal(rows, T),
    )
    return replace(held, value_X=held.old_value_X + 0.3 * held.value_X)


def to_the_end(data: Frozen) -> Frozen:
    """The same, but no answer ends before it is cut: there is a token where there was padding."""
    ids_BT = data.response_ids_BT.masked_fill(~data.mask_BT, PAD + 1)
    return replace(data, response_ids_BT=ids_BT, length_B=torch.full_like(data.length_B, T))


class States(nn.Module):
    """The one-hot number of (place, token)."""

    def forward(self, input_ids: Tensor, *_: Any, **__: Any) -> SimpleNamespace:
        state_BL = torch.arange(input_ids.shape[1]) * VOCABULARY + input_ids
        hidden_BLX = nn.functional.one_hot(state_BL, (S + T) * VOCABULARY).float()
        return SimpleNamespace(last_hidden_state=hidden_BLX, hidden_states=[hidden_BLX])


class Config(SimpleNamespace):
    def get_text_config(self) -> "Config":
        return self


class Table(nn.Module):
    """A language model whose next token hangs on the place and the token there; its output embedding is the table."""

    is_gradient_checkpointing = False

    def __init__(self, logits_XV: Tensor) -> None:
        super().__init__()
        self.base_model = States()
        self.head = nn.Linear(len(logits_XV), VOCABULARY, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(logits_XV.T)
        self.config = Config(
            model_type="table", vocab_size=VOCABULARY, max_position_embeddings=S + T, is_encoder_decoder=False
        )

    def get_output_embeddings(self) -> nn.Linear:
        return self.head

    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.head(self.base_model(input_ids).last_hidden_state))


Found = dict[str, tuple[float, Tensor]]
"""The loss of a case, and its gradient at the table (or the scores)."""


def write(found: Found, path: Path) -> None:
    np.savez(path, **{f"{name}/{part}": np.asarray(x) for name, pair in found.items() for part, x in enumerate(pair)})


def read(path: Path) -> Found:
    with np.load(path) as held:
        names = {name.rsplit("/", 1)[0] for name in held.files}
        return {name: (float(held[f"{name}/0"]), torch.from_numpy(held[f"{name}/1"])) for name in names}
