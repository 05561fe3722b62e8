"""What a rater does in the agent's place: held, tapped, let go, logged, and learned from."""

from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from tercih.agents.blocker import Blocker
from tercih.agents.coach import Coach
from tercih.agents.tamer import Tamer
from tercih.environments.control import ControlError
from tercih.environments.override import Log
from tercih.feedback.acts import Signal
from tercih.worker.hands import Hands

CHOICES = Discrete(3, start=5)


def signal(action: int | None, value: int = 0) -> Signal:
    return Signal(id=1, value=value, takes_back=None, step=0, seconds=0.0, received=0.0, action=action)


def test_an_action_is_held_until_it_is_let_go_and_a_tap_is_one_step() -> None:
    hands = Hands(CHOICES, 3, who="act x")
    wanted = np.int64(6)

    def done(*said: Signal) -> int:
        hands.hear(said)
        return int(hands.instead(np.zeros(2), wanted))

    assert done() == 6
    assert [done(signal(2)), done(), done(signal(-1))] == [7, 7, 6]
    assert [done(signal(0), signal(-1)), done()] == [5, 6]  # a tap between two steps
    assert [done(signal(2)), done(signal(0)), done(signal(-1)), done(signal(-1))] == [7, 5, 6, 6]
    assert done(signal(1)) == 6  # what the agent wants too
    assert hands.replaced == 5
    said = [signal(None, 1), signal(2), signal(None, -1)]
    assert hands.hear(said) == [said[0], said[2]]


def test_the_log_is_read_again_and_a_blocker_learns_from_it(tmp_path: Path) -> None:
    hands, dice = Hands(Discrete(2), 2, who="act x"), np.random.default_rng(0)
    for _ in range(200):
        seen, wanted = dice.normal(size=2), np.int64(dice.integers(2))
        hands.hear([signal(0 if wanted == 1 and seen[0] > 0 else -1)])  # 1 is not to be done on the right
        hands.instead(seen, wanted)
    hands.save(tmp_path / "x.npz")
    log = Log.read(tmp_path / "x.npz")
    assert log.who == "act x"
    seen_B, _, done_B, replaced_B = log.columns()
    assert len(seen_B) == 200
    assert replaced_B.sum() == hands.replaced > 20
    assert (done_B[replaced_B] == 0).all()
    blocker = Blocker().fit(log, Box(-9, 9, (2,)), Discrete(2))
    places = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
    assert blocker(places, np.array([1, 1])).tolist() == [0, 1]


@pytest.mark.parametrize("actions", [2, 4])
def test_what_the_environment_has_not_is_refused(actions: int) -> None:
    with pytest.raises(ControlError, match=rf"names {actions} actions.*the environment's are Discrete\(3"):
        Hands(CHOICES, actions, who="act x")
    with pytest.raises(ControlError, match="the environment's are Box"):
        Hands(Box(-1, 1, (2,)), 2, who="act x")
    Hands(Box(-1, 1, (2,)), 0, who="act x")  # nobody offers to


@pytest.mark.parametrize("settings", [Coach(), Tamer()])
def test_a_learner_takes_what_was_done_in_its_place_as_an_example(settings: Coach | Tamer) -> None:
    """One action is always done, until it is wanted; where nobody stands in for it, nothing changes."""
    left = np.array([-1.0], np.float32)
    learner, alone = (settings.learner(Box(-1, 1, (1,)), CHOICES, seed=0) for _ in range(2))
    example = 5 if int(alone.choose(left)) == 6 else 6
    for _ in range(60):
        alone.act(left)
        if learner.act(left) != example:
            learner.replaced(np.int64(example))
    shares = [[int(each.choose(left)) for _ in range(200)].count(example) for each in (learner, alone)]
    assert learner.heard > alone.heard == 0
    assert shares[0] > 160
    assert shares[1] < 120
