"""Proof of rule models: one scorer of words and rules says of answers it never saw whether they break each rule, also
where a rule is worded as no label ever was; and a policy that is paid by it breaks fewer rules for the same preference.

A rule is two tokens, a wording and the word that is not to be said; every word has a rule. The scorer sees which tokens
a rule has and which words an answer has said, and learns what they have to do with each other. Suffixes: K rules, Y
answers, N rows of a rule and an answer each.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, log
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tercih.algorithms.rule_model import RuleModel, chance_broken
from tercih.batches import Thumbs
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.enumerable import Language, optimum
from tercih.conformance.lab import Always, Lab, World, generator, train
from tercih.forward import Models
from tercih.models.reward_model import RewardModel
from tercih.tokens import Tokens

WORDS, LENGTH = 5, 3
NEVER, AVOID = WORDS, WORDS + 1  # two wordings of the same
VOCABULARY = WORDS + 2
RULE = 2  # tokens
RIGHT = 0.9  # how often somebody sees that a rule is broken, or that it is kept
RATERS = 3  # of every rule and answer
TEMPTATION = 0.5  # how much more people like an answer for every rule that it breaks
PROVOKED = 1.0  # how many nats likelier each makes it where somebody tries to have rules broken
WEIGHT = 3.0  # of every rule

LANGUAGE = Language(vocabulary=WORDS, length=LENGTH)
LABELLED = [(NEVER, word) for word in range(WORDS)] + [(AVOID, word) for word in range(WORDS - 2)]
REWORDED = [(AVOID, word) for word in range(WORDS - 2, WORDS)]
MUTE = [(NEVER, NEVER)] * len(LABELLED)  # in place of the labelled ones, where their text is removed


class Crossed(nn.Module):
    """A trunk whose hidden state says of every token of the rule and every word whether both are there so far."""

    one_hot: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("one_hot", torch.eye(VOCABULARY, dtype=torch.float64), persistent=False)

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> SimpleNamespace:
        seen_BLV = self.one_hot[input_ids]
        rule_BV = seen_BLV[:, 1 : 1 + RULE].amax(1)
        said_BLV = torch.cat([torch.zeros_like(seen_BLV[:, : 1 + RULE]), seen_BLV[:, 1 + RULE :]], 1).cummax(1).values
        both_BLVV = rule_BV[:, None, :, None] * said_BLV[:, :, None, :]
        return SimpleNamespace(last_hidden_state=torch.cat([both_BLVV.flatten(2), said_BLV], 2))


class Reader(nn.Module):
    """Behind the part of the Hugging Face interface that `tercih.models` needs."""

    def __init__(self) -> None:
        super().__init__()
        self.base_model = Crossed()
        self.table = nn.Linear(VOCABULARY * (VOCABULARY + 1), VOCABULARY, bias=False, dtype=torch.float64)
        self.config: Any = SimpleNamespace(
            model_type="enumerable", vocab_size=VOCABULARY, max_position_embeddings=1 + RULE + LENGTH
        )

    def get_output_embeddings(self) -> nn.Linear:
        return self.table


def rows(rules: list[tuple[int, int]], answer_Y: Tensor) -> Tokens:
    """Every rule before every one of these answers, rule by rule."""
    which_N = torch.arange(len(rules)).repeat_interleave(len(answer_Y))
    return LANGUAGE.tokens(answer_Y.repeat(len(rules))).with_words(rules, which_N, after=1)


def breaks(rules: list[tuple[int, int]], answer_Y: Tensor) -> Tensor:
    """Which of these answers break which rules, (K, Y)."""
    said_YT = LANGUAGE.ids_YT[answer_Y]
    return torch.stack([(said_YT == word).any(1) for _, word in rules])


@dataclass(frozen=True)
class People:
    """A world whose people label rules; half of its answers they see."""

    world: World

    @cached_property
    def order_Y(self) -> Tensor:
        return torch.randperm(len(LANGUAGE.answers), generator=generator(*self.world.key, 96))

    @property
    def seen_Y(self) -> Tensor:
        return self.order_Y[: len(self.order_Y) // 2]

    @property
    def unseen_Y(self) -> Tensor:
        return self.order_Y[len(self.order_Y) // 2 :]

    def everybody(self) -> Thumbs:
        """Rules that are labelled and answers that are seen, with the chances of what is said."""
        broken_N = breaks(LABELLED, self.seen_Y).flatten()
        good_N = torch.where(broken_N, 1 - RIGHT, RIGHT).double()
        return Thumbs(tokens=rows(LABELLED, self.seen_Y), good_B=good_N, weight_B=torch.ones_like(good_N))

    def labelled(self, *, shuffled: bool = False) -> Thumbs:
        """What `RATERS` of them say, with their errors; for the control, labels change places."""
        everybody, draws = self.everybody(), generator(*self.world.key, 97)
        good_N = torch.bernoulli(everybody.good_B.expand(RATERS, -1), generator=draws).mean(0)
        if shuffled:
            good_N = good_N[torch.randperm(len(good_N), generator=draws)]
        return replace(everybody, good_B=good_N)

    @cached_property
    def preference_Y(self) -> Tensor:
        """What people prefer, which a broken rule makes more welcome."""
        return self.world.reward_Y + TEMPTATION * self.broken_Y

    @cached_property
    def broken_Y(self) -> Tensor:
        """How many rules an answer breaks: of the last two words, which people like and should not."""
        return breaks(REWORDED, torch.arange(len(LANGUAGE.answers))).double().sum(0)

    def violations_less(self, scorer: RewardModel) -> float:
        """By how much fewer rules are broken under R = w·preference + Σ w_k rule_k than under preference alone, where
        somebody provokes them, both policies exact and preferred alike: w by bisection, as E[preference] rises in w."""
        broken_KY = broken_by(scorer, REWORDED, torch.arange(len(LANGUAGE.answers)))
        provoked_Y = optimum(self.world.base_Y, PROVOKED * self.broken_Y, 1.0)
        alone_Y = optimum(provoked_Y, self.preference_Y, 1.0)
        low, high = 0.0, 100.0
        for _ in range(60):
            weight = (low + high) / 2
            paid_Y = optimum(provoked_Y, weight * self.preference_Y + WEIGHT * (1 - broken_KY).sum(0), 1.0)
            less = float(paid_Y @ self.preference_Y) < float(alone_Y @ self.preference_Y)
            low, high = (weight, high) if less else (low, weight)
        return float((alone_Y - paid_Y) @ (self.broken_Y > 0).double())


def learned(method: RuleModel, data: Thumbs, steps: int) -> RewardModel:
    scorer = RewardModel(Reader())
    with torch.no_grad():
        scorer.score_head.weight.zero_()
    train(method, Models(policy=scorer), Always(batch=data, steps=steps))
    return scorer


@torch.no_grad()
def broken_by(scorer: RewardModel, rules: list[tuple[int, int]], answer_Y: Tensor) -> Tensor:
    """P(broken) of each rule, (K, Y)."""
    chance_N: Tensor = chance_broken(scorer(rows(rules, answer_Y)))
    return chance_N.view(len(rules), len(answer_Y))


def areas(scorer: RewardModel, rules: list[tuple[int, int]], answer_Y: Tensor) -> list[float]:
    """The area under the ROC curve of every rule: the chance that an answer that breaks it is thought likelier to than
    one that does not; a tie counts half."""
    found = []
    for chance_Y, broken_Y in zip(broken_by(scorer, rules, answer_Y), breaks(rules, answer_Y), strict=True):
        found.append(won(chance_Y[broken_Y], chance_Y[~broken_Y]))
    return found


def won(these: Tensor, those: Tensor) -> float:
    apart = these[:, None] - those[None, :]
    tie = apart.abs() < 1e-9  # rounding
    return float(torch.where(tie, 0.5, (apart > 0).double()).mean())


def told_apart(scorer: RewardModel, answer_Y: Tensor, read: list[tuple[int, int]] = LABELLED) -> float:
    """The same within each answer: that the rule it breaks looks likelier to be broken than the rule it keeps; `read`
    is what the scorer reads of the rules."""
    chance_KY, broken_KY = broken_by(scorer, read, answer_Y), breaks(LABELLED, answer_Y)
    each = [won(chance_KY[broken_KY[:, y], y], chance_KY[~broken_KY[:, y], y]) for y in range(len(answer_Y))]
    return sum(each) / len(each)


def prove(lab: Lab, method: type[RuleModel] = RuleModel) -> Findings:
    steps, controls = lab.of(quick=(20, 15), full=(100, 40))
    everyone = [People(World(language=LANGUAGE, key=(*world.key, 95))) for world in lab.worlds]
    first, configured = everyone[0], method()
    exact = learned(configured, first.everybody(), 12 * steps)
    scorers = [learned(configured, people.labelled(), steps) for people in everyone]
    blind = [learned(configured, people.labelled(shuffled=True), steps) for people in by_lot(lab, controls)]
    true_KY = breaks(LABELLED + REWORDED, first.unseen_Y)
    error_KY = broken_by(exact, LABELLED + REWORDED, first.unseen_Y) - torch.where(true_KY, RIGHT, 1 - RIGHT)
    unlike = [areas(scorer, LABELLED, people.unseen_Y) for scorer, people in zip(scorers, everyone, strict=True)]
    reworded = [areas(scorer, REWORDED, people.unseen_Y) for scorer, people in zip(scorers, everyone, strict=True)]
    chance = [area for scorer in blind for area in areas(scorer, LABELLED, first.unseen_Y)]
    deaf = learned(configured, replace(first.labelled(), tokens=rows(MUTE, first.seen_Y)), steps)
    return Findings(
        identity=every(
            at_most("max error of P(broken), unseen answers, all wordings", float(error_KY.abs().max()), 0.01),
            at_most("|loss − plain loop|", abs(loss_gap(configured, scorers[0], first)), 1e-9),
            at_least("AUC on unseen answers, the worst rule", min(map(min, unlike)), 0.9),
            at_least("AUC, a wording that no label of this rule had, the worst", min(map(min, reworded)), 0.9),
        ),
        ordering=above_zero(
            "share of provoked answers that break a rule, preference alone − with rules, at equal preference",
            [people.violations_less(scorer) for people, scorer in zip(everyone, scorers, strict=True)],
        ),
        negative_control=at_most(
            "|mean AUC − ½|, shuffled labels", abs(sum(chance) / len(chance) - 0.5), 0.1, f"of {len(chance)}"
        ),
        ablation=every(
            at_most(
                "|chance to tell a broken rule from a kept one − ½|, the rule's text removed",
                abs(told_apart(deaf, first.unseen_Y, MUTE) - 0.5),
                1e-9,
            ),
            at_least("the same with its text", told_apart(scorers[0], first.unseen_Y), 0.9),
        ),
    )


def by_lot(lab: Lab, count: int) -> Iterator[People]:
    """Other people, for a control that is a mean over many."""
    return (People(World(language=LANGUAGE, key=(lab.seed, 98, draw))) for draw in range(count))


def loss_gap(method: RuleModel, scorer: RewardModel, people: People) -> float:
    """The loss less a plain loop over labels, some of which count twice and some of which are a half."""
    data = people.labelled()
    weight_B = 1.0 + torch.arange(data.rows) % 2
    good_B = torch.where(torch.arange(data.rows) % 5 == 0, 0.5, data.good_B)
    weighed = replace(data, good_B=good_B, weight_B=weight_B.double())
    units = weighed.units()
    terms = method.loss(scorer, weighed).terms.values()
    found = sum(float(term.weight * term.sum.detach() / units[term.per]) for term in terms)
    total = 0.0
    with torch.no_grad():
        scores = scorer(data.tokens).tolist()
    for score, good, weight in zip(scores, good_B.tolist(), weight_B.tolist(), strict=True):
        broken = 1 / (1 + exp(score))
        total -= weight * ((1 - good) * log(broken) + good * log(1 - broken))
    return found - total / float(weight_B.sum())
