"""Quark: sort what was ever sampled into quantiles of reward, learn each behind a word of its own, and ask for the best
(Lu et al. 2022, arXiv:2205.13636)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from tercih.batches import Beside, Rollout, Scored
from tercih.card import Card
from tercih.families import scored
from tercih.forward import Loss, Models, Term, Want
from tercih.method import Method, State, check
from tercih.ops import mean_of, total
from tercih.tokens import Tokens

CARD = Card(
    does="learns quantiles of reward behind words, and asks for the best",
    paper="Lu et al. 2022",
    link="arXiv:2205.13636",
    family="select, weight, condition",
    when="You have a reward whose scale means little: only its order counts. Bad samples teach too, and nothing that"
    " was sampled is thrown away. It needs its word in every prompt, and memory for the pool.",
)


def quantile(score_B: Tensor, quantiles: int) -> Tensor:
    """0 for the lowest 1/K of all scores up to K − 1 for the highest, as equal in number as can be; of equals the first
    stand lower. Shape (B,)."""
    place_B = torch.empty_like(score_B, dtype=torch.long)
    order_B = score_B.argsort(stable=True)
    place_B[order_B] = torch.arange(len(score_B), device=score_B.device)
    return place_B * quantiles // len(score_B)


@dataclass(frozen=True, kw_only=True, slots=True)
class Quark(Method):
    """CE(y | x, r_k) + kl_coef·KL(π‖π0) − entropy_coef·H, every term the mean over tokens, KL and H over the whole
    vocabulary. Every rollout is asked for with the best word and joins the pool, which is sorted anew; then follow
    `updates` of `rows` responses, drawn from all of it.

    Defaults are the official code's, but for `updates`, of which it makes 500. There the pool begins with samples
    without a word; here the first rollout, too, is asked with the best one, which means nothing yet.
    """

    learns_from = "rollouts"
    needs_reference = True

    quantiles: int = 5
    kl_coef: float = 0.05
    entropy_coef: float = 0.06
    updates: int = 8
    rows: int = 128
    word: str = "<|quality {}|>"

    def __post_init__(self) -> None:
        check(self, "quark", at_least_0=("kl_coef", "entropy_coef"), above_0=("updates", "rows"))
        if self.quantiles < 2:
            raise ValueError(f"quark.quantiles must be >= 2, got {self.quantiles}")
        if self.word.format(1) == self.word.format(2):
            raise ValueError(f"quark.word needs a {{}} for the number of the quantile, got {self.word!r}")

    @property
    def words(self) -> tuple[str, ...]:
        """The lowest quantile's first."""
        return tuple(self.word.format(k + 1) for k in range(self.quantiles))

    @property
    def asks_with(self) -> str:
        return self.words[-1]

    def init(self, models: Models) -> State:
        return {"steps": 0}

    @torch.no_grad()
    def batches(self, data: Rollout, models: Models, state: State) -> Iterator[Beside]:
        words = [models.words[word] for word in self.words]
        pool = grown(state, data)
        which_B = quantile(pool.score_B, self.quantiles)
        pool = replace(pool, tokens=pool.tokens.without_words(words[-1]))
        draws = torch.Generator().manual_seed(state["steps"])
        for _ in range(self.updates):
            row = torch.randperm(pool.rows, generator=draws)[: self.rows].sort().values.to(which_B.device)
            drawn = pool.only(row).tokens
            other = models.reference_states(drawn)
            told = drawn.with_words(words, which_B[row])
            yield Beside(tokens=told, hidden_BTD=other.hidden_BTD, head=other.head)

    def loss(self, policy: nn.Module, batch: Beside) -> Loss:
        mask_BT = batch.tokens.loss_mask_BT
        outputs = policy(batch.tokens, Want(entropy=True, kl_to=batch.other))
        return Loss(
            terms={
                "nll": Term(-total(outputs.logp_BT, mask_BT), per="tokens"),
                "kl": Term(total(outputs.kl_BT, mask_BT), per="tokens", weight=self.kl_coef),
                "entropy": Term(total(outputs.entropy_BT, mask_BT), per="tokens", weight=-self.entropy_coef),
            },
            metrics={
                "nats_per_token": mean_of(-outputs.logp_BT, mask_BT),
                "kl_per_token": mean_of(outputs.kl_BT, mask_BT),
            },
        )

    def after(self, state: State, data: Any, metrics: Mapping[str, float]) -> State:
        """The pool is in the state, and so in every checkpoint: what goes on learns from all that was sampled."""
        pool = grown(state, data)
        held = {f.name: part for f in fields(Tokens) if (part := getattr(pool.tokens, f.name)) is not None}
        return {"steps": state["steps"] + 1, "pool": held | {"score_B": pool.score_B}}


def grown(state: State, data: Rollout) -> Scored:
    """All that was sampled before, and a rollout; prompts end with the words they were asked with."""
    new = replace(scored(data), tokens=replace(data.tokens, correction_BT=None, allowed_BTW=None))
    if "pool" not in state:
        return new
    held = {name: tensor.to(new.score_B.device) for name, tensor in state["pool"].items()}
    score_B = torch.cat([held.pop("score_B"), new.score_B])
    return Scored(tokens=Tokens(**held).joined(new.tokens), score_B=score_B, weight_B=torch.ones_like(score_B))
