"""Proof of conditional training: behind the good words stands what the reference says of good, behind the bad words
the rest."""

from collections.abc import Mapping

from torch import Tensor

from tercih.algorithms.conditional import Conditional
from tercih.batches import Scored
from tercih.conformance.checks import Findings, above_zero, at_least, at_most
from tercih.conformance.enumerable import total_variation
from tercih.conformance.lab import Always, Lab, World, train
from tercih.conformance.weighing import behind, population, shuffled, weighed, with_room
from tercih.forward import Models

THRESHOLD = 0.3
WORDS = {"good": (1,), "bad": (2,)}


def prove(lab: Lab, method: type[Conditional] = Conditional) -> Findings:
    steps = lab.of(quick=80, full=250)
    worlds = [with_room(world) for world in lab.worlds]
    found = [told(method, world, steps, population(world)) for world in worlds]
    good = [world.gain(good_Y) for world, (good_Y, _) in zip(worlds, found, strict=True)]
    bad = [world.gain(bad_Y) for world, (_, bad_Y) in zip(worlds, found, strict=True)]
    chance = [world.gain(told(method, world, steps, shuffled(world))[0]) for world in worlds]
    same_Y, _ = told(method, worlds[0], steps, population(worlds[0]), dict.fromkeys(WORDS, (1,)))
    return Findings(
        identity=at_most(
            "TV to p(y | score) behind either words, of all worlds the furthest",
            max(
                total_variation(behind_Y, side_Y)
                for world, pair in zip(worlds, found, strict=True)
                for behind_Y, side_Y in zip(pair, sides(world), strict=True)
            ),
            0.01,
        ),
        ordering=above_zero(
            "true reward, behind the good words − behind the bad", [a - b for a, b in zip(good, bad, strict=True)]
        ),
        negative_control=at_most("|gain in true reward|, shuffled / real scores", abs(sum(chance)) / sum(good), 0.2),
        ablation=at_least(
            "TV to p(y | good) where words are all the same", total_variation(same_Y, sides(worlds[0])[0]), 0.1
        ),
    )


def sides(world: World) -> tuple[Tensor, Tensor]:
    """What the reference says of answers that score enough, and of the others."""
    good_Y = world.reward_Y >= THRESHOLD
    return weighed(world.base_Y, good_Y.double()), weighed(world.base_Y, (~good_Y).double())


def told(
    method: type[Conditional], world: World, steps: int, data: Scored, words: Mapping[str, tuple[int, ...]] = WORDS
) -> tuple[Tensor, Tensor]:
    """π(y | good) and π(y | bad) after training."""
    policy, configured = world.policy(), method(threshold=THRESHOLD, good="good", bad="bad", drop=0.0)
    train(configured, Models(policy=policy, words=words), Always(batch=data, steps=steps))
    return behind(world, policy, words["good"]), behind(world, policy, words["bad"])
