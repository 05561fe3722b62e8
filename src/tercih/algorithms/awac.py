"""AWAC: imitate what was said by how much better it is than what the policy itself would say (Nair et al. 2020,
arXiv:2006.09359)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tercih.batches import ActionsValued, Scored
from tercih.card import Card
from tercih.forward import Loss, Models, Term, Want
from tercih.method import Method, State, check
from tercih.ops import mean_of, one_step, total, twin_error

CARD = Card(
    does="imitates scored answers token by token, by what each is worth",
    paper="Nair et al. 2020",
    link="arXiv:2006.09359",
    family="offline values",
    when="Scored answers, and a policy that any tool can sample from. Where all tokens of an answer deserve its score"
    " alike, RWR needs no values; ILQL takes the best of what was said and has to be steered when it is sampled.",
)


def awac_weight(lead_BT: Tensor, lam: float) -> Tensor:
    """exp(A/λ), eq. 13: the advantage is over what the policy would say now, not over what the data said."""
    return (lead_BT / lam).exp()


@dataclass(frozen=True, kw_only=True, slots=True)
class AWAC(Method):
    """Q is that of the policy as it is (eq. 4): what follows is worth its expectation over the policy's own tokens,
    summed over the vocabulary and not sampled. A response's score is the reward of its last token. Defaults
    are the released code's (rlkit): `lam` and `gamma` the trainer's, `polyak` that of both examples.
    """

    learns_from = "scored"
    needs_action_values = True

    lam: float = 1.0
    gamma: float = 0.99
    polyak: float = 0.005

    def __post_init__(self) -> None:
        check(self, "awac", above_0=("lam",))
        for name in ("gamma", "polyak"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"awac.{name} must be in [0, 1], got {getattr(self, name)}")

    @torch.no_grad()
    def batches(self, data: Scored, models: Models, _state: State) -> Iterator[ActionsValued]:
        said = models.policy(data.tokens, Want(logp=False, actions=True, expected=True, follow=self.polyak))
        yield ActionsValued(
            tokens=data.tokens,
            aim_BT=one_step(data.score_B, said.mean_q_BT, data.tokens.loss_mask_BT, self.gamma),
            imitation_BT=awac_weight(said.target_q_BT - said.mean_q_BT, self.lam),
            weight_B=data.weight_B,
        )

    def loss(self, policy: nn.Module, batch: ActionsValued) -> Loss:
        mask_BT, weight_B1 = batch.tokens.loss_mask_BT, batch.weight_B[:, None]
        said = policy(batch.tokens, Want(actions=True))
        q_BT = twin_error(said.q_BT, said.other_q_BT, batch.aim_BT)
        return Loss(
            terms={
                "q": Term(total(weight_B1 * q_BT, mask_BT), per="tokens"),
                "policy": Term(total(-weight_B1 * batch.imitation_BT * said.logp_BT, mask_BT), per="tokens"),
            },
            metrics={
                "q": mean_of(said.q_BT, mask_BT),
                "imitation": mean_of(batch.imitation_BT, mask_BT),
                "nats_per_token": mean_of(-said.logp_BT, mask_BT),
            },
        )
