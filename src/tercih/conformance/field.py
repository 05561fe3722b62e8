"""Where imitation is proven: a small field whose every number is known, and an expert who wants something of it.

Gymnasium's FrozenLake without holes, goal or slipping. The expert is soft-optimal for a standard normal reward of the
states: a distribution over actions that can be compared number by number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from tercih.agents.adversary import Adversary, Discriminator
from tercih.agents.demonstrations import Demonstrated, demonstrated, record
from tercih.agents.evaluate import Act
from tercih.agents.experience import Collector
from tercih.agents.ppo import PPO
from tercih.agents.tabular import Floats, Tabular
from tercih.conformance.lab import generator
from tercih.environments.control import World
from tercih.environments.worlds import Worlds
from tercih.forward import Models
from tercih.models.control import ActorCritic
from tercih.optimisation import Optimisation
from tercih.train import fit

SIDE, LENGTH, COPIES = 3, 32, 16
GAMMA = 0.9
OPTIONS = {"desc": ["S" * SIDE] * SIDE, "is_slippery": False, "max_episode_steps": LENGTH}


@dataclass(frozen=True, kw_only=True)
class Field:
    """`sure`: what the reward is multiplied by, and so how rarely the expert does what it should not."""

    key: tuple[int, ...]
    sure: float = 1.0

    @cached_property
    def table(self) -> Tabular:
        with World("FrozenLake-v1", OPTIONS) as world:
            return Tabular.of(world)

    @cached_property
    def reward_S(self) -> Floats:
        return self.sure * np.random.default_rng((*self.key, 0)).normal(size=SIDE * SIDE)

    @cached_property
    def value_S(self) -> Floats:
        """Soft: V(s) = log Σ_a exp(r(s) + γ V(s'))."""
        value_S = np.zeros(SIDE * SIDE)
        for _ in range(400):  # γ^400 is nothing to float64
            value_S = logsumexp(self.reward_S[:, None] + GAMMA * self.table.transition_SAS @ value_S, axis=1)
        return value_S

    @cached_property
    def expert_SA(self) -> Floats:
        q_SA = self.reward_S[:, None] + GAMMA * self.table.transition_SAS @ self.value_S
        return np.asarray(np.exp(q_SA - self.value_S[:, None]))

    def worlds(self) -> Worlds:
        return Worlds("FrozenLake-v1", COPIES, options=OPTIONS, seed=self.key[-1])

    def policy(self, worlds: Worlds) -> ActorCritic:
        """A table."""
        return ActorCritic(worlds.observation_space, worlds.action_space, hidden=())

    def expert(self, *, aimless: bool = False) -> Act:
        """`aimless` is the negative control: it acts at random, as one who wants nothing."""
        dice = np.random.default_rng((*self.key, 1))
        policy_SA = np.full_like(self.expert_SA, 1 / self.expert_SA.shape[1]) if aimless else self.expert_SA
        until_SA = policy_SA.cumsum(1)[:, :-1]
        return lambda state_N: (until_SA[state_N] < dice.random((len(state_N), 1))).sum(1)

    def read(self, worlds: Worlds, policy: ActorCritic, episodes: int, *, aimless: bool = False) -> Demonstrated:
        return demonstrated(record(self.expert(aimless=aimless), worlds, episodes), worlds, policy)

    def distance(self, policy_SA: Floats) -> float:
        """TV to the expert's actions, a mean over states."""
        return float(np.abs(policy_SA - self.expert_SA).sum(1).mean() / 2)

    def density(self, policy_SA: Floats) -> Floats:
        """How often each action is taken in each state, of all steps of an episode."""
        visit_S = self.table.visits(np.stack([policy_SA] * LENGTH))
        return visit_S[:, None] * policy_SA / LENGTH

    def gain(self, policy_SA: Floats) -> float:
        """True return above that of random actions, the expert's being 1."""
        random, mine, experts = (
            float(self.table.visits(np.stack([each_SA] * LENGTH)) @ self.reward_S)
            for each_SA in (np.full_like(policy_SA, 1 / policy_SA.shape[1]), policy_SA, self.expert_SA)
        )
        return (mine - random) / (experts - random)


def table_of(policy: ActorCritic) -> Floats:
    """π(a|s), shape (S, A)."""
    with torch.no_grad():
        logits_SA: Tensor = policy.actor(torch.eye(SIDE * SIDE))
        return logits_SA.softmax(-1).double().numpy()


def every_act() -> Demonstrated:
    """Every action in every state, in the order of a table (S, A)."""
    state_B, action_B = torch.cartesian_prod(torch.arange(SIDE * SIDE), torch.arange(4)).unbind(1)
    return Demonstrated(observation_B=state_B, action_B=action_B, following_B=state_B)


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """What adversarial training ended with."""

    policy_SA: Floats
    discriminator: Discriminator


def compete(
    field: Field,
    discriminator: Callable[[ActorCritic], Discriminator],
    method: type[PPO] = PPO,
    *,
    rounds: int,
    lr: float,
    discriminators_lr: float,
    updates: int = 10,
    aimless: bool = False,
) -> Learned:
    """The loop, agent and collector that users run, on 128 episodes of the expert."""
    with field.worlds() as worlds, torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(*field.key, 2).initial_seed()))
        policy = field.policy(worlds)
        told = field.read(worlds, policy, 128, aimless=aimless)
        against = discriminator(policy)
        data = Adversary(
            discriminator=against,
            demonstrations=told,
            collector=Collector(
                policy=policy, worlds=worlds, steps=rounds, length=LENGTH, reward_discount=None, seed=field.key[-1]
            ),
            updates=updates,
            batch=512,
            lr=discriminators_lr,
        )
        learner = method(gamma=GAMMA, epochs=4, minibatch=512)
        fit(learner, Models(policy=policy), data, Optimisation(lr=lr))
    return Learned(policy_SA=table_of(policy), discriminator=against)
