"""Deep Q-learning: double (van Hasselt et al. 2016, arXiv:1509.06461) and dueling (Wang et al. 2016, arXiv:1511.06581).

Suffixes: B transitions, N copies of the environment, A actions to choose from.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from tercih.agents.networks import QNetwork
from tercih.agents.replay import Transitions


def q_target(reward_B: Tensor, discount_B: Tensor, target_BA: Tensor) -> Tensor:
    """r + γ max_a Q̄(s', a): Mnih et al. 2015 (van Hasselt et al., eq. 2)."""
    return reward_B + discount_B * target_BA.amax(-1)


def double_target(reward_B: Tensor, discount_B: Tensor, online_BA: Tensor, target_BA: Tensor) -> Tensor:
    """r + γ Q̄(s', argmax_a Q(s', a)): one network chooses, the other judges (van Hasselt et al., eq. 4)."""
    chosen_B1 = online_BA.argmax(-1, keepdim=True)
    return reward_B + discount_B * target_BA.gather(-1, chosen_B1).squeeze(-1)


@dataclass(frozen=True, kw_only=True, slots=True)
class DQN:
    """For environments with Discrete actions; without `double` and `dueling` it is Mnih et al. 2015.

    The first `starts` transitions act uniformly at random and nothing is learned. ε falls in a straight line from 1 to
    `explore_to` over the first `explore_over` transitions. `updates` updates follow every `update_every` steps (of all
    copies); the target network is replaced after every `target_every` updates. The defaults suit small tasks; the
    papers' for Atari are lr 6.25e-5 (double), batch 32, capacity 1,000,000, starts 50,000, update_every 4,
    target_every 10,000, explore_over 1,000,000, explore_to 0.1, hidden (512,).
    """

    hidden: tuple[int, ...] = (256, 256)
    lr: float = 1e-3
    gamma: float = 0.99
    batch: int = 128
    capacity: int = 100_000
    starts: int = 1000
    update_every: int = 2
    updates: int = 1
    n_step: int = 1
    target_every: int = 250
    explore_to: float = 0.05
    explore_over: int = 10_000
    double: bool = True
    dueling: bool = True
    max_norm: float = 10.0

    def __post_init__(self) -> None:
        whole = ("batch", "capacity", "starts", "update_every", "updates", "n_step", "target_every", "explore_over")
        for name in whole:
            if getattr(self, name) < 1:
                raise ValueError(f"dqn.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "max_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"dqn.{name} must be > 0, got {getattr(self, name)}")
        for name in ("gamma", "explore_to"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"dqn.{name} must be in [0, 1], got {getattr(self, name)}")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"dqn.hidden needs at least one layer of at least one unit, got {self.hidden}")

    def epsilon(self, taken: int) -> float:
        """The share of random actions after so many transitions."""
        if taken < self.starts:
            return 1.0
        return 1 + (self.explore_to - 1) * min(taken / self.explore_over, 1.0)

    def learner(self, observation_space: Any, action_space: Any, *, seed: int, device: str = "cpu") -> "DQNLearner":
        return DQNLearner(self, observation_space, action_space, seed=seed, device=device)


class DQNLearner:
    """A Q-network, its target and an optimiser."""

    def __init__(self, settings: DQN, observation_space: Any, action_space: Any, *, seed: int, device: str) -> None:
        if not hasattr(action_space, "n") or action_space.shape != ():
            raise ValueError(f"DQN chooses among Discrete actions, got {action_space}; SAC takes a Box of them")
        self.settings, self.device = settings, device
        self.actions, self.first = int(action_space.n), int(action_space.start)
        self.generator = torch.Generator(device).manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = QNetwork(observation_space, settings.hidden, self.actions, dueling=settings.dueling)
        self.network = network.to(device)
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.lr, fused=True)
        self.updated = 0

    @torch.no_grad()
    def explore(self, observation_N: Tensor, taken: int) -> Tensor:
        """ε-greedy actions, (N,); ε after `taken` transitions."""
        shape, dice, device = (len(observation_N),), self.generator, self.device
        random_N = torch.rand(shape, generator=dice, device=device) < self.settings.epsilon(taken)
        drawn_N = self.first + torch.randint(self.actions, shape, generator=dice, device=device)
        return torch.where(random_N, drawn_N, self.exploit(observation_N))

    @torch.no_grad()
    def exploit(self, observation_N: Tensor) -> Tensor:
        best_N: Tensor = self.first + self.network(observation_N).argmax(-1)
        return best_N

    def update(self, batch: Transitions) -> dict[str, Tensor]:
        """One step on the Huber loss of the temporal difference; detached metrics."""
        with torch.no_grad():
            target_BA = self.target(batch.following_B)
            if self.settings.double:
                target_B = double_target(batch.reward_B, batch.discount_B, self.network(batch.following_B), target_BA)
            else:
                target_B = q_target(batch.reward_B, batch.discount_B, target_BA)
        value_BA = self.network(batch.observation_B)
        value_B = value_BA.gather(-1, (batch.action_B - self.first)[:, None]).squeeze(-1)
        loss = smooth_l1_loss(value_B, target_B)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.max_norm)
        self.optimiser.step()
        self.updated += 1
        if self.updated % self.settings.target_every == 0:
            self.target.load_state_dict(self.network.state_dict())
        return {"loss": loss.detach(), "value": value_B.detach()}

    def state_dict(self) -> dict[str, Any]:
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return parts | {"updated": self.updated, "generator": self.generator.get_state()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])
        self.updated = saved["updated"]
        self.generator.set_state(saved["generator"])

    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "target": self.target, "optimiser": self.optimiser}
