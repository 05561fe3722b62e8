"""Proof of NLPO: where everything may be said it is PPO, bit by bit; otherwise what is masked is never said, the mask
moves when it should and only then, and what is learned is the optimum of what is left."""

from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise

import torch
from torch import Tensor

from tercih.algorithms.nlpo import NLPO
from tercih.algorithms.ppo import PPO
from tercih.batches import Valued
from tercih.conformance.checks import Check, Findings, above_zero, at_least, at_most, every
from tercih.conformance.enumerable import distribution, total_variation
from tercih.conformance.groups import kept, largest
from tercih.conformance.lab import Lab, World, generator, said, train
from tercih.conformance.ppo import BETA, rollouts
from tercih.families import ActorCritic
from tercih.forward import Want
from tercih.models.language_model import LanguageModel
from tercih.ops import row_sum
from tercih.optimisation import Optimisation

TOP_P = 0.8
NEVER = 10**6  # rollouts until the mask moves
EVERY = 3


def prove(lab: Lab, method: type[NLPO] = NLPO) -> Findings:
    steps = lab.of(quick=30, full=150)
    world = lab.worlds[0]
    fixed = method(kl_coef=BETA, lam=1.0, whiten_advantages=False, epochs=2, top_p=TOP_P, min_keep=1, mask_every=NEVER)
    runs = [trained(w, fixed, steps) for w in lab.worlds]
    control = trained(world, fixed, steps, shuffled=True)
    free = trained(world, PPO(kl_coef=BETA, lam=1.0, whiten_advantages=False, epochs=2), steps)
    forbidden_Y = ~allowed(world)
    return Findings(
        identity=every(
            at_most("largest difference of the weights from PPO's, mask = everything", from_ppo(world, method), 0.0),
            at_most("probability of masked tokens", float(masked(runs[0], world)[forbidden_Y].sum()), 0.0),
            *by_hand(world, fixed),
            moves(world, method),
            at_most(
                "TV to the optimum of what is left",
                max(total_variation(masked(run, w), target(w, run)) for w, run in zip(lab.worlds, runs, strict=True)),
                0.05,
            ),
        ),
        ordering=above_zero(
            "true reward, NLPO − masked π0", [above_start(run, w) for w, run in zip(lab.worlds, runs, strict=True)]
        ),
        negative_control=at_most(
            "|gain over the masked π0|, shuffled / real",
            abs(above_start(control, world)) / above_start(runs[0], world),
            0.2,
        ),
        ablation=at_least(
            "probability of masked tokens, without a mask (ppo)",
            float(distribution(free, world.language)[forbidden_Y].sum()),
            0.05,
        ),
    )


def trained(
    world: World, method: ActorCritic, steps: int, *, shuffled: bool = False, tables: list[Tensor] | None = None
) -> LanguageModel:
    """The policy, with its mask; `tables` takes the logits by which the mask was made at every step."""
    policy = world.policy(value="shared")

    def keep(_step: int, _metrics: Mapping[str, float]) -> None:
        if tables is not None and policy.nucleus is not None:
            tables.append(policy.nucleus.stale.causal.table.weight.detach().clone())

    data = rollouts(world, policy, steps, shuffled=shuffled)
    train(method, world.models(policy), data, Optimisation(lr=5 / steps, betas=(0.9, 0.99)), keep)
    return policy


def masked(policy: LanguageModel, world: World) -> Tensor:
    """What it says, exactly, shape (Y,)."""
    with torch.no_grad():
        logp_YT = policy(said(policy, world.language.all)).logp_BT
    return row_sum(logp_YT, world.language.all.loss_mask_BT).exp()


def allowed(world: World) -> Tensor:
    """Whether an answer holds only likely tokens of π0, by a plain loop, shape (Y,)."""
    found = []
    for answer in world.language.answers:
        path = world.language.path(answer)[:-1]
        found.append(all(likely(world, prefix)[token] for token, prefix in zip(answer, path, strict=True)))
    return torch.tensor(found)


def likely(world: World, prefix: int) -> list[bool]:
    """Of every token, whether those that π0 finds likelier after a prefix hold less than `TOP_P`."""
    p: list[float] = world.logits_DV[prefix].softmax(0).tolist()
    return [sum(other for other in p if other > own) < TOP_P for own in p]


def start(world: World) -> Tensor:
    """π0 with only likely tokens, each prefix by itself."""
    policy = world.policy()
    policy.mask(top_p=TOP_P, keep=1)
    return masked(policy, world)


def above_start(policy: LanguageModel, world: World) -> float:
    return world.gain(masked(policy, world)) - world.gain(start(world))


def target(world: World, policy: LanguageModel) -> Tensor:
    """π0 exp(r/β) / Π kept, over what is allowed: the KL in the reward is of the whole policy, which is the masked one
    times how much of it the mask leaves on the way."""
    with torch.no_grad():
        kept_YT = policy(world.language.all, Want(logp=False, allowed=True)).kept_BT
    log_kept_Y = row_sum(kept_YT, world.language.all.loss_mask_BT)
    score_Y = world.base_Y.log() + world.reward_Y / BETA - log_kept_Y
    return score_Y.masked_fill(~allowed(world), -torch.inf).softmax(0)


def by_hand(world: World, method: NLPO) -> tuple[Check, Check]:
    """A rollout of a policy that has moved, masked by one that has not, and an update after it has moved again: the
    surrogate's gradient at the logits as a plain loop, and what a response returns."""
    policy = world.policy(value="shared")
    models, weight_VD = world.models(policy), policy.causal.table.weight
    state, draws = method.init(models), generator(*world.key, 53)
    once, again = 0.3 * torch.randn(2, *weight_VD.shape, generator=draws, dtype=weight_VD.dtype)
    with torch.no_grad():
        weight_VD += once
    data = rollouts(world, policy, steps=1)(0)
    batch = next(method.batches(data, models, state))
    assert isinstance(batch, Valued)
    before_VD = weight_VD.detach().log_softmax(0)
    with torch.no_grad():
        weight_VD += again
    term = method.loss(policy, batch).terms["policy"]
    (gradient_VD,) = torch.autograd.grad(term.weight * term.sum / batch.units()[term.per], weight_VD)
    expected_VD, missed, lengths = torch.zeros_like(weight_VD), 0.0, data.tokens.response_len_B.tolist()
    base_VD, logit_VD = world.logits_DV.T.log_softmax(0), weight_VD.detach()
    for row, length in enumerate(lengths):
        answer, penalty = data.tokens.response_ids_BT[row, :length].tolist(), 0.0
        for t, prefix in enumerate(world.language.path(answer)[:-1]):
            penalty += float(before_VD[answer[t], prefix] - base_VD[answer[t], prefix])
            may_V = torch.tensor(likely(world, prefix))
            logp_V = logit_VD[:, prefix].masked_fill(~may_V, -torch.inf).log_softmax(0)
            ratio = float((logp_V[answer[t]] - data.logp_BT[row, t]).exp())
            pull_V = -logp_V.exp()
            pull_V[answer[t]] += 1
            acted = kept(ratio, float(batch.advantage_BT[row, t]), method.clip, method.clip)
            expected_VD[:, prefix] -= acted * pull_V / sum(lengths)
        missed = max(missed, abs(float(batch.return_BT[row, 0] - data.reward_B[row]) + BETA * penalty))
    return (
        at_most("surrogate's gradient − explicit loop", largest(gradient_VD, expected_VD), 1e-12),
        at_most("|return − r + β·log π/π0|, of the whole policy", missed, 1e-9),
    )


def from_ppo(world: World, method: type[NLPO]) -> float:
    """After a few rollouts of several updates each, with everything that an option can switch on."""
    ppo = PPO(kl_coef=BETA, kl_target=0.25, entropy_coef=0.05, value_coef=0.3, epochs=3, minibatches=2)
    ours = method(
        **{f.name: getattr(ppo, f.name) for f in fields(ppo) if f.name != "pretraining_coef"}, top_p=1.0, mask_every=2
    )
    policies = [trained(world, each, 5) for each in (ours, ppo)]
    a, b = (torch.nn.utils.parameters_to_vector(policy.parameters()).detach() for policy in policies)
    return float((a - b).abs().max())


def moves(world: World, method: type[NLPO]) -> Check:
    """How often the mask moved where it should not have, or stayed where it should have moved."""
    tables: list[Tensor] = []
    trained(world, method(kl_coef=BETA, epochs=1, top_p=TOP_P, min_keep=1, mask_every=EVERY), 8, tables=tables)
    wrong = 0
    for step, (before, after) in enumerate(pairwise(tables), 1):
        wrong += bool(before.equal(after)) == (step % EVERY == 0)
    return at_most(f"steps at which the mask moved, other than every {EVERY}", float(wrong), 0.0)
