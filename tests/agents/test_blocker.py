from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from tercih.agents.blocker import Blocker
from tercih.agents.dqn import DQN
from tercih.agents.off_policy import learn
from tercih.environments.override import Guarded, Log


def never_left(observation_N: np.ndarray, action_N: np.ndarray) -> np.ndarray:
    return np.where(action_N == 0, 1, action_N)


def test_an_agent_learns_in_a_guarded_world_and_it_is_written_down(tmp_path: Path) -> None:
    with Guarded("CartPole-v1", 2, never_left, penalty=5.0, who="ann") as worlds:
        trained = learn(DQN(starts=20, hidden=(8, 8)), worlds, 60, row=60)
        observation_B, wanted_B, done_B, replaced_B = worlds.log.columns()
        worlds.log.write(tmp_path / "log.npz")
    assert len(wanted_B) == len(observation_B) == 60
    assert (done_B == 1).all()
    assert (replaced_B == (wanted_B == 0)).all()
    assert trained.replay.action[:60].tolist() == wanted_B.tolist()  # what it wanted, with
    assert trained.replay.reward[:60].tolist() == (1 - 5.0 * replaced_B).tolist()  # what it is told of it
    with np.load(tmp_path / "log.npz") as kept:
        assert kept["who"] == "ann"
        assert kept["replaced"].tolist() == replaced_B.tolist()
        assert np.array_equal(kept["observation"], observation_B)


def test_a_blocker_reads_numbers_and_actions_that_begin_elsewhere() -> None:
    seen_B = np.random.default_rng(0).uniform(-1, 1, (300, 2)).astype(np.float32)
    wanted_B = np.random.default_rng(1).integers(3, 5, 300)
    log = Log()
    log.add(seen_B, wanted_B, np.where((seen_B[:, 0] > 0) & (wanted_B == 4), 3, wanted_B))
    instead = Blocker().fit(log, Box(-1, 1, (2,)), Discrete(2, start=3))
    said = instead(np.array([[0.8, 0], [-0.8, 0], [0.8, 0]], np.float32), np.array([4, 4, 3]))
    assert said.tolist() == [3, 4, 3]


def test_nothing_to_learn_from() -> None:
    log = Log()
    log.add(np.zeros((3, 2)), np.ones(3, int), np.ones(3, int))
    with pytest.raises(ValueError, match="nothing was replaced"):
        Blocker().fit(log, Box(-1, 1, (2,)), Discrete(2))
    with pytest.raises(ValueError, match=r"guarded\.penalty must be >= 0"):
        Guarded("CartPole-v1", 1, never_left, penalty=-1)
