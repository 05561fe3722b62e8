import numpy as np
import pytest

from tercih.agents.evaluate import episodes, returns
from tercih.environments.control import ControlError
from tercih.environments.worlds import Worlds


def test_every_copy_plays_as_often_and_its_returns_are_its_episodes() -> None:
    with Worlds("CartPole-v1", 3) as worlds:
        found = returns(lambda observation_N: np.zeros(len(observation_N), dtype=np.int64), worlds, 5)
        world, counted = worlds.here.worlds[0], []
        for episode, n in ((episode, n) for episode in range(2) for n in range(3)):
            world.reset(int(np.random.SeedSequence([0, n, episode]).generate_state(1)[0]))
            length = 1
            while not world.step(np.int64(0)).terminated:
                length += 1
            counted.append(float(length))
        assert found == counted[:5]
        assert len(set(found)) > 1
        with pytest.raises(ValueError, match="episodes >= 1"):
            returns(lambda observation_N: observation_N, worlds, 0)


def test_whole_episodes_of_every_copy() -> None:
    with Worlds("CartPole-v1", 4, seed=0) as worlds:
        worlds.reset()
        rollout, length_N = episodes(lambda observation_N: np.ones(4, dtype=np.int64), worlds)
        worlds.reset()
        found = returns(lambda observation_N: np.ones(4, dtype=np.int64), worlds, 4)
    assert len(length_N) == len(found) == 4
    for n, length in enumerate(length_N):
        assert rollout["ended"][:length, n].tolist() == [False] * (length - 1) + [True]
        assert rollout["reward"][:length, n].sum() == length
    assert len(rollout["reward"]) == max(length_N)


def test_an_episode_without_end_is_an_error() -> None:
    with Worlds("Pendulum-v1", 1, seed=0) as worlds:
        worlds.reset()
        with pytest.raises(ControlError, match="more than 10 steps"):
            episodes(lambda observation_N: np.zeros((1, 1), dtype=np.float32), worlds, most=10)
