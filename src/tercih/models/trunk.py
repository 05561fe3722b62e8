"""Hidden states of a model's last layer, where they are wanted, in as few padded tokens as may be.

Nothing is approximated: numbers and gradients are those of a plain pass over every row, up to rounding.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tercih.models import attention
from tercih.models.caches import windows
from tercih.models.layout import Places, alike, join
from tercih.models.stream import stream
from tercih.spans import count
from tercih.tokens import Tokens

PASS = {"cpu": 64}  # what a forward pass costs besides its tokens, in tokens
PASS_ELSEWHERE = 4096
FEW = 0.8  # a share of tokens that is worth picking out
ONE_PASS = 2**40  # no saving is worth a second


def read(trunk: Any, tokens: Tokens, places: Places, *, in_step: bool = False) -> Tensor:
    """The hidden states at these places, shape (M, D).

    With `in_step` all rows go in one pass, whatever their lengths: weights that lie in parts in several processes are
    gathered by all of them together, so that all must make as many passes.
    """
    need_B = torch.zeros_like(tokens.response_len_B)
    need_B.scatter_reduce_(0, places.row_M, places.at_M + 1, "amax")
    if not len(places.row_M):
        need_B[0] = 1  # a pass all the same: none is wanted of it
    need = need_B.tolist()
    if takes_streams(trunk):
        return _in_one(trunk, tokens, places, need)
    return _in_passes(
        trunk, tokens, places, need, ONE_PASS if in_step else PASS.get(need_B.device.type, PASS_ELSEWHERE)
    )


def takes_streams(trunk: Any) -> bool:
    """Models of full attention that hand on to it what they are given, and can be told positions."""
    if not isinstance(trunk, PreTrainedModel) or not trunk._supports_attention_backend:
        return False
    if trunk.config._attn_implementation not in ("sdpa", attention.NAME):
        return False
    if getattr(trunk.config, "attn_logit_softcapping", None) is not None:
        return False
    try:
        full = all(window is None for window in windows(trunk.config))
    except ValueError:
        return False
    return full and "position_ids" in inspect.signature(trunk.forward).parameters


def _in_one(trunk: Any, tokens: Tokens, places: Places, need: Sequence[int]) -> Tensor:
    """All rows as one stream. The model keeps our attention, as layers may be computed again in the backward pass."""
    trunk.config._attn_implementation = attention.NAME
    first_B = tokens.lengths_B.scatter_reduce(0, places.row_M, places.at_M, "amin")
    made = stream(tokens, first_B.tolist(), need, trunk.dtype)
    _count(made.real, len(made.ids_N))
    at_M = made.at(places)
    with _last_mlp_only_at(at_M, trunk, len(made.ids_N)):
        hidden_1ND = trunk(
            input_ids=made.ids_N[None],
            position_ids=made.position_N[None],
            attention_mask=made.ids_N.new_zeros(1, 1, 1, 1, dtype=trunk.dtype),  # given whole: the model makes none
            use_cache=False,
            stream=made,
        ).last_hidden_state
    found: Tensor = hidden_1ND[0][at_M]
    return found


@contextmanager
def _last_mlp_only_at(at_M: Tensor, trunk: Any, size: int) -> Iterator[None]:
    """What the last layer says of other tokens is read by nobody, so its MLP, two thirds of it, need not see them.

    Not where layers are computed again in the backward pass, which comes after this.
    """
    layers = getattr(trunk, "layers", None) or getattr(trunk, "h", None)
    mlp: Any = getattr(layers[-1], "mlp", None) if layers else None
    plain = type(mlp).__name__.endswith("MLP")  # a mixture of experts says more than its output
    again = trunk.training and any(getattr(module, "gradient_checkpointing", False) for module in trunk.modules())
    wanted_K = torch.zeros(size, dtype=torch.bool, device=at_M.device).index_fill(0, at_M, True).nonzero().squeeze(1)
    if not plain or again or len(wanted_K) > FEW * size:
        yield
        return
    before = mlp.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, wanted_K], *inputs[1:]))
    after = mlp.register_forward_hook(
        lambda _, __, said_1KD: said_1KD.new_zeros(1, size, said_1KD.shape[2]).index_copy(1, wanted_K, said_1KD)
    )
    try:
        yield
    finally:
        before.remove()
        after.remove()


def _in_passes(trunk: Any, tokens: Tokens, places: Places, need: Sequence[int], extra: int) -> Tensor:
    """Rows of like length in a pass of their own, by the model's own attention."""
    wanted, hidden = [], []
    for rows, length in alike(need, extra):
        row_R = torch.tensor(rows, device=places.row_M.device)
        _count(sum(need[row] for row in rows), len(rows) * length)
        hidden_RLD = trunk(input_ids=join(tokens, row_R, length), use_cache=False).last_hidden_state
        slot_B = torch.full_like(tokens.prompt_of_B, -1)
        slot_B[row_R] = torch.arange(len(rows), device=row_R.device)
        slot_M = slot_B[places.row_M]
        m = (slot_M >= 0).nonzero().squeeze(1)
        wanted.append(m)
        hidden.append(hidden_RLD[slot_M[m], places.at_M[m]])
    return torch.cat(hidden)[torch.cat(wanted).argsort()]


def _count(tokens: int, positions: int) -> None:
    learned = "_learned" if torch.is_grad_enabled() else ""
    count(f"tokens{learned}", tokens)
    count(f"positions{learned}", positions)
