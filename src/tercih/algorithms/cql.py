"""CQL over candidate utterances: what to say next in a dialogue, out of what is offered (Cohen et al. 2022,
arXiv:2208.02294; conservative Q-learning is Kumar et al. 2020's, arXiv:2006.04779).

A language model offers a few utterances, other ones at every turn, and a ranker that looks ahead picks one
(`tercih pick`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tercih.batches import Turns
from tercih.card import Card
from tercih.forward import Loss, Models, Term
from tercih.method import Method, State, check
from tercih.ops import mean_of

CARD = Card(
    does="picks the next utterance of a dialogue by where it leads",
    paper="Cohen et al. 2022",
    link="arXiv:2208.02294",
    family="offline values",
    when="Logged dialogues say which candidates there were at every turn, and what the dialogue was worth in the end."
    " Where single answers are scored, a reward model and best-of-n are all there is to it.",
)


def offered(score_B: Tensor, row_NK: Tensor) -> Tensor:
    """Scores of what was offered, shape (N, K): far below all others where nothing was."""
    return torch.where(row_NK >= 0, score_B[row_NK.clamp(min=0)], -1e30)  # finite: infinities have no gradient


def chosen(score_B: Tensor, row_NK: Tensor) -> Tensor:
    """Rows of the best of what is offered, and never another, shape (N,)."""
    return row_NK.gather(1, offered(score_B, row_NK).argmax(1, keepdim=True)).squeeze(1)


def cql_loss(score_NK: Tensor) -> Tensor:
    """log Σ e^Q over what was offered less Q of what was said (Kumar et al. 2020, eq. 4), shape (N,)."""
    return score_NK.logsumexp(1) - score_NK[:, 0]


@dataclass(frozen=True, kw_only=True, slots=True)
class CQL(Method):
    """The scorer is Q of a whole utterance after a context. Aims are r + γ max Q over what is offered next; they stand
    still for `updates` steps, as in fitted Q iteration, in the place of a second network. Defaults are from no paper
    but for `alpha`, that of the released code for discrete actions; with 0 Q is that of dynamic programming.
    """

    trains = "reward_model"
    learns_from = "turns"

    gamma: float = 0.99
    alpha: float = 1.0
    updates: int = 4

    def __post_init__(self) -> None:
        check(self, "cql", at_least_0=("alpha",), above_0=("updates",))
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"cql.gamma must be in [0, 1], got {self.gamma}")

    @torch.no_grad()
    def batches(self, data: Turns, models: Models, _state: State) -> Iterator[Turns]:
        best_N = offered(models.policy(data.tokens), data.offered_row_NK).amax(1)
        after_N = torch.where(data.next_N >= 0, best_N[data.next_N.clamp(min=0)], 0.0)
        batch = replace(data, aim_N=data.reward_N + self.gamma * after_N)
        yield from [batch] * self.updates

    def loss(self, scorer: nn.Module, batch: Turns) -> Loss:
        assert batch.aim_N is not None
        score_NK = offered(scorer(batch.tokens), batch.offered_row_NK)
        error_N = (score_NK[:, 0] - batch.aim_N) ** 2
        return Loss(
            terms={
                "q": Term(error_N.sum(), per="turns", weight=0.5),
                "cql": Term(cql_loss(score_NK).sum(), per="turns", weight=self.alpha),
            },
            metrics={"q": mean_of(score_NK[:, 0]), "said_best": mean_of((score_NK.argmax(1) == 0).float())},
        )
