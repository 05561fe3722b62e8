"""Prompts and their responses as token ids. Shape suffixes are those of `batches.py`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Prompts and their responses, kept apart: K answers to one prompt share its row in `prompt_ids_PS`.

    Both are padded on the right with anything; the lengths say what is real, so no padding token is needed. How the two
    are laid out for a forward pass is decided in `models/`. `loss_mask_BT` is True on the response tokens that are
    learned from (all real ones, but for conversations, where it is True on the assistant's words alone).

    `correction_BT` is there where another engine sampled than the learner's own (`rollout/mismatch.py`): what reaches
    log π of a token from any loss is multiplied by it. It changes gradients alone, and so works for every method.

    `allowed_BTW` is there where some of the vocabulary may not be said (`models/nucleus.py`): log π and entropy are
    then those of what is left, and log π of the rest is −∞.
    """

    prompt_ids_PS: Tensor
    prompt_len_P: Tensor
    response_ids_BT: Tensor
    response_len_B: Tensor
    prompt_of_B: Tensor
    loss_mask_BT: Tensor
    correction_BT: Tensor | None = None
    allowed_BTW: Tensor | None = None

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

    def rows_of(self, prompts: Tensor) -> Tensor:
        """The rows that are responses to these prompts."""
        return torch.isin(self.prompt_of_B, prompts).nonzero().squeeze(1)

    def take(self, prompts: Tensor, row: Tensor | None = None) -> "Tokens":
        """The given prompts (indices) with all their responses, or only those in `row`, cut to the longest of them."""
        row = self.rows_of(prompts) if row is None else row
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
            allowed_BTW=None if self.allowed_BTW is None else self.allowed_BTW[row, :T],
        )

    def with_words(self, words: Sequence[Sequence[int]], which_B: Tensor, after: int | None = None) -> "Tokens":
        """Every row with the tokens `words[which]` between its prompt and its response, or behind the first `after`
        tokens of its prompt; rows to which both are alike share a prompt."""
        key_P, prompt_of_B = torch.unique(self.prompt_of_B * len(words) + which_B, return_inverse=True)
        old_P, which_P, device = key_P // len(words), key_P % len(words), key_P.device
        longest = max(map(len, words))
        padded = [[*word, *[0] * (longest - len(word))] for word in words]
        word_ids_PW = torch.tensor(padded, dtype=torch.long, device=device)[which_P]
        word_len_P = torch.tensor([len(word) for word in words], device=device)[which_P]
        old_len_P, ids_PS = self.prompt_len_P[old_P], self.prompt_ids_PS[old_P]
        wider_PS = torch.cat([ids_PS, torch.zeros_like(word_ids_PW)], 1)
        # Of every place how far behind the beginning of the word it is.
        begin_P1 = (old_len_P if after is None else torch.full_like(old_len_P, after))[:, None]
        place_PS = torch.arange(wider_PS.shape[1], device=device).expand_as(wider_PS)
        behind_PS = place_PS - begin_P1
        from_word_PS = (behind_PS >= 0) & (behind_PS < word_len_P[:, None])
        moved_PS = wider_PS.gather(
            1, torch.where(behind_PS < 0, place_PS, (place_PS - word_len_P[:, None]).clamp(min=0))
        )
        told_PS = word_ids_PW.gather(1, behind_PS.clamp(min=0, max=max(longest - 1, 0))) if longest else moved_PS
        return replace(
            self,
            prompt_ids_PS=torch.where(from_word_PS, told_PS, moved_PS),
            prompt_len_P=old_len_P + word_len_P,
            prompt_of_B=prompt_of_B,
        )

    def without_words(self, word: Sequence[int]) -> "Tokens":
        """Prompts as they were before these tokens stood at their end; ValueError where one does not end so."""
        at_PW = self.prompt_len_P[:, None] + torch.arange(-len(word), 0, device=self.prompt_len_P.device)
        ends_PW = self.prompt_ids_PS.gather(1, at_PW.clamp(min=0)) == torch.tensor(word, device=at_PW.device)
        if not bool((ends_PW & (at_PW > 0)).all()):
            raise ValueError(
                "a prompt does not end with the words that the method asks with; sample with Rollouts(asking=…)"
            )
        return replace(self, prompt_len_P=self.prompt_len_P - len(word))

    def joined(self, other: "Tokens") -> "Tokens":
        """Both, without corrections; the prompts of the other are numbered after these."""
        return Tokens(
            prompt_ids_PS=stacked(self.prompt_ids_PS, other.prompt_ids_PS),
            prompt_len_P=torch.cat([self.prompt_len_P, other.prompt_len_P]),
            response_ids_BT=stacked(self.response_ids_BT, other.response_ids_BT),
            response_len_B=torch.cat([self.response_len_B, other.response_len_B]),
            prompt_of_B=torch.cat([self.prompt_of_B, other.prompt_of_B + self.prompts]),
            loss_mask_BT=stacked(self.loss_mask_BT, other.loss_mask_BT),
        )

    def to(self, device: torch.device | str) -> "Tokens":
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: tensor.to(device) for name, tensor in held.items() if tensor is not None})


def stacked(a: Tensor, b: Tensor) -> Tensor:
    """One over the other, the narrower one padded with 0 (or False)."""
    width = max(a.shape[1], b.shape[1])
    return torch.cat([torch.nn.functional.pad(x, (0, width - x.shape[1])) for x in (a, b)])
