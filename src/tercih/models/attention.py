"""Attention over a stream: tokens of many rows side by side in one pass, each of which sees its own row alone.

Everything else in a layer treats tokens one by one and need not know whose they are. The function is registered with
transformers under a name of its own and does what "sdpa" does wherever there is no stream.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from tercih.models.stream import Stream

NAME = "tercih"
CHANGES = ("softcap", "s_aux", "position_bias")  # arguments with which some models attend otherwise
FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
FORWARD_BLOCK, BACKWARD_BLOCK, LONG_BLOCK = 32, 64, 128  # queries: multiples of what the kernel takes at a time
WIDTH = 16  # numbers that a processor works on at once: what is left over goes one by one
LONG = 512  # queries of a row from which blocks are long


def attend(
    module: Any,
    query_BHTd: Tensor,
    key_BKTd: Tensor,
    value_BKTd: Tensor,
    attention_mask: Tensor | None,
    *,
    stream: Stream | None = None,
    scaling: float | None = None,
    **further: Any,
) -> tuple[Tensor, Tensor | None]:
    """An attention function of transformers; with a `stream` B is 1, and the mask is the stream's own."""
    if stream is None:
        found: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query_BHTd, key_BKTd, value_BKTd, attention_mask, scaling=scaling, **further
        )
        return found
    if changed := [name for name in CHANGES if further.get(name) is not None]:
        raise NotImplementedError(
            f"{type(module).__name__} attends with {', '.join(changed)}, which streams do not know: write"
            ' "attn_implementation": "eager" into its config.json, and its rows are read in passes of their own'
        )
    dtype = value_BKTd.dtype  # under autocast, positions make queries and keys wider
    query_NHd, key_NKd, value_NKd = (x[0].transpose(0, 1).to(dtype) for x in (query_BHTd, key_BKTd, value_BKTd))
    sizes = [segment.rows * segment.length for segment in stream.segments]
    own = zip(*(torch.split(x, sizes) for x in (query_NHd, key_NKd, value_NKd)), strict=True)
    before = _before(stream, key_NKd, value_NKd)
    is_last = getattr(module, "layer_idx", None) == module.config.num_hidden_layers - 1
    parts = []
    for segment, (query, key, value), prompt in zip(stream.segments, own, before, strict=True):
        query_RLHd, key_RCKd, value_RCKd = (_rows(x, segment.rows) for x in (query, key, value))
        if prompt is not None:
            key_RCKd, value_RCKd = (
                torch.cat([_rows(x, segment.rows), y], dim=1)
                for x, y in zip(prompt, (key_RCKd, value_RCKd), strict=True)
            )
        first = segment.first if is_last else 0  # what nobody asks for is not computed
        read_RHLd = _causal(
            query_RLHd[:, first:].transpose(1, 2), key_RCKd.transpose(1, 2), value_RCKd.transpose(1, 2),
            segment.hidden_R11C, scaling,
        )  # fmt: skip
        read_RLHd = read_RHLd.transpose(1, 2)
        parts.append((pad(read_RLHd, (0, 0, 0, 0, first, 0)) if first else read_RLHd).flatten(0, 1))
    return (torch.cat(parts) if len(parts) > 1 else parts[0])[None], None


def _before(stream: Stream, key_NKd: Tensor, value_NKd: Tensor) -> list[tuple[Tensor, Tensor] | None]:
    """Keys and values of the prompts that a segment's rows follow, row by row."""
    if stream.before_X is None:
        return [None] * len(stream.segments)
    widths = [segment.rows * segment.before for segment in stream.segments]
    keys, values = (torch.split(x.index_select(0, stream.before_X), widths) for x in (key_NKd, value_NKd))
    return [(k, v) if width else None for k, v, width in zip(keys, values, widths, strict=True)]


def _rows(x_XHd: Tensor, rows: int) -> Tensor:
    return x_XHd.view(rows, -1, *x_XHd.shape[1:])


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


def _causal(query: Tensor, key: Tensor, value: Tensor, hidden_R11C: Tensor | None, scale: float | None) -> Tensor:
    """The last L of C keys are the queries' own tokens: query t sees those before them and its own up to t.

    `hidden_R11C` (0 or -inf) is added to the scores of all queries.
    """
    if query.device.type == "cpu" and query.shape[-1] == value.shape[-1]:
        found: Tensor = _ByBlocks.apply(query, key, value, hidden_R11C, scale)  # type: ignore[no-untyped-call]
        return found
    return _at_once(query, key, value, hidden_R11C, scale)


def _at_once(query: Tensor, key: Tensor, value: Tensor, hidden_R11C: Tensor | None, scale: float | None) -> Tensor:
    L, C = query.shape[2], key.shape[2]
    grouped = query.shape[1] != key.shape[1]
    if L == C and hidden_R11C is None:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=grouped)
    mask = _mask(slice(0, L), C - L, hidden_R11C, query)
    if grouped:  # for groups with a mask, CUDA has but a kernel that keeps all scores
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def _mask(block: slice, before: int, hidden_R11C: Tensor | None, like: Tensor) -> Tensor:
    """What queries `block` may not see, over the keys up to the block's last: -inf there, 0 elsewhere."""
    width = block.stop - block.start
    mask_11LC = like.new_full((1, 1, width, before + block.stop), -torch.inf).triu_(before + block.start + 1)
    return mask_11LC if hidden_R11C is None else mask_11LC + hidden_R11C[..., : before + block.stop].to(like.dtype)


class _ByBlocks(torch.autograd.Function):
    """On the CPU, the flash kernel works through all keys of a row for every query, seen or not, where a row has no
    more than 512. Given a block of queries at a time with the keys that the block can see, it does about half of that.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, hidden_R11C: Tensor | None, scale: float | None
    ) -> Tensor:
        R, H, L, d = query.shape
        before = key.shape[2] - L
        read = query.new_empty(R, L, H, d).transpose(1, 2)
        logsum_RHL = query.new_empty(R, H, L, dtype=torch.promote_types(query.dtype, torch.float32))
        for block in _blocks(L, before, FORWARD_BLOCK):
            end = before + block.stop
            read[:, :, block], logsum_RHL[:, :, block] = FORWARD(
                query[:, :, block], key[:, :, :end], value[:, :, :end],
                attn_mask=_mask(block, before, hidden_R11C, query), scale=scale,
            )  # fmt: skip
        ctx.save_for_backward(query, key, value, hidden_R11C, read, logsum_RHL)
        ctx.scale = scale
        return read

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_read: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, hidden_R11C, read, logsum_RHL = ctx.saved_tensors
        before = key.shape[2] - query.shape[2]
        to_query = torch.empty_like(query)
        to_key, to_value = torch.zeros_like(key), torch.zeros_like(value)
        for block in _blocks(query.shape[2], before, BACKWARD_BLOCK):
            end = before + block.stop
            to_query[:, :, block], of_key, of_value = BACKWARD(
                to_read[:, :, block], query[:, :, block], key[:, :, :end], value[:, :, :end], read[:, :, block],
                logsum_RHL[:, :, block], 0.0, False, attn_mask=_mask(block, before, hidden_R11C, query),
                scale=ctx.scale,
            )  # fmt: skip
            to_key[:, :, :end] += of_key
            to_value[:, :, :end] += of_value
        return to_query, to_key, to_value, None, None


def _blocks(length: int, before: int, size: int) -> list[slice]:
    """Queries that are computed together; all but the last block see a multiple of `WIDTH` keys."""
    size = size if length <= LONG else LONG_BLOCK
    cuts = [0, *range(size - before % WIDTH, length, size), length]
    return [slice(start, stop) for start, stop in pairwise(cuts) if start < stop]
