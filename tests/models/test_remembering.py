"""Rewards that remember, and the rooms they are learned in."""

import numpy as np
import pytest
import torch

from tercih.environments.rooms import KINDS as ROOMS
from tercih.environments.rooms import Rooms, walks
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


@pytest.mark.parametrize("kind", ROOMS)
def test_no_position_shows_what_a_step_is_worth(kind: str) -> None:
    """At the treasure some are rewarded and some are not, and what is hidden tells which."""
    position, reward, hidden = walks(kind, 300, 100, 0)
    inside = np.maximum.reduce(np.abs(position - 0.8), axis=2) < 0.25
    assert 0.05 < reward[inside].mean() < 0.95
    if kind == "timer":
        assert (reward == inside * (hidden > 50)).all()
    if kind == "moving":
        assert (reward[hidden <= 50] == inside[hidden <= 50]).all()
    if kind == "key":
        assert (reward == inside * (hidden > 0)).all()
        assert (np.diff(hidden, axis=1) >= 0).all()
    if kind == "charger":
        before = np.concatenate([np.zeros((300, 1)), hidden[:, :-1]], 1)
        assert (reward == inside * (before > 0)).all()
        assert (hidden[reward > 0] == before[reward > 0] - 1).all()


@pytest.mark.learns
def test_a_memory_explains_returns_that_no_single_step_can() -> None:
    position, reward, _ = walks("timer", 700, 16, 0)
    step_BTO, return_B = torch.from_numpy(position).float() * 2 - 1, torch.from_numpy(reward).float().sum(1)
    error = {}
    for kind, updates in (("nn", 50), ("csc_lstm", 120)):
        model, dice = RememberingReward(2, kind, dropout=0.0), torch.Generator().manual_seed(0)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
        decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, updates)
        for _ in range(updates):
            row_B = torch.randint(400, (50,), generator=dice)
            optimiser.zero_grad()
            return_loss(model(step_BTO[row_B]).reward_BT, return_B[row_B]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            decay.step()
        with torch.no_grad():
            error[kind] = float(return_loss(model(step_BTO[400:]).reward_BT, return_B[400:]) / return_B[400:].var())
    assert error["csc_lstm"] < 0.1 < error["nn"]
