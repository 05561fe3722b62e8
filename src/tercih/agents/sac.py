"""Soft actor-critic with a learned temperature (Haarnoja et al. 2018b, arXiv:1812.05905).

Suffixes: B transitions, K critics, A numbers of an action, all in [−1, 1] inside the learner.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tercih.agents.networks import Critics, GaussianActor
from tercih.agents.replay import Transitions


def squashed(mean_BA: Tensor, log_std_BA: Tensor, noise_BA: Tensor) -> tuple[Tensor, Tensor]:
    """a = tanh(μ + σε) and log π(a), shapes (B, A) and (B,) (appendix C).

    log(1 − tanh² u) = 2 (log 2 − u − softplus(−2u)), which stays finite where tanh u rounds to ±1.
    """
    u_BA = mean_BA + log_std_BA.exp() * noise_BA
    gaussian_BA = -0.5 * noise_BA.square() - log_std_BA - 0.5 * math.log(2 * math.pi)
    slope_BA = 2 * (math.log(2) - u_BA - softplus(-2 * u_BA))
    return u_BA.tanh(), (gaussian_BA - slope_BA).sum(-1)


def soft_target(reward_B: Tensor, discount_B: Tensor, value_KB: Tensor, logp_B: Tensor, temperature: Tensor) -> Tensor:
    """r + γ (min_k Q̄_k(s', a') − α log π(a'|s')), a' ~ π: what eq. 5 regresses on."""
    return reward_B + discount_B * (value_KB.amin(0) - temperature * logp_B)


def critic_loss(value_KB: Tensor, target_B: Tensor) -> Tensor:
    """Σ_k E[½ (Q_k − target)²] (eq. 5)."""
    return 0.5 * (value_KB - target_B).square().mean(1).sum()


def actor_loss(value_KB: Tensor, logp_B: Tensor, temperature: Tensor) -> Tensor:
    """E[α log π(a|s) − min_k Q_k(s, a)], a reparametrised (eq. 9)."""
    return (temperature * logp_B - value_KB.amin(0)).mean()


def temperature_loss(log_temperature: Tensor, logp_B: Tensor, target_entropy: float) -> Tensor:
    """E[−α log π − α H̄] (eq. 18) with log α for α, as in the released code: same sign, and α cannot turn negative."""
    return -log_temperature * (logp_B.mean() + target_entropy)


@dataclass(frozen=True, kw_only=True, slots=True)
class SAC:
    """The paper's settings (appendix D), for environments whose actions are a bounded Box.

    The first `starts` transitions act uniformly at random and nothing is learned. `updates` updates follow every
    `update_every` steps (of all copies). `target_entropy` None is −dim(A).
    """

    hidden: tuple[int, ...] = (256, 256)
    lr: float = 3e-4
    gamma: float = 0.99
    tau: float = 0.005
    batch: int = 256
    capacity: int = 1_000_000
    starts: int = 1000
    update_every: int = 1
    updates: int = 1
    n_step: int = 1
    temperature: float = 1.0
    target_entropy: float | None = None

    def __post_init__(self) -> None:
        for name in ("batch", "capacity", "starts", "update_every", "updates", "n_step"):
            if getattr(self, name) < 1:
                raise ValueError(f"sac.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"sac.{name} must be > 0, got {getattr(self, name)}")
        if not 0 <= self.gamma <= 1 or not 0 < self.tau <= 1:
            raise ValueError(f"sac.gamma is in [0, 1] and sac.tau in (0, 1], got {self.gamma} and {self.tau}")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"sac.hidden needs at least one layer of at least one unit, got {self.hidden}")

    def learner(self, observation_space: Any, action_space: Any, *, seed: int, device: str = "cpu") -> "SACLearner":
        return SACLearner(self, observation_space, action_space, seed=seed, device=device)


class SACLearner:
    """Actor, critics, their targets and the temperature, with an optimiser each for what acts and what judges."""

    def __init__(self, settings: SAC, observation_space: Any, action_space: Any, *, seed: int, device: str) -> None:
        low, high = getattr(action_space, "low", None), getattr(action_space, "high", None)
        if low is None or len(action_space.shape) != 1 or not action_space.is_bounded():
            raise ValueError(f"SAC acts in a bounded Box of one dimension, got {action_space}; DQN takes Discrete ones")
        if len(observation_space.shape) != 1:
            raise ValueError(f"SAC takes observations that are one row of numbers, got {observation_space}")
        observations, actions = observation_space.shape[0], action_space.shape[0]
        self.settings = settings
        # In the environment's own precision, so that rounding does not step over its bounds.
        self.low_A, self.high_A = torch.tensor(low, device=device), torch.tensor(high, device=device)
        self.middle_A, self.half_A = (self.high_A + self.low_A) / 2, (self.high_A - self.low_A) / 2
        self.generator = torch.Generator(device).manual_seed(seed)
        self.target_entropy = -float(actions) if settings.target_entropy is None else settings.target_entropy
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.actor = GaussianActor(observations, settings.hidden, actions).to(device)
            self.critics = Critics(observations + actions, settings.hidden).to(device)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_temperature = torch.tensor(math.log(settings.temperature), device=device, requires_grad=True)
        acting = [*self.actor.parameters(), self.log_temperature]
        self.actor_optimiser = torch.optim.Adam(acting, lr=settings.lr, fused=True)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), lr=settings.lr, fused=True)
        self.followed: list[Tensor] = list(self.critics.parameters())
        self.following: list[Tensor] = list(self.targets.parameters())

    @torch.no_grad()
    def explore(self, observation_N: Tensor, taken: int) -> Tensor:
        """Actions of the environment, sampled; uniformly while fewer than `starts` transitions were `taken`."""
        if taken < self.settings.starts:
            shape = (len(observation_N), len(self.low_A))
            share_NA = torch.rand(shape, generator=self.generator, device=self.low_A.device)
            return self._outside(2 * share_NA - 1)
        return self._outside(self._sample(observation_N.float())[0])

    @torch.no_grad()
    def exploit(self, observation_N: Tensor) -> Tensor:
        """The middle of the policy: tanh of the mean."""
        return self._outside(self.actor(observation_N.float())[0].tanh())

    def update(self, batch: Transitions) -> dict[str, Tensor]:
        """One step of critics, actor, temperature and targets (algorithm 1); detached metrics."""
        observation_BO, following_BO = batch.observation_B.float(), batch.following_B.float()
        action_BA = ((batch.action_B - self.middle_A) / self.half_A).float()
        temperature = self.log_temperature.detach().exp()

        with torch.no_grad():
            next_BA, next_logp_B = self._sample(following_BO)
            next_KB = self.targets(torch.cat([following_BO, next_BA], -1))
            target_B = soft_target(batch.reward_B, batch.discount_B, next_KB, next_logp_B, temperature)
        value_KB = self.critics(torch.cat([observation_BO, action_BA], -1))
        judged = critic_loss(value_KB, target_B)
        self.critic_optimiser.zero_grad()
        judged.backward()  # type: ignore[no-untyped-call]
        self.critic_optimiser.step()

        new_BA, logp_B = self._sample(observation_BO)
        self.critics.requires_grad_(False)  # what it does to the critics is not asked: a sixth of the work
        acted = actor_loss(self.critics(torch.cat([observation_BO, new_BA], -1)), logp_B, temperature)
        self.critics.requires_grad_(True)
        cooled = temperature_loss(self.log_temperature, logp_B.detach(), self.target_entropy)
        self.actor_optimiser.zero_grad()
        (acted + cooled).backward()  # type: ignore[no-untyped-call]
        self.actor_optimiser.step()

        with torch.no_grad():
            torch._foreach_lerp_(self.following, self.followed, self.settings.tau)
        return {
            "critic_loss": judged.detach(),
            "actor_loss": acted.detach(),
            "value": value_KB.detach(),
            "entropy": -logp_B.detach(),
            "temperature": temperature,
        }

    def reset_critics(self) -> None:
        """Critics as they were before learning, of another draw: what they knew was of a reward that is gone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=self.generator, device=self.low_A.device)))
            sizes = self.critics.weights_KIO[0].shape[1], self.settings.hidden
            new = Critics(*sizes, self.critics.count).state_dict()
        self.critics.load_state_dict(new)
        self.targets.load_state_dict(new)
        self.critic_optimiser.state.clear()

    def _sample(self, observation_BO: Tensor) -> tuple[Tensor, Tensor]:
        mean_BA, log_std_BA = self.actor(observation_BO)
        noise_BA = torch.randn(mean_BA.shape, generator=self.generator, device=mean_BA.device)
        return squashed(mean_BA, log_std_BA, noise_BA)

    def _outside(self, action_NA: Tensor) -> Tensor:
        """From [−1, 1] to the environment's bounds."""
        return (self.middle_A + self.half_A * action_NA).clamp(self.low_A, self.high_A)

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "log_temperature": self.log_temperature.detach().clone(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])
        self.log_temperature.data.copy_(saved["log_temperature"])
        self.generator.set_state(saved["generator"])

    def _parts(self) -> dict[str, Any]:
        names = ("actor", "critics", "targets", "actor_optimiser", "critic_optimiser")
        return {name: getattr(self, name) for name in names}
