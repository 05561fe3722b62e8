import pytest
import torch

from tercih.agents.request import Dynamics, ReQueST, RewardNets, acquired, synthesise


def test_what_a_question_is_worth() -> None:
    reward = RewardNets(2, seed=0)
    state_PTO = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    r_MPT = reward.reward(state_PTO.flatten(0, 1)).view(4, 3, 4)
    asked_QO = state_PTO[0]
    torch.testing.assert_close(acquired("high", reward, state_PTO, asked_QO), r_MPT.mean((0, 2)))
    torch.testing.assert_close(acquired("low", reward, state_PTO, asked_QO), -r_MPT.mean((0, 2)))
    torch.testing.assert_close(acquired("disagreement", reward, state_PTO, asked_QO), r_MPT.std(0).mean(1))
    novelty_P = acquired("novelty", reward, state_PTO, asked_QO)
    assert novelty_P[0].item() == pytest.approx(0.0, abs=1e-6)
    assert (novelty_P[1:] > 0).all()


def test_made_up_states_begin_where_episodes_do_and_gain_by_being_sought() -> None:
    dynamics, reward, dice = Dynamics(2, 1), RewardNets(2), torch.Generator().manual_seed(0)
    gains = []
    for steps in (1, 40):
        dice.manual_seed(0)
        found_PTO = synthesise(
            ReQueST(length=3, count=2, steps=steps, penalty=0.0, diversity=0.0), "high",
            lambda p: torch.zeros(p, 2), 1, dynamics, reward, torch.zeros(0, 2), dice,
        )  # fmt: skip
        assert found_PTO.shape == (2, 3, 2)
        assert found_PTO.abs().max() <= 1
        gains.append(acquired("high", reward, found_PTO, torch.zeros(0, 2)).mean().item())
    assert gains[1] > gains[0]


def test_options_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"some of disagreement, novelty, high, low, got \('best',\)"):
        ReQueST(acquisitions=("best",))
    with pytest.raises(ValueError, match=r"must be >= 1, got 0"):
        ReQueST(length=0)
