"""PEBBLE on the shared seam: what is remembered is judged by the newest reward, nothing by the environment's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.test_off_policy import assert_same
from agents.test_preferences import Late
from tercih.agents.clips import Schedule
from tercih.agents.off_policy import OffPolicy
from tercih.agents.pebble import PEBBLE, FromPreferencesOffPolicy, nearest
from tercih.agents.preferences import Asking
from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.agents.sac import SAC, SACLearner
from tercih.agents.surf import SURF
from tercih.environments.worlds import Worlds
from tercih.train import run

PENDULUM = "Pendulum-v1"
SMALL = RewardLearning(hidden=(16,), bounded=True, updates=4, first_updates=10)


def pebble(
    worlds: Worlds, answers: Late, *, steps: int = 8, reward: RewardLearning = SMALL, capacity: int = 1000,
    explore: int = 80, **options: Any,
) -> FromPreferencesOffPolicy:  # fmt: skip
    agent = SAC(hidden=(8,), batch=8, starts=20, capacity=capacity)
    learner = RewardLearner(reward, worlds.observation_space, worlds.action_space)
    return FromPreferencesOffPolicy(
        settings=PEBBLE(explore=explore, reset_updates=3, **options),
        loop=OffPolicy(agent, worlds, row=40), asking=Asking(learner=learner, answers=answers),
        schedule=Schedule(labels=16), clip=5, steps=steps,
    )  # fmt: skip


def test_the_distance_is_to_the_kth_other_state() -> None:
    memory_MO = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [0.0, 7.0]])
    assert nearest(memory_MO[:1], memory_MO, 1).item() == 1
    assert nearest(memory_MO[:1], memory_MO, 2).item() == 5
    assert nearest(memory_MO[:1], memory_MO, 9).item() == 7  # no more are there


@pytest.mark.parametrize("capacity", [1000, 90])
def test_all_that_is_remembered_is_judged_by_the_newest_reward(capacity: int) -> None:
    """Also when the oldest was overwritten and the newest stands in the middle."""
    with Worlds(PENDULUM, 2) as worlds:
        data = pebble(worlds, answers := Late(), capacity=capacity)
        for step in range(8):
            data.step(step)
    replay, ensemble = data.loop.replay, data.asking.learner.ensemble
    assert len(replay) == min(320, capacity)
    assert (replay.at != 0) == (capacity == 90 or capacity > 320)
    held = slice(0, len(replay))
    seen = (x[held].numpy() for x in (replay.observation, replay.action, replay.following))
    torch.testing.assert_close(replay.reward[held], torch.as_tensor(ensemble.reward(*seen)))
    assert len(answers.queries) == data.asking.asked == 16 == len({query.key for query in answers.queries})


def test_until_people_have_spoken_nothing_is_rewarded_but_what_is_new() -> None:
    with Worlds(PENDULUM, 2) as worlds:
        data = pebble(worlds, Late(rounds=2))
        for step in range(3):
            data.step(step)
            assert not data.begun
            assert (data.loop.replay.reward[: len(data.loop.replay)] == 0).all()
            assert data.asking.asked == (0 if step < 1 else data.asking.asked)
        surprise_B = data.loop.replay.sample(64, gamma=0.9, reward=data.loop.afresh).reward_B
        data.step(3)
        assert data.begun
        assert data.loop.afresh is None
    assert (surprise_B >= 0).all()
    assert surprise_B.std() > 0


def test_the_first_session_is_drawn_at_random_and_later_ones_by_disagreement() -> None:
    with Worlds(PENDULUM, 2) as worlds:
        data = pebble(worlds, answers := Late())
        for step in range(8):
            data.step(step)
    first = answers.queries[0].key[0]
    assert first == 1  # once 80 transitions were taken
    assert {q.sampler for q in answers.queries if q.key[0] == first} == {"random"}
    assert "disagreement" in {q.sampler for q in answers.queries if q.key[0] != first}


def test_the_critics_begin_anew_and_the_actor_goes_on() -> None:
    with Worlds(PENDULUM, 1) as worlds:
        loop = OffPolicy(SAC(hidden=(8,), batch=8, starts=20), worlds, row=40)
        loop.step(0)
    learner = loop.learner
    assert isinstance(learner, SACLearner)
    actor, critic = (
        [p.clone() for p in part.state_dict().values()] for part in (learner.actor, learner.critics)
    )  # fmt: skip
    learner.reset_critics()
    assert all(torch.equal(p, q) for p, q in zip(actor, learner.actor.state_dict().values(), strict=True))
    assert not any(torch.equal(p, q) for p, q in zip(critic, learner.critics.state_dict().values(), strict=True))
    assert_same(dict(learner.critics.state_dict()), dict(learner.targets.state_dict()))
    assert not learner.critic_optimiser.state
    before = learner.targets.weights_KIO[0].clone()
    loop.update()
    assert not torch.equal(learner.targets.weights_KIO[0], before)  # the targets still follow


def test_the_bonus_is_what_members_disagree_by_and_fades() -> None:
    with Worlds(PENDULUM, 2) as worlds:
        data = pebble(worlds, Late(), bonus=0.5, bonus_decay=0.01)
        for step in range(4):
            data.step(step)
    replay, ensemble = data.loop.replay, data.asking.learner.ensemble
    seen = [x[:20].numpy() for x in (replay.observation, replay.action, replay.following)]
    spread_B = ensemble.normalised(seen[0], seen[1]).numpy().std(0)
    expected_B = ensemble.reward(*seen) + 0.5 * 0.99**160 * spread_B
    assert data.loop.afresh is not None
    np.testing.assert_allclose(data.loop.afresh(*seen), expected_B, rtol=1e-5)
    assert spread_B.max() > 0


@pytest.mark.parametrize("rounds", [0, 2])
def test_a_run_that_was_stopped_ends_with_the_same_bits(rounds: int, tmp_path: Path) -> None:
    ends = []
    for name, stops in (("whole", [99]), ("parts", [1, 3, 6, 99])):
        for stop in stops:

            def watch(step: int, _: Any, stop: int = stop) -> None:
                if step + 1 == stop:
                    raise KeyboardInterrupt

            with Worlds(PENDULUM, 2) as worlds:
                reward = RewardLearning(hidden=(8,), updates=2, first_updates=4, surf=SURF(confidence=0.6, crop=1))
                data = pebble(worlds, Late(rounds), reward=reward, bonus=0.05, recent=2)
                try:
                    run(data, 8, tmp_path / name, save_every=0, on_step=watch)
                except KeyboardInterrupt:
                    continue
                ends.append(data.state_dict())
    assert_same(ends[0], ends[1])
    files = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match=r"pebble.explore must be >= 1, got 0"):
        PEBBLE(explore=0)
    with pytest.raises(ValueError, match=r"bonus_decay in \[0, 1\)"):
        PEBBLE(bonus_decay=1.0)
    with Worlds(PENDULUM, 10) as worlds, pytest.raises(ValueError, match="clips of 5 steps are cut out of the 4 steps"):
        pebble(worlds, Late())
