"""Proof of a learned term beside measured ones: it holds what people want beyond what is measured, and nothing twice.

Steps have two features; the first is measured and rewarded with weight 1. People want both, so that the learned term,
which could express either, should be the second alone.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tercih.agents.beyond import beyond_loss
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Lab, generator

WANTED_D = torch.tensor([1.0, 1.0], dtype=torch.float64)
MEASURED_D = torch.tensor([1.0, 0.0], dtype=torch.float64)
STEPS = 5  # of a clip
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def without_offset(learned_N2T: Tensor, measured_N2T: Tensor, target_N3: Tensor) -> Tensor:
    """The learned term alone has to explain the comparisons."""
    return beyond_loss(learned_N2T, torch.zeros_like(measured_N2T), target_N3)


def prove(lab: Lab, loss: Loss = beyond_loss) -> Findings:
    count = lab.of(quick=400, full=4000)
    keys = [(lab.seed, i) for i in range(lab.of(quick=3, full=5))]
    learned_D = fitted(loss, count, keys[0], soft=True)
    double_D = fitted(without_offset, count, keys[0], soft=True)
    shuffled_D = fitted(loss, count, keys[0], shuffled=True)
    return Findings(
        identity=every(
            at_most("|learned − what is wanted beyond the measured|", off(learned_D, WANTED_D - MEASURED_D), 1e-3),
            at_most("|P by hand − P|", by_hand(loss), 1e-12),
        ),
        ordering=above_zero(
            f"agreement with what is wanted, with offset − without, {count} labels",
            [agreement(fitted(loss, count, key)) - agreement(fitted(without_offset, count, key)) for key in keys],
        ),
        negative_control=at_most(
            "|slope| of the whole reward on what is wanted, shuffled labels",
            abs(float((shuffled_D + MEASURED_D) @ WANTED_D / (WANTED_D @ WANTED_D))),
            0.25,
            "1 with real labels",
        ),
        ablation=at_least("weight of the measured feature in the whole, no offset", float(double_D[0]) + 1, 1.9),
    )


def clips(count: int, key: tuple[int, ...]) -> Tensor:
    """(N, 2, T, D)."""
    return torch.randn(count, 2, STEPS, 2, generator=generator(*key, 90), dtype=torch.float64) / 2


def fitted(loss: Loss, count: int, key: tuple[int, ...], *, soft: bool = False, shuffled: bool = False) -> Tensor:
    """The learned term of a linear reward, by all labels at once; `soft` labels are the probabilities themselves."""
    clip_N2TD, dice = clips(count, key), generator(*key, 91)
    gap_N2 = (clip_N2TD @ WANTED_D).sum(2)
    first_N = (gap_N2[:, 0] - gap_N2[:, 1]).sigmoid()
    if not soft:
        first_N = (torch.rand(count, generator=dice, dtype=torch.float64) < first_N).double()
    if shuffled:
        first_N = first_N[torch.randperm(count, generator=dice)]
    target_N3 = torch.stack([first_N, 1 - first_N, torch.zeros_like(first_N)], 1)
    learned_D = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([learned_D], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(clip_N2TD @ learned_D, clip_N2TD @ MEASURED_D, target_N3).mean()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return learned_D.detach()


def off(found_D: Tensor, expected_D: Tensor) -> float:
    return float((found_D - expected_D).abs().max())


def agreement(learned_D: Tensor) -> float:
    """Share of unseen pairs that the whole reward orders as people would."""
    clip_N2TD = clips(4000, (99,))
    ours_N, theirs_N = ((clip_N2TD @ way_D).sum(2).diff(dim=1) > 0 for way_D in (learned_D + MEASURED_D, WANTED_D))
    return float((ours_N == theirs_N).double().mean())


def by_hand(loss: Loss) -> float:
    """Sums of 2 + 3 against 1 + 0: σ(4)."""
    learned_N2T = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]], dtype=torch.float64)
    measured_N2T = torch.tensor([[[3.0, 0.0], [-1.0, 1.0]]], dtype=torch.float64)
    target_N3 = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    expected = -torch.tensor(4.0, dtype=torch.float64).sigmoid().log()
    return abs(float(loss(learned_N2T, measured_N2T, target_N3)[0] - expected))
