"""What families of methods share, each under the name of what a member adds to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from tercih.batches import Batch, Compared, Pairs, Rankings, Rollout, Scored, Thumbs, Valued
from tercih.divergences import implied_slope
from tercih.forward import Loss, Mean, Models, Term, Want
from tercih.method import Method, Source, State, called, check
from tercih.ops import adaptive_kl, chance_of_first, gae, kl1, kl_metric, mean_of, row_sum, token_rewards, total, whiten

J = TypeVar("J", Pairs, Rankings, Thumbs)


def with_reference(batch: J, models: Models) -> J:
    """The same with log π0 of its whole responses."""
    logp_BT = models.reference_logp(batch.tokens)
    return replace(batch, reference_logp_B=row_sum(logp_BT, batch.tokens.loss_mask_BT))


def log_ratio(logp_BT: Tensor, batch: Pairs | Rankings | Thumbs) -> Tensor:
    """log(π/π0) of whole responses, shape (B,)."""
    assert batch.reference_logp_B is not None
    return row_sum(logp_BT, batch.tokens.loss_mask_BT) - batch.reference_logp_B


@dataclass(frozen=True, kw_only=True, slots=True)
class PairMethod(Method):
    """What DPO and its kin share: `worth` of every response takes the place of a reward model's score, and `compared`
    says what a comparison of two of them costs. Both are the paper's; the rest is the same everywhere.

    A label is the chance that the first response is the better one, be it of one rater, a tie (a half), or a consensus;
    what a paper writes of hard labels is taken in the mean over it.
    """

    learns_from: ClassVar[Source] = "pairs"

    @torch.no_grad()
    def batches(self, data: Any, models: Models, _state: State) -> Iterator[Pairs]:
        yield with_reference(data, models) if self.needs_reference else data

    def worth(self, logp_BT: Tensor, batch: Pairs) -> Tensor:
        """Shape (B,)."""
        raise NotImplementedError

    def compared(self, difference_N: Tensor, chance_N: Tensor) -> Tensor:
        """What it costs that worths differ by `difference_N`, where `chance_N` is that of the first response to be
        better. Shape (N,)."""
        raise NotImplementedError

    def cost(self, worth_B: Tensor, batch: Pairs) -> Tensor:
        """What every comparison costs. Replaced by who looks at worths themselves, and not at their difference alone.
        Shape (N,)."""
        difference_N = worth_B[batch.first_row_N] - worth_B[batch.second_row_N]
        return self.compared(difference_N, chance_of_first(batch.target_N3))

    def beside(self, logp_BT: Tensor, batch: Pairs) -> dict[str, Term]:
        """What else is in the loss."""
        return {}

    def loss(self, policy: nn.Module, batch: Pairs) -> Loss:
        logp_BT = policy(batch.tokens).logp_BT
        worth_B, chance_N = self.worth(logp_BT, batch), chance_of_first(batch.target_N3)
        difference_N = worth_B[batch.first_row_N] - worth_B[batch.second_row_N]
        loss_N = self.cost(worth_B, batch)
        sign_N = (chance_N - 0.5).sign()
        moved_B = log_ratio(logp_BT, batch) if self.needs_reference else row_sum(logp_BT, batch.tokens.loss_mask_BT)
        first_N, second_N = moved_B[batch.first_row_N], moved_B[batch.second_row_N]
        return Loss(
            terms={
                "preference": Term((batch.weight_N * loss_N).sum(), per="comparisons"),
                **self.beside(logp_BT, batch),
            },
            metrics={
                "accuracy": mean_of((difference_N * sign_N > 0).float(), sign_N != 0),
                "margin": mean_of(difference_N * sign_N),
                # Of π, or of π/π0. Both may fall while the margin grows; only their difference is trained.
                "chosen_log_ratio": mean_of(torch.where(sign_N >= 0, first_N, second_N)),
                "rejected_log_ratio": mean_of(torch.where(sign_N >= 0, second_N, first_N)),
            },
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ImpliedReward(PairMethod):
    """Those of them that read the reward off the policy: r(y) = β f'(π(y)/π0(y)) up to a constant of the prompt, where
    π is the optimum of E[r] − β D_f(π‖π0). With the reverse KL that is β log(π/π0) (Rafailov et al. 2023, eq. 5); for
    other divergences see Wang et al. 2024 (arXiv:2309.16240, theorem 1).
    """

    needs_reference = True

    beta: float = 0.1
    divergence: str = "reverse_kl"

    def __post_init__(self) -> None:
        name = called(self)
        check(self, name, above_0=("beta",))
        implied_slope(self.divergence, f"{name}.divergence")

    def worth(self, logp_BT: Tensor, batch: Pairs) -> Tensor:
        return self.beta * implied_slope(self.divergence)(log_ratio(logp_BT, batch))


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupMethod(Method):
    """What GRPO and those that change a line of it share: `advantage` compares the responses to a prompt, before the
    first of the updates. With `kl_coef` the reference is asked, too; the loss says what is made of it.
    """

    learns_from = "rollouts"
    needs_groups = True

    kl_coef: float = 0.0
    epochs: int = 1
    minibatches: int = 1

    @property
    def needs_reference(self) -> bool:
        return self.kl_coef > 0

    def advantage(self, reward_B: Tensor, prompt_of_B: Tensor) -> Tensor:
        """Shape (B,)."""
        raise NotImplementedError

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, _state: State) -> Iterator[Batch]:
        batch = Compared(
            tokens=data.tokens,
            old_logp_BT=data.logp_BT,
            advantage_B=self.advantage(data.reward_B, data.tokens.prompt_of_B),
            reference_logp_BT=models.reference_logp(data.tokens) if self.kl_coef else None,
        )
        yield from batch.updates(self.epochs, self.minibatches, seed=data.version)


def penalised(data: Rollout, models: Models, kl_coef: float) -> Compared:
    """r − β log(π/π0) of whole responses in place of an advantage: KL as a part of the reward, not of the loss. With a
    coefficient of 0 nobody asks the reference."""
    tokens, reward_B, reference_logp_BT = data.tokens, data.reward_B, None
    if kl_coef:
        reference_logp_BT = models.reference_logp(tokens)
        reward_B = reward_B - kl_coef * row_sum(kl1(data.logp_BT, reference_logp_BT), tokens.loss_mask_BT)
    return Compared(tokens=tokens, old_logp_BT=data.logp_BT, advantage_B=reward_B, reference_logp_BT=reference_logp_BT)


def score_function(policy: nn.Module, batch: Compared) -> Loss:
    """−A log π of whole responses (Williams 1992): the gradient of E[A], where π is the policy that sampled."""
    logp_B = row_sum(policy(batch.tokens).logp_BT, batch.tokens.loss_mask_BT)
    return Loss(
        terms={"policy": Term(-(batch.advantage_B * logp_B).sum(), per="rows")},
        metrics=kl_metric(batch),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ActorCritic(Method):
    """What PPO and its kin share: the KL to the reference is part of the reward of every token, values say what is
    still to come, and an advantage is what came beyond that (GAE). `acted` is what a token costs the policy, `valued`
    what its value costs the critic; both are the paper's.

    `kl_target` (nats per response) makes the KL coefficient adaptive, with `kl_horizon` in episodes (Ziegler et al.
    2019).
    """

    learns_from = "rollouts"
    needs_reference = True
    needs_values = True

    kl_coef: float = 0.15
    kl_target: float | None = None
    kl_horizon: float = 10_000
    value_coef: float = 0.1
    entropy_coef: float = 0.0
    gamma: float = 1.0
    lam: float = 0.95
    whiten_rewards: bool = False
    whiten_advantages: bool = True

    def __post_init__(self) -> None:
        name = called(self)
        check(self, name, at_least_0=("kl_coef", "value_coef", "entropy_coef"), above_0=("kl_horizon",))
        for field in ("gamma", "lam"):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(f"{name}.{field} must be in [0, 1], got {getattr(self, field)}")
        if self.kl_target is not None and not self.kl_target > 0:
            raise ValueError(f"{name}.kl_target must be > 0 nats per response (or None), got {self.kl_target}")

    def init(self, models: Models) -> State:
        return {"kl_coef": self.kl_coef, "updates": 0}

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Batch | Sequence[Batch]]:
        yield self.prepare(data, models, state["kl_coef"])

    def prepare(self, data: Rollout, models: Models, kl_coef: float) -> Valued:
        """Advantages and returns of a rollout, before any update changes the policy."""
        mask_BT = data.tokens.loss_mask_BT
        reference_logp_BT = models.reference_logp(data.tokens)
        value_BT = models.policy(data.tokens, Want(logp=False, value=True)).value_BT
        # k1, which may be negative on a token: the unbiased estimate
        reward_BT = token_rewards(data.reward_B, kl1(data.logp_BT, reference_logp_BT), mask_BT, kl_coef)
        if self.whiten_rewards:
            reward_BT = whiten(reward_BT, mask_BT, shift_mean=False) * mask_BT
        advantage_BT = gae(reward_BT, value_BT, mask_BT, self.gamma, self.lam)
        return_BT = advantage_BT + value_BT  # before whitening, as the released code of Ziegler et al. 2019 does
        if self.whiten_advantages:
            advantage_BT = whiten(advantage_BT, mask_BT)
        return Valued(
            tokens=data.tokens,
            old_logp_BT=data.logp_BT,  # of the distribution sampled from, temperature included
            advantage_BT=advantage_BT,
            reference_logp_BT=reference_logp_BT,
            old_value_BT=value_BT,
            return_BT=return_BT,
        )

    def acted(self, logp_BT: Tensor, batch: Valued) -> Tensor:
        """Shape (B, T)."""
        raise NotImplementedError

    def valued(self, value_BT: Tensor, batch: Valued) -> Tensor:
        """Shape (B, T)."""
        raise NotImplementedError

    def measured(self, logp_BT: Tensor, batch: Valued) -> dict[str, Mean]:
        """Further metrics."""
        return {}

    def loss(self, policy: nn.Module, batch: Any) -> Loss:
        mask_BT = batch.tokens.loss_mask_BT
        outputs = policy(batch.tokens, Want(value=True, entropy=self.entropy_coef > 0))
        value_loss_BT = self.valued(outputs.value_BT, batch)
        terms = {
            "policy": Term(total(self.acted(outputs.logp_BT, batch), mask_BT), per="tokens"),
            "value": Term(total(value_loss_BT, mask_BT), per="tokens", weight=self.value_coef),
        }
        if self.entropy_coef:
            terms["entropy"] = Term(total(outputs.entropy_BT, mask_BT), per="tokens", weight=-self.entropy_coef)
        value_loss = {"value_loss": mean_of(value_loss_BT, mask_BT)}
        return Loss(terms=terms, metrics=kl_metric(batch) | self.measured(outputs.logp_BT, batch) | value_loss)

    def after(self, state: State, data: Rollout, metrics: Mapping[str, float]) -> State:
        kl_coef = state["kl_coef"]
        if self.kl_target is not None:
            kl_coef = adaptive_kl(
                kl_coef, metrics["kl"], target=self.kl_target, episodes=data.tokens.rows, horizon=self.kl_horizon
            )
        return {"kl_coef": kl_coef, "updates": state["updates"] + 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightedMLE(Method):
    """What methods share that imitate some responses more than others: −Σ_i w_i log π(y_i|x_i), with weights that
    `weight` makes of the scores before the update.

    A weight belongs to a whole response, and so its log-probability is summed over all its tokens: only then is the
    optimum π(y) ∝ p(y) w(y), where p is what wrote the data. The mean is over the step's tokens, which is a constant
    for all of them: where all weights are equal the loss is that of `sft`. Weights are scaled to a mean of 1 over the
    responses that count at all, and the others cost no forward pass; where none counts there is no update.
    """

    learns_from: ClassVar[Source] = "scored"

    def weight(self, data: Scored) -> Tensor:
        """Shape (B,), at least 0."""
        raise NotImplementedError

    @torch.no_grad()
    def batches(self, data: Scored, models: Models, state: State) -> Iterator[Scored]:
        weight_B = data.weight_B * self.weight(data)
        row = weight_B.nonzero().squeeze(1)
        if len(row):
            weight_B = weight_B / weight_B[row].mean()
            yield replace(data, weight_B=weight_B).only(row)

    def loss(self, policy: nn.Module, batch: Scored) -> Loss:
        mask_BT = batch.tokens.loss_mask_BT
        logp_BT = policy(batch.tokens).logp_BT
        return Loss(
            terms={"nll": Term(-(batch.weight_B * row_sum(logp_BT, mask_BT)).sum(), per="tokens")},
            metrics={
                "nats_per_token": mean_of(-logp_BT, mask_BT),
                # 1 where all count alike; of so many times fewer responses does the step effectively learn
                "weight_square": mean_of(batch.weight_B**2),
            },
        )


def scored(rollout: Rollout) -> Scored:
    """What was sampled, each response with its reward and a weight of 1."""
    reward_B = rollout.reward_B
    return Scored(tokens=rollout.tokens, score_B=reward_B, weight_B=torch.ones_like(reward_B))
