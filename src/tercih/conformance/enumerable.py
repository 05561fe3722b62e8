"""A language so small that every answer can be listed, and a language model that can be anything on it.

The model is an ordinary `nn.Module` that `tercih.models` wraps like any other: proofs run the classes, the forward and
the loop that recipes run. Only what they are compared with is computed here, by summing over all answers.

Shape suffixes as in `tercih.batches`; Y counts the answers of the language.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tercih.models.language_model import LanguageModel
from tercih.ops import row_sum
from tercih.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class Language:
    """All answers of at most `length` of the tokens 0..`vocabulary`-1, after a prompt of one token that says nothing.

    Where `end` is a token, an answer stops after it, so that lengths differ; without, all have `length` tokens.
    """

    vocabulary: int
    length: int
    end: int | None = None

    @cached_property
    def answers(self) -> list[tuple[int, ...]]:
        whole = product(range(self.vocabulary), repeat=self.length)
        return sorted({self._until_end(answer) for answer in whole}, key=lambda answer: (len(answer), answer))

    def _until_end(self, answer: tuple[int, ...]) -> tuple[int, ...]:
        return answer[: answer.index(self.end) + 1] if self.end in answer else answer

    def path(self, answer: Sequence[int]) -> list[int]:
        """The numbers of all prefixes of an answer, from the prompt alone (0) to the whole of it, as in a heap: token v
        makes prefix `vocabulary · p + 1 + v` of prefix p."""
        numbers = [0]
        for token in answer:
            numbers.append(self.vocabulary * numbers[-1] + 1 + token)
        return numbers

    @property
    def prefixes(self) -> int:
        """How many there are, from the prompt alone to whole answers; those beyond an end are never reached."""
        return sum(self.vocabulary**depth for depth in range(self.length + 1))

    @cached_property
    def length_Y(self) -> Tensor:
        return torch.tensor([len(answer) for answer in self.answers])

    @cached_property
    def ids_YT(self) -> Tensor:
        return torch.tensor([answer + (0,) * (self.length - len(answer)) for answer in self.answers])

    @cached_property
    def all(self) -> Tokens:
        """Every answer once."""
        return self.tokens(torch.arange(len(self.answers)))

    def tokens(self, answer_B: Tensor, prompt_of_B: Tensor | None = None) -> Tokens:
        """These answers (indices), each to a prompt of its own unless said otherwise."""
        prompt_of_B = torch.arange(len(answer_B)) if prompt_of_B is None else prompt_of_B
        length_B, prompts = self.length_Y[answer_B], int(prompt_of_B.max()) + 1
        return Tokens(
            prompt_ids_PS=torch.zeros(prompts, 1, dtype=torch.long),
            prompt_len_P=torch.ones(prompts, dtype=torch.long),
            response_ids_BT=self.ids_YT[answer_B],
            response_len_B=length_B,
            prompt_of_B=prompt_of_B,
            loss_mask_BT=torch.arange(self.length) < length_B[:, None],
        )

    def __str__(self) -> str:
        shortest = min(len(answer) for answer in self.answers)
        lengths = f"{self.length}" if shortest == self.length else f"{shortest}-{self.length}"
        return f"{len(self.answers)} answers of {lengths} tokens"


class Prefixes(nn.Module):
    """A trunk whose hidden state is the one-hot number of the prefix read so far (`Language.path`): a linear head on it
    is a table."""

    one_hot: Tensor

    def __init__(self, language: Language, dtype: torch.dtype) -> None:
        super().__init__()
        self.vocabulary = language.vocabulary
        self.register_buffer("one_hot", torch.eye(language.prefixes, dtype=dtype), persistent=False)

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> SimpleNamespace:
        prefix_BL = torch.zeros_like(input_ids)
        for t in range(1, input_ids.shape[1]):
            prefix_BL[:, t] = self.vocabulary * prefix_BL[:, t - 1] + 1 + input_ids[:, t]
        return SimpleNamespace(last_hidden_state=self.one_hot[prefix_BL])


class EnumLM(nn.Module):
    """One row of logits for every prefix, behind the part of the Hugging Face interface that `tercih.models` needs.

    Value and score heads see the same one-hot prefixes and are therefore tables too: nothing is out of their reach.
    """

    def __init__(self, language: Language, logits_DV: Tensor) -> None:
        super().__init__()
        self.base_model = Prefixes(language, logits_DV.dtype)
        self.table = nn.Linear(language.prefixes, language.vocabulary, bias=False, dtype=logits_DV.dtype)
        with torch.no_grad():
            self.table.weight.copy_(logits_DV.T)
        self.config: Any = SimpleNamespace(
            model_type="enumerable", vocab_size=language.vocabulary, max_position_embeddings=language.length + 1
        )

    def get_output_embeddings(self) -> nn.Linear:
        return self.table


@torch.no_grad()
def distribution(policy: LanguageModel, language: Language) -> Tensor:
    """π(y) of every answer, exactly, shape (Y,)."""
    logp_YT = policy(language.all).logp_BT
    assert logp_YT is not None
    return row_sum(logp_YT, language.all.loss_mask_BT).exp()


def whole(language: Language, logp_DV: Tensor) -> Tensor:
    """π(y) of every answer, from its tokens."""
    return torch.stack([
        logp_DV[language.path(answer)[:-1], list(answer)].sum().exp() for answer in language.answers
    ])  # fmt: skip


def optimum(base_Y: Tensor, reward_Y: Tensor, beta: float) -> Tensor:
    """π*(y) ∝ π0(y) exp(r(y)/β), the maximum of E[r] − β KL(π‖π0) (Rafailov et al. 2023, eq. 4)."""
    return (base_Y.log() + reward_Y / beta).softmax(0)


def total_variation(p_Y: Tensor, q_Y: Tensor) -> float:
    return float((p_Y - q_Y).abs().sum() / 2)


def divergence(p_Y: Tensor, q_Y: Tensor) -> float:
    """KL(p‖q) in nats."""
    return float((torch.special.xlogy(p_Y, p_Y) - torch.special.xlogy(p_Y, q_Y)).sum())
