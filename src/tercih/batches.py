"""What tensors flow through training. No method and no model lives here.

Shape suffixes, used through the whole code base: P prompts, S prompt tokens, B responses (rows), T response tokens,
N comparisons, K places in a ranking, C reward components, V vocabulary, D hidden size. `logp_BT` is a float for every
token of every response; `chosen_row_N` names, for every comparison, a row in 0..B-1.

The suffix is also what the code reads: `Batch.take` keeps the entries of every field that belong to the prompts asked
for, so that a batch can be cut between prompts into micro-batches or ranks, and a new batch type needs its fields named
well and nothing else. Inside a prompt only those batches are cut that say so (`Batch.rows_alone`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from tercih.forward import Against, Mean
from tercih.tokens import Tokens


class AnyBatch:
    """What one optimiser step reads, whatever its rows are: responses (`Batch`), or steps in an environment
    (`agents/experience.py`). Subclass it with a frozen dataclass.
    """

    __slots__ = ()

    @property
    def rows(self) -> int:
        raise NotImplementedError

    def units(self) -> dict[str, Tensor]:
        """How many of each thing there are; a loss term is a mean over one of these (see `Term.per`)."""
        return {"rows": torch.tensor(self.rows)}

    def describe(self) -> dict[str, Mean]:
        """Metrics of the data itself, whatever is trained on it."""
        return {}

    def split(self, rows: int) -> Iterator[Self]:
        """Parts of at most `rows` rows each, or of more where rows cannot be cut apart; together they are the whole."""
        raise NotImplementedError

    def to(self, device: torch.device | str) -> Self:
        held = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        moved = {k: v.to(device) for k, v in held.items() if isinstance(v, Tensor | Tokens | AnyBatch)}
        return replace(self, **moved)  # type: ignore[type-var]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch(AnyBatch):
    """A batch of tokens. Alone it is demonstrations: tokens to be imitated.

    `rows_alone` says that the loss of a row reads nothing of another row, so that K answers to one prompt may be cut
    apart where they are more than fit into a micro-batch.
    """

    rows_alone: ClassVar[bool] = False

    tokens: Tokens

    @property
    def rows(self) -> int:
        return self.tokens.rows

    def units(self) -> dict[str, Tensor]:
        tokens = self.tokens
        return {
            "prompts": torch.tensor(tokens.prompts),
            "rows": torch.tensor(tokens.rows),
            "tokens": tokens.loss_mask_BT.sum(),
        }

    def take(self, prompts: Tensor, row: Tensor | None = None) -> Self:
        """The part of the batch that belongs to these prompts, or only the rows `row` of it; row numbers inside it are
        renumbered."""
        row = self.tokens.rows_of(prompts) if row is None else row
        tokens = self.tokens.take(prompts, row)
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
            changed[f.name] = renumbered(value, new_of_old) if f.name in row_fields else value
        return replace(self, **changed)  # type: ignore[arg-type]

    def only(self, row: Tensor) -> Self:
        """These rows, with the prompts that they answer."""
        return self.take(torch.unique(self.tokens.prompt_of_B[row]), row)

    def split(self, rows: int) -> Iterator[Self]:
        """Parts of at most `rows` responses each, cut between prompts; a prompt that has more is one part, or several
        where its rows stand alone."""
        if self.tokens.rows <= rows:
            yield self
            return
        for prompts in self._packed(rows):
            row, most = self.tokens.rows_of(prompts), rows if self.rows_alone else self.tokens.rows
            for start in range(0, len(row), most):
                yield self.take(prompts, row[start : start + most])

    def _packed(self, rows: int) -> Iterator[Tensor]:
        """Prompts in their order, as many at a time as have at most `rows` responses together, but at least one."""
        part: list[int] = []
        held = 0
        count_P = torch.bincount(self.tokens.prompt_of_B, minlength=self.tokens.prompts).tolist()
        for prompt, count in enumerate(count_P):
            if part and held + count > rows:
                yield torch.tensor(part, device=self.tokens.prompt_of_B.device)
                part, held = [], 0
            part.append(prompt)
            held += count
        yield torch.tensor(part, device=self.tokens.prompt_of_B.device)

    def updates(self, epochs: int, minibatches: int, seed: int) -> Iterator[Self]:
        """`epochs` walks through the batch, each cut between prompts into random minibatches, as equal as whole prompts
        allow (the batch as it is where there is one)."""
        if minibatches == 1:
            yield from [self] * epochs
            return
        if self.tokens.prompts < minibatches:
            raise ValueError(
                f"minibatches is {minibatches}, but a rollout has only {self.tokens.prompts} prompts: ask more of them"
                " (--rows), or set --method.minibatches"
            )
        for epoch in range(epochs):
            order_P = torch.randperm(
                self.tokens.prompts, generator=torch.Generator().manual_seed(seed * epochs + epoch)
            )
            for prompts in order_P.to(self.tokens.prompt_of_B.device).tensor_split(minibatches):
                yield self.take(prompts)


def renumbered(row: Tensor, new_of_old: Tensor) -> Tensor:
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

    @property
    def items(self) -> Tokens:
        """What is compared, as a scorer takes it."""
        return self.tokens

    def units(self) -> dict[str, Tensor]:
        return Batch.units(self) | {"comparisons": self.weight_N.sum()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbs(Batch):
    """Responses judged one by one: `good_B` is the chance that each is good. `reference_logp_B` as in `Pairs`;
    `zero_B` is the log-ratio from which a method counts gains and losses, where it has one."""

    rows_alone = True

    good_B: Tensor
    weight_B: Tensor
    reference_logp_B: Tensor | None = None
    zero_B: Tensor | None = None

    def units(self) -> dict[str, Tensor]:
        return Batch.units(self) | {"thumbs": self.weight_B.sum()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored(Batch):
    """Responses with a number each: `score_B`, higher is better. `weight_B` is how much each counts: 1, or what a
    method makes of the scores."""

    rows_alone = True

    score_B: Tensor
    weight_B: Tensor

    def describe(self) -> dict[str, Mean]:
        return {"score": (self.score_B.sum(), torch.tensor(float(self.rows)))}


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionsValued(Batch):
    """Scored responses during the updates of a method that learns what tokens are worth: what Q is drawn to, how much
    each token is imitated, and what the slow copies said, where V learns from it. Computed before the update."""

    rows_alone = True

    aim_BT: Tensor
    imitation_BT: Tensor
    weight_B: Tensor
    target_q_BT: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rankings(Batch):
    """Orders of K rows each, best first: `order_row_NK[n, 0]` is the row that rater n put first; -1 pads short ones.
    `reference_logp_B` as in `Pairs`."""

    order_row_NK: Tensor
    reference_logp_B: Tensor | None = None

    @property
    def real_NK(self) -> Tensor:
        return self.order_row_NK >= 0

    def ordered(self, x_B: Tensor) -> Tensor:
        """What belongs to every row, in the order of the rankings; anything outside `real_NK`. Shape (N, K)."""
        return x_B[self.order_row_NK.clamp(min=0)]

    def units(self) -> dict[str, Tensor]:
        return Batch.units(self) | {"rankings": torch.tensor(len(self.order_row_NK))}


@dataclass(frozen=True, kw_only=True, slots=True)
class Turns(Batch):
    """N turns of dialogues. `offered_row_NK` are the utterances that there were to choose from, the one that was said
    first; -1 pads. `reward_N` came with it, `next_N` is a turn of this batch that has the offer made after it, or -1
    where the dialogue ended; it is read before the batch is cut, and `aim_N` is what a method makes of it."""

    offered_row_NK: Tensor
    reward_N: Tensor
    next_N: Tensor
    aim_N: Tensor | None = None

    def units(self) -> dict[str, Tensor]:
        return Batch.units(self) | {"turns": torch.tensor(len(self.reward_N))}

    def describe(self) -> dict[str, Mean]:
        return {"reward": (self.reward_N.sum(), torch.tensor(float(len(self.reward_N))))}


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
    measured: Mapping[str, Mean] = field(default_factory=dict)

    @property
    def spread_P(self) -> Tensor:
        """Where the responses to a prompt do not all have the same reward, shape (P,)."""
        empty_P, prompt_of_B = self.reward_B.new_zeros(self.tokens.prompts), self.tokens.prompt_of_B
        high_P = empty_P.scatter_reduce(0, prompt_of_B, self.reward_B, "amax", include_self=False)
        low_P = empty_P.scatter_reduce(0, prompt_of_B, self.reward_B, "amin", include_self=False)
        return torch.gt(high_P, low_P)

    def describe(self) -> dict[str, Mean]:
        """Of everything that was sampled, also of what a method leaves out; `spread` only where there are groups."""
        mask_BT, rows = self.tokens.loss_mask_BT, torch.tensor(float(self.tokens.rows))
        parts: dict[str, Mean] = {name: (part_B.sum(), rows) for name, part_B in self.parts.items()}
        if self.tokens.rows > self.tokens.prompts:
            parts["spread"] = self.spread_P.sum(), torch.tensor(float(self.tokens.prompts))
        return parts | {
            "reward": (self.reward_B.sum(), rows),
            "entropy": (torch.where(mask_BT, -self.logp_BT, 0.0).sum(), mask_BT.sum()),
            "response_length": (self.tokens.response_len_B.sum(), rows),
            "ended": (self.ended_B.sum(), rows),
            **self.measured,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared(Batch):
    """Responses during the updates of a method without a critic: each has one advantage, from a comparison with the
    others to its prompt. `old_logp_BT` is that of the rollout; log π0 is there where the method penalises KL."""

    rows_alone = True

    old_logp_BT: Tensor
    advantage_B: Tensor
    reference_logp_BT: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Credited(Batch):
    """Responses during the updates of a method that gives every token its own advantage; fields as in `Compared`."""

    rows_alone = True

    old_logp_BT: Tensor
    advantage_BT: Tensor
    reference_logp_BT: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Valued(Credited):
    """That, of a method with a critic: what it said before the updates, and what it should have said."""

    old_value_BT: Tensor
    return_BT: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside(Batch):
    """Responses, and what another model makes of them, perhaps behind another prompt."""

    rows_alone = True

    hidden_BTD: Tensor
    head: Callable[[Tensor], Tensor]

    @property
    def other(self) -> Against:
        return Against(hidden_BTD=self.hidden_BTD, head=self.head)
