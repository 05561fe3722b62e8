"""What the proofs of methods without a critic share: all groups there can be, plain loops and runs.

Expectations over groups are sums over every ordered group of K answers, in a language of a few answers of unlike
lengths. The formulas here are written anew, token by token; no arithmetic of `tercih.ops` stands on both sides.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import exp
from statistics import mean, stdev

import torch
from torch import Tensor

from tercih.batches import Batch, Compared, Rollout
from tercih.conformance.checks import Check, above_zero
from tercih.conformance.enumerable import Language, distribution, optimum, total_variation
from tercih.conformance.lab import Lab, Sampled, World, generator, train
from tercih.method import Method, State
from tercih.models.language_model import LanguageModel
from tercih.optimisation import Optimisation

FEW = Language(vocabulary=2, length=3, end=0)  # 4 answers of 1 to 3 tokens
UNLIKE = Language(vocabulary=4, length=3, end=0)  # 40 answers of 1 to 3 tokens
ROWS = 512  # responses in a rollout
FLOOR = 1e-4  # what GRPO's standard deviation is lifted by


def worlds(lab: Lab) -> list[World]:
    """One a paired seed. Answers are of unlike lengths in the full proofs too, which are longer and of more seeds:
    lengths are what these methods differ in."""
    return [World(language=UNLIKE, key=world.key) for world in lab.worlds]


def moved(world: World, draw: int) -> LanguageModel:
    """A policy that is not the reference."""
    policy = world.policy()
    weight_VD = policy.causal.table.weight
    with torch.no_grad():
        weight_VD += 0.3 * torch.randn(weight_VD.shape, generator=generator(*world.key, draw), dtype=weight_VD.dtype)
    return policy


def rollout_of(world: World, policy: LanguageModel, answer_PK: Tensor, reward_PK: Tensor | None = None) -> Rollout:
    """These answers, K to a prompt, as `policy` would have sampled them, with their true rewards or others."""
    prompts, samples = answer_PK.shape
    answer_B = answer_PK.flatten()
    tokens = world.language.tokens(answer_B, torch.arange(prompts).repeat_interleave(samples))
    with torch.no_grad():
        logp_BT = policy(tokens).logp_BT
    assert logp_BT is not None
    return Rollout(
        tokens=tokens,
        logp_BT=logp_BT,
        reward_B=world.reward_Y[answer_B] if reward_PK is None else reward_PK.flatten(),
        ended_B=torch.ones(len(answer_B), dtype=torch.bool),
        parts={},
        version=0,
    )


def gradient(method: Method, policy: LanguageModel, batch: Batch) -> Tensor:
    """Of the loss, at the table of logits, shape (V, D)."""
    units = batch.units()
    terms = method.loss(policy, batch).terms.values()
    total = torch.stack([term.weight * term.sum / units[term.per] for term in terms]).sum()
    gradient_VD: Tensor = torch.autograd.grad(total, policy.causal.table.weight)[0]
    return gradient_VD


def every_gradient(
    method: Method,
    world: World,
    policy: LanguageModel,
    samples: int,
    raised: float = 0.0,
    state: State | None = None,
) -> tuple[Tensor, Tensor]:
    """The gradients of a rollout of one group, for every ordered group of so many answers, and each one's chance;
    all rewards are `raised` by as much. Without a `state` it is the method's first."""
    policy_Y, models = distribution(policy, world.language), world.models(policy)
    found, chance = [], []
    for group in product(range(len(policy_Y)), repeat=samples):
        answer_K = torch.tensor(group)
        rollout = rollout_of(world, policy, answer_K[None], world.reward_Y[answer_K][None] + raised)
        (batch,) = method.batches(rollout, models, method.init(models) if state is None else state)
        assert isinstance(batch, Batch)
        found.append(gradient(method, policy, batch))
        chance.append(policy_Y[answer_K].prod())
    return torch.stack(found), torch.stack(chance)


def expected_gradient(
    method: Method, world: World, policy: LanguageModel, samples: int, state: State | None = None
) -> Tensor:
    found_GVD, chance_G = every_gradient(method, world, policy, samples, state=state)
    return torch.einsum("gvd,g->vd", found_GVD, chance_G)


def spread_of_gradient(
    method: Method, world: World, policy: LanguageModel, samples: int, raised: float, state: State | None = None
) -> float:
    """E|g|² − |E g|² of the gradient of a group, exactly."""
    found_GVD, chance_G = every_gradient(method, world, policy, samples, raised, state)
    mean_VD = torch.einsum("gvd,g->vd", found_GVD, chance_G)
    return float(torch.einsum("gvd,g->", (found_GVD - mean_VD) ** 2, chance_G))


def reward_gradient(world: World, policy: LanguageModel, beta: float = 0.0) -> Tensor:
    """∇(E[r] − β KL(π‖π0)), exactly."""
    logp_Y = policy(world.language.all).logp_BT.sum(1)
    objective = logp_Y.exp() @ (world.reward_Y - beta * (logp_Y - world.base_Y.log()))
    gradient_VD: Tensor = torch.autograd.grad(objective, policy.causal.table.weight)[0]
    return gradient_VD


def off_gradient(method: Method, world: World, samples: int, beta: float = 0.0, state: State | None = None) -> float:
    """Largest difference of the mean over all groups from ∇(E[r] − β KL(π‖π0)), where π is not π0."""
    policy = moved(world, 81)
    return largest(-expected_gradient(method, world, policy, samples, state), reward_gradient(world, policy, beta))


def off_optimum(world: World, policy_Y: Tensor, beta: float) -> float:
    """TV to π*."""
    return total_variation(policy_Y, optimum(world.base_Y, world.reward_Y, beta))


def rewarded(name: str, on: Sequence[World], policies: Sequence[Tensor]) -> Check:
    """Whether they earn more than π0, world by world."""
    return above_zero(f"true reward, {name} − π0", [w.gain(policy_Y) for w, policy_Y in zip(on, policies, strict=True)])


def prefix_kl_gradient(world: World, policy: LanguageModel) -> Tensor:
    """∇ Σ_prefix π(prefix) KL(π0(·|prefix)‖π(·|prefix)), where π(prefix) is held fixed: (π − π0) at every logit."""
    policy_Y, gradient_VD = distribution(policy, world.language), torch.zeros_like(policy.causal.table.weight)
    behind_VD = (policy.causal.table.weight.softmax(0) - world.logits_DV.T.softmax(0)).detach()
    reached: dict[int, float] = {}
    for answer, p in zip(world.language.answers, policy_Y.tolist(), strict=True):
        for prefix in world.language.path(answer)[:-1]:
            reached[prefix] = reached.get(prefix, 0.0) + p
    for prefix, p in reached.items():
        gradient_VD[:, prefix] = p * behind_VD[:, prefix]
    return gradient_VD.detach()


@dataclass(frozen=True, kw_only=True)
class OffPolicy:
    """Answers that one policy gave and another is trained on, in plain numbers: what a formula reads, by row and token.

    Rewards are 0 or 1, so that the answers to some prompts are all right or all wrong.
    """

    world: World
    samples: int = 4
    prompts: int = 24

    @cached_property
    def old(self) -> LanguageModel:
        return moved(self.world, 81)

    @cached_property
    def policy(self) -> LanguageModel:
        return moved(self.world, 82)

    @cached_property
    def rollout(self) -> Rollout:
        draws, shape = generator(*self.world.key, 83), (self.prompts, self.samples)
        answer_PK = torch.randint(len(self.world.reward_Y), shape, generator=draws)
        reward_PK = (torch.rand(shape, generator=draws) < 0.3).double()
        return rollout_of(self.world, self.old, answer_PK, reward_PK)

    @cached_property
    def length(self) -> list[int]:
        return [int(length) for length in self.rollout.tokens.response_len_B]

    @cached_property
    def log_ratio(self) -> list[list[float]]:
        """log π/π_old of every token."""
        return self._against(self.rollout.logp_BT)

    @cached_property
    def reference_ratio(self) -> list[list[float]]:
        """π0/π of every token."""
        with torch.no_grad():
            reference_BT = self.world.policy()(self.rollout.tokens).logp_BT
        assert reference_BT is not None
        return [[exp(-x) for x in row] for row in self._against(reference_BT)]

    def _against(self, other_BT: Tensor) -> list[list[float]]:
        with torch.no_grad():
            logp_BT = self.policy(self.rollout.tokens).logp_BT
        assert logp_BT is not None
        rows: list[list[float]] = (logp_BT - other_BT).tolist()
        return [row[:length] for row, length in zip(rows, self.length, strict=True)]

    def groups(self, of_group: Callable[[list[float]], list[float]]) -> list[float]:
        """What a formula makes of the rewards of every group, row by row."""
        rewards: list[float] = self.rollout.reward_B.tolist()
        return [x for start in range(0, len(rewards), self.samples) for x in of_group(rewards[start:][: self.samples])]

    @property
    def advantage(self) -> list[float]:
        """GRPO's."""
        return self.groups(lambda reward: [(r - mean(reward)) / (stdev(reward) + FLOOR) for r in reward])

    @property
    def flat(self) -> list[float]:
        """1 for every answer of a group in which all have the same reward."""
        return self.groups(lambda reward: [float(len(set(reward)) == 1)] * len(reward))

    def gradient(self, method: Method) -> Tensor:
        """Of the method itself, in one update."""
        models = self.world.models(self.policy)
        (batch,) = method.batches(self.rollout, models, method.init(models))
        assert isinstance(batch, Compared)
        return gradient(method, self.policy, batch)

    def loop(self, pull: Callable[[int, int], float]) -> Tensor:
        """−Σ pull(row, t)·∇log π, by a plain loop over tokens: 1[v = token] − π(v) at every logit v of its prefix."""
        logp_VD = self.policy.causal.table.weight.detach().log_softmax(0)
        gradient_VD, tokens = torch.zeros_like(logp_VD), self.rollout.tokens
        for row, length in enumerate(self.length):
            answer = tokens.response_ids_BT[row, :length].tolist()
            for t, prefix in enumerate(self.world.language.path(answer)[:-1]):
                push_V = -logp_VD[:, prefix].exp()
                push_V[answer[t]] += 1
                gradient_VD[:, prefix] -= pull(row, t) * push_V
        return gradient_VD


def kept(ratio: float, advantage: float, low: float, high: float) -> float:
    """ρA, or nothing where ρ has left [1 − low, 1 + high] to the side that A favours."""
    beyond = ratio > 1 + high if advantage > 0 else ratio < 1 - low
    return 0.0 if beyond else ratio * advantage


def largest(a: Tensor, b: Tensor | float = 0.0) -> float:
    """The largest difference."""
    return float((a - b).abs().max())


def reinforce(
    world: World, method: Method, steps: int, *, samples: int, way: float = 15.0, shuffled: bool = False
) -> Tensor:
    """π(y) after training on rollouts, by the loop of recipes; `way` is how far the steps lead together."""
    policy = world.policy()
    data = Sampled(
        language=world.language,
        policy=policy,
        reward_Y=world.reward_Y,
        steps=steps,
        rows=ROWS,
        key=(*world.key, 80),
        samples=samples,
        shuffled=shuffled,
    )
    optimisation = Optimisation(lr=way / steps, betas=(0.9, 0.99))
    train(method, world.models(policy), data, optimisation)
    return distribution(policy, world.language)
