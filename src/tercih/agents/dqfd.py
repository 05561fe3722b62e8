"""DQfD: deep Q-learning from demonstrations (Hester et al. 2018, arXiv:1704.03732), as Ibarz et al. 2018
(arXiv:1811.06521) use it: demonstrations stay in memory for ever, and what they did shall look best by a margin.

Suffixes: B transitions, A actions to choose from.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from tercih.agents.dqn import DQN, DQNLearner, double_target
from tercih.agents.replay import Replay, Transitions
from tercih.environments.control import Array
from tercih.rewards.steps import StepReward


def margin_loss(value_BA: Tensor, shown_B: Tensor, margin: float) -> Tensor:
    """max_a [Q(s, a) + ℓ(a_E, a)] − Q(s, a_E), ℓ = `margin` where a ≠ a_E and else 0 (Hester et al., eq. 2), (B,)."""
    lead_BA = torch.full_like(value_BA, margin).scatter(1, shown_B[:, None], 0.0)
    return (value_BA + lead_BA).amax(1) - value_BA.gather(1, shown_B[:, None]).squeeze(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class DQfD:
    """Sizes of DQN, and: losses of 1 and of `long` steps; `margin` weighed by `margin_weight`, on demonstrations only;
    transitions are drawn in proportion to (|error| + `bonus`)^`alpha` (Schaul et al. 2016), demonstrated ones with
    `shown_bonus`, and weighed by (count·probability)^−`beta`, the largest weight 1. `pretrain` updates come first, on
    demonstrations alone. The values are those of Ibarz et al. (App. A.1) but for the sizes."""

    dqn: DQN = field(
        default_factory=lambda: DQN(
            hidden=(64,),
            lr=1e-3,
            gamma=0.95,
            batch=32,
            capacity=20_000,
            starts=1,
            explore_over=1,
            explore_to=0.1,
            target_every=100,
        )
    )
    long: int = 3
    margin: float = 1.0
    margin_weight: float = 1.0
    alpha: float = 0.5
    beta: float = 0.4
    bonus: float = 1e-3
    shown_bonus: float = 3.0
    pretrain: int = 500

    def __post_init__(self) -> None:
        if self.long < 1 or self.pretrain < 0:
            raise ValueError(f"dqfd.long must be >= 1 and dqfd.pretrain >= 0, got {self.long} and {self.pretrain}")
        for name in ("margin", "margin_weight", "alpha", "beta", "shown_bonus"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"dqfd.{name} must be >= 0, got {getattr(self, name)}")
        if not self.bonus > 0:
            raise ValueError(
                f"dqfd.bonus must be > 0, got {self.bonus}: what was once foreseen would never be seen again"
            )


class DQfDLearner(DQNLearner):
    """A DQN with two memories, `shown` and `lived`. `relabel` judges both anew, whenever the reward has learned: then
    what is sampled has the reward that it would get if it were judged there and then, as in the paper."""

    def __init__(
        self, dqfd: DQfD, observation_space: Any, action_space: Any, shown: Replay, *, copies: int = 1, seed: int = 0
    ) -> None:  # fmt: skip
        super().__init__(dqfd.dqn, observation_space, action_space, seed=seed, device="cpu")
        self.dqfd, self.shown = dqfd, shown
        self.lived = Replay(dqfd.dqn.capacity, observation_space, action_space, copies=copies, seed=seed)
        self.error_shown, self.error_lived = torch.ones(shown.capacity), torch.ones(self.lived.capacity)

    def relabel(self, reward: StepReward) -> None:
        for memory in (self.shown, self.lived):
            memory.relabel(reward)

    def remember(self, seen_N: Array, action_N: Array, following_N: Array, reward_N: Array, over_N: Array) -> None:
        """One step of every copy; ends are those of time. What is new counts as most surprising."""
        held = torch.cat([self.error_shown[: len(self.shown)], self.error_lived[: len(self.lived)]])
        rows = slice(self.lived.at, self.lived.at + self.lived.copies)
        self.error_lived[rows] = float(held.max()) if len(held) else 1.0
        self.lived.add(seen_N, action_N, following_N, reward_N, np.zeros_like(over_N), over_N)

    def learn(self, *, shown_only: bool = False) -> dict[str, Tensor]:
        """One update; detached metrics."""
        rows, weight_B = self._draw(shown_only)
        dqn, shown = self.settings, len(rows[0])
        one, many = self._batch(rows, 1), self._batch(rows, self.dqfd.long)
        value_BA = self.network(one.observation_B)
        action_B = one.action_B - self.first
        value_B = value_BA.gather(1, action_B[:, None]).squeeze(1)
        with torch.no_grad():  # both ends in one pass
            following, reward, discount = (
                torch.cat([getattr(one, name), getattr(many, name)])
                for name in ("following_B", "reward_B", "discount_B")
            )
            target_2B = double_target(reward, discount, self.network(following), self.target(following)).view(2, -1)
        loss_B = smooth_l1_loss(value_B.expand(2, -1), target_2B, reduction="none").sum(0)
        error_B = (value_B - target_2B[0]).detach().abs()
        margin_B = margin_loss(value_BA[:shown], action_B[:shown], self.dqfd.margin)
        loss_B[:shown] += self.dqfd.margin_weight * margin_B
        loss = (weight_B * loss_B).mean()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), dqn.max_norm)
        self.optimiser.step()
        self.error_shown[rows[0]], self.error_lived[rows[1]] = error_B[:shown], error_B[shown:]
        self.updated += 1
        if self.updated % dqn.target_every == 0:
            self.target.load_state_dict(self.network.state_dict())
        return {"loss": loss.detach(), "value": value_B.detach(), "margin": margin_B.detach()}

    def _draw(self, shown_only: bool) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Rows of `shown` and rows of `lived`, and the weights of all of them in this order, (B,)."""
        shown, lived = len(self.shown), 0 if shown_only else len(self.lived)
        worth = torch.cat([
            self.error_shown[:shown] + self.dqfd.shown_bonus, self.error_lived[:lived] + self.dqfd.bonus,
        ]) ** self.dqfd.alpha  # fmt: skip
        drawn_B = torch.multinomial(worth, self.settings.batch, replacement=True, generator=self.generator)
        ours_B = drawn_B < shown
        rows = drawn_B[ours_B], drawn_B[~ours_B]
        weight_B = (len(worth) * worth[torch.cat(rows)] / worth.sum()) ** -self.dqfd.beta
        return (rows[0], rows[1] - shown), weight_B / weight_B.max()

    def _batch(self, rows: tuple[Tensor, Tensor], n_step: int) -> Transitions:
        parts = [
            memory.transitions(row_B, gamma=self.settings.gamma, n_step=n_step)
            for memory, row_B in zip((self.shown, self.lived), rows, strict=True)
            if len(row_B)
        ]
        names = ("observation_B", "action_B", "reward_B", "following_B", "discount_B")
        return replace(parts[0], **{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def _parts(self) -> dict[str, Any]:
        return DQNLearner._parts(self) | {"shown": self.shown, "lived": self.lived}

    def state_dict(self) -> dict[str, Any]:
        return DQNLearner.state_dict(self) | {"errors": [self.error_shown.clone(), self.error_lived.clone()]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        DQNLearner.load_state_dict(self, saved)
        self.error_shown, self.error_lived = saved["errors"]
