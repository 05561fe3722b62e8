import numpy as np
import pytest

from tercih.environments import maze
from tercih.environments.control import World
from tercih.environments.maze import FREE, MOVES, PLACES, moved, observed, place, planned
from tercih.environments.point_mass import PointMass, unsafe
from tercih.environments.worlds import Worlds


def test_the_door_pays_only_with_the_key_and_puts_one_back() -> None:
    below, right = (2, 7), 3
    assert moved(below, False, 0) == (PLACES["D"], False, 0.0)
    assert moved(below, True, 0) == (PLACES["D"], True, 0.0)
    assert moved(PLACES["D"], False, 1) == (below, False, 0.0)
    assert all(moved(PLACES["D"], True, action) == (PLACES["S"], False, 1.0) for action in range(len(MOVES)))
    assert moved((3, 7), False, 1) == (PLACES["K"], True, 0.0)
    assert moved((1, 3), False, right) == ((1, 3), False, 0.0)  # a wall
    assert place(observed((2, 2), True)) == ((2, 2), True)


def test_the_planner_takes_a_shortest_way_from_everywhere() -> None:
    for cell in FREE:
        for key in (False, True):
            if (cell, key) == (PLACES["K"], False):
                continue  # nobody stands there
            at, has, took, reward = cell, key, 0, 0.0
            while not reward:
                at, has, reward = moved(at, has, planned(observed(at, has)))
                took += 1
            assert took == maze.distance(cell, key)


@pytest.mark.parametrize(("name", "limit"), [("Tercih/Maze-v0", 40), ("Tercih/PointMass-v0", 25)])
def test_worlds_step_them_and_restore_them(name: str, limit: int) -> None:
    with Worlds(name, 2) as worlds, Worlds(name, 2) as others:
        assert worlds.limit == limit
        assert worlds.fixed_horizon
        worlds.reset()
        worlds.action_space.seed(0)
        acts = [np.stack([worlds.action_space.sample() for _ in range(2)]) for _ in range(limit + 5)]
        for act in acts[: limit - 1]:
            assert not worlds.step(act).over_N.any()
        others.load_state_dict(worlds.state_dict())
        assert worlds.step(acts[-1]).truncated_N.all()
        assert others.step(acts[-1]).truncated_N.all()
        np.testing.assert_array_equal(worlds.observation_N, others.observation_N)


def test_the_planner_earns_what_the_maze_allows() -> None:
    with Worlds("Tercih/Maze-v0", 1) as worlds:
        seen, earned = worlds.reset(), 0.0
        for _ in range(40):
            made = worlds.step(np.array([planned(seen[0])]))
            seen, earned = made.observation_N, earned + made.reward_N[0]
    assert earned == 2 or earned == 3
    assert len(MOVES) == worlds.action_space.n


def test_the_maze_shows_where_one_is_and_whether_one_has_the_key() -> None:
    height, width = len(maze.PLAN) * maze.SIDE, maze.WIDTH * maze.SIDE
    middle = maze.SIDE // 2
    for cell in FREE:
        for key, colour in ((False, maze.EMPTY_HANDED), (True, maze.WITH_KEY)):
            picture = maze.drawn(cell, key)
            assert picture.shape == (height, width, 3)
            assert tuple(picture[cell[0] * maze.SIDE + middle, cell[1] * maze.SIDE + middle]) == colour
            assert (picture == colour).all(-1).sum() == (maze.SIDE // 2) ** 2
    world = World("Tercih/Maze-v0", render=True)
    world.reset(0)
    assert (world.frame() == maze.drawn(world.env.unwrapped.cell, False)).all()


def test_the_disc_is_dangerous_where_danger_is_asked_for() -> None:
    assert unsafe(np.array([[0.0, 0.3], [0.0, 0.4]])).tolist() == [True, False]
    safe, dangerous = PointMass(), PointMass(danger=10.0)
    for world in (safe, dangerous):
        world.reset(seed=0)
        world.at = np.array([0.0, 0.0], np.float32)
    stay = np.zeros(2, np.float32)
    assert safe.step(stay)[1] - dangerous.step(stay)[1] == pytest.approx(10)
