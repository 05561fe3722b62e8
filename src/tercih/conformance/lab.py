"""Where proofs are carried out: small worlds with a reference policy and a true reward, and the loop of recipes."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from tercih.batches import AnyBatch, Batch, Rollout
from tercih.conformance.enumerable import EnumLM, Language, distribution
from tercih.forward import Models, Want
from tercih.method import Method
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.reward_model import RewardModel
from tercih.optimisation import Optimisation
from tercih.tokens import Tokens
from tercih.train import Data, fit

N = TypeVar("N")


def generator(*key: int) -> torch.Generator:
    """Random numbers that are a pure function of the key."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


@dataclass(frozen=True, kw_only=True)
class World:
    """A language, a reference policy that speaks it, and what people truly want: standard normal logits and rewards."""

    language: Language
    key: tuple[int, ...]

    @cached_property
    def logits_DV(self) -> Tensor:
        shape = (self.language.prefixes, self.language.vocabulary)
        return torch.randn(shape, generator=generator(*self.key, 0), dtype=torch.float64)

    @cached_property
    def reward_Y(self) -> Tensor:
        size = len(self.language.answers)
        return torch.randn(size, generator=generator(*self.key, 1), dtype=torch.float64)

    @cached_property
    def base_Y(self) -> Tensor:
        """π0 of every answer."""
        return distribution(self.policy(), self.language)

    def policy(self, value: str | None = None) -> LanguageModel:
        """A policy that still is the reference."""
        return LanguageModel(EnumLM(self.language, self.logits_DV), value=value)

    def models(self, policy: LanguageModel) -> Models:
        return Models(policy=policy, reference=Reference(self.policy()))

    def scorer(self) -> RewardModel:
        return RewardModel(EnumLM(self.language, self.logits_DV))

    def score(self, scorer: RewardModel) -> Tensor:
        """What a reward model gives every answer, shape (Y,)."""
        with torch.no_grad():
            score_Y: Tensor = scorer(self.language.all)
        return score_Y

    def gain(self, policy_Y: Tensor) -> float:
        """True reward above the reference's."""
        return float((policy_Y - self.base_Y) @ self.reward_Y)

    def frequency(self, answer_B: Tensor) -> Tensor:
        """How often every answer is among these, shape (Y,)."""
        return torch.bincount(answer_B, minlength=len(self.reward_Y)).double() / len(answer_B)

    def slope(self, score_Y: Tensor) -> float:
        """Of a regression of scores on the true reward: 1 where they are recovered, 0 by chance."""
        true_Y = self.reward_Y - self.reward_Y.mean()
        return float((score_Y @ true_Y) / (true_Y @ true_Y))


@dataclass(frozen=True, kw_only=True)
class Lab:
    """`worlds`, one a paired seed; `full` proofs are larger than the quick ones."""

    full: bool = False
    seed: int = 0

    @cached_property
    def language(self) -> Language:
        return Language(vocabulary=4, length=4) if self.full else Language(vocabulary=4, length=3, end=0)

    @cached_property
    def worlds(self) -> list[World]:
        return [World(language=self.language, key=(self.seed, i)) for i in range(self.of(quick=3, full=5))]

    def of(self, *, quick: N, full: N) -> N:
        return full if self.full else quick

    @property
    def data_hash(self) -> str:
        """Of everything that proofs read: what they draw beyond it is a function of `seed`."""
        digest = hashlib.sha256(str(self.seed).encode())
        for world in self.worlds:
            digest.update(world.language.ids_YT.numpy().tobytes())
            digest.update(world.logits_DV.numpy().tobytes())
            digest.update(world.reward_Y.numpy().tobytes())
        return digest.hexdigest()


class Stateless:
    """Data that are a pure function of the step have nothing to save."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state


@dataclass(frozen=True, kw_only=True)
class Always(Stateless):
    """The same batch at every step: a whole population."""

    batch: AnyBatch
    steps: int

    def __call__(self, step: int) -> AnyBatch:
        return self.batch


@torch.no_grad()
def said(policy: LanguageModel, tokens: Tokens) -> Tokens:
    """The same, with the mask of a policy that may not say everything."""
    if policy.nucleus is None:
        return tokens
    return replace(tokens, allowed_BTW=policy(tokens, Want(logp=False, allowed=True)).allowed_BTW)


@dataclass(frozen=True, kw_only=True)
class Sampled(Stateless):
    """Rollouts drawn exactly from the policy as it is now, keyed by (key, step), each prompt answered `samples` times.

    `shuffled` is the negative control: rewards change places within a rollout. `pretraining` comes with each of them.
    """

    language: Language
    policy: LanguageModel
    reward_Y: Tensor
    steps: int
    rows: int
    key: tuple[int, ...]
    samples: int = 1
    shuffled: bool = False
    pretraining: Batch | None = None

    @torch.no_grad()
    def __call__(self, step: int) -> Rollout:
        draws = generator(*self.key, step)
        logp_YT = self.policy(said(self.policy, self.language.all)).logp_BT
        assert logp_YT is not None
        answer_B = torch.multinomial(logp_YT.sum(1).exp(), self.rows, replacement=True, generator=draws)
        rewarded_B = answer_B[torch.randperm(self.rows, generator=draws)] if self.shuffled else answer_B
        return Rollout(
            tokens=self.language.tokens(answer_B, torch.arange(self.rows) // self.samples),
            logp_BT=logp_YT[answer_B],
            reward_B=self.reward_Y[rewarded_B],
            ended_B=torch.ones(self.rows, dtype=torch.bool),
            parts={},
            version=step,
            pretraining=self.pretraining,
        )


EXACT = Optimisation(lr=0.3, betas=(0.5, 0.9))  # for gradients of a whole population, which are free of noise


def train(
    method: Method,
    models: Models,
    data: Data,
    optimisation: Optimisation = EXACT,
    on_step: Callable[[int, Mapping[str, float]], None] | None = None,
) -> None:
    """By the loop that recipes run."""
    fit(method, models, data, optimisation, on_step=on_step)
