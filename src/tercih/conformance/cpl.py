"""Proof of contrastive preference learning: from every pair of clips labelled by regret, the policy becomes the optimal
one of maximum-entropy RL."""

from statistics import mean

from tercih.agents.cpl import CPL
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.enumerable import total_variation
from tercih.conformance.lab import Always, Lab, train
from tercih.conformance.tables import Table, probabilities
from tercih.data.labelled_clips import shuffled
from tercih.forward import Models
from tercih.models.control import ActorCritic
from tercih.segments import SegmentPairs


def prove(lab: Lab, method: type[CPL] = CPL) -> Findings:
    tables = [Table(key=(lab.seed, i)) for i in range(lab.of(quick=3, full=5))]
    steps, labels = lab.of(quick=(100, 300), full=(400, 2000))
    learned, control = (
        [earned(table, method(alpha=table.alpha), labels, steps, lose=lose) for table in tables]
        for lose in (False, True)
    )
    cloned = [earned(table, method(pretraining=steps), labels, steps) for table in tables]
    alpha = tables[0].alpha
    return Findings(
        identity=every(
            at_most(
                "largest TV(π, π*), clips of one step", off(tables[0], method(alpha=alpha, lam=1.0), 1, steps), 1e-3
            ),
            at_most(
                "the same, two discounted steps",
                off(tables[0], method(alpha=alpha, lam=1.0, gamma=0.7), 2, steps, gamma=0.7),
                1e-3,
            ),
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
        ablation=at_least(
            "largest TV(π, π*), worse clips ignored (λ = 0)",
            off(tables[0], method(alpha=alpha, lam=0.0), 1, steps),
            0.1,
        ),
    )


def fitted(table: Table, method: CPL, pairs: SegmentPairs, steps: int) -> ActorCritic:
    actor = ActorCritic(*table.spaces, hidden=()).double()
    train(method, Models(policy=actor), Always(batch=pairs, steps=steps))
    return actor


def off(table: Table, method: CPL, length: int, steps: int, gamma: float = 1.0) -> float:
    """How far the policy is from the optimum in the worst state, from every pair and its exact probability."""
    pairs = table.population(table.soft_advantage_SA, length, gamma=gamma)
    found_SA = probabilities(fitted(table, method, pairs, steps), table)
    best_SA = (table.soft_advantage_SA / table.alpha).exp()
    return max(total_variation(found_A, best_A) for found_A, best_A in zip(found_SA, best_SA, strict=True))


def earned(table: Table, method: CPL, labels: int, steps: int, lose: bool = False) -> float:
    """By what was learned from sampled answers about random walks."""
    pairs = table.answers(table.soft_advantage_SA, labels)
    actor = fitted(table, method, shuffled(pairs, table.key[-1]) if lose else pairs, steps)
    return table.worth(probabilities(actor, table))
