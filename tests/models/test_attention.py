"""Attention over rows that follow prompts, beside the formula: softmax(q k / sqrt(d) + mask) v."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tercih.models import attention

R, H, K, D = 3, 4, 2, 8


def drawn(length: int, before: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(length)
    shapes = [(R, H, length, D), (R, K, before + length, D), (R, K, before + length, D)]
    return [torch.randn(shape, dtype=dtype).transpose(1, 2).contiguous().transpose(1, 2) for shape in shapes]


def plainly(query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None, scale: float) -> Tensor:
    length, width = query.shape[2], key.shape[2]
    key, value = (x.repeat_interleave(H // K, dim=1) for x in (key, value))
    ahead = torch.ones(length, width, dtype=torch.bool).triu(width - length + 1)
    scores = (query @ key.mT * scale).masked_fill(ahead, -torch.inf)
    return (scores if hidden is None else scores + hidden).softmax(-1) @ value


def padded(length: int, before: int) -> Tensor | None:
    """Row 0 sees all that stands before it, row 1 all but one, row 2 one."""
    if before < 2:
        return None
    hidden = torch.zeros(R, 1, 1, before + length, dtype=torch.float64)
    hidden[1, ..., before - 1] = hidden[2, ..., 1:before] = -torch.inf
    return hidden


@pytest.mark.parametrize("elsewhere", [False, True], ids=["blocks", "whole"])
@pytest.mark.parametrize(("length", "before"), [(1, 0), (1, 5), (7, 0), (7, 5), (33, 0), (70, 9), (250, 3)])
def test_numbers_and_gradients_are_the_formulas(
    length: int, before: int, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if elsewhere:  # what is done on other devices than the CPU
        monkeypatch.setattr(attention._ByBlocks, "apply", attention_elsewhere)
    inputs, hidden = drawn(length, before), padded(length, before)
    mine, theirs = ([x.clone().requires_grad_() for x in inputs] for _ in range(2))
    found, expected = attention._causal(*mine, hidden, 0.3), plainly(*theirs, hidden, 0.3)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    back = torch.randn_like(expected)
    pairs = zip(torch.autograd.grad(found, mine, back), torch.autograd.grad(expected, theirs, back), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def attention_elsewhere(*arguments: Tensor) -> Tensor:
    return attention._at_once(*arguments)


def test_elsewhere_no_kernel_is_asked_for_groups_with_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA that would be the one that keeps the scores of all queries and keys."""
    asked = []
    real = attention.scaled_dot_product_attention

    def noted(*inputs: Tensor, **options: Any) -> Tensor:
        asked.append((options.get("attn_mask") is not None, options.get("enable_gqa", False)))
        return real(*inputs, **options)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", noted)
    for length, before in ((7, 0), (7, 5)):
        attention._at_once(*drawn(length, before), None, 0.3)
    assert asked == [(False, True), (True, False)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_less_precision(dtype: torch.dtype) -> None:
    inputs = drawn(70, 9, dtype)
    hidden = padded(70, 9)
    found = attention._causal(*inputs, hidden.to(dtype), 0.3)
    expected = plainly(*(x.double() for x in inputs), hidden, 0.3)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.03)


def test_no_query_computes_scores_of_whole_blocks_that_it_cannot_see() -> None:
    blocks = attention._blocks(256, 0, attention.FORWARD_BLOCK)
    assert [b.start for b in blocks] == [*range(0, 256, 32)]
    assert blocks[-1].stop == 256
    assert sum((b.stop - b.start) * b.stop for b in blocks) < 0.6 * 256**2
