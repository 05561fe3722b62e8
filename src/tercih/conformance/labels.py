"""What simulated people say about a world's answers: all of it with its exact probability, or some of it drawn.

All answers are rows of one prompt; row numbers are answer numbers.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from math import lcm

import torch
from torch import Tensor

from tercih.batches import Pairs, Rankings
from tercih.conformance.enumerable import Language
from tercih.tokens import Tokens


def one_prompt(language: Language) -> Tokens:
    """Every answer once, all of them to the same prompt."""
    answer_B = torch.arange(len(language.answers))
    return language.tokens(answer_B, torch.zeros_like(answer_B))


def all_pairs(language: Language, score_Y: Tensor, draws: torch.Generator, *, tie: float = 0.0) -> Pairs:
    """Every pair once, which side comes first by lot, with the probabilities of Davidson (1970): `tie` is his ν."""
    pair_N2 = torch.combinations(torch.arange(len(score_Y)))
    swap_N = torch.rand(len(pair_N2), generator=draws) < 0.5
    first_N, second_N = torch.where(swap_N[:, None], pair_N2.flip(1), pair_N2).unbind(1)
    half_N = (score_Y[first_N] - score_Y[second_N]) / 2
    odds_N3 = torch.stack([half_N.exp(), (-half_N).exp(), torch.full_like(half_N, tie)], dim=1)
    return Pairs(
        tokens=one_prompt(language),
        first_row_N=first_N,
        second_row_N=second_N,
        target_N3=odds_N3 / odds_N3.sum(1, keepdim=True),
        weight_N=torch.ones_like(half_N),
        margin_N=torch.zeros_like(half_N),
    )


def ranked_pairs(language: Language, groups: Sequence[Sequence[int]]) -> Pairs:
    """One prompt a group, its answers given best first, compared with each other: every prompt weighs 1."""
    answer_B = torch.tensor([answer for group in groups for answer in group])
    prompt_of_B = torch.tensor([prompt for prompt, group in enumerate(groups) for _ in group])
    row_N2 = torch.combinations(torch.arange(len(answer_B)))
    row_N2 = row_N2[prompt_of_B[row_N2[:, 0]] == prompt_of_B[row_N2[:, 1]]]
    pairs_P = torch.bincount(prompt_of_B[row_N2[:, 0]]).double()
    return Pairs(
        tokens=language.tokens(answer_B, prompt_of_B),
        first_row_N=row_N2[:, 0],
        second_row_N=row_N2[:, 1],
        target_N3=torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).repeat(len(row_N2), 1),
        weight_N=1 / pairs_P[prompt_of_B[row_N2[:, 0]]],
        margin_N=torch.zeros(len(row_N2), dtype=torch.float64),
    )


def drawn(pairs: Pairs, count: int, draws: torch.Generator) -> Pairs:
    """`count` questions at random, each answered once: hard labels."""
    question_N = torch.randint(len(pairs.weight_N), (count,), generator=draws)
    said_N1 = torch.multinomial(pairs.target_N3[question_N], 1, generator=draws)
    return replace(
        pairs,
        first_row_N=pairs.first_row_N[question_N],
        second_row_N=pairs.second_row_N[question_N],
        target_N3=torch.zeros_like(pairs.target_N3[question_N]).scatter(1, said_N1, 1.0),
        weight_N=pairs.weight_N[question_N],
        margin_N=pairs.margin_N[question_N],
    )


def shuffled(pairs: Pairs, draws: torch.Generator) -> Pairs:
    """The negative control: what was said of one pair is written beside another."""
    return replace(pairs, target_N3=pairs.target_N3[torch.randperm(len(pairs.weight_N), generator=draws)])


def all_rankings(language: Language, strength_Y: Tensor, sets: Sequence[Sequence[int]]) -> Rankings:
    """Every order of every set as often as Plackett and Luce expect it; whole strengths make that a whole number."""
    rows = []
    for group in sets:
        probability = {order: _plackett_luce([int(strength_Y[y]) for y in order]) for order in permutations(group)}
        judgements = lcm(*(p.denominator for p in probability.values()))
        for order, p in probability.items():
            rows += [order] * int(p * judgements)
    return Rankings(tokens=one_prompt(language), order_row_NK=torch.tensor(rows))


def _plackett_luce(strengths: list[int]) -> Fraction:
    """P(order) = Π_k w_k / Σ_{l ≥ k} w_l (Luce 1959)."""
    p = Fraction(1)
    for k in range(len(strengths)):
        p *= Fraction(strengths[k], sum(strengths[k:]))
    return p


def drawn_rankings(language: Language, score_Y: Tensor, size: int, count: int, draws: torch.Generator) -> Rankings:
    """`count` random sets of `size` answers, each ranked once: scores with Gumbel noise, sorted (Yellott 1977)."""
    set_NK = torch.rand(count, len(score_Y), generator=draws).topk(size).indices
    noise_NK = -torch.empty(count, size, dtype=score_Y.dtype).exponential_(generator=draws).log()
    order_NK = (score_Y[set_NK] + noise_NK).argsort(1, descending=True)
    return Rankings(tokens=one_prompt(language), order_row_NK=set_NK.gather(1, order_NK))


def neighbours(rankings: Rankings) -> Rankings:
    """Each ranking broken into its pairs of neighbours, as if they had been asked for one by one."""
    order_NK = rankings.order_row_NK
    return replace(rankings, order_row_NK=torch.cat([order_NK[:, k : k + 2] for k in range(order_NK.shape[1] - 1)]))


def shuffled_orders(rankings: Rankings, draws: torch.Generator) -> Rankings:
    """The negative control: the answers of each ranking in any order."""
    place_NK = torch.rand(rankings.order_row_NK.shape, generator=draws).argsort(1)
    return replace(rankings, order_row_NK=rankings.order_row_NK.gather(1, place_NK))
