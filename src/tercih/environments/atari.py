"""Atari games as agents are taught on them: small grey pictures, the last few of them, without the score.

Options of ids "ALE/…" that are ours, beside ALE's own:

- `pixels`: the side of the square grey picture, 84 in most papers; without it the picture is the game's own;
- `noops`: with `pixels`, up to how many steps nothing is done at first (30);
- `stack`: how many pictures are one observation (1);
- `blank_score`: whether the score and the lives and counters beside it are painted over, from which the reward could
  be read (Christiano et al. 2017, arXiv:1706.03741, appendix A.2).
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation, StickyAction
from numpy.typing import NDArray

MISSING = 'Atari games need ALE; pip install "tercih[atari]"'

# (top, bottom, left, right) of what tells the score, in the game's own 210 × 160 pixels; measured on ale-py 0.12.1.
SCORES: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "BeamRider": ((8, 30, 40, 120), (31, 41, 16, 40), (182, 191, 28, 110)),
    "Breakout": ((0, 17, 0, 160),),
    "Enduro": ((161, 192, 48, 112),),
    "Hero": ((151, 164, 56, 106), (177, 188, 56, 106)),
    "MontezumaRevenge": ((5, 21, 55, 104),),
    "Pong": ((0, 24, 0, 160),),
    "PrivateEye": ((3, 26, 50, 106),),
    "Qbert": ((5, 14, 32, 72), (15, 29, 30, 64)),
    "Seaquest": ((7, 31, 56, 107),),
    "SpaceInvaders": ((8, 21, 0, 160),),
}


def make(environment: str, options: dict[str, Any]) -> Any:
    """Gymnasium's environment of that id. Raises ValueError for a game whose score cannot be blanked."""
    try:
        import ale_py
    except ModuleNotFoundError:
        raise ValueError(MISSING) from None
    gymnasium.register_envs(ale_py)
    pixels, stack = options.pop("pixels", None), options.pop("stack", 1)
    noops, blank_score = options.pop("noops", 30), options.pop("blank_score", False)
    game = environment.removeprefix("ALE/").partition("-")[0]
    if blank_score and game not in SCORES:
        raise ValueError(
            f"where {game} shows its score is not known, only that of {', '.join(sorted(SCORES))}; add it to SCORES in"
            " tercih/environments/atari.py, or leave blank_score out"
        )
    if pixels is None:
        env: Any = gymnasium.make(environment, **options)
    else:
        skip, sticky = options.pop("frameskip", 4), options.pop("repeat_action_probability", 0.25)
        env = gymnasium.make(environment, frameskip=1, repeat_action_probability=0.0, **options)
        if sticky:  # by each of the game's frames, as ALE does it, but with a memory that can be saved
            env = StickyAction(env, sticky)
        env = AtariPreprocessing(env, noop_max=noops, frame_skip=skip, screen_size=pixels)
    if blank_score:
        env = BlankScore(env, game)
    return FrameStackObservation(env, stack) if stack > 1 else env


class BlankScore(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Black where the score stands, in what is observed and in what is shown."""

    def __init__(self, env: Any, game: str) -> None:
        super().__init__(env)
        self.game = game

    def observation(self, observation: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A smaller picture loses every pixel of which a part is the score's."""
        height, width = observation.shape[:2]
        blanked = observation.copy()
        for top, bottom, left, right in SCORES[self.game]:
            rows = slice(top * height // 210, -(-bottom * height // 210))
            columns = slice(left * width // 160, -(-right * width // 160))
            blanked[rows, columns] = 0
        return blanked

    def render(self) -> Any:
        frame: Any = super().render()
        return self.observation(frame) if isinstance(frame, np.ndarray) else frame
