"""ILQL: implicit language Q-learning, from scored dialogues alone (Snell et al. 2022, arXiv:2206.11871; as released in
trlx).

What a token is worth is learned without ever asking for a token that the data does not hold: V is an upper expectile of
Q over what was said, and stands for the best of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tercih.batches import ActionsValued, Scored
from tercih.card import Card
from tercih.forward import Loss, Models, Term, Want
from tercih.method import Method, State, check
from tercih.ops import mean_of, one_step, total, twin_error

CARD = Card(
    does="learns what every token is worth, from scored answers alone",
    paper="Snell et al. 2022",
    link="arXiv:2206.11871",
    family="offline values",
    when="There are scored answers or dialogues and nothing new can be sampled or scored. It puts together what was"
    " good in several, which imitating the best ones cannot. Where new answers can be scored, take RLOO or PPO.",
)


def expectile_loss(lead: Tensor, tau: float) -> Tensor:
    """|τ − 1(lead < 0)| lead², eq. 4: its minimum is the mean for τ = ½, and the largest lead as τ → 1."""
    return torch.where(lead < 0, 1 - tau, tau) * lead**2


@dataclass(frozen=True, kw_only=True, slots=True)
class ILQL(Method):
    """Defaults are trlx's. A response's score is the reward of its last token; of a conversation every turn of the
    assistant's is acted, and values go from one to the next. `policy.steered(beta)` is what to sample from.

    `cql_coef` keeps Q of tokens that were not said below those that were, at the price of all Q: with 0 they are those
    of dynamic programming. `awac_beta` weighs imitation by exp(β(Q − V)); 0 is plain imitation.
    """

    learns_from = "scored"
    needs_values = True
    needs_action_values = True

    tau: float = 0.7
    gamma: float = 0.99
    cql_coef: float = 0.1
    awac_coef: float = 1.0
    awac_beta: float = 0.0
    polyak: float = 0.001
    target_every: int = 5

    def __post_init__(self) -> None:
        check(self, "ilql", at_least_0=("cql_coef", "awac_coef", "awac_beta"), above_0=("target_every",))
        if not 0 < self.tau < 1:
            raise ValueError(f"ilql.tau must be in (0, 1), got {self.tau}")
        for name in ("gamma", "polyak"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"ilql.{name} must be in [0, 1], got {getattr(self, name)}")

    def init(self, models: Models) -> State:
        return {"updates": 0}

    @torch.no_grad()
    def batches(self, data: Scored, models: Models, state: State) -> Iterator[ActionsValued]:
        follow = self.polyak if state["updates"] % self.target_every == 0 else 0.0
        mask_BT = data.tokens.loss_mask_BT
        said = models.policy(data.tokens, Want(logp=False, value=True, actions=True, follow=follow))
        aim_BT = one_step(data.score_B, said.value_BT, mask_BT, self.gamma)
        lead_BT = said.target_q_BT - said.value_BT
        yield ActionsValued(
            tokens=data.tokens, aim_BT=aim_BT, target_q_BT=said.target_q_BT,
            imitation_BT=(self.awac_beta * lead_BT).exp(), weight_B=data.weight_B,
        )  # fmt: skip

    def loss(self, policy: nn.Module, batch: ActionsValued) -> Loss:
        """Eq. 3 to 5 and the likelihood of what was said."""
        assert batch.target_q_BT is not None
        mask_BT, weight_B1 = batch.tokens.loss_mask_BT, batch.weight_B[:, None]
        said = policy(batch.tokens, Want(value=True, actions=True))
        q_BT = twin_error(said.q_BT, said.other_q_BT, batch.aim_BT)
        v_BT = expectile_loss(batch.target_q_BT - said.value_BT, self.tau)
        cql_BT, awac_BT = -(said.q_logp_BT + said.other_q_logp_BT), -batch.imitation_BT * said.logp_BT

        def term(x_BT: Tensor, weight: float = 1.0) -> Term:
            return Term(total(weight_B1 * x_BT, mask_BT), per="tokens", weight=weight)

        return Loss(
            terms={
                "q": term(q_BT), "v": term(v_BT), "cql": term(cql_BT, self.cql_coef),
                "awac": term(awac_BT, self.awac_coef),
            },
            metrics={
                "value": mean_of(said.value_BT, mask_BT),
                "q_lead": mean_of(batch.target_q_BT - said.value_BT, mask_BT),
                "nats_per_token": mean_of(-said.logp_BT, mask_BT),
            },
        )  # fmt: skip

    def after(self, state: State, data: Any, metrics: Mapping[str, float]) -> State:
        return {"updates": state["updates"] + 1}
