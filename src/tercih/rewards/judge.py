"""A language model as judge (Bai et al. 2022, "Constitutional AI", arXiv:2212.08073; Lee et al. 2023, "RLAIF",
arXiv:2309.00267): the chance it gives to each of two letters is a soft label.

Whatever is asked is asked in both orders: a model that likes the letter A, or what it reads first, likes it in both,
and in the mean of the two chances that is gone. How much it does is measured. What cannot be read off is counted and
left out, never guessed.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from tercih.card import Card
from tercih.records import Comparison, Message, Text
from tercih.rewards.rubric import GOOD, HELPFUL, Question, drawn, of_item, of_pair
from tercih.rewards.source import RewardError, Scores, brief

CARD = Card(
    does="labels by a language model, soft and asked in both orders",
    paper="Bai et al. 2022; Lee et al. 2023",
    link="arXiv:2212.08073",
    family="reward models",
    when="People are too few or too slow, and what is wanted can be written down. Compare the judge with people on"
    " pairs that both judged before you believe it; it likes what language models write.",
    command="tercih judge",
)

Turns = tuple[Message, ...]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a voice said: `chance` is that of the first letter among the two, None where it cannot be read off."""

    text: str = ""
    chance: float | None = None


class Voice(Protocol):
    """Who is asked: a model here (`LocalVoice`) or behind an address (`Endpoint`)."""

    @property
    def name(self) -> str: ...
    def letters(self, asked: Sequence[Turns], letters: tuple[str, str]) -> list[Reply]: ...
    def thoughts(self, asked: Sequence[Turns]) -> list[str]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Of one question. `chance`: that it is the first option, None where no order of it could be read off. `lean`: how
    much likelier than a half the option was that was shown first, known only from both orders. Both are means over what
    could be read off in every order. `asked` and `unread` count replies."""

    chance: float | None
    lean: float | None
    asked: int
    unread: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """`use` says whether each question is put under one principle, drawn from what is judged and `seed` (Bai et al.
    2022, §4.1), or under all of them, whose chances are averaged. With `think` the voice thinks aloud before every
    answer; what it then says is nearly certain, so that labels are held within [`clamp`, 1 − `clamp`] (0.4 in §4.1;
    0 holds nothing). `both_orders=False` asks once, which is right of a judge without a lean.
    """

    voice: Voice
    principles: Mapping[str, str] | None = None
    use: Literal["drawn", "all"] = "drawn"
    think: bool = False
    clamp: float = 0.0
    letters: tuple[str, str] = ("A", "B")
    both_orders: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.use not in ("drawn", "all"):
            raise ValueError(f"judge.use must be 'drawn' or 'all', got {self.use!r}")
        if not 0 <= self.clamp < 0.5:
            raise ValueError(f"judge.clamp must be in [0, 0.5), got {self.clamp}")
        if not all(self.letters) or self.letters[0] == self.letters[1]:
            raise ValueError(f"judge.letters must be two different ones, got {self.letters}")

    def better(self, pairs: Sequence[tuple[Text, Text]]) -> list[Verdict]:
        """Which of each two is better: the chance is that of the first."""
        rules = self.principles or HELPFUL
        groups = [[of_pair(a, b, rules[name]) for name in self._chosen(rules, a, b)] for a, b in pairs]
        return self._verdicts(groups)

    def so(self, items: Sequence[Text], name: str | None = None) -> list[Verdict]:
        """Whether each is as the principle called `name` asks, or as those that `use` chooses."""
        rules = self.principles or GOOD
        groups = []
        for item in items:
            names = [name] if name is not None else self._chosen(rules, item)
            groups.append([of_item(item, rules[each]) for each in names])
        return self._verdicts(groups)

    def _chosen(self, rules: Mapping[str, str], *items: Text) -> list[str]:
        return list(rules) if self.use == "all" else [drawn(rules, self.seed, *items)]

    def _verdicts(self, groups: Sequence[Sequence[Question]]) -> list[Verdict]:
        """One a group, all of whose questions are put at once."""
        orders = [[each, each.swapped()] if self.both_orders else [each] for group in groups for each in group]
        replies = iter(self._ask([question for order in orders for question in order]))
        return [self._verdict([self._heard(next(replies), replies) for _ in group]) for group in groups]

    def _ask(self, questions: Sequence[Question]) -> list[Reply]:
        thoughts: Sequence[str | None] = [None] * len(questions)
        if self.think:
            thoughts = self.voice.thoughts([question.thinking(self.letters) for question in questions])
        asked = [q.turns(self.letters, thought) for q, thought in zip(questions, thoughts, strict=True)]
        return self.voice.letters(asked, self.letters)

    def _heard(self, first: Reply, replies: Iterator[Reply]) -> list[float | None]:
        """The chances of the option shown first, in each order in which one question was put."""
        return [first.chance, next(replies).chance] if self.both_orders else [first.chance]

    def _verdict(self, heard: Sequence[Sequence[float | None]]) -> Verdict:
        whole = [[p for p in orders if p is not None] for orders in heard if None not in orders]
        asked, unread = sum(map(len, heard)), sum(p is None for orders in heard for p in orders)
        if not whole:
            return Verdict(chance=None, lean=None, asked=asked, unread=unread)
        chances = [position_free([self._held(p) for p in orders]) for orders in whole]
        lean = _mean([sum(orders) / 2 - 0.5 for orders in whole]) if self.both_orders else None
        return Verdict(chance=_mean(chances), lean=lean, asked=asked, unread=unread)

    def _held(self, chance: float) -> float:
        return min(max(chance, self.clamp), 1 - self.clamp)


def position_free(shown_first: Sequence[float]) -> float:
    """The chance of one option from its chance when it is shown first and, where that was asked, one less the chance of
    the other when that is."""
    return shown_first[0] if len(shown_first) == 1 else (shown_first[0] + 1 - shown_first[1]) / 2


def comparison(a: Text, b: Text, verdict: Verdict, rater: str) -> Comparison | None:
    """A verdict as a record of a rater who says so, None where there is none. `strength` holds how sure it is: what is
    learned from it has exactly the chance as its soft label."""
    if verdict.chance is None:
        return None
    margin = 2 * verdict.chance - 1
    if margin == 0:
        return Comparison(a=a, b=b, answer="tie", rater=rater)
    return Comparison(a=a, b=b, answer="a" if margin > 0 else "b", strength=abs(margin), rater=rater)


def rater_name(voice: Voice) -> str:
    """Nobody may take an AI rater for a person."""
    return f"ai:{voice.name}"


class JudgeReward:
    """A judge as a reward source: the chance that a response is as a rule says, each rule a component of its own
    (`use="all"`: Glaese et al. 2022's rule-conditional reward model, prompted with the rule's text), or one rule drawn
    for each response ("judge"). Weights, also negative ones, are the combiner's business.

    What the judge did not answer scores `unread_score`; without one that is an error.
    """

    def __init__(self, judge: Judge, *, unread_score: float | None = None) -> None:
        self.judge, self.unread_score = judge, unread_score
        self.unread = 0

    def score(self, items: Sequence[Text]) -> Scores:
        before = self.unread
        rules: list[str | None] = [*(self.judge.principles or GOOD)] if self.judge.use == "all" else [None]
        columns = [
            [self._value(*each) for each in zip(items, self.judge.so(items, rule), strict=True)] for rule in rules
        ]
        names = tuple(rule or "judge" for rule in rules)
        if self.unread > before:
            logger.warning(
                "%s: %d of %d responses could not be judged and score %g; %d since it began",
                self.judge.voice.name, self.unread - before, len(items) * len(rules), self.unread_score, self.unread,
            )  # fmt: skip
        return Scores(names=names, reward_BC=torch.tensor(columns, dtype=torch.float32).T)

    def _value(self, item: Text, verdict: Verdict) -> float:
        if verdict.chance is not None:
            return verdict.chance
        self.unread += 1
        if self.unread_score is None:
            raise RewardError(
                f"no letter could be read off what {self.judge.voice.name} said of the completion"
                f" {brief(item.completion)!r} of prompt {brief(item.prompt)!r}; ask another model, or say what such a"
                " response scores (unread_score)"
            )
        return self.unread_score


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
