"""Proof of best-of-n: what is kept follows the order statistics, and costs no more KL than the bound says."""

from collections.abc import Callable

import torch
from torch import Tensor

from tercih.algorithms.best_of_n import best_of_n
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.enumerable import divergence, total_variation
from tercih.conformance.lab import Lab, World, generator
from tercih.evaluation.best_of_n import best_of_n_distribution, best_of_n_kl_bound

Select = Callable[[Tensor], Tensor]
N = 4


def prove(lab: Lab, select: Select = best_of_n) -> Findings:
    prompts = lab.of(quick=200_000, full=1_000_000)
    world = lab.worlds[0]
    tied_Y = world.reward_Y.round()
    kept_Y, exact_Y = kept(world, world.reward_Y, N, prompts, select), exactly(world, world.reward_Y)
    return Findings(
        identity=every(
            at_most("TV to the order statistics", total_variation(kept_Y, exact_Y), 0.01),
            at_most(
                "the same with tied scores",
                total_variation(kept(world, tied_Y, N, prompts, select), exactly(world, tied_Y)),
                0.01,
            ),
            at_most(f"KL − (log {N} − {N - 1}/{N})", divergence(exact_Y, world.base_Y) - best_of_n_kl_bound(N), 0.0),
        ),
        ordering=above_zero(
            f"true reward, best of {2 * N} − of {N}",
            [
                w.gain(kept(w, w.reward_Y, 2 * N, prompts, select)) - w.gain(kept(w, w.reward_Y, N, prompts, select))
                for w in lab.worlds
            ],
        ),
        negative_control=at_most(
            "|gain in true reward|, shuffled / real scores",
            abs(world.gain(kept(world, world.reward_Y, N, prompts, select, shuffled=True)) / world.gain(exact_Y)),
            0.2,
        ),
        ablation=at_least(
            "TV to the order statistics, n = 1",
            total_variation(kept(world, world.reward_Y, 1, prompts, select), exact_Y),
            0.1,
        ),
    )


def kept(world: World, score_Y: Tensor, n: int, prompts: int, select: Select, *, shuffled: bool = False) -> Tensor:
    """How often each answer is kept; under control, the scores of one prompt's answers are another's."""
    draws = generator(*world.key, 60)
    answer_PN = torch.multinomial(world.base_Y, prompts * n, replacement=True, generator=draws).view(prompts, n)
    score_PN = score_Y[answer_PN]
    if shuffled:
        score_PN = score_PN[torch.randperm(prompts, generator=draws)]
    best_P = answer_PN.gather(1, select(score_PN)[:, None]).squeeze(1)
    return torch.bincount(best_P, minlength=len(score_Y)).double() / prompts


def exactly(world: World, score_Y: Tensor) -> Tensor:
    return torch.from_numpy(best_of_n_distribution(world.base_Y.numpy(), score_Y.numpy(), N))
