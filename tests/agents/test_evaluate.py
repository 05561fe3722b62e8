import numpy as np
import pytest

from tercih.agents.evaluate import returns
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
