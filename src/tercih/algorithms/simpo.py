"""SimPO: the mean log-probability of a response as its reward, and no reference (Meng et al. 2024,
arXiv:2405.14734)."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from tercih.batches import Pairs
from tercih.card import Card
from tercih.families import PairMethod
from tercih.method import check
from tercih.ops import row_mean

CARD = Card(
    does="the mean log-probability of an answer as its reward",
    paper="Meng et al. 2024",
    link="arXiv:2405.14734",
    family="direct preference losses",
    when=(
        "Pairs, no reference, and no reward for mere length. Nothing holds it near its start: watch how far it goes."
    ),
)


def simpo_loss(difference_N: Tensor, chance_N: Tensor, gamma: float) -> Tensor:
    """Eq. 6: −log σ(difference − γ), where the difference is that of the better response's reward to the other's."""
    return -chance_N * logsigmoid(difference_N - gamma) - (1 - chance_N) * logsigmoid(-difference_N - gamma)


@dataclass(frozen=True, kw_only=True, slots=True)
class SimPO(PairMethod):
    """A response's reward is β/|y| log π(y) (eq. 4), what decoding maximises. Only the learning rate holds the policy
    near where it began: the authors' are 3e-7 to 1e-6. Defaults are those of their released code for the
    Mistral base model."""

    beta: float = 2.0
    gamma: float = 1.6

    def __post_init__(self) -> None:
        check(self, "simpo", above_0=("beta",), at_least_0=("gamma",))

    def worth(self, logp_BT: Tensor, batch: Pairs) -> Tensor:
        return self.beta * row_mean(logp_BT, batch.tokens.loss_mask_BT)

    def compared(self, difference_N: Tensor, chance_N: Tensor) -> Tensor:
        return simpo_loss(difference_N, chance_N, self.gamma)
