"""What tensors flow through training. No method and no model lives here.

Shape suffixes, used through the whole code base: P prompts, S prompt tokens, B responses (rows), T response tokens,
N comparisons, K places in a ranking, C reward components, V vocabulary, D hidden size. `logp_BT` is a float for every
token of every response; `chosen_row_N` names, for every comparison, a row in 0..B-1.

The suffix is also what the code reads: `Batch.take` keeps the entries of every field that belong to the prompts asked
for, so that a batch can be cut between prompts (never inside one: its answers may share work) into micro-batches or
ranks, and a new batch type needs its fields named well and nothing else.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Prompts and their responses, kept apart: K answers to one prompt share its row in `prompt_ids_PS`.

    Both are padded on the right with anything; the lengths say what is real, so no padding token is needed. How the two
    are laid out for a forward pass is decided in `models/`. `loss_mask_BT` is True on the response tokens that are
    learned from (all real ones, but for conversations, where it is True on the assistant's words alone).

    `correction_BT` is there where another engine sampled than the learner's own (`rollout/mismatch.py`): what reaches
    log π of a token from any loss is multiplied by it. It changes gradients alone, and so works for every method.
    """

    prompt_ids_PS: Tensor
    prompt_len_P: Tensor
    response_ids_BT: Tensor
    response_len_B: Tensor
    prompt_of_B: Tensor
    loss_mask_BT: Tensor
    correction_BT: Tensor | None = None

    @property
    def prompts(self) -> int:
        return len(self.prompt_len_P)

    @property
    def rows(self) -> int:
        return len(self.response_len_B)

    @property
    def lengths_B(self) -> Tensor:
        """Tokens of prompt and response together, of every row."""
        return self.prompt_len_P[self.prompt_of_B] + self.response_len_B

    def take(self, prompts: Tensor) -> "Tokens":
        """The given prompts (indices) with all their responses, cut to the longest of them."""
        row = torch.isin(self.prompt_of_B, prompts).nonzero().squeeze(1)
        new_of_old = torch.full((self.prompts,), -1, device=prompts.device)
        new_of_old[prompts] = torch.arange(len(prompts), device=prompts.device)
        prompt_len_P, response_len_B = self.prompt_len_P[prompts], self.response_len_B[row]
        S, T = int(prompt_len_P.max()), int(response_len_B.max())
        return Tokens(
            prompt_ids_PS=self.prompt_ids_PS[prompts, :S],
            prompt_len_P=prompt_len_P,
            response_ids_BT=self.response_ids_BT[row, :T],
            response_len_B=response_len_B,
            prompt_of_B=new_of_old[self.prompt_of_B[row]],
            loss_mask_BT=self.loss_mask_BT[row, :T],
            correction_BT=None if self.correction_BT is None else self.correction_BT[row, :T],
        )

    def to(self, device: torch.device | str) -> "Tokens":
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: tensor.to(device) for name, tensor in held.items() if tensor is not None})


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one optimiser step reads. Alone it is demonstrations: tokens to be imitated."""

    tokens: Tokens

    def units(self) -> dict[str, Tensor]:
        """How many of each thing there are; a loss term is a mean over one of these (see `Term.per`)."""
        tokens = self.tokens
        return {
            "prompts": torch.tensor(tokens.prompts),
            "rows": torch.tensor(tokens.rows),
            "tokens": tokens.loss_mask_BT.sum(),
        }

    def describe(self) -> dict[str, "Mean"]:
        """Metrics of the data itself, whatever is trained on it."""
        return {}

    def take(self, prompts: Tensor) -> Self:
        """The part of the batch that belongs to these prompts; row numbers inside it are renumbered."""
        tokens = self.tokens.take(prompts)
        row = torch.isin(self.tokens.prompt_of_B, prompts).nonzero().squeeze(1)
        new_of_old = torch.full((self.tokens.rows,), -1, device=row.device)
        new_of_old[row] = torch.arange(len(row), device=row.device)
        by_axis = {"B": row, "P": prompts}
        row_fields = [f.name for f in fields(self) if f.name.endswith(("_row_N", "_row_NK"))]
        if row_fields:
            first = getattr(self, row_fields[0])
            owner = self.tokens.prompt_of_B[first if first.ndim == 1 else first[:, 0]]
            by_axis["N"] = torch.isin(owner, prompts).nonzero().squeeze(1)
        changed: dict[str, object] = {"tokens": tokens}
        for f in fields(self):
            value = getattr(self, f.name)
            if not isinstance(value, Tensor):
                continue
            axes = f.name.rsplit("_", 1)[-1]
            value = value[by_axis[axes[0]]]
            if len(axes) > 1 and axes[1] == "T":
                value = value[:, : tokens.response_ids_BT.shape[1]]
            changed[f.name] = _renumbered(value, new_of_old) if f.name in row_fields else value
        return replace(self, **changed)  # type: ignore[arg-type]

    def split(self, rows: int) -> Iterator[Self]:
        """Parts of at most `rows` responses each (more, where a single prompt has more), cut between prompts."""
        if self.tokens.rows <= rows:
            yield self
            return
        count_P = torch.bincount(self.tokens.prompt_of_B, minlength=self.tokens.prompts).tolist()
        part: list[int] = []
        held = 0
        for prompt, count in enumerate(count_P):
            if part and held + count > rows:
                yield self.take(torch.tensor(part, device=self.tokens.prompt_of_B.device))
                part, held = [], 0
            part.append(prompt)
            held += count
        yield self.take(torch.tensor(part, device=self.tokens.prompt_of_B.device))

    def to(self, device: torch.device | str) -> Self:
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {k: v.to(device) for k, v in moved.items() if isinstance(v, Tensor | Tokens | Batch)}
        return replace(self, **moved)


def _renumbered(row: Tensor, new_of_old: Tensor) -> Tensor:
    """Row numbers inside a part of a batch; -1 pads and stays."""
    new = torch.where(row >= 0, new_of_old[row.clamp(min=0)], -1)
    if bool(((new < 0) & (row >= 0)).any()):
        raise ValueError(
            "a record compares rows of different prompts, so its batch cannot be cut between prompts; train it whole"
            " (optimisation.micro_rows = 0)"
        )
    return new


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs(Batch):
    """Comparisons between rows: a pair per prompt, or all pairs of the K answers to one prompt (InstructGPT).

    `target_N3` is P(first better), P(second better), P(tie): one-hot for a single rater, a posterior after consensus.
    `margin_N` is a known difference of ratings (0 where there is none). `reference_logp_B` is filled in by methods that
    need log π0 of the whole response.
    """

    first_row_N: Tensor
    second_row_N: Tensor
    target_N3: Tensor
    weight_N: Tensor
    margin_N: Tensor
    reference_logp_B: Tensor | None = None

    def units(self) -> dict[str, Tensor]:
        return Batch.units(self) | {"comparisons": self.weight_N.sum()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rankings(Batch):
    """Orders of K rows each, best first: `order_row_NK[n, 0]` is the row that rater n put first; -1 pads short ones."""

    order_row_NK: Tensor

    def units(self) -> dict[str, Tensor]:
        return Batch.units(self) | {"rankings": torch.tensor(len(self.order_row_NK))}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout(Batch):
    """Responses sampled by a policy, with what they scored.

    `logp_BT` is the log-probability of every token under the weights that sampled it, as the learner computes it;
    `ended_B` is True where the response ended by itself instead of being cut; `reward_B` is the combined score, and
    `parts` its named components before they were weighed, for the record. `version` numbers the weights that sampled.
    `measured` are metrics of the sampling itself.
    """

    logp_BT: Tensor
    reward_B: Tensor
    ended_B: Tensor
    parts: Mapping[str, Tensor]
    version: int
    pretraining: Batch | None = None
    measured: Mapping[str, "Mean"] = field(default_factory=dict)

    def describe(self) -> dict[str, "Mean"]:
        parts = {name: (part_B.sum(), torch.tensor(float(len(part_B)))) for name, part_B in self.parts.items()}
        return parts | dict(self.measured)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Want:
    """What a forward pass should return, so that one pass returns all of it."""

    logp: bool = True
    entropy: bool = False
    value: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """What was wanted, for every response token; zero where `Tokens.loss_mask_BT` is False."""

    logp_BT: Tensor | None = None
    entropy_BT: Tensor | None = None
    value_BT: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """What a method may call: the model it trains, and the frozen reference's log π0 of every response token.

    `policy` is a language model, `policy(tokens, want) -> Outputs`, or a reward model, `policy(tokens) -> score_B`.
    """

    policy: nn.Module
    reference: Callable[[Tokens], Tensor] | None = None

    def reference_logp(self, tokens: Tokens) -> Tensor:
        """Shape (B, T); without gradient."""
        if self.reference is None:
            raise ValueError("this method needs a reference model: pass Models(policy=…, reference=…)")
        return self.reference(tokens)
