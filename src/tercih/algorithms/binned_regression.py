"""Binned regression: a reward model that learns from ratings how likely each rating is, and scores their mean (the
reward model of lucidrains' PaLM-rlhf-pytorch, there with one bin for each of the ratings 1 to 5)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tercih.batches import Scored
from tercih.card import Card
from tercih.forward import Loss, Models, Term
from tercih.method import Method, State, check
from tercih.ops import mean_of

CARD = Card(
    does="learns from ratings how likely each of them is; the score is their mean",
    paper="lucidrains, PaLM-rlhf-pytorch",
    link="",
    family="reward models",
    when="People rated single answers on a scale, and do not agree. Score regression is simpler and finds the same"
    " mean; bins also say how far people are apart, and no rating pulls harder for being far off.",
)


def two_bins(score_B: Tensor, centre_K: Tensor) -> Tensor:
    """Each score as a distribution over the two bins beside it whose mean it is, shape (B, K): one bin alone where it
    is a centre. Centres rise."""
    above_B = torch.searchsorted(centre_K, score_B.contiguous()).clamp(1, len(centre_K) - 1)
    low_B, high_B = centre_K[above_B - 1], centre_K[above_B]
    share_B = (score_B - low_B) / (high_B - low_B)
    target_BK = score_B.new_zeros(len(score_B), len(centre_K))
    target_BK.scatter_(1, above_B[:, None] - 1, 1 - share_B[:, None])
    return target_BK.scatter_(1, above_B[:, None], share_B[:, None])


@dataclass(frozen=True, kw_only=True, slots=True)
class BinnedRegression(Method):
    """Cross-entropy between `bins` centres, evenly from `low` to `high`, and where a score lies among them. Defaults as
    the code's (5 bins) for ratings from 1 to 5; a score beyond the ends is refused."""

    trains = "reward_model"
    learns_from = "scored"

    bins: int = 5
    low: float = 1.0
    high: float = 5.0

    def __post_init__(self) -> None:
        check(self, "binned_regression", above_0=("bins",))
        if self.bins < 2 or not self.high > self.low:
            raise ValueError(
                "binned_regression needs at least two bins from low to high, with low < high; got"
                f" {self.bins} from {self.low:g} to {self.high:g}"
            )

    @property
    def centres(self) -> tuple[float, ...]:
        """What the head of the reward model tells apart."""
        step = (self.high - self.low) / (self.bins - 1)
        return tuple(self.low + step * k for k in range(self.bins))

    def batches(self, data: Scored, models: Models, state: State) -> Iterator[Scored]:
        lowest, highest = float(data.score_B.min()), float(data.score_B.max())
        if not self.low <= lowest <= highest <= self.high:
            raise ValueError(
                f"scores reach from {lowest:g} to {highest:g}, beyond the bins from {self.low:g} to {self.high:g}; set"
                " --method.low and --method.high to the ends of the scale"
            )
        yield data

    def loss(self, scorer: nn.Module, batch: Scored) -> Loss:
        logp_BK = scorer(batch.tokens, by_bin=True)
        centre_K = torch.tensor(self.centres, device=logp_BK.device, dtype=logp_BK.dtype)
        loss_B = -(two_bins(batch.score_B.to(logp_BK.dtype), centre_K) * logp_BK).sum(1)
        mean_B = logp_BK.exp() @ centre_K
        return Loss(
            terms={"cross_entropy": Term((batch.weight_B * loss_B).sum(), per="rows")},
            metrics={
                "error": mean_of((mean_B - batch.score_B).abs()),
                "entropy": mean_of(-(logp_BK.exp() * logp_BK).sum(1)),
            },
        )
