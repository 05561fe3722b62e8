"""An engine of another program samples from almost the learner's policy π: from a μ that rounds otherwise.

What is learned from such samples as if π had drawn them is biased (Yao et al. 2025, "Your efficient RL framework
secretly brings you off-policy RL training"). Here the distance is measured, and corrected by importance sampling with
weights min(π/μ, C) (Yao et al.'s TIS; truncated as in Espeholt et al. 2018, arXiv:1802.01561, eq. 1).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tercih.forward import Mean
from tercih.ops import kl3, mean_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """How gradients make up for an engine that is not quite the policy. Without effect where engine and learner agree:
    every weight is then exactly 1.
    """

    level: Literal["token", "sequence", "none"] = "token"
    """Weigh every token by its own π/μ (Yao et al. 2025: what came before it is taken as π's), or all tokens of a
    response by the product of theirs: unbiased below the cap, and of higher variance."""
    cap: float = 2.0
    """C: no weight is larger (Yao et al. 2025)."""

    def __post_init__(self) -> None:
        if not self.cap >= 1:
            raise ValueError(f"correction.cap must be >= 1, got {self.cap}")

    def weight(self, logp_BT: Tensor, engine_logp_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """min(π/μ, C) of every token, shape (B, T), 1 outside the mask."""
        gap_BT = torch.where(mask_BT, logp_BT - engine_logp_BT, 0.0)
        if self.level == "none":
            return torch.ones_like(gap_BT)
        if self.level == "sequence":
            gap_BT = torch.where(mask_BT, gap_BT.sum(1, keepdim=True), 0.0)
        return gap_BT.clamp(max=math.log(self.cap)).exp()


def mismatch(logp_BT: Tensor, engine_logp_BT: Tensor, mask_BT: Tensor, correction: Correction) -> dict[str, Mean]:
    """Metrics: the mean and the largest |log π − log μ| of a token, KL(μ‖π) by k3, the mean weight, and the share of
    tokens whose weight is cut off."""
    gap_BT = torch.where(mask_BT, (logp_BT - engine_logp_BT).abs(), 0.0)
    weight_BT = correction.weight(logp_BT, engine_logp_BT, mask_BT)
    uncut_BT = Correction(level=correction.level, cap=math.inf).weight(logp_BT, engine_logp_BT, mask_BT)
    return {
        "engine/gap": mean_of(gap_BT, mask_BT),
        "engine/largest_gap": (gap_BT.max(), torch.tensor(1.0)),
        "engine/kl": mean_of(kl3(engine_logp_BT, logp_BT), mask_BT),
        "engine/weight": mean_of(weight_BT, mask_BT),
        "engine/cut_off": mean_of((uncut_BT > correction.cap).float(), mask_BT),
    }
