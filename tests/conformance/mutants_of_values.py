"""Wrong versions of Nash-MD and of the offline value methods; see test_mutations."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import nn

from tercih.algorithms.awac import AWAC
from tercih.algorithms.cql import CQL, offered
from tercih.algorithms.ilql import ILQL
from tercih.algorithms.nash_md import NashMD
from tercih.batches import Batch, Compared, Rollout, Scored, Turns, Valued
from tercih.conformance import awac, cql, ilql, nash_md
from tercih.forward import Loss, Models, Want
from tercih.method import State
from tercih.ops import one_step


def advantage(change: Any) -> type[Any]:
    """Of Nash-MD, changed."""

    class Replaced(NashMD):
        def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Batch]:
            for batch in NashMD.batches(self, data, models, state):
                assert isinstance(batch, Compared)
                yield replace(batch, advantage_B=change(batch.advantage_B))

    return Replaced


class HalfOfTau(NashMD):
    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Batch]:
        return NashMD.batches(replace(self, tau=self.tau / 2), data, models, state)


class OnlyPlays(NashMD):
    """Whoever is preferred to the reference wins."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mixture", 1.0)


class Mean(ILQL):
    """V is what the reference earns, not the best of it."""

    def loss(self, policy: nn.Module, batch: Valued) -> Loss:
        return ILQL.loss(replace(self, tau=0.5), policy, batch)


class Myopic(ILQL):
    """Only the last token is worth anything."""

    def batches(self, data: Scored, models: Models, state: State) -> Iterator[Valued]:
        return ILQL.batches(replace(self, gamma=0.0), data, models, state)


class Bold(ILQL):
    """Without CQL."""

    def loss(self, policy: nn.Module, batch: Valued) -> Loss:
        return ILQL.loss(replace(self, cql_coef=0.0), policy, batch)


class Still(ILQL):
    """Targets stay where they were."""

    def batches(self, data: Scored, models: Models, state: State) -> Iterator[Valued]:
        return ILQL.batches(replace(self, polyak=0.0), data, models, state)


class Weightless(ILQL):
    """Every answer counts alike, however often it was given."""

    def loss(self, policy: nn.Module, batch: Valued) -> Loss:
        return ILQL.loss(self, policy, replace(batch, weight_B=batch.weight_B**0))


class HalfOfLambda(AWAC):
    def batches(self, data: Scored, models: Models, state: State) -> Iterator[Valued]:
        return AWAC.batches(replace(self, lam=self.lam / 2), data, models, state)


class OfTheData(AWAC):
    """What follows is worth what the data says next, and leads are over that."""

    def batches(self, data: Scored, models: Models, state: State) -> Iterator[Valued]:
        (batch,) = AWAC.batches(self, data, models, state)
        said = models.policy(data.tokens, Want(logp=False, actions=True))
        mask_BT = data.tokens.loss_mask_BT
        yield replace(batch, aim_BT=one_step(data.score_B, said.target_q_BT, mask_BT, self.gamma).detach())


class Whole(AWAC):
    """RWR: a token deserves what its answer scored."""

    def batches(self, data: Scored, models: Models, state: State) -> Iterator[Valued]:
        (batch,) = AWAC.batches(self, data, models, state)
        yield replace(batch, imitation_BT=(data.score_B[:, None] / self.lam).exp().expand_as(batch.aim_BT))


class NeverAhead(CQL):
    """A ranker of single turns."""

    def batches(self, data: Turns, models: Models, state: State) -> Iterator[Turns]:
        return CQL.batches(replace(self, gamma=0.0), data, models, state)


class ByLot(CQL):
    """What follows is worth the mean of what is offered, not the best of it."""

    def batches(self, data: Turns, models: Models, state: State) -> Iterator[Turns]:
        mean_N = offered(models.policy(data.tokens).detach(), data.offered_row_NK).mean(1)
        after_N = (data.next_N >= 0) * mean_N[data.next_N.clamp(min=0)]
        yield from [replace(data, aim_N=data.reward_N + self.gamma * after_N)] * self.updates


class Trusting(CQL):
    """Without CQL."""

    def loss(self, scorer: nn.Module, batch: Turns) -> Loss:
        return CQL.loss(replace(self, alpha=0.0), scorer, batch)


VALUES: dict[str, tuple[Any, dict[str, Any]]] = {
    "nash_md": (
        nash_md.prove,
        {
            "half of tau": HalfOfTau,
            "the less preferred": advantage(lambda advantage_B: -advantage_B),
            "the reference for a rival": OnlyPlays,
            "wins alone": advantage(lambda advantage_B: advantage_B.sign()),
        },
    ),
    "ilql": (
        ilql.prove,
        {"mean": Mean, "myopic": Myopic, "no CQL": Bold, "targets that stay": Still, "no weights": Weightless},
    ),
    "cql": (cql.prove, {"never ahead": NeverAhead, "the mean of the offer": ByLot, "no CQL": Trusting}),
    "awac": (
        awac.prove,
        {"half of lambda": HalfOfLambda, "what the data says next": OfTheData, "weighed by whole scores": Whole},
    ),
}
