"""The model and what it makes of the data; costly things are worked out once, when the first check asks."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tercih.data.tokenize import Encoded, TokenError, Tokenizer
from tercih.doctor.inspection import Inspection, texts
from tercih.models.language_model import LanguageModel
from tercih.models.load import load_policy
from tercih.progress import Progress
from tercih.records import Content, Text
from tercih.rollout.engine import Generated
from tercih.rollout.engines import make_engine
from tercih.rollout.sampler import to_tokens
from tercih.rollout.sampling import Sampling

LOOKED_AT = 5000  # records that are tokenised
PROBED = 32  # prompts that are answered


@dataclass(frozen=True, slots=True)
class Probe:
    """A small sample of the model's own answers; `difference_BT` is the engine's log-probability less the trainer's."""

    generated: Generated
    difference_BT: Tensor


class Patient:
    """A model that could be loaded, with the data it is going to see. Raises what loading raises."""

    def __init__(self, case: Inspection) -> None:
        self.case = case
        self.tokenizer = Tokenizer.load(case.model)
        self.policy: LanguageModel = load_policy(case.model)

    @cached_property
    def records(self) -> list[Any]:
        """Training and held-out records, at most LOOKED_AT of them, from everywhere."""
        return spread([*self.case.records, *self.case.heldout], LOOKED_AT)

    @cached_property
    def prompts(self) -> list[Content]:
        return list(dict.fromkeys(text.prompt for record in self.records for text in texts(record)))

    @cached_property
    def answers(self) -> list[Text]:
        return [text for record in self.records for text in texts(record) if text.completion]

    @cached_property
    def prompt_ids(self) -> list[tuple[int, ...]]:
        """Of the prompts that can be tokenised."""
        return [ids for prompt in self.prompts if (ids := self._try(self.tokenizer.prompt, prompt))]

    @cached_property
    def encoded(self) -> list[Encoded]:
        """Of the answers that can be tokenised."""
        return [row for text in self.answers if (row := self._try(self.tokenizer.encode, text))]

    @cached_property
    def problems(self) -> list[str]:
        """What the tokenizer refuses, filled while prompts and answers are tokenised."""
        return []

    @cached_property
    def probe(self) -> Probe | None:
        """None where no prompt leaves room for an answer."""
        room = self.policy.context - self.case.max_new_tokens
        bos = [] if self.tokenizer.bos is None else [(self.tokenizer.bos,)]
        ids = spread([row for row in self.prompt_ids or bos if len(row) <= room], PROBED)
        if not ids:
            return None
        sampling = Sampling(max_new_tokens=self.case.max_new_tokens, temperature=self.policy.temperature)
        with Progress("sampling a few answers", total=len(ids)) as progress:
            generated = make_engine(self.policy, self.tokenizer, max_batch=PROBED).generate(
                ids, sampling, seed=0, on_progress=lambda done, _: progress.advance(by=done - progress.done)
            )
        tokens = to_tokens(generated, ids)
        with torch.no_grad():
            logp_BT = self.policy.eval()(tokens).logp_BT
        assert logp_BT is not None
        difference_BT = torch.where(tokens.loss_mask_BT, generated.logp_BT - logp_BT, 0.0)
        return Probe(generated=generated, difference_BT=difference_BT)

    def _try(self, tokenise: Callable[[Any], Any], what: Any) -> Any:
        try:
            return tokenise(what)
        except TokenError as error:
            self.problems.append(str(error))
            return None


def spread(rows: list[Any], most: int) -> list[Any]:
    """At most so many rows, evenly from the first to the last."""
    return rows if len(rows) <= most else [rows[i * len(rows) // most] for i in range(most)]
