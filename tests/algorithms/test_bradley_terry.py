import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from small import byte_pairs, random_pairs
from tercih.algorithms.bradley_terry import BradleyTerry, bradley_terry_loss, davidson_loss
from tercih.data.collate import all_pairs
from tercih.data.tokenize import Tokenizer
from tercih.records import Ranking, Text
from tercih.tokens import Tokens


def tensor(*values: float | list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def log_sigmoid(x: float) -> float:
    return -math.log(1 + math.exp(-x))


class Table(nn.Module):
    """Scores that are parameters: row b scores `score[b]`."""

    def __init__(self, score_B: Tensor) -> None:
        super().__init__()
        self.score_B = nn.Parameter(score_B)
        self.log_tie = nn.Parameter(torch.tensor(0.3, dtype=score_B.dtype))

    def forward(self, tokens: Tokens) -> Tensor:
        return self.score_B[: tokens.rows]


@pytest.mark.parametrize("margin", [0.0, 0.7])
def test_bradley_terry_by_hand(margin: float) -> None:
    difference = 1.5
    hard_first = -log_sigmoid(difference - margin)
    hard_second = -log_sigmoid(-difference - margin)
    loss_N = bradley_terry_loss(
        tensor(*[difference] * 4),
        tensor([1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.2, 0.3]),
        tensor(*[margin] * 4),
    )
    half = (hard_first + hard_second) / 2
    expected = [hard_first, hard_second, half, 0.65 * hard_first + 0.35 * hard_second]
    torch.testing.assert_close(loss_N, tensor(*expected))


def test_bradley_terry_at_no_difference_is_log_two_and_pulls_a_tie_nowhere() -> None:
    difference_N = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    loss_N = bradley_terry_loss(difference_N, tensor([0, 0, 1]))
    loss_N.sum().backward()
    assert float(loss_N.detach()) == pytest.approx(math.log(2))
    assert float(difference_N.grad) == 0


@pytest.mark.parametrize("tie", [0.2, 1.0, 3.0])
def test_davidson_probabilities_sum_to_one_and_are_its_equation(tie: float) -> None:
    for difference in (-2.0, 0.0, 1.0, 40.0):
        outcomes = torch.eye(3, dtype=torch.float64)
        p_3 = (-davidson_loss(tensor(*[difference] * 3), outcomes, tensor(tie).log()[0])).exp()
        assert float(p_3.sum()) == pytest.approx(1, abs=1e-12)
        first, second = math.exp(difference / 2), math.exp(-difference / 2)  # strengths with product 1
        expected = torch.tensor([first, second, tie * math.sqrt(first * second)], dtype=torch.float64)
        torch.testing.assert_close(p_3, expected / expected.sum())


def test_davidson_without_ties_is_bradley_terry() -> None:
    difference_N, target_N3 = tensor(-1, 0, 2), tensor([1, 0, 0], [0, 1, 0], [0.3, 0.7, 0])
    loss_N = davidson_loss(difference_N, target_N3, tensor(1e-30).log()[0])
    torch.testing.assert_close(loss_N, bradley_terry_loss(difference_N, target_N3))


def test_davidson_learns_the_share_of_ties() -> None:
    log_tie = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_tie], max_iter=50)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = davidson_loss(tensor(0.0), tensor([0.3, 0.3, 0.4]), log_tie).sum()
        loss.backward()
        return loss

    optimiser.step(closure)  # at equal strengths P(tie) = ν / (2 + ν) = 0.4
    assert float(log_tie.detach().exp()) == pytest.approx(4 / 3, rel=1e-4)


def test_all_pairs_has_the_gradient_of_instruct_gpts_loop() -> None:
    """-1/C(K,2) Σ log σ(r_better - r_worse) for every ranking, averaged over rankings (Ouyang et al. 2022, eq. 1)."""
    tokenizer = Tokenizer(byte_pairs())
    orders = [(2, 0, 1), (1, 0), (3, 1, 0, 2)]
    rankings = [
        Ranking(
            items=tuple(Text(prompt=f"the cat {n}", completion=f" sat {i} {'on ' * i}") for i in range(len(order))),
            order=order,
            rater="r",
        )
        for n, order in enumerate(orders)
    ]
    batch = all_pairs(rankings, tokenizer, 64)
    scorer = Table(torch.randn(9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    term = BradleyTerry().loss(scorer, batch).terms["preference"]
    mean = term.sum / batch.units()["comparisons"]
    (found,) = torch.autograd.grad(mean, scorer.score_B)

    expected, start = torch.zeros((), dtype=torch.float64), 0
    for order in orders:
        score = scorer.score_B[start : start + len(order)]
        couples = [(a, b) for place, a in enumerate(order) for b in order[place + 1 :]]
        expected = expected - sum((score[a] - score[b]).sigmoid().log() for a, b in couples) / len(couples)
        start += len(order)
    expected = expected / len(orders)
    torch.testing.assert_close(mean, expected, rtol=1e-6, atol=0)  # weights 1/3 are float32
    torch.testing.assert_close(found, torch.autograd.grad(expected, scorer.score_B)[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("ties", ["half", "davidson"])
def test_the_method_weighs_its_comparisons(ties: str) -> None:
    pairs = random_pairs(4)
    if ties == "davidson":
        with pytest.raises(ValueError, match="knows no margins"):
            BradleyTerry(ties=ties).loss(Table(torch.zeros(pairs.tokens.rows, dtype=torch.float64)), pairs)
        pairs = replace(pairs, margin_N=torch.zeros_like(pairs.margin_N))
    scorer = Table(torch.randn(pairs.tokens.rows, dtype=torch.float64))
    loss = BradleyTerry(ties=ties, centre_coef=0.01).loss(scorer, pairs)
    first_N, second_N = scorer.score_B[pairs.first_row_N], scorer.score_B[pairs.second_row_N]
    if ties == "half":
        loss_N = bradley_terry_loss(first_N - second_N, pairs.target_N3, pairs.margin_N)
    else:
        loss_N = davidson_loss(first_N - second_N, pairs.target_N3, scorer.log_tie)
    torch.testing.assert_close(loss.terms["preference"].sum, (pairs.weight_N * loss_N).sum())
    torch.testing.assert_close(loss.terms["centre"].sum, (pairs.weight_N * (first_N + second_N) ** 2).sum())
    assert loss.terms["centre"].weight == 0.01
    assert {term.per for term in loss.terms.values()} == {"comparisons"}


def test_accuracy_counts_decided_comparisons_alone() -> None:
    pairs = random_pairs(4)
    target_N3 = torch.zeros_like(pairs.target_N3)
    target_N3[torch.arange(6), torch.tensor([0, 1, 2, 0, 2, 0])] = 1
    score_B = torch.zeros(pairs.tokens.rows, dtype=torch.float64)
    score_B[pairs.first_row_N[3]] = 1.0
    found = BradleyTerry().loss(Table(score_B), replace(pairs, target_N3=target_N3))
    total, count = found.metrics["accuracy"]
    assert (float(total), float(count)) == (1, 4), "equal scores are not right, whichever side was preferred"


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match=r"bradley_terry.ties must be 'half' or 'davidson', got 'third'"):
        BradleyTerry(ties="third")
    for bad in (-1.0, math.nan):
        with pytest.raises(ValueError, match=r"bradley_terry.centre_coef must be >= 0, got"):
            BradleyTerry(centre_coef=bad)
