"""Rejection sampling: imitate only what scores enough (filtering in Korbak et al. 2023, arXiv:2302.08582, §2 †)."""

from dataclasses import dataclass

from torch import Tensor

from tercih.batches import Scored
from tercih.card import Card
from tercih.families import WeightedMLE
from tercih.ops import best_share

CARD = Card(
    does="imitates only the responses that score enough",
    paper="Korbak et al. 2023",
    link="arXiv:2302.08582",
    family="select, weight, condition",
    when="You have scored text and want the simplest baseline. It throws away what bad text says of language: where"
    " that is most of your data, conditional training or RWR learn from it too.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FilteredSFT(WeightedMLE):
    """Accepted is what scores `threshold` or more (None: anything does) and is in the best `fraction` of its step,
    which should then have many rows. The optimum is p(y | accepted), p being what wrote the data. Defaults are ours:
    scores have the scale of your data."""

    threshold: float | None = 0.0
    fraction: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"filtered_sft.fraction must be in (0, 1], got {self.fraction}")
        if self.threshold != self.threshold:
            raise ValueError("filtered_sft.threshold must be a number or None, got nan")
        if self.threshold is None and self.fraction == 1:
            raise ValueError(
                "filtered_sft accepts everything; set --method.threshold or --method.fraction, or take sft"
            )

    def weight(self, data: Scored) -> Tensor:
        kept_B = best_share(data.score_B, data.weight_B, self.fraction)
        if self.threshold is not None:
            kept_B = kept_B & (data.score_B >= self.threshold)
        return kept_B.to(data.weight_B)
