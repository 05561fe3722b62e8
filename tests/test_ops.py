import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tercih import ops


def slow_gae(reward: list[float], value: list[float], mask: list[bool], gamma: float, lam: float) -> list[float]:
    """Σ_l (γλ)^l δ_{t+l} over the learned positions alone, straight from the definition."""
    real = [t for t, learned in enumerate(mask) if learned]
    advantage = [0.0] * len(reward)
    for i, t in enumerate(real):
        for step, later in enumerate(real[i:]):
            after = real[i + step + 1] if i + step + 1 < len(real) else None
            delta = reward[later] + gamma * (value[after] if after is not None else 0.0) - value[later]
            advantage[t] += (gamma * lam) ** step * delta
    return advantage


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (0.99, 1.0), (0.7, 0.0)])
def test_gae_is_its_definition_with_holes_and_padding(gamma: float, lam: float) -> None:
    generator = torch.Generator().manual_seed(0)
    reward_BT, value_BT = torch.randn(2, 40, 9, generator=generator, dtype=torch.float64)
    mask_BT = torch.rand(40, 9, generator=generator) > 0.4
    mask_BT[0], mask_BT[1] = False, True
    advantage_BT = ops.gae(reward_BT, value_BT, mask_BT, gamma, lam)
    expected = [
        slow_gae(r, v, m, gamma, lam)
        for r, v, m in zip(reward_BT.tolist(), value_BT.tolist(), mask_BT.tolist(), strict=True)
    ]
    torch.testing.assert_close(advantage_BT, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_gae_by_hand() -> None:
    reward_BT, value_BT = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.25, 0.5]])
    everything = torch.ones(1, 3, dtype=torch.bool)
    # δ = (0.25 - 0.5, 0.5 - 0.25, 1 - 0.5); λ = 1/2
    expected = torch.tensor([[-0.25 + 0.125 + 0.125, 0.25 + 0.25, 0.5]])
    torch.testing.assert_close(ops.gae(reward_BT, value_BT, everything, 1.0, 0.5), expected)


def test_gae_with_lambda_one_is_return_minus_value_whatever_stands_outside_the_mask() -> None:
    reward_BT, value_BT = torch.rand(2, 5, 6)
    mask_BT = torch.tensor([[True, False, True, True, False, False]] * 5)
    reward_BT[~mask_BT], value_BT[~mask_BT] = 1e30, 1e30
    advantage_BT = ops.gae(reward_BT, value_BT, mask_BT, 1.0, 1.0)
    total_B = reward_BT[mask_BT].view(5, 3).sum(1)
    torch.testing.assert_close(advantage_BT[:, 0], total_B - value_BT[:, 0])
    assert (advantage_BT[~mask_BT] == 0).all()


def test_whiten() -> None:
    x = torch.randn(6, 5, dtype=torch.float64) * 3 + 7
    mask = torch.rand(6, 5) > 0.3
    white = ops.whiten(x, mask)[mask]
    torch.testing.assert_close(white.mean(), torch.zeros((), dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(white.var(unbiased=False), torch.ones((), dtype=torch.float64), atol=1e-6, rtol=0)
    kept = ops.whiten(x, mask, shift_mean=False)[mask]
    torch.testing.assert_close(kept.mean(), x[mask].mean())
    by_hand = ops.whiten(torch.tensor([1.0, 3.0, 99.0]), torch.tensor([True, True, False]))
    torch.testing.assert_close(by_hand[:2], torch.tensor([-1.0, 1.0]))
    alike = ops.whiten(torch.full((3,), 2.0), torch.ones(3, dtype=torch.bool))
    assert (alike == 0).all()


def test_sums_ignore_what_is_outside_the_mask() -> None:
    x = torch.tensor([[1.0, math.nan, 3.0], [math.inf, 5.0, 6.0]])
    mask = torch.tensor([[True, False, True], [False, True, False]])
    assert ops.total(x, mask) == 9
    assert ops.masked_mean(x, mask) == 3
    assert ops.row_sum(x, mask).tolist() == [4, 5]
    assert [float(part) for part in ops.mean_of(x, mask)] == [9, 3]
    assert [float(part) for part in ops.mean_of(torch.tensor([2.0, 4.0]))] == [6, 2]
    assert not ops.mean_of(torch.ones(2, requires_grad=True))[0].requires_grad
    assert ops.masked_mean(x, torch.zeros_like(mask)) == 0


def test_last_index() -> None:
    mask = torch.tensor([[True, True, False], [True, False, True], [False, False, False]])
    assert ops.last_index(mask).tolist() == [1, 2, 0]


def test_kl_estimators_by_hand_and_in_expectation() -> None:
    logp, reference = torch.tensor([-1.0]), torch.tensor([-2.0])
    assert float(ops.kl1(logp, reference)) == 1.0
    assert float(ops.kl3(logp, reference)) == pytest.approx(math.exp(-1) - 1 + 1)
    p_V, q_V = torch.randn(2, 11, dtype=torch.float64).softmax(1)
    exact = float((p_V * (p_V / q_V).log()).sum())
    for estimator in (ops.kl1, ops.kl3):
        assert float((p_V * estimator(p_V.log(), q_V.log())).sum()) == pytest.approx(exact, abs=1e-12)
    assert (ops.kl3(p_V.log(), q_V.log()) >= 0).all()


@pytest.mark.parametrize(
    ("kl", "error"), [(6.0, 0.0), (6.6, 0.1), (5.4, -0.1), (60.0, 0.2), (0.0, -0.2), (7.2, 0.2), (-3.0, -0.2)]
)
def test_adaptive_kl_moves_by_at_most_a_fifth(kl: float, error: float) -> None:
    after = ops.adaptive_kl(0.5, kl, target=6.0, episodes=256, horizon=10_000)
    assert after == pytest.approx(0.5 * (1 + error * 256 / 10_000), rel=1e-12)


def clipped_by_hand(ratio: float, advantage: float, clip: float) -> float:
    return -min(ratio * advantage, min(max(ratio, 1 - clip), 1 + clip) * advantage)


def test_clipped_surrogate_and_where_its_gradient_stops() -> None:
    ratio = torch.tensor([0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 3.0], dtype=torch.float64)
    for advantage in (2.0, -2.0, 0.0):
        logp = ratio.log().requires_grad_()
        loss = ops.clipped_surrogate(logp, torch.zeros_like(ratio), torch.full_like(ratio, advantage), 0.2)
        expected = [clipped_by_hand(r, advantage, 0.2) for r in ratio.tolist()]
        torch.testing.assert_close(loss.detach(), torch.tensor(expected, dtype=torch.float64))
        loss.sum().backward()
        free = [r < 1.2 if advantage > 0 else r > 0.8 for r in ratio.tolist()]
        slope: Tensor = -ratio * advantage * torch.tensor(free)
        torch.testing.assert_close(logp.grad, slope)


REWARDS, GROUPS = torch.tensor([1.0, 5.0, 3.0, 2.0, 2.0, 7.0]), torch.tensor([1, 0, 1, 2, 2, 0])


def test_group_means_by_hand() -> None:
    assert ops.group_size(GROUPS).tolist() == [2] * 6
    assert ops.group_mean(REWARDS, GROUPS).tolist() == [2, 6, 2, 2, 2, 6]
    assert ops.mean_of_others(REWARDS, GROUPS).tolist() == [3, 7, 1, 2, 2, 5]
    three = torch.tensor([1.0, 2.0, 6.0])
    assert ops.mean_of_others(three, torch.zeros(3, dtype=torch.long)).tolist() == [4, 3.5, 1.5]


def test_group_normalised_is_the_unbiased_z_score() -> None:
    x_B = torch.randn(3, 5, dtype=torch.float64) * torch.tensor([[1.0], [9.0], [0.1]]) + 4
    group_B = torch.arange(3).repeat_interleave(5)
    order_B = torch.randperm(15)
    found_B = ops.group_normalised(x_B.flatten()[order_B], group_B[order_B])
    expected = (x_B - x_B.mean(1, keepdim=True)) / (x_B.std(1, keepdim=True) + 1e-4)
    torch.testing.assert_close(found_B, expected.flatten()[order_B])


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e7, -2.7])
@pytest.mark.parametrize("size", [3, 7, 10])
def test_equals_have_exactly_no_advantage(value: float, size: int) -> None:
    """However their sum is rounded."""
    x_B, group_B = torch.full((size,), value), torch.zeros(size, dtype=torch.long)
    assert (ops.group_normalised(x_B, group_B) == 0).all()
    assert torch.equal(ops.group_mean(x_B, group_B), x_B)
    assert torch.equal(ops.mean_of_others(x_B, group_B), x_B)


@pytest.mark.parametrize("baseline", [ops.group_mean, ops.mean_of_others, ops.group_normalised])
def test_a_response_alone_has_no_group(baseline: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"prompt 1 of a rollout has only one response, .* sample at least 2 of each"):
        baseline(torch.ones(3), torch.tensor([0, 1, 0]))


def test_row_means_ignore_what_is_outside_the_mask() -> None:
    x = torch.tensor([[1.0, math.nan, 3.0], [math.inf, 5.0, 6.0], [1.0, 2.0, 3.0]])
    mask = torch.tensor([[True, False, True], [False, True, False], [False, False, False]])
    assert ops.row_mean(x, mask).tolist() == [2, 5, 0]


def test_an_upper_clip_of_its_own() -> None:
    ratio = torch.tensor([0.5, 0.79, 0.81, 1.0, 1.21, 1.29, 3.0], dtype=torch.float64)
    for advantage in (2.0, -2.0, 0.0):
        logp, old, same = ratio.log().requires_grad_(), torch.zeros_like(ratio), torch.full_like(ratio, advantage)
        loss = ops.clipped_surrogate(logp, old, same, 0.2, 0.28)
        loss.sum().backward()
        stopped = [(r > 1.28 if advantage > 0 else r < 0.8) and advantage != 0 for r in ratio.tolist()]
        slope: Tensor = -ratio * advantage * ~torch.tensor(stopped)
        torch.testing.assert_close(logp.grad, slope)
        assert ops.is_clipped(logp, old, same, 0.2, 0.28).tolist() == stopped
    even, wide = (ops.is_clipped(ratio.log(), old, same + 1, 0.2, high).tolist() for high in (None, 0.2))
    assert even == wide == [False] * 4 + [True] * 3
