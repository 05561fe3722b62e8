"""REINFORCE on whole responses (Williams 1992), with the baselines and rewards that Kiegeland & Kreutzer 2021
(arXiv:2106.08942) compare."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tercih.batches import Batch, Compared, Rollout
from tercih.card import Card
from tercih.families import penalised, score_function
from tercih.forward import Loss, Models
from tercih.method import Method, State, check

CARD = Card(
    does="the plain policy gradient of a reward, with or without a baseline",
    paper="Williams 1992; Kiegeland & Kreutzer 2021",
    link="arXiv:2106.08942",
    family="policy gradients",
    when="One answer a prompt is all you can afford, or you want to see what a baseline, or the reward itself,"
    " contributes. With two answers or more, RLOO's baseline is better and costs nothing.",
)


def within_half(reward_B: Tensor) -> Tensor:
    """From −½ for the lowest reward of a rollout to ½ for the highest, shape (B,); 0 where all are equal."""
    low, high = reward_B.min(), reward_B.max()
    return torch.where(high > low, (reward_B - low) / (high - low).clamp(min=1e-30) - 0.5, 0.0)


REWARDS: dict[str, Callable[[Tensor], Tensor]] = {
    "as_is": lambda reward_B: reward_B,
    "scaled": within_half,
    "constant": torch.ones_like,  # says nothing of any answer: what is gained by it is no learning from rewards
}

BASELINES: dict[str, Callable[[State], float]] = {
    "none": lambda state: 0.0,
    "running_mean": lambda state: float(state["mean"]),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class REINFORCE(Method):
    """A rollout is one update, −mean (r − b) log π. `reward` says what becomes of the reward and `baseline` what is
    taken off it; the running mean is that of all rollouts *before* this one (the released code counts this one in,
    which biases the gradient a little). Defaults are the released code's. `kl_coef` is not the paper's: with it KL is
    part of the reward, as in RLOO, and the optimum π0 exp(r/β)."""

    learns_from = "rollouts"

    baseline: str = "running_mean"
    reward: str = "as_is"
    kl_coef: float = 0.0

    def __post_init__(self) -> None:
        check(self, "reinforce", at_least_0=("kl_coef",))
        for name, known in (("baseline", BASELINES), ("reward", REWARDS)):
            if getattr(self, name) not in known:
                raise ValueError(f"reinforce.{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.reward == "constant" and self.baseline != "none":
            raise ValueError(
                "reinforce.reward='constant' less its own mean is 0, so that nothing would be learned; set"
                " reinforce.baseline='none'"
            )

    @property
    def needs_reference(self) -> bool:
        return self.kl_coef > 0

    def init(self, models: Models) -> State:
        return {"mean": 0.0, "rollouts": 0}

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Batch]:
        batch = penalised(replace(data, reward_B=REWARDS[self.reward](data.reward_B)), models, self.kl_coef)
        yield replace(batch, advantage_B=batch.advantage_B - BASELINES[self.baseline](state))

    def loss(self, policy: nn.Module, batch: Compared) -> Loss:
        return score_function(policy, batch)  # eq. 1 of Kiegeland & Kreutzer

    def after(self, state: State, data: Rollout, metrics: Mapping[str, float]) -> State:
        """The mean over rollouts, which all have the same number of responses, of what took the reward's place."""
        reward = float(REWARDS[self.reward](data.reward_B).mean()) - self.kl_coef * metrics.get("kl", 0.0)
        rollouts = state["rollouts"] + 1
        return {"mean": state["mean"] + (reward - state["mean"]) / rollouts, "rollouts": rollouts}
