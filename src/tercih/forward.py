"""What a method asks of a model, and what it gives to the training loop. Shape suffixes are those of `batches.py`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from tercih.spans import span
from tercih.tokens import Tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """Another model's hidden states before every response token, and what makes logits of them: much less to keep than
    its whole distributions."""

    hidden_BTD: Tensor
    head: Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Want:
    """What a forward pass should return, so that one pass returns all of it: `kl_to` asks for KL(π‖other) over the
    whole vocabulary at every token, `kl_from` for KL(other‖π). `follow`: before it, slow copies of Q move towards their
    heads by this share of the way; in the pass, where weights that lie in parts are whole."""

    logp: bool = True
    entropy: bool = False
    value: bool = False
    allowed: bool = False
    hidden: bool = False
    kl_to: Against | None = None
    kl_from: Against | None = None
    actions: bool = False
    expected: bool = False
    follow: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """What was wanted, for every response token; zero where `Tokens.loss_mask_BT` is False. `allowed_BTW` is the mask
    that the policy's nucleus makes there, `kept_BT` the log of the probability that the policy itself gives to it."""

    logp_BT: Tensor | None = None
    entropy_BT: Tensor | None = None
    value_BT: Tensor | None = None
    allowed_BTW: Tensor | None = None
    kept_BT: Tensor | None = None
    hidden_BTD: Tensor | None = None
    kl_BT: Tensor | None = None
    q_BT: Tensor | None = None
    other_q_BT: Tensor | None = None
    """What two heads say that the token is worth."""
    q_logp_BT: Tensor | None = None
    other_q_logp_BT: Tensor | None = None
    """log softmax over the vocabulary of either, at the token."""
    target_q_BT: Tensor | None = None
    """The lesser of what their slowly moving copies say."""
    mean_q_BT: Tensor | None = None
    """Its expectation over what the policy might say in the token's place; without gradient."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """What a method may call: the model it trains, and the frozen reference's log π0 of every response token.

    `policy` is a language model, `policy(tokens, want) -> Outputs`, a reward model, `policy(tokens) -> score_B`, or an
    actor with its critic, `policy(observation_B, action_B) -> Judged`. `words` are the token ids of the texts that the
    method puts beside prompts (`Method.words`), and under "" of what every plain prompt begins with.
    """

    policy: nn.Module
    reference: Any = None  # tokens -> log π0, shape (B, T), and `against` of tokens: see `models.Reference`
    words: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def reference_logp(self, tokens: Tokens) -> Tensor:
        """Shape (B, T); without gradient."""
        logp_BT: Tensor = self._asked(self.reference, tokens)
        return logp_BT

    def reference_states(self, tokens: Tokens) -> Against:
        """What a forward pass compares whole distributions with; without gradient."""
        states: Against = self._asked(None if self.reference is None else self.reference.against, tokens)
        return states

    def _asked(self, ask: Callable[[Tokens], Any] | None, tokens: Tokens) -> Any:
        if ask is None:
            raise ValueError("this method needs a reference model: pass Models(policy=…, reference=…)")
        with span("reference"):
            return ask(tokens)


@dataclass(frozen=True, slots=True)
class Term:
    """One addend of a loss: `weight` times the mean of what `sum` adds up, over the `per` units of the whole batch.

    The mean is taken over the units of *all* micro-batches and ranks of an optimiser step (`Batch.units`), so that any
    split gives the same gradient.
    """

    sum: Tensor
    per: str
    weight: float = 1.0


Mean = tuple[Tensor, Tensor]  # a metric: its sum and its count, both detached


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    terms: Mapping[str, Term]
    metrics: Mapping[str, Mean]
