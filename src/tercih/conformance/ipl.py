"""Proof of inverse preference learning: the reward that Q implies is the one Bradley and Terry's model would learn."""

from statistics import mean

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from tercih.agents.ipl import IPL, Implicit
from tercih.conformance.checks import Findings, above_zero, at_least, at_most
from tercih.conformance.lab import Always, Lab, train
from tercih.conformance.tables import Table, cloning, probabilities
from tercih.data.labelled_clips import shuffled
from tercih.forward import Models
from tercih.segments import SegmentPairs


def prove(lab: Lab, method: type[IPL] = IPL) -> Findings:
    tables = [Table(key=(lab.seed, i)) for i in range(lab.of(quick=3, full=5))]
    steps, labels = lab.of(quick=(70, 300), full=(400, 2000))
    gamma = tables[0].gamma
    usual, myopic = method(gamma=gamma, tau=1.0), method(gamma=0.0, tau=1.0)
    learned, control, without = (
        [earned(table, each, labels, steps, lose=lose) for table in tables]
        for each, lose in ((usual, False), (usual, True), (myopic, False))
    )
    cloned = [table.worth(cloning(table.answers(table.reward_SA, labels), table)) for table in tables]
    return Findings(
        identity=at_most(
            "largest difference of Q − γV(s') from the reward of Bradley–Terry",
            off(tables[0], method(gamma=gamma, chi2=0.01, expectile=0.5, tau=1.0), 3 * steps),
            0.01,
        ),
        ordering=above_zero(
            f"return − that of cloning the same {labels} pairs", [a - b for a, b in zip(learned, cloned, strict=True)]
        ),
        negative_control=at_most(
            "the same with shuffled labels, mean",
            mean(control) - mean(cloned),
            1.0,
            f"{mean(learned) - mean(cloned):.3g} with real ones",
        ),
        ablation=at_least("return − that without V(s'), mean", mean(learned) - mean(without), 0.1),
    )


def fitted(table: Table, method: IPL, pairs: SegmentPairs, steps: int) -> Implicit:
    model = Implicit(*table.spaces, hidden=(), critics=1).double()
    train(method, Models(policy=model), Always(batch=pairs, steps=steps))
    return model


def off(table: Table, method: IPL, steps: int) -> float:
    """Clips of one step and its successor, every pair of them; the other reward is a table, fitted by L-BFGS to the
    same comparisons with the same weight on its squares."""
    pairs = table.population(table.reward_SA, 2, last=False)
    model = fitted(table, method, pairs, steps)
    with torch.no_grad():
        implied_B = model.reward(pairs.items, method.gamma)[0, :, 0]
    place_B = pairs.items.observation_BTO[:, 0] * table.actions + pairs.items.action_BTA[:, 0]
    reward_P = plain_reward(table.states * table.actions, place_B, pairs, method.chi2)
    return float((implied_B - reward_P[place_B]).abs().max())


def plain_reward(places: int, place_B: Tensor, pairs: SegmentPairs, chi2: float) -> Tensor:
    reward_P = torch.zeros(places, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([reward_P], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def loss() -> Tensor:
        optimiser.zero_grad()
        of_B = reward_P[place_B]
        difference_N = of_B[pairs.first_row_N] - of_B[pairs.second_row_N]
        value = binary_cross_entropy_with_logits(difference_N, pairs.target_N3[:, 0]) + chi2 * of_B.square().mean()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return reward_P.detach()


def earned(table: Table, method: IPL, labels: int, steps: int, lose: bool) -> float:
    """By the actor learned from sampled answers about random walks."""
    pairs = table.answers(table.reward_SA, labels, last=False)
    model = fitted(table, method, shuffled(pairs, table.key[-1]) if lose else pairs, steps)
    return table.worth(probabilities(model.actor, table))
