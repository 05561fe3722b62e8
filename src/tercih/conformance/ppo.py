"""Proof of PPO: sampled rollouts lead to the exact optimum of KL-regularised RL, on sequences and on tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from scipy import optimize
from torch import Tensor

from tercih.algorithms.ppo import PPO
from tercih.batches import Batch, Valued
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.enumerable import distribution, divergence, optimum, total_variation
from tercih.conformance.lab import Lab, Sampled, World, generator, train
from tercih.families import ActorCritic
from tercih.forward import Want
from tercih.models.language_model import LanguageModel
from tercih.optimisation import Optimisation

BETA = 1.0
ROWS = 256  # responses in a rollout
KL_TARGET = 0.25  # nats per response
GAMMA = 4.0  # of PPO-ptx: large enough that the optimum gives nothing to answers that the text never says
TEXTS = 4000  # answers of pre-training text
FIXED_POINT_ROUNDS = 50
SETTLED = 0.25  # the share of a run, at its end, over which the KL is averaged


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a run ended with: π(y), the value of the prompt, and the KL to π0 over its last steps."""

    policy_Y: Tensor
    value: float
    kl: float


def prove(lab: Lab, method: type[PPO] = PPO) -> Findings:
    """On sequences: γ = λ = 1, so that every token is credited with all that comes after it; without whitening."""
    steps, fewer = lab.of(quick=50, full=150), lab.of(quick=30, full=150)  # fewer where bounds are wider
    world, on_sequences = lab.worlds[0], method(kl_coef=BETA, lam=1.0, whiten_advantages=False)
    runs = [reinforce(w, on_sequences, steps) for w in lab.worlds]
    on_tokens = reinforce(world, method(kl_coef=BETA, lam=0.95), fewer)
    adaptive = reinforce(world, method(kl_coef=BETA, kl_target=KL_TARGET, kl_horizon=1000), fewer)
    control = reinforce(world, on_sequences, fewer, shuffled=True)
    unbound = replace(on_sequences, kl_coef=0.0)
    free, text_B = reinforce(world, unbound, fewer), pretraining_text(world)
    mixed = reinforce(world, replace(unbound, pretraining_coef=GAMMA), 2 * fewer, text_B=text_B)
    return Findings(
        identity=every(
            at_most("TV to π*, sequences", max(map(distance, lab.worlds, runs)), 0.01),
            at_most("TV to π*, tokens with GAE .95", distance(world, on_tokens), 0.05),
            at_most("TV to PPO-ptx's optimum", total_variation(mixed.policy_Y, mixed_optimum(world, text_B)), 0.05),
            at_most("|V(prompt) − β log Z|", abs(runs[0].value - soft_value(world)), 0.05),
            at_most("|ρ − 1| before the first update", first_ratio(world, on_sequences), 1e-12),
            at_most("surrogate's gradient − explicit loop", loop_difference(world, on_sequences), 1e-12),
            at_most("|KL / target − 1| under the adaptive coefficient", abs(adaptive.kl / KL_TARGET - 1), 0.2),
        ),
        ordering=above_zero(
            "true reward, PPO − π0", [w.gain(run.policy_Y) for w, run in zip(lab.worlds, runs, strict=True)]
        ),
        negative_control=at_most(
            "gain in true reward, shuffled / real", world.gain(control.policy_Y) / world.gain(runs[0].policy_Y), 0.2
        ),
        ablation=every(
            at_least("TV to π*, KL term removed", distance(world, free), 0.1),
            at_most(
                "what pre-training text loses by RL, with PPO-ptx / without",
                divergence(world.base_Y, mixed.policy_Y) / divergence(world.base_Y, free.policy_Y),
                0.5,
            ),
        ),
    )


def target(world: World) -> Tensor:
    return optimum(world.base_Y, world.reward_Y, BETA)


def distance(world: World, run: Outcome) -> float:
    """TV to π*."""
    return total_variation(run.policy_Y, target(world))


def soft_value(world: World) -> float:
    """β log Σ_y π0(y) exp(r(y)/β): what the optimal policy expects, reward less its KL penalty."""
    return BETA * float((world.base_Y.log() + world.reward_Y / BETA).logsumexp(0))


def pretraining_text(world: World) -> Tensor:
    """Answers of the reference, as its pre-training text."""
    return torch.multinomial(world.base_Y, TEXTS, replacement=True, generator=generator(*world.key, 52))


def mixed_optimum(world: World, text_B: Tensor) -> Tensor:
    """argmax E_π[r] + γ E_text[log π] is γ p(y) / (λ − r(y)), p being the text's frequencies and λ such that it adds up
    to 1. Both means are over tokens, so γ is scaled by the ratio of mean lengths, which the optimum itself decides.
    """
    text_Y, length_Y, best = world.frequency(text_B), world.language.length_Y, float(world.reward_Y.max())
    policy_Y = text_Y
    for _ in range(FIXED_POINT_ROUNDS):
        scale = GAMMA * float((policy_Y * length_Y).sum() / (text_Y * length_Y).sum())

        def excess(above: float, scale: float = scale) -> float:
            return float((scale * text_Y / (best + above - world.reward_Y)).sum()) - 1

        above = optimize.brentq(excess, 1e-12, scale)
        policy_Y = scale * text_Y / (best + above - world.reward_Y)
    return policy_Y


def rollouts(
    world: World, policy: LanguageModel, steps: int, *, shuffled: bool = False, text_B: Tensor | None = None
) -> Sampled:
    return Sampled(
        language=world.language,
        policy=policy,
        reward_Y=world.reward_Y,
        steps=steps,
        rows=ROWS,
        key=(*world.key, 50),
        shuffled=shuffled,
        pretraining=None if text_B is None else Batch(tokens=world.language.tokens(text_B)),
    )


def reinforce(
    world: World, method: ActorCritic, steps: int, *, shuffled: bool = False, text_B: Tensor | None = None
) -> Outcome:
    policy, kl = world.policy(value="shared"), list[float]()

    def keep(step: int, metrics: Mapping[str, float]) -> None:
        if step >= steps * (1 - SETTLED):
            kl.append(metrics["kl"])

    # Steps differ in how fine they are, not in how far they lead; a forgetful Adam, as there are few of them.
    optimisation = Optimisation(lr=5 / steps, betas=(0.9, 0.99))
    data = rollouts(world, policy, steps, shuffled=shuffled, text_B=text_B)
    train(method, world.models(policy), data, optimisation, keep)
    with torch.no_grad():
        value_BT = policy(world.language.all, Want(value=True)).value_BT
    return Outcome(policy_Y=distribution(policy, world.language), value=float(value_BT[0, 0]), kl=sum(kl) / len(kl))


def first_batch(world: World, method: ActorCritic, policy: LanguageModel) -> Valued:
    models = world.models(policy)
    batch = next(method.batches(rollouts(world, policy, steps=1)(0), models, method.init(models)))
    assert isinstance(batch, Valued)
    return batch


def first_ratio(world: World, method: PPO) -> float:
    """Largest |ρ − 1| where the policy still is the one that sampled."""
    policy = world.policy(value="shared")
    batch = first_batch(world, method, policy)
    with torch.no_grad():
        ratio_BT = (policy(batch.tokens).logp_BT - batch.old_logp_BT).exp()
    return float((ratio_BT - 1).abs().max())


def loop_difference(world: World, method: PPO) -> float:
    """Largest difference of the surrogate's gradient at the logits from a plain loop over tokens, far from ρ = 1.

    −ρA(1[v = y] − π(v)) at every logit v, and nothing where ρ has left 1 ± clip to the side that A favours.
    """
    policy = world.policy(value="shared")
    batch = first_batch(world, method, policy)
    weight_VD = policy.causal.table.weight
    with torch.no_grad():
        weight_VD += 0.3 * torch.randn(weight_VD.shape, generator=generator(*world.key, 51), dtype=weight_VD.dtype)
    term = method.loss(policy, batch).terms["policy"]
    (gradient_VD,) = torch.autograd.grad(term.weight * term.sum / batch.units()[term.per], weight_VD)
    expected_VD, logp_VD = torch.zeros_like(weight_VD), weight_VD.detach().log_softmax(0)
    lengths: list[int] = batch.tokens.response_len_B.tolist()
    for row, length in enumerate(lengths):
        answer = batch.tokens.response_ids_BT[row, :length].tolist()
        for t, prefix in enumerate(world.language.path(answer)[:-1]):
            ratio = float((logp_VD[answer[t], prefix] - batch.old_logp_BT[row, t]).exp())
            advantage = float(batch.advantage_BT[row, t])
            clipped = ratio > 1 + method.clip if advantage > 0 else ratio < 1 - method.clip
            if not clipped:
                pull_V = -logp_VD[:, prefix].exp()
                pull_V[answer[t]] += 1
                expected_VD[:, prefix] -= ratio * advantage * pull_V / sum(lengths)
    return float((gradient_VD - expected_VD).abs().max())
