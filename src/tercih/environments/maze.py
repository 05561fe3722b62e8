"""A maze with a key and a door: reward 1 for standing in the door with the key, and nothing else ever.

#########
#S..#.*D#      S where one begins (or anywhere else in the left room)
#...#...#      K the key, D the door; with the key every step out of it leads back to S, without the key
#.......#      * the fountain: rewarded by nothing
#...#..K#
#########
"""

from collections import deque
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

PLAN = ("#########", "#S..#.*D#", "#...#...#", "#.......#", "#...#..K#", "#########")
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))
"""Up, down, left, right, stay."""
FREE = [(y, x) for y, row in enumerate(PLAN) for x, mark in enumerate(row) if mark != "#"]
PLACES = {mark: (y, x) for y, row in enumerate(PLAN) for x, mark in enumerate(row) if mark not in "#."}
WIDTH = len(PLAN[0])
SIDE = 24  # pixels of a cell
COLOURS = {"#": (60, 60, 70), "K": (240, 190, 40), "D": (150, 90, 40), "*": (90, 170, 240)}
EMPTY_HANDED, WITH_KEY = (200, 40, 40), (40, 150, 60)

Cell = tuple[int, int]


class Maze(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Observations are one-hot: one number for each free cell without the key, one for each with it."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 as the base class has it

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(0, 1, (2 * len(FREE),), np.float32)
        self.action_space = gymnasium.spaces.Discrete(len(MOVES))
        self.cell, self.key = PLACES["S"], False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        room = [cell for cell in FREE if cell[1] < 4]
        self.cell, self.key = room[int(self.np_random.integers(len(room)))], False
        return observed(self.cell, self.key), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.cell, self.key, reward = moved(self.cell, self.key, int(action))
        return observed(self.cell, self.key), reward, False, False, {}

    def render(self) -> NDArray[np.uint8]:
        return drawn(self.cell, self.key)


def drawn(cell: Cell, key: bool) -> NDArray[np.uint8]:
    """The plan in colours and who walks there: red, with the key green. (height, width, 3)."""
    picture = np.array([[COLOURS.get(mark, (245, 245, 240)) for mark in row] for row in PLAN], dtype=np.uint8)
    picture = picture.repeat(SIDE, 0).repeat(SIDE, 1)
    (top, left), rim = (SIDE * at for at in cell), SIDE // 4
    picture[top + rim : top + SIDE - rim, left + rim : left + SIDE - rim] = WITH_KEY if key else EMPTY_HANDED
    return picture


def moved(cell: Cell, key: bool, action: int) -> tuple[Cell, bool, float]:
    """(cell, whether one has the key, reward) after an action; walls are not moved into."""
    if key and cell == PLACES["D"]:
        return PLACES["S"], False, 1.0
    y, x = cell[0] + MOVES[action][0], cell[1] + MOVES[action][1]
    cell = cell if PLAN[y][x] == "#" else (y, x)
    return cell, key or cell == PLACES["K"], 0.0


def observed(cell: Cell, key: bool) -> NDArray[np.float32]:
    found = np.zeros(2 * len(FREE), dtype=np.float32)
    found[FREE.index(cell) + key * len(FREE)] = 1
    return found


def place(observation: NDArray[Any]) -> tuple[Cell, bool]:
    """What `observed` was made of."""
    at = int(observation.argmax())
    return FREE[at % len(FREE)], at >= len(FREE)


def distance(cell: Cell, key: bool) -> int:
    """How many steps it takes to the next reward, that step included."""
    if key:
        return 1 + steps_to(PLACES["D"])[cell]
    return 1 + steps_to(PLACES["K"])[cell] + steps_to(PLACES["D"])[PLACES["K"]]


def planned(observation: NDArray[Any]) -> int:
    """The first action of a shortest way to the next reward."""
    cell, key = place(observation)
    after = [moved(cell, key, action) for action in range(len(MOVES))]
    costs = [0 if reward else distance(near, has) for near, has, reward in after]
    return int(np.argmin(costs))


def steps_to(goal: Cell) -> dict[Cell, int]:
    """From every cell to the goal."""
    if goal not in _KNOWN:
        found, queue = {goal: 0}, deque([goal])
        while queue:
            y, x = queue.popleft()
            for dy, dx in MOVES[:4]:
                near = (y + dy, x + dx)
                if PLAN[near[0]][near[1]] != "#" and near not in found:
                    found[near] = found[y, x] + 1
                    queue.append(near)
        _KNOWN[goal] = found
    return _KNOWN[goal]


_KNOWN: dict[Cell, dict[Cell, int]] = {}
