"""Learners that are taught while they act: what they make of presses, records, spaces and checkpoints."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary

from tercih.agents.coach import Coach
from tercih.agents.live import Press, Taught, replay_to
from tercih.agents.tamer import Delay, Tamer
from tercih.data.steps import Steps
from tercih.records import Clip, TimedSignal

NUMBERS, PLACES, CHOICES = Box(-1, 1, (3,)), Discrete(4), Discrete(2, start=5)


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


def weights(learner: Any) -> torch.Tensor:
    network = learner.network if hasattr(learner, "network") else learner.policy
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("settings", [Coach(), Tamer(every=2)])
@pytest.mark.parametrize("seen", [NUMBERS, PLACES, Box(0, 255, (2, 3), np.uint8)])
def test_it_goes_on_from_what_was_saved(settings: Any, seen: Any) -> None:
    def play(learner: Taught, clock: Clock, steps: range) -> list[Any]:
        done = []
        for step in steps:
            clock.now = 10 + 0.5 * step
            done.append(learner.act(seen.sample()))
            learner.hear([Press(id=step, value=(-1.0) ** step, seconds=0.5 * step + 0.3)])
            assert CHOICES.contains(done[-1])
        return done

    seen.seed(0)
    first, clock = settings.learner(seen, CHOICES, seed=1, clock=(made := Clock())), made
    play(first, clock, range(12))
    assert first.heard == 12
    kept = first.state_dict()
    other = settings.learner(seen, CHOICES, seed=2, clock=(again := Clock()))
    other.load_state_dict(copy.deepcopy(kept))
    assert torch.equal(weights(other), weights(first))
    anew = settings.learner(seen, CHOICES, seed=2, clock=(third := Clock()))
    anew.load_state_dict(copy.deepcopy(kept))
    seen.seed(3)
    done = play(other, again, range(12, 24))
    seen.seed(3)
    assert play(anew, third, range(12, 24)) == done
    assert torch.equal(weights(anew), weights(other))
    assert not torch.equal(weights(anew), weights(first))


def test_coach_draws_real_numbers_too() -> None:
    learner = Coach(delay=0.0).learner(NUMBERS, Box(-2, 2, (2,)), seed=0, clock=(clock := Clock()))
    action = learner.act(np.zeros(3, np.float32))
    assert Box(-2, 2, (2,)).contains(action)
    before = learner.policy(torch.zeros(1, 3), torch.as_tensor(action)[None]).logp_B.item()
    clock.now += 1
    learner.act(np.zeros(3, np.float32))
    learner.hear([Press(id=0, value=1.0, seconds=1.2)])
    assert learner.policy(torch.zeros(1, 3), torch.as_tensor(action)[None]).logp_B.item() > before


def test_tamer_forgets_what_was_taken_back() -> None:
    learner = Tamer(delay=Delay(low=0, high=1)).learner(PLACES, CHOICES, seed=0, clock=(clock := Clock()))
    for step in range(4):
        clock.now = 10 + step
        learner.act(np.int64(step))
        if step:
            learner.hear([Press(id=step, value=1.0, seconds=step + 0.5)])
    assert learner.id_B.tolist() == [1, 2, 2, 3, 3]  # half of the step on the screen, half of the one before
    assert learner.weight_B.tolist() == [0.5] * 5
    learner.hear([Press(id=9, value=0, seconds=4.0, takes_back=2)])
    assert learner.id_B.tolist() == [1, 3, 3]
    assert learner.heard == 4


def test_a_press_before_anything_was_seen_teaches_nothing() -> None:
    for settings in (Tamer(), Coach()):
        learner = settings.learner(PLACES, CHOICES, seed=0, clock=Clock())
        before = weights(learner).clone()
        learner.act(np.int64(0))
        learner.hear([Press(id=0, value=1.0, seconds=0.1)])
        assert torch.equal(weights(learner), before)


def steps(times: list[float]) -> Steps:
    count = 4
    return Steps(
        environment="Taxi-v3", actions=np.array([5, 6, 5, 6]), starts=np.array([0]), seeds=np.array([0]),
        observations=np.arange(count), following=np.arange(count) + 1, rewards=np.zeros(count),
        terminated=np.zeros(count, bool), truncated=np.zeros(count, bool), times=np.array(times),
    )  # fmt: skip


@pytest.mark.parametrize("settings", [Coach(delay=0.3), Tamer(delay=Delay(low=0.1, high=0.9))])
def test_a_record_teaches_what_its_presses_taught(settings: Any) -> None:
    live, later = (settings.learner(PLACES, CHOICES, seed=0, clock=Clock()) for _ in range(2))
    played = steps([0.5, 1.0, 1.5, 2.0])
    for at in range(3):
        live.show(played.observations[at], played.actions[at], float(played.times[at]))
        if at == 1:
            live.hear([Press(id=0, value=-1, seconds=1.4)])
    live.hear([Press(id=1, value=1, seconds=1.9)])
    clip = Clip(media="m", digest="d", seconds=2.0)
    replay_to(later, played, TimedSignal(item=clip, signals=((1.9, 1), (1.4, -1)), rater="ann"))
    assert torch.equal(weights(live), weights(later))
    with pytest.raises(ValueError, match="do not say when people saw them"):
        replay_to(later, steps([]), TimedSignal(item=clip, signals=(), rater="ann"))


def test_what_cannot_be_taught() -> None:
    with pytest.raises(ValueError, match="chooses among Discrete actions"):
        Tamer().learner(NUMBERS, NUMBERS, seed=0)
    for settings in (Tamer(), Coach()):
        with pytest.raises(ValueError, match="wrap the environment"):
            settings.learner(MultiBinary(3), CHOICES, seed=0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Delay(low=1, high=1), "0 <= low < high"),
        (lambda: Delay(low=0.2, high=float("inf")), "0 <= low < high"),
        (lambda: Tamer(batch=0), "tamer.batch must be at least 1"),
        (lambda: Tamer(lr=0), "tamer.lr must be > 0"),
        (lambda: Coach(lr=-1), "coach.lr must be > 0"),
        (lambda: Coach(delay=-1), "coach.delay must be >= 0"),
        (lambda: Coach(decays=((1.0, 0.3),)), "sizes that rise from 0"),
        (lambda: Coach(decays=((0.0, 1.0),)), "sizes that rise from 0"),
    ],
)
def test_settings_that_cannot_be(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
