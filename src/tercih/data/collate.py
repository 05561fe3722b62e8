"""Encoded records become batches. One function for each kind of record; all of them end in `collate`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tercih.batches import Batch, Pairs, Rankings, Scored, Thumbs, Turns
from tercih.data.tokenize import ContextError, Encoded, TokenError, Tokenizer
from tercih.progress import console
from tercih.records import (
    Comparison,
    Consensus,
    Content,
    Demonstration,
    Dialogue,
    Ranking,
    Rating,
    RuleLabel,
    StepLabels,
    Text,
    Thumb,
)
from tercih.tokens import Tokens


def collate(rows: Sequence[Encoded]) -> Tokens:
    """Rows with one prompt, one after the other, share it."""
    if not rows:
        raise ValueError("a batch needs at least one row")
    fresh = [True, *(a.prompt != b.prompt for a, b in pairwise(rows))]
    prompts = [row.prompt for row, new in zip(rows, fresh, strict=True) if new]
    return Tokens(
        prompt_ids_PS=pad(prompts),
        prompt_len_P=torch.tensor([len(p) for p in prompts]),
        response_ids_BT=pad([row.response for row in rows]),
        response_len_B=torch.tensor([len(row.response) for row in rows]),
        prompt_of_B=torch.tensor(fresh).cumsum(0) - 1,
        loss_mask_BT=pad([row.learn for row in rows]).bool(),
    )


def pad(rows: Sequence[Sequence[int]] | Sequence[Sequence[bool]]) -> Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[*map(int, row), *([0] * (width - len(row)))] for row in rows], dtype=torch.int64)


def demonstrations(records: Sequence[Demonstration] | Sequence[Rating], tokenizer: Tokenizer, context: int) -> Batch:
    return Batch(tokens=collate([encode(r.item, tokenizer, context) for r in records]))


def pairs(records: Sequence[Comparison | Consensus], tokenizer: Tokenizer, context: int) -> Pairs:
    """Two rows a record, side by side, so that they share their prompt."""
    beliefs = [as_consensus(record) for record in records]
    rows = [encode(item, tokenizer, context) for belief in beliefs for item in (belief.a, belief.b)]
    first_row_N = torch.arange(0, len(rows), 2)
    return Pairs(
        tokens=collate(rows),
        first_row_N=first_row_N,
        second_row_N=first_row_N + 1,
        target_N3=torch.tensor([[b.p_a, b.p_b, max(0.0, 1 - b.p_a - b.p_b)] for b in beliefs]),
        weight_N=torch.tensor([b.weight for b in beliefs]),
        margin_N=torch.tensor([b.margin for b in beliefs]),
    )


def rankings(records: Sequence[Ranking], tokenizer: Tokenizer, context: int) -> Rankings:
    """All K answers of a prompt in one forward; short rankings are padded with row -1."""
    rows = [encode(item, tokenizer, context) for record in records for item in record.items]
    K = max(len(record.items) for record in records)
    order, start = [], 0
    for record in records:
        order.append([start + i for i in record.order] + [-1] * (K - len(record.order)))
        start += len(record.items)
    return Rankings(tokens=collate(rows), order_row_NK=torch.tensor(order))


def turns(records: Sequence[Dialogue], tokenizer: Tokenizer, context: int) -> Turns:
    """A row for everything that was offered, and a prompt for every turn; short offers are padded with row -1. A
    dialogue's turns follow each other, so that the offer after a turn is the next one's."""
    rows: list[Encoded] = []
    offered, reward, following = [], [], []
    K = max(len(turn.offered) for record in records for turn in record.turns)
    for record in records:
        for number, turn in enumerate(record.turns, start=1):
            if turn.said is None:
                raise TokenError(f"turn {number} does not say what was said of what was offered (said, reward)")
            there = [len(rows) + place for place in range(len(turn.offered))]
            said = there.pop(turn.said)
            rows += [encode(item, tokenizer, context) for item in turn.items]
            offered.append([said, *there, *[-1] * (K - len(turn.offered))])
            reward.append(turn.reward)
            following.append(len(offered) if number < len(record.turns) else -1)
    return Turns(
        tokens=collate(rows),
        offered_row_NK=torch.tensor(offered),
        reward_N=torch.tensor(reward),
        next_N=torch.tensor(following),
    )


def thumbs(records: Sequence[Thumb | StepLabels | Comparison], tokenizer: Tokenizer, context: int) -> Thumbs:
    """A row for every thumb, and for every step that was judged, up to its end; of a comparison both answers, each as
    good as its chance to be the better one."""
    rows, good, weight = [], [], []
    for record in records:
        if isinstance(record, Thumb):
            judged, counts = [(record.item, float(record.good))], 1.0
        elif isinstance(record, StepLabels):
            steps = zip(record.prefixes, record.good, strict=False)  # the last ones may not have been judged
            judged, counts = [(Text(prompt=record.item.prompt, completion=x), float(good)) for x, good in steps], 1.0
        else:
            belief = as_consensus(record)
            tie = max(0.0, 1 - belief.p_a - belief.p_b) / 2
            judged, counts = [(belief.a, belief.p_a + tie), (belief.b, belief.p_b + tie)], belief.weight
        for item, chance in judged:
            rows.append(encode(item, tokenizer, context))
            good.append(chance)
            weight.append(counts)
    return Thumbs(tokens=collate(rows), good_B=torch.tensor(good), weight_B=torch.tensor(weight))


def rule_labels(records: Sequence[RuleLabel], tokenizer: Tokenizer, context: int) -> Thumbs:
    """A row for every label, its rule before its prompt; good is a rule that is kept. Who was not sure says a half."""
    return Thumbs(
        tokens=collate([encode(record.item, tokenizer, context, rule=record.rule) for record in records]),
        good_B=torch.tensor([float(not record.broken) if record.certain else 0.5 for record in records]),
        weight_B=torch.ones(len(records)),
    )


def scored(records: Sequence[Rating | Thumb], tokenizer: Tokenizer, context: int) -> Scored:
    """A row for every score; a thumb up is 1, one down 0."""
    score = [float(record.good) if isinstance(record, Thumb) else record.score for record in records]
    return Scored(
        tokens=collate([encode(record.item, tokenizer, context) for record in records]),
        score_B=torch.tensor(score, dtype=torch.float32),
        weight_B=torch.ones(len(score)),
    )


def all_pairs(records: Sequence[Ranking], tokenizer: Tokenizer, context: int) -> Pairs:
    """Every ranking as its K(K-1)/2 comparisons, weighted to count as one record (Ouyang et al. 2022, eq. 1)."""
    batch = rankings(records, tokenizer, context)
    first, second, weight = [], [], []
    for order in batch.order_row_NK.tolist():
        real = [row for row in order if row >= 0]
        couples = [(a, b) for i, a in enumerate(real) for b in real[i + 1 :]]
        first += [a for a, _ in couples]
        second += [b for _, b in couples]
        weight += [1 / len(couples)] * len(couples)
    return Pairs(
        tokens=batch.tokens,
        first_row_N=torch.tensor(first),
        second_row_N=torch.tensor(second),
        target_N3=torch.tensor([[1.0, 0.0, 0.0]]).repeat(len(first), 1),
        weight_N=torch.tensor(weight),
        margin_N=torch.zeros(len(first)),
    )


def encode(item: Text, tokenizer: Tokenizer, context: int, *, rule: str = "") -> Encoded:
    """Nothing is ever cut: what does not fit the model's context is an error that says which and by how much. Where
    there is a `rule`, it stands before the prompt."""
    row = behind(rule, tokenizer.encode(item), tokenizer)
    if len(row.prompt) + len(row.response) > context:
        raise ContextError(
            f"{len(row.prompt)} prompt + {len(row.response)} response tokens exceed the model's context of {context}:"
            f" {shorten(item.prompt)!r}; leave such rows out with --drop-long, or use a model with a longer context"
        )
    return row


def behind(rule: str, row: Encoded, tokenizer: Tokenizer) -> Encoded:
    """The row with the text of a rule before its prompt, as a line of its own, but after what begins every text. The
    other tokens stay as they were."""
    if not rule:
        return row
    begin = int(row.prompt[0] == tokenizer.bos)
    return replace(row, prompt=(*row.prompt[:begin], *tokenizer.words(f"{rule}\n"), *row.prompt[begin:]))


def shorten(content: Content, width: int = 60) -> str:
    text = content if isinstance(content, str) else " / ".join(m.content for m in content)
    return text if len(text) <= width else text[: width - 1] + "…"


def as_consensus(record: Comparison | Consensus) -> Consensus:
    """A single rater's word, taken at its face value: a tie is P(tie) = 1, a weak preference a softer label."""
    if isinstance(record, Consensus):
        return record
    won = 0.5 + 0.5 * record.strength
    p_a, p_b = {"a": (won, 1 - won), "b": (1 - won, won), "tie": (0.0, 0.0)}[record.answer]
    return Consensus(a=record.a, b=record.b, p_a=p_a, p_b=p_b, margin=record.margin)


def fitting(
    records: Sequence[Any],
    make: Callable[[list[Any], Tokenizer, int], object],
    tokenizer: Tokenizer,
    context: int,
    *,
    drop: bool,
    where: str = "",
) -> list[Any]:
    """Every record that `make` (one of the functions above) can use, tried one by one before any work.

    Raises TokenError at the first that it cannot, naming its number and `where` it comes from; with `drop`, records
    longer than the context are left out instead, and how many is said.
    """
    place = f"{where}, record" if where else "record"
    kept = []
    for index, record in enumerate(records):
        try:
            make([record], tokenizer, context)
            kept.append(record)
        except ContextError as error:
            if not drop:
                raise ContextError(f"{place} {index + 1}: {error}") from None
        except TokenError as error:
            raise TokenError(f"{place} {index + 1}: {error}") from None
    if len(kept) < len(records):
        left_out = f"left out {len(records) - len(kept)} of {len(records)} records, longer than {context} tokens"
        console.print(f"{where}: {left_out}" if where else left_out)
    return kept
