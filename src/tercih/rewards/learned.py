"""A learned reward model as a reward source."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from tercih.data.collate import behind, collate, encode
from tercih.data.tokenize import Encoded, Tokenizer
from tercih.models.reward_model import RewardModel
from tercih.records import Text
from tercih.rewards.source import RewardError, Scores, check

ROWS = 256


class LearnedReward:
    """Scores by a reward model, from the very token ids that were sampled where the tokenizers agree.

    `truncate_at` is Ziegler et al. 2019's post-processing, which only the reward model sees: a response is cut after
    the first such token at position `truncate_after` or later, and one without it scores `missing_score`. A `rule` is
    read before every prompt.
    """

    def __init__(
        self,
        model: RewardModel,
        tokenizer: Tokenizer,
        *,
        name: str = "reward_model",
        rule: str = "",
        truncate_at: int | None = None,
        truncate_after: int = 16,
        missing_score: float = -1.0,
    ) -> None:
        self.model, self.tokenizer, self.name, self.rule = model, tokenizer, name, rule
        self.truncate_at, self.truncate_after, self.missing_score = truncate_at, truncate_after, missing_score

    @torch.no_grad()
    def score(self, items: Sequence[Text]) -> Scores:
        read = [self._read(item) for item in items]
        encoded = [row for row in read if row is not None]
        device = next(self.model.parameters()).device
        # Rows of like length together: less padding; the order is put back below.
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].prompt) + len(encoded[i].response))
        score_E = torch.zeros(len(encoded))
        for start in range(0, len(order), ROWS):
            part = order[start : start + ROWS]
            score_E[part] = self.model(collate([encoded[i] for i in part]).to(device)).float().cpu()
        reward_B = torch.full((len(items),), self.missing_score)
        reward_B[torch.tensor([row is not None for row in read], dtype=torch.bool)] = score_E
        return check(Scores(names=(self.name,), reward_BC=reward_B[:, None]), items)

    def normalise(self, items: Sequence[Text]) -> None:
        """From now on its scores of these have mean 0 and variance 1 (`RewardModel.normalise`)."""
        rows = [row for item in items if (row := self._read(item)) is not None]
        if len(rows) < 2:
            raise RewardError(
                f"{self.name} reads only {len(rows)} of {len(items)} responses, for the others lack the token it reads"
                " up to, so that its scores cannot be put on a scale; leave truncate_at out"
            )
        device = next(self.model.parameters()).device
        self.model.normalise([collate(rows[i : i + ROWS]).to(device) for i in range(0, len(rows), ROWS)])

    def _read(self, item: Text) -> Encoded | None:
        """What the reward model reads of an item; None where it lacks `truncate_at`."""
        row = self._encode(item)
        if self.truncate_at is None:
            return row
        end = self._end(row.response)
        return None if end is None else replace(row, response=row.response[:end], learn=row.learn[:end])

    def _encode(self, item: Text) -> Encoded:
        """An answer that ended at once is its EOS, to a tokenizer that did not sample it as well."""
        if item.completion or item.tokenizer == self.tokenizer.fingerprint:
            return encode(item, self.tokenizer, self.model.context, rule=self.rule)
        ended = Encoded(prompt=self.tokenizer.prompt(item.prompt), response=(self.tokenizer.eos,), learn=(True,))
        return behind(self.rule, ended, self.tokenizer)

    def _end(self, response: tuple[int, ...]) -> int | None:
        for i in range(self.truncate_after, len(response)):
            if response[i] == self.truncate_at:
                return i + 1
        return None
