"""Rewards that remember, and the rooms they are learned in."""

import numpy as np
import pytest
import torch

from tercih.conformance.mil import errors, fitted, unseen
from tercih.environments.rooms import KINDS as ROOMS
from tercih.environments.rooms import Rooms, cut, walks
from tercih.models.remembering import KINDS, RememberingReward, return_loss

STEPS = torch.randn(4, 6, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_reward_knows_only_what_came_until_then(kind: str) -> None:
    model = RememberingReward(2, kind).eval()
    later, earlier = STEPS.clone(), STEPS.clone()
    later[:, 4:] += 1
    earlier[:, 0] += 1
    found = model(STEPS).reward_BT
    assert torch.equal(model(later).reward_BT[:, :4], found[:, :4])
    same = torch.equal(model(earlier).reward_BT[:, 1:], found[:, 1:])
    assert same == (kind == "nn")  # the others remember


def test_embedded_rewards_add_up_to_what_is_read_at_the_end() -> None:
    model = RememberingReward(2, "emb_lstm").eval()
    found = model(STEPS)
    assert found.return_B.tolist() == pytest.approx(model.head(found.hidden_BTH[:, -1]).squeeze(1).tolist(), abs=1e-6)


def test_the_skip_connection_is_only_in_csc() -> None:
    """With its memory cut off, only that one still sees the step."""
    for kind in ("inst_lstm", "csc_lstm"):
        model = RememberingReward(2, kind).eval()
        with torch.no_grad():
            for weight in model.memory.parameters():
                weight.zero_()
        assert (model(STEPS).reward_BT.std() > 1e-6) == (kind == "csc_lstm")


@pytest.mark.parametrize("kind", KINDS[1:])
def test_step_by_step_is_the_same(kind: str) -> None:
    model, kept = RememberingReward(2, kind).eval(), None
    whole = model(STEPS)
    for t in range(STEPS.shape[1]):
        reward_B, hidden_BH, kept = model.advance(STEPS[:, t], kept)
        torch.testing.assert_close(reward_B, whole.reward_BT[:, t])
        torch.testing.assert_close(hidden_BH, whole.hidden_BTH[:, t])
    with pytest.raises(ValueError, match="nn remembers nothing"):
        RememberingReward(2, "nn").advance(STEPS[:, 0], None)


def test_the_loss_by_hand() -> None:
    assert return_loss(torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([5.0, 1.0])).item() == 2.0


def test_kinds_are_named() -> None:
    with pytest.raises(ValueError, match="a remembering reward is one of nn, emb_lstm"):
        RememberingReward(2, "gru")
    with pytest.raises(ValueError, match="a room is one of timer, moving"):
        Rooms(kind="hall", count=1, steps=4, dice=np.random.default_rng(0))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_guess_is_about_the_mean_return(kind: str) -> None:
    step_BTO = torch.rand(200, 16, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for mean in (50.0, -30.0):
        model = RememberingReward(2, kind)
        model.begin(torch.tensor([mean - 1, mean + 1]), torch.tensor([12, 20]))
        assert model.eval()(step_BTO).return_B.mean().item() == pytest.approx(mean, abs=8)


def test_padding_is_worth_nothing_to_the_loss() -> None:
    reward_BT = torch.tensor([[1.0, 2.0, 9.0], [0.0, 1.0, 2.0]], requires_grad=True)
    loss = return_loss(reward_BT, torch.tensor([5.0, 3.0]), torch.tensor([2, 3]))
    assert loss.item() == 2.0  # (1 + 2 − 5)² / 2
    loss.backward()
    assert reward_BT.grad is not None
    assert reward_BT.grad.tolist() == [[-2.0, -2.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("kind", ROOMS)
def test_no_position_shows_what_a_step_is_worth(kind: str) -> None:
    """At the same place some steps are worth more than others, and what is hidden tells which."""
    position, reward, hidden = walks(kind, 300, 40, 0, drawn=1)
    near = np.maximum.reduce(np.abs(position - (0.5, 0.8)), axis=2) < 0.2
    if kind == "moving":
        assert 0.1 < reward[near].mean() < 0.9
        phase = (1.25 * hidden + 0.25) % 1
        left = 0.6 * np.abs(2 * phase - 1)
        x, y = position[..., 0], position[..., 1]
        assert (reward == (left < x) * (x < left + 0.4) * (y > 0.6)).mean() > 0.999  # where rounding decides
        assert hidden[0].tolist() == pytest.approx([t / 40 for t in range(1, 41)])
        return
    assert reward[near].std() > 0.2
    assert not reward[~near].any()
    if kind == "timer":
        assert (reward[:, :20] == -1.0 * near[:, :20]).all()
        assert (reward[:, 20:] == near[:, 20:]).all()
    else:
        assert (reward == near * hidden).all()
        assert (np.diff(hidden, axis=1) >= 0).all()
    if kind == "key":
        key = np.maximum.reduce(np.abs(position - (0.5, 0.2)), axis=2) < 0.2
        assert (hidden == np.maximum.accumulate(key, axis=1)).all()
    if kind == "charger":
        stored = np.minimum((position[..., 1] < 0.3).cumsum(1) * 2 / 40, 1)
        assert hidden == pytest.approx(stored)
        assert stored.max() == 1


@pytest.mark.parametrize("kind", ROOMS)
def test_outcomes_come_about_equally_often(kind: str) -> None:
    """What is worth nothing, and so shows nothing, is most of what comes by chance and little of what is kept."""
    worthless = {drawn: (walks(kind, 400, 16, 0, drawn=drawn)[1].sum(1) == 0).mean() for drawn in (1, 20)}
    assert worthless[20] < 0.75 * worthless[1]
    assert np.array_equal(walks(kind, 40, 16, 3)[0], walks(kind, 40, 16, 3)[0])


def test_walks_that_end_early_are_worth_what_came_until_then() -> None:
    reward_BT = np.arange(1600.0).reshape(100, 16)
    return_B, length_B = cut(reward_BT, 0)
    assert (length_B.min(), length_B.max()) == (4, 16)
    assert [reward_BT[b, :n].sum() for b, n in enumerate(length_B)] == return_B.tolist()
    assert not np.array_equal(cut(reward_BT, 1)[1], length_B)


@pytest.mark.learns
def test_walks_that_end_at_different_times_tell_what_a_step_is_worth() -> None:
    """Returns of whole walks do not: a memory that counts explains them as well as one that knows the time."""
    wrong = {
        whole: errors(fitted(RememberingReward, "csc_lstm", 2, whole=whole), unseen("timer", 2))
        for whole in (False, True)
    }
    assert wrong[False].of_steps < 0.4
    assert wrong[True].of_steps > 0.7
    assert max(error.of_returns for error in wrong.values()) < 0.5
