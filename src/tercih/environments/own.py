"""Tasks of our own, small enough to be proven on, under Gymnasium's ids: `Tercih/Maze-v0` and `Tercih/PointMass-v0`."""

import gymnasium

LIMITS = {"Tercih/Maze-v0": ("maze:Maze", 40), "Tercih/PointMass-v0": ("point_mass:PointMass", 25)}
"""Where they are, and after how many steps an episode is cut off; nothing else ends one."""


def register() -> None:
    """Tell Gymnasium of them, once."""
    for name, (place, limit) in LIMITS.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, f"{__package__}.{place}", max_episode_steps=limit)
