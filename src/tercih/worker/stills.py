"""A few small pictures of a clip: what a page shows where a video would be too much."""

from io import BytesIO
from itertools import islice

import numpy as np

from tercih.data.steps import Steps
from tercih.environments.control import World
from tercih.worker.clip import acted

SIDE = 150  # pixels, of the longer side
QUALITY = 72  # of JPEG


def stills(steps: Steps, count: int) -> tuple[list[bytes], str]:
    """`count` JPEG pictures (fewer of a shorter clip), spread evenly from the first step to the last, and how they were
    drawn (`environments/picture.py`). Raises ControlError as `clip.frames` does."""
    from PIL import Image  # comes with tercih[control]

    wanted = set(np.linspace(0, len(steps) - 1, count).round().astype(int).tolist())
    found = []
    with World(steps.environment, steps.options, render=True) as world:
        for place in islice(acted(world, steps), max(wanted) + 1):
            if place in wanted:
                image, packed = Image.fromarray(world.frame()), BytesIO()
                image.thumbnail((SIDE, SIDE))
                image.save(packed, "JPEG", quality=QUALITY)
                found.append(packed.getvalue())
        return found, world.drawn or "own"
