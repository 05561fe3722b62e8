"""Query rules on clips whose reward is known: labels teach, turned ones do not, and every rule runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box

from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.recipes import label_efficiency
from tercih.recipes.label_efficiency import RULES, LabelEfficiency, Pool, curve, main

SPACES = Box(-9, 9, (3,)), Box(-1, 1, (1,))


def pool(clips: int = 240) -> Pool:
    dice = np.random.default_rng(0)
    observation_BL, action_BL = dice.normal(size=(clips, 5, 3)), dice.uniform(-1, 1, size=(clips, 5, 1))
    observation_BL += dice.normal(size=(clips, 1, 3))
    return Pool(observation_BL=observation_BL, action_BL=action_BL, worth_B=observation_BL[..., 0].sum(1))


def learned(rule: str, seed: int = 0, *, shuffled: bool = False) -> np.ndarray:
    learner = RewardLearner(RewardLearning(hidden=(16,), first_updates=100, updates=15, lr=5e-3), *SPACES, seed=seed)
    return curve(pool(), learner, rule, (16, 48, 80), seed, shuffled=shuffled)


@pytest.mark.learns
@pytest.mark.parametrize("rule", ["random", *RULES])
def test_labels_teach(rule: str) -> None:
    accuracy_K, correlation_K = learned(rule).T
    assert accuracy_K[-1] > 0.85
    assert correlation_K[-1] > 0.85


@pytest.mark.learns
def test_turned_labels_do_not() -> None:
    ends = [learned("random", seed, shuffled=True)[-1, 0] for seed in range(4)]
    assert 0.3 < np.mean(ends) < 0.65


def test_a_rule_asks_what_random_does_not() -> None:
    random_K2, active_K2 = learned("random"), learned("disagreement")
    np.testing.assert_array_equal(random_K2[0], active_K2[0])  # the first questions are the same
    assert not np.array_equal(random_K2[1], active_K2[1])


@pytest.mark.recipe
def test_stopped_while_it_compares_it_goes_on_with_the_next_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stops it, no curve is learned twice, and what comes out has the same bits."""
    small = RewardLearning(hidden=(8,), first_updates=5, updates=2)
    done: list[tuple[str, int]] = []
    most = 3

    def counted(pool: Pool, learner: RewardLearner, rule: str, labels: Any, seed: int, **rest: Any) -> Any:
        if len(done) == most:
            raise KeyboardInterrupt
        done.append((rule, seed))
        return curve(pool, learner, rule, labels, seed, **rest)

    def run(out: Path) -> bytes:
        main(LabelEfficiency(environment="Pendulum-v1", steps=2048, seeds=2, labels=(4, 8), reward=small, out=out))
        return (out / "evaluation" / "efficiency.json").read_bytes()

    monkeypatch.setattr(label_efficiency, "curve", counted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped")
    assert len(done) == 3
    most = 8
    found = run(tmp_path / "stopped")
    assert len(done) == len(set(done)) == 8
    done.clear()
    assert found == run(tmp_path / "whole")
    assert len(done) == 8


@pytest.mark.parametrize(("options", "said"), [({"seeds": 1}, "--seeds"), ({"labels": (8, 8)}, "--labels")])
def test_options_that_cannot_be(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        main(LabelEfficiency(**options))  # type: ignore[arg-type]
