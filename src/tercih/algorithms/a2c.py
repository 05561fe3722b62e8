"""A2C: the advantage of what came over what a critic expected, one update a rollout (Mnih et al. 2016,
arXiv:1602.01783, without its asynchrony); how Sparrow was trained (Glaese et al. 2022, arXiv:2209.14375)."""

from dataclasses import dataclass

from torch import Tensor

from tercih.batches import Valued
from tercih.card import Card
from tercih.families import ActorCritic

CARD = Card(
    does="PPO's first step and no other: a critic, no ratio, no clip",
    paper="Mnih et al. 2016",
    link="arXiv:1602.01783",
    family="policy gradients",
    when="Rollouts are cheap, so that none has to serve for several updates. Where they are dear, PPO makes more of"
    " each; where a critic is, RLOO has none.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class A2C(ActorCritic):
    """A = R − V: with λ = 1 the return is what really came. The KL penalty is PPO's, `kl_coef` too. The entropy
    coefficient is the paper's for Atari (its supplement, §8) and, as `value_coef`, that of OpenAI's baselines."""

    value_coef: float = 1.0  # of ½(V − R)²: baselines has 0.5, of (V − R)²
    entropy_coef: float = 0.01
    lam: float = 1.0
    whiten_advantages: bool = False

    def acted(self, logp_BT: Tensor, batch: Valued) -> Tensor:
        return -batch.advantage_BT * logp_BT  # ∇ log π (R − V), §4.2

    def valued(self, value_BT: Tensor, batch: Valued) -> Tensor:
        return 0.5 * (batch.return_BT - value_BT) ** 2
