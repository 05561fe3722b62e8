"""The direct preference losses by hand, where their proofs do not look: zero points, groups, lengths, padding."""

import math

import pytest
import torch

from small import causal, random_pairs, random_rankings, random_thumbs, random_tokens, rollout
from tercih.algorithms.cpo import CPO
from tercih.algorithms.dpop import DPOP, dpop_loss
from tercih.algorithms.ipo import IPO
from tercih.algorithms.kto import KTO, kto_loss, mismatched
from tercih.algorithms.kwise_dpo import KwiseDPO
from tercih.algorithms.online_dpo import OnlineDPO, pairs_of
from tercih.algorithms.orpo import ORPO, log_odds
from tercih.algorithms.rrhf import RRHF, rank_loss
from tercih.algorithms.simpo import SimPO, simpo_loss
from tercih.algorithms.slic import SLiC, hinge_loss
from tercih.batches import Thumbs
from tercih.forward import Models
from tercih.method import Method
from tercih.models.language_model import LanguageModel, Reference
from tercih.ops import row_sum


def models(seed: int = 1) -> Models:
    return Models(policy=LanguageModel(causal()), reference=Reference(LanguageModel(causal(seed=seed))))


def numbers(*of: float) -> torch.Tensor:
    return torch.tensor(of, dtype=torch.float64)


def test_a_zero_point_is_the_mean_log_ratio_of_prompts_with_the_answers_of_others() -> None:
    both, data = models(), random_thumbs([1, 2, 1, 3])
    (batch,) = KTO().batches(data, both, {})
    assert isinstance(batch, Thumbs)
    assert batch.zero_B is not None
    expected = 0.0
    for row in range(data.rows):
        tokens = mismatched(data.tokens)
        alone = tokens.take(tokens.prompt_of_B[row : row + 1], torch.tensor([row]))
        assert alone.response_ids_BT[0, 0] == data.tokens.response_ids_BT[row - 1, 0]
        logp_BT = both.policy(alone).logp_BT.detach() - both.reference_logp(alone)
        expected += float(row_sum(logp_BT, alone.loss_mask_BT)[0]) / data.rows
    assert float(batch.zero_B[0]) == pytest.approx(max(0.0, expected), abs=1e-9)
    assert len(set(batch.zero_B.tolist())) == 1


def test_a_zero_point_is_never_below_zero_and_zero_for_a_single_row() -> None:
    for seed in range(6):
        (batch,) = KTO().batches(random_thumbs([1, 1, 1], seed), models(seed), {})
        assert batch.zero_B is not None
        assert float(batch.zero_B[0]) >= 0
    (alone,) = KTO().batches(random_thumbs([1]), models(), {})
    assert alone.zero_B is not None
    assert float(alone.zero_B[0]) == 0


def test_losses_weigh_more_or_less_than_gains() -> None:
    loss_B = kto_loss(numbers(2.0, 2.0), numbers(0.5, 0.5), numbers(1.0, 0.0), 0.4, 1.5, 0.7)
    gain = 1 / (1 + math.exp(-0.4 * 1.5))
    assert loss_B.tolist() == pytest.approx([1.5 * (1 - gain), 0.7 * gain])


def test_all_pairs_of_a_prompt_count_as_one() -> None:
    assert pairs_of(torch.tensor([0, 0, 1, 1, 1])).tolist() == [[0, 1], [2, 3], [2, 4], [3, 4]]
    data = rollout(random_tokens([2, 3]), torch.zeros(5, 7, dtype=torch.float64))
    data.reward_B[:] = numbers(1.0, 1.0, 0.0, 2.0, 1.0)
    (batch,) = OnlineDPO().batches(data, models(), {})
    assert batch.weight_N.tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3])
    assert batch.target_N3[:, 0].tolist() == [0.5, 0.0, 0.0, 1.0]
    (soft,) = OnlineDPO(soft=True).batches(data, models(), {})
    assert soft.target_N3[:, 0].tolist() == pytest.approx([1 / (1 + math.exp(-x)) for x in (0.0, -2.0, -1.0, 1.0)])


def test_a_single_response_cannot_be_compared() -> None:
    data = rollout(random_tokens([2, 1]), torch.zeros(3, 7, dtype=torch.float64))
    with pytest.raises(ValueError, match="has only one response"):
        next(OnlineDPO().batches(data, models(), {}))


def test_the_ranking_loss_by_hand_and_without_padding() -> None:
    score_NK = numbers(1.0, 3.0, 2.0, 5.0).view(1, 4)
    real_NK = torch.tensor([[True, True, True, False]])
    assert rank_loss(score_NK, real_NK).tolist() == [2.0 + 1.0]  # 3 before 1, 2 before 1; 3 and 2 are in order
    assert rank_loss(score_NK.sort(descending=True).values, ~torch.zeros(1, 4, dtype=torch.bool)).tolist() == [0.0]


@pytest.mark.parametrize("method", [RRHF(), KwiseDPO()])
def test_padding_of_short_rankings_changes_nothing(method: Method) -> None:
    both, padded = models(), random_rankings([3, 3])
    wider = type(padded)(tokens=padded.tokens, order_row_NK=torch.cat([padded.order_row_NK, torch.full((2, 2), -1)], 1))
    found = []
    for data in (padded, wider):
        (batch,) = method.batches(data, both, {})
        found.append([float(term.sum.detach()) for term in method.loss(both.policy, batch).terms.values()])
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_margins_and_hinges_by_hand() -> None:
    one, none = numbers(1.0), numbers(0.0)
    assert float(simpo_loss(numbers(0.7), one, 0.5)) == pytest.approx(math.log1p(math.exp(-0.2)))
    assert float(simpo_loss(numbers(0.7), none, 0.5)) == pytest.approx(math.log1p(math.exp(1.2)))
    assert float(hinge_loss(numbers(0.3), one, 1.0)) == pytest.approx(0.7)
    assert float(hinge_loss(numbers(0.3), none, 1.0)) == pytest.approx(1.3)
    assert float(hinge_loss(numbers(1.5), one, 1.0)) == 0
    assert float(log_odds(numbers(math.log(0.8)))) == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("first", "second", "chance", "lam", "margin"),
    [
        (0.4, -0.3, 1.0, 2.0, 0.7),  # the better one has risen: DPO
        (-0.1, -0.3, 1.0, 0.0, 0.2),
        (-0.1, -0.3, 1.0, 2.0, 0.0),  # both have fallen: twice 0.1 less
        (0.4, -0.3, 0.0, 2.0, -1.3),  # the second is the better one: −0.7, and twice 0.3 less
        (0.0, 0.0, 1.0, 50.0, 0.0),
    ],
)
def test_a_better_answer_that_falls_is_dear(
    first: float, second: float, chance: float, lam: float, margin: float
) -> None:
    found = float(dpop_loss(numbers(first), numbers(second), numbers(chance), lam))
    assert found == pytest.approx(math.log1p(math.exp(-margin)))


def test_a_soft_label_is_the_mean_of_hard_ones() -> None:
    of = [float(dpop_loss(numbers(0.4), numbers(-0.3), numbers(chance), 2.0)) for chance in (1.0, 0.0, 0.25)]
    assert of[2] == pytest.approx(0.25 * of[0] + 0.75 * of[1])


def test_its_penalty_is_weighed_by_beta() -> None:
    both, data = models(), random_pairs(3)
    (batch,) = DPOP().batches(data, both, {})
    logp_BT = both.policy(batch.tokens).logp_BT.detach()
    ratio_B = row_sum(logp_BT - both.reference_logp(batch.tokens), batch.tokens.loss_mask_BT)
    expected = 0.0
    for n, (first, second) in enumerate(zip(batch.first_row_N.tolist(), batch.second_row_N.tolist(), strict=True)):
        for better, worse, chance in ((first, second, 0), (second, first, 1)):
            chance = float(batch.target_N3[n, chance] + batch.target_N3[n, 2] / 2)
            margin = float(ratio_B[better] - ratio_B[worse]) - 7 * max(0.0, -float(ratio_B[better]))
            expected += float(batch.weight_N[n]) * chance * math.log1p(math.exp(-0.2 * margin))
    found = DPOP(beta=0.2, lam=7.0).loss(both.policy, batch).terms["preference"].sum
    assert float(found.detach()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("method", [CPO(), SimPO(), ORPO(), SLiC(), RRHF()])
def test_without_a_reference_none_is_asked_for(method: Method) -> None:
    """Half the memory is the reason to choose them."""
    assert not method.needs_reference
    data = random_rankings() if method.learns_from == "rankings" else random_pairs(3)
    (batch,) = method.batches(data, Models(policy=LanguageModel(causal())), {})
    assert method.loss(LanguageModel(causal()), batch).terms


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IPO(tau=0), r"ipo\.tau must be > 0"),
        (lambda: KTO(undesirable=0), r"kto\.undesirable must be > 0"),
        (lambda: DPOP(beta=0), r"dpop\.beta must be > 0"),
        (lambda: DPOP(lam=-1), r"dpop\.lam must be >= 0"),
        (lambda: CPO(nll_coef=-1), r"cpo\.nll_coef must be >= 0"),
        (lambda: SimPO(gamma=-1), r"simpo\.gamma must be >= 0"),
        (lambda: ORPO(lam=float("nan")), r"orpo\.lam must be >= 0, got nan"),
        (lambda: SLiC(delta=0), r"slic\.delta must be > 0"),
        (lambda: RRHF(rank_coef=-1), r"rrhf\.rank_coef must be >= 0"),
        (lambda: KwiseDPO(places=-1), r"kwise_dpo\.places must be >= 0"),
        (lambda: OnlineDPO(beta=0), r"online_dpo\.beta must be > 0"),
    ],
)
def test_settings_out_of_range_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
