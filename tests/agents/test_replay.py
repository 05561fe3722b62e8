import io
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from tercih.agents.replay import Replay
from tercih.environments.control import ControlError

SPACES: tuple[Any, Any] = (Box(-1e9, 1e9, (1,)), Box(-1, 1, (1,)))
GAMMA = 0.9


def number(time: int, copy: int) -> float:
    """A number that tells which step of which copy a row is."""
    return 100.0 * copy + time


def filled(steps: int, *, capacity: int = 12, copies: int = 2, seed: int = 0) -> tuple[Replay, list[dict[str, Any]]]:
    """A buffer, and everything that was ever put into it; episodes end at random, of themselves or cut off."""
    replay, rng, history = Replay(capacity, *SPACES, copies=copies), np.random.default_rng(seed), []
    for time in range(steps):
        at_N1 = np.array([[number(time, n)] for n in range(copies)])
        terminated_N = rng.random(copies) < 0.15
        over_N = terminated_N | (rng.random(copies) < 0.15)
        reward_N = rng.normal(size=copies)
        replay.add(at_N1, np.zeros((copies, 1)), at_N1 + 0.5, reward_N, terminated_N, over_N)
        history += [
            {"time": time, "copy": n, "reward": reward_N[n], "terminated": terminated_N[n], "over": over_N[n]}
            for n in range(copies)
        ]
    return replay, history


def held(replay: Replay) -> list[float]:
    return sorted(replay.observation[: len(replay), 0].tolist())


@pytest.mark.parametrize("steps", [1, 5, 6, 7, 20])
def test_the_newest_are_held_and_no_others(steps: int) -> None:
    replay, _ = filled(steps)
    newest = range(max(0, steps - 6), steps)
    assert held(replay) == sorted(number(time, n) for time in newest for n in range(2))


def test_every_row_is_sampled_as_often() -> None:
    replay, _ = filled(9)
    drawn = replay.sample(12_000, gamma=GAMMA).observation_B[:, 0]
    counts = [int((drawn == row).sum()) for row in held(replay)]
    assert len(counts) == 12
    assert all(abs(count - 1000) < 5 * 1000**0.5 for count in counts)


def plain(history: list[dict[str, Any]], kept: list[float], first: dict[str, Any], n_step: int) -> tuple[float, ...]:
    """Reward, following and discount of the n-step transition from `first`, from the definition."""
    of_copy = [row for row in history if row["copy"] == first["copy"] and row["time"] >= first["time"]]
    total, steps = 0.0, 0
    for row in of_copy[:n_step]:
        assert number(row["time"], row["copy"]) in kept
        total, steps, last = total + GAMMA**steps * row["reward"], steps + 1, row
        if row["over"]:
            break
    return total, number(last["time"], last["copy"]) + 0.5, 0.0 if last["terminated"] else GAMMA**steps


@pytest.mark.parametrize("steps", [4, 9])
@pytest.mark.parametrize("n_step", [1, 3, 5])
def test_sums_over_n_steps_are_the_definition(steps: int, n_step: int) -> None:
    seen = set()
    for seed in range(5):
        replay, history = filled(steps, seed=seed)
        kept, rows = held(replay), {number(row["time"], row["copy"]): row for row in history}
        batch = replay.sample(64, gamma=GAMMA, n_step=n_step)
        found = torch.stack([batch.reward_B, batch.following_B[:, 0], batch.discount_B], -1)
        firsts = [rows[first] for first in batch.observation_B[:, 0].tolist()]
        expected = torch.tensor([plain(history, kept, first, n_step) for first in firsts], dtype=torch.float32)
        torch.testing.assert_close(found, expected)
        seen |= {round(x, 4) for x in batch.discount_B.tolist()}
    assert seen == {0.0, *(round(GAMMA**m, 4) for m in range(1, min(n_step, 6 if steps > 6 else steps) + 1))}


def test_a_cut_off_episode_has_a_future_and_an_ended_one_none() -> None:
    replay = Replay(2, *SPACES, copies=2)
    one_N1 = np.ones((2, 1))
    replay.add(one_N1, one_N1, one_N1, [1.0, 1.0], [True, False], [True, True])
    batch = replay.sample(100, gamma=GAMMA, n_step=3)
    assert {round(x, 4) for x in batch.discount_B.tolist()} == {0.0, GAMMA}


@pytest.mark.parametrize("steps", [4, 6, 8, 11])
def test_all_that_is_held_is_relabelled_also_after_the_end_was_passed(steps: int) -> None:
    replay, _ = filled(steps)
    sizes = []

    def reward(observation_B: Any, action_B: Any, following_B: Any) -> Any:
        sizes.append(len(action_B))
        return 2 * observation_B[:, 0] + following_B[:, 0] - action_B[:, 0]

    replay.relabel(reward, rows=5)
    rows = slice(0, len(replay))
    torch.testing.assert_close(replay.reward[rows], 3 * replay.observation[rows, 0] + 0.5)
    assert sum(sizes) == len(replay) == min(2 * steps, 12)
    assert max(sizes) == 5


def test_a_reward_that_is_no_number_a_transition_is_refused() -> None:
    replay, _ = filled(4)
    with pytest.raises(ControlError, match="one number for every step"):
        replay.relabel(lambda observation, action, following: observation)
    with pytest.raises(ControlError, match="not finite"):
        replay.relabel(lambda observation, action, following: observation[:, 0] * np.nan)


def test_it_goes_on_from_its_state_as_if_nothing_had_happened() -> None:
    replay, _ = filled(9)
    replay.sample(3, gamma=GAMMA)
    file = io.BytesIO()
    torch.save(replay.state_dict(), file)
    file.seek(0)
    other = Replay(12, *SPACES, copies=2, seed=5)
    other.load_state_dict(torch.load(file, weights_only=True))
    for each in (replay, other):
        each.add(np.full((2, 1), 7.0), np.zeros((2, 1)), np.zeros((2, 1)), [1, 2], [False, True], [False, True])
    for one, two in zip(replay.columns, other.columns, strict=True):
        assert torch.equal(one, two)
    a, b = (each.sample(50, gamma=GAMMA, n_step=2) for each in (replay, other))
    assert torch.equal(a.observation_B, b.observation_B)
    assert torch.equal(a.reward_B, b.reward_B)


def test_a_state_is_as_large_as_what_is_held() -> None:
    file = io.BytesIO()
    replay, _ = filled(2, capacity=100_000)
    torch.save(replay.state_dict(), file)
    assert len(file.getbuffer()) < 20_000


def test_bytes_stay_bytes_and_choices_whole() -> None:
    replay = Replay(4, Box(0, 255, (2, 2, 3), np.uint8), Discrete(3))
    assert (replay.observation.dtype, replay.action.dtype) == (torch.uint8, torch.int64)
    assert replay.observation.shape == (4, 2, 2, 3)
    assert replay.action.shape == (4,)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="all 8 copies"):
        Replay(4, *SPACES, copies=8)
    with pytest.raises(ValueError, match="nothing has been remembered"):
        Replay(4, *SPACES).sample(1, gamma=GAMMA)
    with pytest.raises(ValueError, match="up to 12 transitions, this agent 10"):
        Replay(10, *SPACES, copies=2).load_state_dict(filled(3)[0].state_dict())
