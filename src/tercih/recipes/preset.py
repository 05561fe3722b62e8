"""What a preset is: one paper's settings. Their values stand in `presets.py` and `group_presets.py`."""

from collections.abc import Callable
from dataclasses import dataclass

from tercih.batches import Batch
from tercih.method import Method
from tercih.optimisation import Optimisation
from tercih.recipes.stages import PolicySettings, RolloutSettings
from tercih.rollout.sampling import Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardModelling:
    """How the reward model was learned. `normalise` names the moments that are set on the reference's samples."""

    method: Method
    collate: Callable[..., Batch]
    """Makes a batch of the records that `method` learns from: `collate.rankings`, `pairs` or `all_pairs`."""
    records_per_step: int
    optimisation: Optimisation
    normalise: str
    epochs: int = 1
    normalise_samples: int = 256
    readout: str = "last"


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """One paper's settings of reinforcement learning."""

    paper: str
    sampling: Sampling
    policy: RolloutSettings
    overlong_buffer: int = 0
    """Tokens before the longest response over which more and more reward is lost."""
    unverified: tuple[str, ...] = ()
    """Values that neither the paper nor its code gives, or that nobody could check."""
    left_out: tuple[str, ...] = ()
    """What the paper did and this code does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PPOPreset(Preset):
    """With the reward model that PPO was trained against."""

    policy: PolicySettings
    reward: RewardModelling
