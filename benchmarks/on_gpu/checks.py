"""Ours on a device against float64 on the processor: what each number may be off by, and why.

Float32: the bound is above what its roundings (2⁻²⁴) come to on these models, and far below those of TF32 (2⁻¹¹). In
bfloat16 (2⁻⁹) how far rounding carries depends on the model, so it is measured: the same is computed plainly, by the
model's own forward in bfloat16 on the same device (`truth.Plain`), and ours may be at most `TIMES` as far from the
truth, nor further than `CAP`. The truth has the same weights: those of bfloat16 models were rounded before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor, nn

from on_gpu import sampled, steps
from on_gpu.truth import (
    CONFIGS,
    TEMPERATURE,
    VOCABULARY,
    Errors,
    Plain,
    cast,
    far,
    furthest,
    gradient,
    some_tokens,
    weights,
)
from tercih import spans
from tercih.forward import Want
from tercih.models import logits, stream
from tercih.models.language_model import LanguageModel
from tercih.tokens import Tokens

PRECISIONS = (torch.float32, torch.bfloat16)
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: None}  # None: measured
TIMES = 3.0  # as far as a plain forward in the same precision
CAP = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """`error` must be at most `bound`."""

    check: str
    model: str
    precision: str
    error: float
    bound: float
    why: str

    @property
    def passed(self) -> bool:
        return self.error <= self.bound  # never where the error is NaN


def rows(device: torch.device) -> Iterator[Row]:
    torch.set_float32_matmul_precision("highest")
    for dtype in PRECISIONS:
        yield from _judged("", dtype, _logits(dtype, device))
        for name in CONFIGS:
            with as_if_large():
                yield from _judged(name, dtype, _read(name, dtype, device))
            yield from _judged(name, dtype, sampled.errors(name, dtype, device))
            with as_if_large():
                yield from _judged(name, dtype, steps.errors(name, dtype, device))


def _judged(model: str, dtype: torch.dtype, found: Errors) -> Iterator[Row]:
    """`found` names every error with that of the plain forward."""
    fixed = ROUNDING[dtype]
    for check, (error, plain) in found.items():
        bound = min(TIMES * plain, CAP) if fixed is None else fixed
        why = f"{TIMES:g} x the {plain:.2g} of a plain forward" if fixed is None else "roundings of float32"
        yield Row(
            check=check, model=model, precision=str(dtype).removeprefix("torch."), error=error, bound=bound, why=why
        )


@contextmanager
def as_if_large() -> Iterator[None]:
    """Small batches are cut, shared and computed again as large ones are."""
    with (
        patch.object(stream, "SEGMENT", {}),
        patch.object(stream, "SEGMENT_ELSEWHERE", 0),
        patch.object(logits, "chunk", lambda _device: 40 * VOCABULARY),
        patch.object(logits, "KEPT", 0),
    ):
        yield


def _logits(dtype: torch.dtype, device: torch.device) -> Errors:
    """`models/logits.py` alone, its chunks kept and computed again."""
    dice = torch.Generator().manual_seed(0)
    hidden_MD, weight_VD = (torch.randn(n, 64, generator=dice).to(dtype) for n in (300, VOCABULARY))
    target_M = torch.randint(VOCABULARY, (300,), generator=dice)
    to_logp_M, to_entropy_M = torch.randn(2, 300, generator=dice)

    def worked(where: torch.device, precision: torch.dtype, *, plainly: bool) -> list[Tensor]:
        head = nn.Linear(64, VOCABULARY, bias=False, device=where, dtype=precision)
        head.weight.data.copy_(weight_VD * 0.2)
        h_MD, t_M = hidden_MD.clone().to(where, precision).requires_grad_(), target_M.to(where)
        if plainly:
            wide = torch.promote_types(precision, torch.float32)
            logp_MV = (head(h_MD).to(wide) / TEMPERATURE).log_softmax(-1)
            logp_M, entropy_M = logp_MV.gather(1, t_M[:, None]).squeeze(1), -(logp_MV.exp() * logp_MV).sum(1)
        else:
            logp_M, entropy_M = logits.measure(
                h_MD, t_M, head, vocabulary=VOCABULARY, temperature=TEMPERATURE, entropy=True
            )
        (logp_M * to_logp_M.to(logp_M) + entropy_M * to_entropy_M.to(logp_M)).sum().backward()
        assert h_MD.grad is not None
        assert head.weight.grad is not None
        return [logp_M.detach(), entropy_M.detach(), h_MD.grad, head.weight.grad]

    truth, plain = worked(torch.device("cpu"), torch.float64, plainly=True), worked(device, dtype, plainly=True)
    kept = worked(device, dtype, plainly=False)
    with as_if_large():
        again = worked(device, dtype, plainly=False)
    names = ("log-probabilities", "entropies", "gradient to hidden states", "gradient to the head")
    found: Errors = {}
    for how, ours in (("", kept), (", in chunks", again)):
        for name, x, y, true in zip(names, ours, plain, truth, strict=True):
            measure = furthest if true.ndim == 1 else far
            found[f"logits{how}: {name}"] = measure(x, true), measure(y, true)
    return found


class _Counted(spans.Listener):
    def __init__(self) -> None:
        self.sums: dict[str, float] = {}

    def count(self, name: str, amount: float) -> None:
        self.sums[name] = self.sums.get(name, 0) + amount


def _read(name: str, dtype: torch.dtype, device: torch.device) -> Errors:
    """A model read with shared prompts, in buckets: log-probabilities, entropies, and the gradient of a mix of them."""
    held, tokens = weights(name, dtype), some_tokens()
    to_logp_BT, to_entropy_BT = torch.randn(
        2, *tokens.response_ids_BT.shape, generator=torch.Generator().manual_seed(1)
    )

    def worked(policy: nn.Module, asked: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        found = policy(asked, Want(entropy=True))
        logp_BT, entropy_BT = found.logp_BT, found.entropy_BT
        (logp_BT * to_logp_BT.to(logp_BT) + entropy_BT * to_entropy_BT.to(logp_BT)).sum().backward()
        return logp_BT.detach(), entropy_BT.detach(), gradient(policy)

    truth = worked(Plain(cast(held, torch.float64, torch.device("cpu")), TEMPERATURE), tokens)
    plain = worked(Plain(cast(held, dtype, device), TEMPERATURE), tokens.to(device))
    counted = _Counted()
    with spans.listen(counted):
        ours = worked(LanguageModel(cast(held, dtype, device), temperature=TEMPERATURE), tokens.to(device))
    if not counted.sums["positions_learned"] < 0.7 * int(tokens.lengths_B.max()) * tokens.rows:
        raise RuntimeError("prompts were not shared and rows not cut into buckets: this check says nothing about them")
    names = ("log-probabilities", "entropies", "gradient")
    return {
        f"read, prompts shared: {what}": tuple((far if what == "gradient" else furthest)(x, true) for x in (a, b))  # type: ignore[misc]
        for what, a, b, true in zip(names, ours, plain, truth, strict=True)
    }
