import io
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.algorithms.bradley_terry import BradleyTerry, bradley_terry_loss

SPACES: tuple[Any, Any] = (Box(-np.inf, np.inf, (2,)), Box(-1.0, 1.0, (1,)))
SMALL = RewardLearning(hidden=(16,), lr=3e-3, minibatch=16)


def reward(observation: Any, action: Any) -> Any:
    return observation[..., 0] - 0.5 * action[..., 0]


def clips(count: int, seed: int, length: int = 5) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(length, 2)) * 3, rng.uniform(-1, 1, size=(length, 1))) for _ in range(count)]


def judged(found: list[tuple[Any, Any]], flips: Any = None) -> Any:
    worth_N2 = np.array([reward(*clip).sum() for clip in found]).reshape(-1, 2)
    first_N = worth_N2[:, 0] > worth_N2[:, 1]
    if flips is not None:
        first_N = first_N ^ flips
    return np.stack([first_N, ~first_N, np.zeros(len(first_N))], 1).astype(float)


def learned(comparisons: int, *, seed: int = 0, settings: RewardLearning = SMALL, flips: Any = None) -> RewardLearner:
    learner, found = RewardLearner(settings, *SPACES, seed=seed), clips(2 * comparisons, seed)
    learner.add(found, judged(found, flips), np.ones(comparisons, dtype=bool))
    learner.learn()
    return learner


def agreement(learner: RewardLearner) -> float:
    """Correlation of what was learned with the truth, over steps that nobody compared."""
    observation, action = (np.concatenate(each) for each in zip(*clips(200, 99), strict=True))
    found = learner.ensemble.reward(observation, action, observation)
    return float(np.corrcoef(found, reward(observation, action))[0, 1])


def test_it_learns_what_was_meant_and_nothing_from_coins() -> None:
    assert agreement(learned(150)) > 0.9
    flips = np.random.default_rng(5).random(150) < 0.5
    assert abs(agreement(learned(150, flips=flips))) < 0.5


def test_the_members_hold_out_what_they_were_not_shown() -> None:
    learner = learned(2000, settings=RewardLearning(hidden=(4,), updates=1, first_updates=1))
    held = (learner.count_MN == 0).double().mean(1)
    assert (held - np.exp(-1)).abs().max() < 0.05
    assert not torch.equal(learner.count_MN[0], learner.count_MN[1])


def test_losses_are_those_of_the_shown_and_the_held_out() -> None:
    learner = learned(60)
    assert learner.clips is not None
    found = learner._judge()
    score_MN2 = learner.ensemble.every(learner.clips).view(3, -1, 2).detach()
    loss_MN = torch.stack([bradley_terry_loss(s[:, 0] - s[:, 1], learner.target_N3, lapse=0.1) for s in score_MN2])
    shown = torch.cat([loss_MN[m].repeat_interleave(learner.count_MN[m].long()) for m in range(3)])
    assert found["reward/loss"] == pytest.approx(float(shown.mean()), rel=1e-5)
    assert found["reward/heldout_loss"] == pytest.approx(float(loss_MN[learner.count_MN == 0].mean()), rel=1e-5)


@pytest.mark.parametrize(("ratio", "factor"), [(2.0, 1.1), (1.3, 1.0), (0.9, 1 / 1.1)])
def test_regularisation_follows_the_held_out_loss(ratio: float, factor: float, monkeypatch: Any) -> None:
    learner = learned(40)
    group = learner.optimiser.param_groups[0]
    before = group["weight_decay"] = 0.01
    held = learner.count_MN == 0

    def loss(difference_N: Any, target_N3: Any, lapse: float) -> Any:
        loss.at += 1  # type: ignore[attr-defined]
        return torch.where(held[loss.at - 1], ratio, 1.0)  # type: ignore[attr-defined]

    loss.at = 0  # type: ignore[attr-defined]
    monkeypatch.setattr("tercih.agents.reward_learner.bradley_terry_loss", loss)
    learner._judge()
    assert group["weight_decay"] == pytest.approx(before * factor)


def test_answers_are_foreseen_before_they_are_learned_from() -> None:
    learner, found = learned(150), clips(200, 7)
    said, blind = judged(found), np.arange(100) % 2 == 0
    said[1::2] = said[1::2][:, [1, 0, 2]]  # what was chosen for disagreement is answered the other way round
    learner.add(found, said, blind)
    assert learner.ahead["of"] == 50
    assert learner.ahead["accuracy"] > 0.85
    accuracy = learner.ahead["accuracy"]
    assert learner.learn()["reward/ahead_accuracy"] == accuracy
    assert "reward/ahead_accuracy" not in learner.learn()  # told once


def test_what_is_foreseen_of_ties_counts_by_how_sure_it_was() -> None:
    learner, found = learned(150), clips(60, 7)
    said, every = judged(found), np.ones(30, dtype=bool)
    learner.add(found, said, every)
    right = learner.ahead
    learner.add(found, np.tile([0.0, 0.0, 1.0], (30, 1)), every)
    tied = learner.ahead
    learner.add([found[0]] * 60, np.tile([0.0, 0.0, 1.0], (30, 1)), every)
    assert 0.05 < right["gain"] < 0.25
    assert right["gain_squared"] > right["gain"] ** 2
    assert (right["said"], right["of"]) == (30, 30)
    assert tied["gain"] < -0.05
    assert "of" not in tied
    assert learner.ahead["gain"] == pytest.approx(0, abs=1e-9)  # alike, and foreseen so


def test_it_goes_on_with_the_same_bits() -> None:
    def more(learner: RewardLearner) -> dict[str, float]:
        found = clips(20, 3)
        learner.add(found, judged(found), np.ones(10, dtype=bool))
        return learner.learn()

    whole, packed = learned(30), io.BytesIO()
    torch.save(whole.state_dict(), packed)
    packed.seek(0)
    other = RewardLearner(SMALL, *SPACES, seed=9)
    other.load_state_dict(torch.load(packed, weights_only=True))
    assert more(whole) == more(other)
    for a, b in zip(whole.ensemble.parameters(), other.ensemble.parameters(), strict=True):
        assert torch.equal(a, b)


def test_clips_of_one_run_are_equally_long() -> None:
    learner, found = learned(5), clips(2, 0, length=6)
    with pytest.raises(ValueError, match="clips of 6 steps cannot join those of 5"):
        learner.add(found, judged(found), np.ones(1, dtype=bool))


def test_nothing_is_learned_before_anything_was_said() -> None:
    assert RewardLearner(SMALL, *SPACES).learn() == {}


@pytest.mark.parametrize("wrong", [{"members": 0}, {"updates": 0}, {"lr": 0.0}, {"weight_decay": -1.0}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"reward.{next(iter(wrong))}"):
        RewardLearning(**wrong)


def test_a_lapse_is_a_coin_tossed_in_between() -> None:
    difference_N, first = torch.tensor([-40.0, -1.0, 0.0, 2.0], dtype=torch.float64), torch.tensor([[1.0, 0, 0]])
    found_N = bradley_terry_loss(difference_N, first.double().expand(4, 3), lapse=0.1)
    torch.testing.assert_close(found_N, -(0.9 * difference_N.sigmoid() + 0.05).log())
    with pytest.raises(ValueError, match="lapse must be in"):
        BradleyTerry(lapse=1.0)
    with pytest.raises(ValueError, match="Davidson"):
        BradleyTerry(lapse=0.1, ties="davidson")
