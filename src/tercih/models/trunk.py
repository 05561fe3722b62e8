"""Hidden states of a model's last layer, where they are wanted, in as few padded tokens as may be.

A prompt with several responses is read once: the responses attend to its keys and values, and the gradient flows back
through them. Nothing is approximated: numbers and gradients are those of a plain pass over every row, up to rounding.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from tercih.batches import Tokens
from tercih.models.caches import windows
from tercih.models.layout import Places, alike, join
from tercih.spans import count

WORTH = 0.9  # a prompt is read once where that saves a tenth of the tokens
EXTRA = {"cpu": 64}  # what a forward pass costs besides its tokens, in tokens
EXTRA_ELSEWHERE = 4096
ONE_PASS = 2**40  # no saving is worth a second


@dataclass(frozen=True, slots=True)
class Read:
    """Of rows `row_R` the tokens `start_R`..`end_R`-1 have been read: those of row r are in `hidden_XLD[slot_R[r]]`,
    from its first column on."""

    row_R: Tensor
    slot_R: Tensor
    start_R: Tensor
    end_R: Tensor
    hidden_XLD: Tensor


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
    if in_step:
        passes = _each(trunk, tokens, need, extra=ONE_PASS)
    elif _is_shared(trunk, tokens, need):
        passes = _shared(trunk, tokens, need)
    else:
        passes = _each(trunk, tokens, need, extra=_extra(tokens.prompt_of_B.device))
    return _pick(list(passes), places, tokens.rows)


def _each(trunk: Any, tokens: Tokens, need: Sequence[int], extra: int) -> Iterator[Read]:
    """Every row by itself."""
    device = tokens.prompt_of_B.device
    for rows, length in alike(need, extra):
        row_R = torch.tensor(rows, device=device)
        _count(sum(need[row] for row in rows), len(rows) * length)
        hidden_RLD = trunk(input_ids=join(tokens, row_R, length), use_cache=False).last_hidden_state
        start_R = torch.zeros_like(row_R)
        yield Read(row_R, torch.arange(len(rows), device=device), start_R, start_R + length, hidden_RLD)


def _shared(trunk: Any, tokens: Tokens, need: Sequence[int]) -> Iterator[Read]:
    """Every prompt once, then what follows it of each of its rows."""
    device = tokens.prompt_of_B.device
    prompt_of, prompt_len = tokens.prompt_of_B.tolist(), tokens.prompt_len_P.tolist()
    rows_of: dict[int, list[int]] = {}
    for row, prompt in enumerate(prompt_of):
        if need[row]:
            rows_of.setdefault(prompt, []).append(row)
    used = list(rows_of)
    for group, width in alike([prompt_len[p] for p in used], _extra(device)):
        prompt_P = torch.tensor([used[i] for i in group], device=device)
        _count(sum(prompt_len[used[i]] for i in group), len(group) * width)
        cache = PrefixCache(len(windows(trunk.config)))
        hidden_PSD = trunk(
            input_ids=tokens.prompt_ids_PS[prompt_P, :width], past_key_values=cache, use_cache=True
        ).last_hidden_state
        rows = [(row, slot) for slot, i in enumerate(group) for row in rows_of[used[i]]]
        row_R, slot_R = torch.tensor(rows, device=device).unbind(1)
        len_R = tokens.prompt_len_P[prompt_P[slot_R]]
        yield Read(row_R, slot_R, torch.zeros_like(len_R), len_R, hidden_PSD)
        after = [need[row] - prompt_len[prompt_of[row]] for row, _ in rows]
        for part, length in alike(after, _extra(device)):
            _count(sum(after[i] for i in part), len(part) * length)
            row_r, slot_r, start_r = row_R[part], slot_R[part], len_R[part]
            cache.follow(slot_r)
            hidden_rTD = trunk(
                input_ids=tokens.response_ids_BT[row_r, :length],
                position_ids=start_r[:, None] + torch.arange(length, device=device),
                attention_mask=_mask(start_r, width, length, trunk.dtype),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            yield Read(row_r, torch.arange(len(part), device=device), start_r, start_r + length, hidden_rTD)


def _count(tokens: int, positions: int) -> None:
    learned = "_learned" if torch.is_grad_enabled() else ""
    count(f"tokens{learned}", tokens)
    count(f"positions{learned}", positions)


def _mask(start_R: Tensor, width: int, length: int, dtype: torch.dtype) -> Tensor:
    """What a token may attend to, added to its attention scores: its own prompt and what stands before it."""
    column_S, position_T = torch.arange(width, device=start_R.device), torch.arange(length, device=start_R.device)
    prompt_R1S = (column_S < start_R[:, None])[:, None].expand(-1, length, -1)
    causal_RTT = (position_T <= position_T[:, None]).expand(len(start_R), -1, -1)
    visible_R1TC = torch.cat([prompt_R1S, causal_RTT], dim=2)[:, None]
    return torch.zeros(visible_R1TC.shape, dtype=dtype, device=start_R.device).masked_fill_(
        ~visible_R1TC, torch.finfo(dtype).min
    )


def _pick(passes: Sequence[Read], places: Places, rows: int) -> Tensor:
    """From each pass what is wanted of it, in the order of `places`."""
    device, wanted, hidden = places.row_M.device, [], []
    for each in passes:
        slot_B, start_B, end_B = torch.zeros(3, rows, dtype=torch.long, device=device)
        slot_B[each.row_R], start_B[each.row_R], end_B[each.row_R] = each.slot_R, each.start_R, each.end_R
        row_M, at_M = places.row_M, places.at_M
        m = ((at_M >= start_B[row_M]) & (at_M < end_B[row_M])).nonzero().squeeze(1)
        wanted.append(m)
        hidden.append(each.hidden_XLD[slot_B[row_M[m]], at_M[m] - start_B[row_M[m]]])
    return torch.cat(hidden)[torch.cat(wanted).argsort()]


def _extra(device: torch.device) -> int:
    return EXTRA.get(device.type, EXTRA_ELSEWHERE)


def _is_shared(trunk: Any, tokens: Tokens, need: Sequence[int]) -> bool:
    """Whether reading every prompt once saves enough, and the model can."""
    prompt_of, prompt_len = tokens.prompt_of_B.tolist(), tokens.prompt_len_P.tolist()
    used = {prompt for prompt, length in zip(prompt_of, need, strict=True) if length}
    once = sum(prompt_len[p] for p in used)
    after = sum(max(length - prompt_len[p], 0) for p, length in zip(prompt_of, need, strict=True))
    return once + after + _extra(tokens.prompt_of_B.device) < WORTH * sum(need) and can_share(trunk)


def can_share(trunk: Any) -> bool:
    """Models of full attention whose positions and mask can be given, while no layer is recomputed in the backward
    pass."""
    if not isinstance(trunk, PreTrainedModel) or trunk.config._attn_implementation not in ("sdpa", "eager"):
        return False
    if trunk.training and any(getattr(module, "gradient_checkpointing", False) for module in trunk.modules()):
        return False
    try:
        full = all(window is None for window in windows(trunk.config))
    except ValueError:
        return False
    return full and "position_ids" in inspect.signature(trunk.forward).parameters


class PrefixLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped
    """Keys and values of the prompts; once `slot_R` says whose, those of row r's prompt before its own."""

    slot_R: Tensor | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values, self.is_initialized = key_states, value_states, True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if self.slot_R is None:
            self.lazy_initialization(key_states, value_states)
            return key_states, value_states
        return (
            torch.cat([self.keys[self.slot_R], key_states], dim=2),
            torch.cat([self.values[self.slot_R], value_states], dim=2),
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return 0 if self.keys is None else int(self.keys.shape[2])

    def get_max_length(self) -> int:
        return -1


class PrefixCache(Cache):  # type: ignore[misc]
    """The first pass fills it with prompts; each later one follows the prompts it names."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[PrefixLayer() for _ in range(layers)])

    def follow(self, slot_R: Tensor) -> None:
        for layer in self.layers:
            layer.slot_R = slot_R
