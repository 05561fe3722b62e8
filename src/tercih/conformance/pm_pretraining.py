"""Proof of preference-model pre-training (Askell et al. 2021, arXiv:2112.00861): a reward model that first read many
comparisons of something else needs fewer of what is meant. It is `bradley_terry` twice, the second time going on with
the first."""

from math import sqrt
from statistics import mean

import torch
from torch import Tensor

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.batches import Pairs
from tercih.card import Card
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import EXACT, Always, Lab, World, generator, train
from tercih.conformance.labels import all_pairs, drawn, shuffled
from tercih.forward import Models
from tercih.models.reward_model import RewardModel
from tercih.optimisation import Optimisation

CARD = Card(
    does="a reward model that read comparisons of something near before those that are meant",
    paper="Askell et al. 2021",
    link="arXiv:2112.00861",
    family="reward models",
    when="Few comparisons of what you mean, and many of something near it: ranked answers of a forum, another project's"
    " pairs, or answers that another model made better and worse. Nothing is gained where what is near is not alike.",
    command="tercih train bradley_terry --model REWARD_MODEL",
)
ALIKE = 0.9  # correlation of what the foreign comparisons value with what is meant
FEW, MORE, DRAWS = 150, 300, 2  # labels, and how often they are drawn anew
SHORT, LONG = 12, 60  # steps of the second stage
GENTLE = Optimisation(lr=0.05, betas=(0.5, 0.9))


def prove(lab: Lab, method: type[BradleyTerry] = BradleyTerry) -> Findings:
    steps = lab.of(quick=60, full=200)
    stages = [(world, fitted(world.scorer(), method(), foreign(world), steps)) for world in lab.worlds]
    after = [tuned(w, first, method(), FEW, SHORT) for w, first in stages]
    # From nothing it takes longer; more steps than these help little.
    scratch = [tuned(w, w.scorer(), method(), FEW, LONG) for w, _ in stages]
    more = [tuned(w, w.scorer(), method(), MORE, LONG) for w, _ in stages]
    by_lot = [fitted(w.scorer(), method(), shuffled(foreign(w), generator(*w.key, 72)), steps) for w in lab.worlds]
    control = [tuned(w, first, method(), FEW, LONG) for w, first in zip(lab.worlds, by_lot, strict=True)]
    world, first = stages[0]
    return Findings(
        identity=every(
            at_most("max error of score differences, foreign", error(world.score(first), valued(world)), 0.05),
            at_most(
                "the same of what is meant, from all pairs and on top of the foreign ones",
                error(world.score(fitted(copied(world, first), method(), meant(world), steps)), world.reward_Y),
                0.05,
            ),
        ),
        ordering=above_zero(
            f"accuracy on all pairs, {FEW} labels after pre-training − {MORE} without",
            [a - b for a, b in zip(after, more, strict=True)],
        ),
        negative_control=at_most(
            "gain in accuracy, shuffled / real foreign comparisons",
            (mean(control) - mean(scratch)) / (mean(after) - mean(scratch)),
            0.2,
        ),
        ablation=at_least(f"accuracy of {FEW} labels, pre-training − none", mean(after) - mean(scratch), 0.03),
    )


def valued(world: World) -> Tensor:
    """What the foreign comparisons are about: partly what is meant."""
    noise_Y = torch.randn(world.reward_Y.shape, generator=generator(*world.key, 70), dtype=torch.float64)
    return ALIKE * world.reward_Y + sqrt(1 - ALIKE**2) * noise_Y


def foreign(world: World) -> Pairs:
    return all_pairs(world.language, valued(world), generator(*world.key, 20))


def meant(world: World) -> Pairs:
    return all_pairs(world.language, world.reward_Y, generator(*world.key, 20))


def copied(world: World, scorer: RewardModel) -> RewardModel:
    twin = world.scorer()
    twin.load_state_dict(scorer.state_dict())
    return twin


def fitted(
    scorer: RewardModel, method: BradleyTerry, pairs: Pairs, steps: int, optimisation: Optimisation = EXACT
) -> RewardModel:
    train(method, Models(policy=scorer), Always(batch=pairs, steps=steps), optimisation)
    return scorer


def tuned(world: World, first: RewardModel, method: BradleyTerry, labels: int, steps: int) -> float:
    """Accuracy after training on top of `first`, from so many answers of simulated people; the mean over draws."""
    samples = [drawn(meant(world), labels, generator(*world.key, 71, draw)) for draw in range(DRAWS)]
    return mean(accuracy(world, fitted(copied(world, first), method, sample, steps, GENTLE)) for sample in samples)


def accuracy(world: World, scorer: RewardModel) -> float:
    """How many of all pairs are in the right order."""
    said_Y, true_Y = world.score(scorer), world.reward_Y
    first_N, second_N = torch.combinations(torch.arange(len(true_Y))).unbind(1)
    right_N = (said_Y[first_N] > said_Y[second_N]) == (true_Y[first_N] > true_Y[second_N])
    return float(right_N.double().mean())


def error(said_Y: Tensor, true_Y: Tensor) -> float:
    return float(((said_Y - said_Y.mean()) - (true_Y - true_Y.mean())).abs().max())
