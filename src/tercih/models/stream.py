"""A batch as one stream of tokens: rows side by side in segments of like length, and a shared prompt once.

In a stream only attention knows of rows (`models/attention.py`); the matrices of a layer see one long list of tokens,
so that a segment more costs little, and nearly nothing is padded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tercih.models.layout import Places, alike, join
from tercih.tokens import Tokens

WORTH = 0.9  # a prompt is read once where that saves a tenth of the tokens
SEGMENT = {"cpu": 16}  # what a segment costs besides its tokens, in tokens
SEGMENT_ELSEWHERE = 1024


@dataclass(frozen=True, slots=True)
class Segment:
    """R rows of L tokens, one row after the other. A token sees the `before` tokens of the stream that stand for its
    row in `Stream.before_X`, but for those where `hidden_R11C` is -inf, and those of its row up to itself. Of the last
    layer nothing is wanted before a row's token number `first`."""

    rows: int
    length: int
    first: int
    before: int = 0
    hidden_R11C: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """N tokens. Row b's token number t is at `own_B[b] + t`, or at `prompt_B[b] + t` while t < `split_B[b]`."""

    ids_N: Tensor
    position_N: Tensor
    segments: list[Segment]
    before_X: Tensor | None
    own_B: Tensor
    prompt_B: Tensor
    split_B: Tensor
    real: int
    """Tokens that are not padding."""

    def at(self, places: Places) -> Tensor:
        """Where these places stand, shape (M,)."""
        row_M, at_M = places.row_M, places.at_M
        return at_M + torch.where(at_M < self.split_B[row_M], self.prompt_B[row_M], self.own_B[row_M])


def stream(tokens: Tokens, first: Sequence[int], need: Sequence[int], dtype: torch.dtype) -> Stream:
    """Of every row the first `need` tokens, prompt and response counted together; of those, what the last layer says
    is wanted from number `first` on."""
    builder = _Builder(tokens, dtype)
    if _is_shared(tokens, need):
        builder.share(first, need)
    else:
        builder.each(first, need)
    return builder.build()


class _Builder:
    def __init__(self, tokens: Tokens, dtype: torch.dtype) -> None:
        self.tokens, self.dtype, self.device = tokens, dtype, tokens.prompt_of_B.device
        self.ids: list[Tensor] = []
        self.positions: list[Tensor] = []
        self.segments: list[Segment] = []
        self.before: list[Tensor] = []
        self.end = self.real = 0
        self.own_B, self.prompt_B, self.split_B = torch.zeros(3, tokens.rows, dtype=torch.long, device=self.device)

    def each(self, first: Sequence[int], need: Sequence[int]) -> None:
        """Every row by itself."""
        for rows, length in alike(need, _extra(self.device)):
            row_R = torch.tensor(rows, device=self.device)
            self.own_B[row_R] = self._starts(len(rows), length)
            self.real += sum(need[row] for row in rows)
            self._add(join(self.tokens, row_R, length), torch.zeros_like(row_R), min(first[row] for row in rows))

    def share(self, first: Sequence[int], need: Sequence[int]) -> None:
        """Every prompt once, then what follows it of each of its rows."""
        tokens, extra = self.tokens, _extra(self.device)
        prompt_of, prompt_len = tokens.prompt_of_B.tolist(), tokens.prompt_len_P.tolist()
        from_prompt = [tokens.prompt_ids_PS.shape[1]] * len(prompt_len)
        for p, start, length in zip(prompt_of, first, need, strict=True):
            from_prompt[p] = min(from_prompt[p], start) if length else from_prompt[p]
        used = list(dict.fromkeys(p for p, length in zip(prompt_of, need, strict=True) if length))
        start_P = torch.zeros_like(tokens.prompt_len_P)
        for group, width in alike([prompt_len[p] for p in used], extra):
            prompts = [used[i] for i in group]
            prompt_R = torch.tensor(prompts, device=self.device)
            start_P[prompt_R] = self._starts(len(group), width)
            self.real += sum(prompt_len[p] for p in prompts)
            wanted = min(min(from_prompt[p], width) for p in prompts)
            self._add(tokens.prompt_ids_PS[prompt_R, :width], torch.zeros_like(prompt_R), wanted)
        self.split_B = tokens.prompt_len_P[tokens.prompt_of_B]
        self.prompt_B = start_P[tokens.prompt_of_B]
        after = [max(length - prompt_len[p], 0) for p, length in zip(prompt_of, need, strict=True)]
        for rows, length in alike(after, extra):
            row_R = torch.tensor(rows, device=self.device)
            self.own_B[row_R] = self._starts(len(rows), length) - self.split_B[row_R]
            self.real += sum(after[row] for row in rows)
            wanted = min(max(first[row] - prompt_len[prompt_of[row]], 0) for row in rows)
            lengths = [prompt_len[prompt_of[row]] for row in rows]
            ids_RL = tokens.response_ids_BT[row_R, :length]
            self._add(ids_RL, self.split_B[row_R], wanted, self.prompt_B[row_R], lengths)

    def _starts(self, rows: int, length: int) -> Tensor:
        return self.end + length * torch.arange(rows, device=self.device)

    def _add(
        self,
        ids_RL: Tensor,
        position_R: Tensor,
        first: int,
        prompt_R: Tensor | None = None,
        lengths: Sequence[int] = (),
    ) -> None:
        """A segment whose rows begin at these positions, after prompts of these `lengths` at `prompt_R`."""
        R, L = ids_RL.shape
        self.ids.append(ids_RL.reshape(-1))
        self.positions.append((position_R[:, None] + torch.arange(L, device=self.device)).reshape(-1))
        before, hidden_R11C = 0, None
        if prompt_R is not None:
            before = max(lengths)
            column_S = torch.arange(before, device=self.device)
            self.before.append((prompt_R[:, None] + column_S.minimum(position_R[:, None] - 1)).reshape(-1))
            if min(lengths) < before:
                hidden_R11C = torch.zeros(R, 1, 1, before + L, dtype=self.dtype, device=self.device)
                hidden_R11C[:, 0, 0, :before].masked_fill_(column_S >= position_R[:, None], -torch.inf)
        self.segments.append(Segment(R, L, min(first, L), before, hidden_R11C))
        self.end += R * L

    def build(self) -> Stream:
        return Stream(
            ids_N=torch.cat(self.ids),
            position_N=torch.cat(self.positions),
            segments=self.segments,
            before_X=torch.cat(self.before) if self.before else None,
            own_B=self.own_B,
            prompt_B=self.prompt_B,
            split_B=self.split_B,
            real=self.real,
        )


def _extra(device: torch.device) -> int:
    return SEGMENT.get(device.type, SEGMENT_ELSEWHERE)


def _is_shared(tokens: Tokens, need: Sequence[int]) -> bool:
    """Whether reading every prompt once saves enough."""
    prompt_of, prompt_len = tokens.prompt_of_B.tolist(), tokens.prompt_len_P.tolist()
    used = {prompt for prompt, length in zip(prompt_of, need, strict=True) if length}
    once = sum(prompt_len[p] for p in used)
    after = sum(max(length - prompt_len[p], 0) for p, length in zip(prompt_of, need, strict=True))
    return bool(once + after + _extra(tokens.prompt_of_B.device) < WORTH * sum(need))
