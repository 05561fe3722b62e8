"""Proof of context distillation: without the context the policy says what the reference says with it, whatever text
they were compared on."""

import torch
from torch import Tensor

from tercih.algorithms.context_distillation import ContextDistillation
from tercih.algorithms.sft import SFT
from tercih.batches import Batch
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.enumerable import distribution, total_variation
from tercih.conformance.groups import moved
from tercih.conformance.lab import Always, Lab, World, train
from tercih.conformance.weighing import behind, with_room
from tercih.forward import Models
from tercih.method import Method
from tercih.models.language_model import LanguageModel, Reference

CONTEXT, SILENT = (1,), ()


def prove(lab: Lab, method: type[ContextDistillation] = ContextDistillation) -> Findings:
    steps = lab.of(quick=35, full=150)
    worlds = [with_room(world) for world in lab.worlds]
    configured = method(context="context")
    found = [distilled(world, configured, steps) for world in worlds]
    before = [total_variation(world.base_Y, target(world)) for world in worlds]
    after = [total_variation(policy_Y, target(world)) for world, policy_Y in zip(worlds, found, strict=True)]
    silent_Y = distilled(worlds[0], configured, steps, context=SILENT)
    return Findings(
        identity=every(
            at_most("TV to the reference with the context, of all worlds the furthest", max(after), 0.01),
            at_most("|loss − plain sum over answers|", abs(difference(worlds[0], configured)), 1e-9),
        ),
        ordering=above_zero(
            "TV to the reference with the context, before − after", [a - b for a, b in zip(before, after, strict=True)]
        ),
        negative_control=at_most(
            "TV from the reference, of a context without tokens", total_variation(silent_Y, worlds[0].base_Y), 1e-4
        ),
        ablation=at_least(
            "TV to the reference with the context, the text imitated instead",
            total_variation(distilled(worlds[0], SFT(), steps), target(worlds[0])),
            0.1,
        ),
    )


def target(world: World) -> Tensor:
    """What the reference says with the context."""
    return behind(world, world.policy(), CONTEXT)


def models(world: World, policy: LanguageModel, context: tuple[int, ...] = CONTEXT) -> Models:
    """The prompt is one token, which stands for how every text begins."""
    return Models(policy=policy, reference=Reference(world.policy()), words={"": (0,), "context": context})


def distilled(world: World, method: Method, steps: int, context: tuple[int, ...] = CONTEXT) -> Tensor:
    """π(y) after training on every answer once: a text that neither of the two would write."""
    policy = world.policy()
    train(method, models(world, policy, context), Always(batch=Batch(tokens=world.language.all), steps=steps))
    return distribution(policy, world.language)


def difference(world: World, method: ContextDistillation) -> float:
    """The method's loss on all answers, less the same from the chances of whole answers alone: KL of a token's
    distribution, after every prefix of every answer."""
    policy = moved(world, 66)
    (batch,) = method.batches(Batch(tokens=world.language.all), models(world, policy), {})
    with torch.no_grad():
        (term,) = method.loss(policy, batch).terms.values()
    student, teacher = (each.tolist() for each in (distribution(policy, world.language), target(world)))
    answers = world.language.answers
    total, tokens = 0.0, 0

    def chances(of: list[float], prefix: tuple[int, ...]) -> list[float]:
        going = [
            sum(p for p, answer in zip(of, answers, strict=True) if answer[: len(prefix) + 1] == (*prefix, token))
            for token in range(world.language.vocabulary)
        ]
        return [p / sum(going) for p in going]

    for answer in answers:
        for t in range(len(answer)):
            p, q = torch.tensor([chances(of, answer[:t]) for of in (teacher, student)], dtype=torch.float64)
            total += float((p * (p / q).log()).sum())
            tokens += 1
    return float(term.sum) / tokens - total / tokens
