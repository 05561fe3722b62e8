"""Deep RL from human preferences (Christiano et al. 2017, arXiv:1706.03741): the agent acts, some of what it did is put
to people, a reward is learned from their answers, and the agent learns from that reward.

To the loop it is one more iterable of rollouts. Whoever answers, people or a teacher, stands behind `Answers`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from tercih.agents.clips import Excerpt, Schedule, cut, pairs
from tercih.agents.experience import Collector, Experience
from tercih.agents.reward_learner import RewardLearner
from tercih.card import Card
from tercih.environments.control import Array, ControlError
from tercih.feedback.acquisition import bald, choose, double_thompson, variance
from tercih.feedback.samplers import RANDOM
from tercih.forward import Mean

CARD = Card(
    does="a reward is learned while the agent acts, and asked about where it is unsure",
    paper="Christiano et al. 2017",
    link="arXiv:1706.03741",
    family="control from people",
    when=(
        "Control tasks that are easy to judge and hard to write a reward for, where steps are cheap. "
        "Where steps are dear take pebble."
    ),
    command="tercih run control_ppo",
)

Scores = Callable[[Array, Array, np.random.Generator], Array]


def _difference(score_MB: Array, pair_N2: Array) -> Array:
    return np.asarray(score_MB[:, pair_N2[:, 0]] - score_MB[:, pair_N2[:, 1]])


RULES: dict[str, Scores] = {
    "disagreement": lambda score_MB, pair_N2, _: variance(_difference(score_MB, pair_N2)),
    "bald": lambda score_MB, pair_N2, _: bald(1 / (1 + np.exp(-_difference(score_MB, pair_N2).clip(-50, 50)))),
    "double_thompson": double_thompson,
}
"""What each candidate is worth to a rule, from every member's scores of the clips; beside them stands "random"."""

Key = tuple[int, int]
"""The step at which a question was asked, and its place among that step's."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Query:
    """Which of two clips is better? `key` names it within the run."""

    key: Key
    first: Excerpt
    second: Excerpt
    sampler: str
    propensity: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What one rater says of the question `key`: P(first better, second better, tie); all 0 where it says nothing, or
    what was said before is taken back. The newest counts."""

    key: Key
    rater: str
    target: Sequence[float]


class Answers(Protocol):
    """Those who are asked, `votes` raters each question. `take` returns what has been said since, in that order. A
    question that is put again is not asked again."""

    votes: int

    def put(self, queries: Sequence[Query]) -> None: ...
    def take(self) -> Sequence[Heard]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, saved: dict[str, Any]) -> None: ...


@dataclass(kw_only=True)
class Asking:
    """Clips put to `answers`, and what `learner` is told of them.

    Of `candidates` times as many pairs as are asked, those are chosen that are worth most to `rule` (§2.2.4: those
    whose difference the members disagree about most), a share `random_share` at random: from these alone it can be told
    what choosing is worth. All are drawn at random until something was answered. ValueError for a rule that is none.
    """

    learner: RewardLearner
    answers: Answers
    candidates: int = 10
    random_share: float = 0.2
    rule: str = "disagreement"
    seed: int = 0
    asked: int = field(default=0, init=False)
    waiting: dict[Key, dict[str, Any]] = field(default_factory=dict, init=False)
    """What has been asked and not been answered by all who were asked."""
    row_of: dict[tuple[int, int, str], int] = field(default_factory=dict, init=False)
    """Which of the learner's comparisons is whose answer to which question."""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got {self.rule!r}")

    def ask(self, step: int, clips: Sequence[Excerpt], count: int) -> None:
        """`count` questions about pairs of these clips. ControlError where there are no two."""
        if len(clips) < 2:
            raise ControlError(
                "no two clips lie within the episodes that were just played: make clips shorter, or hide where"
                " episodes end"
            )
        dice = np.random.default_rng((self.seed, step))
        pair_N2 = pairs(len(clips), self.candidates * count, dice)
        segments = self.learner.segments([(clip.observation_L, clip.action_L) for clip in clips])
        with torch.no_grad():
            score_MB = self.learner.ensemble.every(segments).numpy(force=True)
        worth_N = RULES[self.rule](score_MB, pair_N2, dice)
        share = self.random_share if len(self.learner) else 1.0
        queries = []
        for at, chosen in enumerate(choose(worth_N, count, share, dice, sampler=self.rule)):
            first, second = (clips[i] for i in pair_N2[chosen.index])
            queries.append(
                Query(key=(step, at), first=first, second=second, sampler=chosen.sampler, propensity=chosen.propensity)
            )
            self.waiting[step, at] = {
                "clips": [(clip.observation_L, clip.action_L) for clip in (first, second)],
                "blind": chosen.sampler == RANDOM,
                "left": self.answers.votes,
            }
        self.answers.put(queries)
        self.asked += len(queries)

    def hear(self) -> int:
        """How many answers the learner was told of that it did not know, or knew otherwise."""
        new: list[tuple[dict[str, Any], Sequence[float]]] = []
        changed: list[tuple[int, Sequence[float]]] = []
        for heard in self.answers.take():
            whose, said = (*heard.key, heard.rater), sum(heard.target) > 0
            if whose in self.row_of:
                changed.append((self.row_of[whose], heard.target))
            elif heard.key in self.waiting:
                asked = self.waiting[heard.key]
                asked["left"] -= 1
                if not asked["left"]:
                    del self.waiting[heard.key]
                if said:
                    self.row_of[whose] = len(self.learner) + len(new)
                    new.append((asked, heard.target))
        if new:
            clips: list[tuple[Array, Array]] = [clip for asked, _ in new for clip in asked["clips"]]
            targets = np.array([target for _, target in new], dtype=np.float64)
            self.learner.add(clips, targets, np.array([asked["blind"] for asked, _ in new]))
        for row, target in changed:
            self.learner.correct(row, target)
        return len(new) + len(changed)

    def state_dict(self) -> dict[str, Any]:
        return {
            "learner": self.learner.state_dict(),
            "answers": self.answers.state_dict(),
            "asked": self.asked,
            "waiting": [
                [*key, [torch.from_numpy(x.copy()) for clip in one["clips"] for x in clip], one["blind"], one["left"]]
                for key, one in self.waiting.items()
            ],
            "row_of": [[*whose, row] for whose, row in self.row_of.items()],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.learner.load_state_dict(saved["learner"])
        self.answers.load_state_dict(saved["answers"])
        self.asked = saved["asked"]
        self.waiting = {}
        for step, at, clips, blind, left in saved["waiting"]:
            o1, a1, o2, a2 = (x.numpy() for x in clips)
            self.waiting[step, at] = {"clips": [(o1, a1), (o2, a2)], "blind": blind, "left": left}
        self.row_of = {(step, at, rater): row for step, at, rater, row in saved["row_of"]}


@dataclass(kw_only=True)
class FromPreferences(Asking):
    """The rollouts of a `collector`, rewarded by what `learner` has learned from `answers` so far.

    Clips of `clip` steps are compared as the `schedule` says, chosen as `Asking` does.
    """

    collector: Collector
    schedule: Schedule
    clip: int

    def __post_init__(self) -> None:
        Asking.__post_init__(self)
        self.collector.reward = self.learner.ensemble.reward

    @property
    def steps(self) -> int:
        return self.collector.steps

    def __call__(self, step: int) -> Experience:
        due = self.schedule.due(step / max(1, self.steps - 1))
        before = self.collector.before() if due > self.asked else {}
        played = self.collector.play(step)
        if not len(self.learner):
            self.learner.ensemble.observe(self.learner.ensemble.numbers(played.observation_TN, played.action_TN)[0])
        if due > self.asked:
            self.ask(step, cut(played, before, self.clip), due - self.asked)
        self.hear()
        measured = self.learner.learn()
        experience = self.collector.experience(played)
        return experience.measured_too({name: _one(value) for name, value in measured.items()})

    def state_dict(self) -> dict[str, Any]:
        return Asking.state_dict(self) | {"collector": self.collector.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        Asking.load_state_dict(self, saved)
        self.collector.load_state_dict(saved["collector"])


def _one(value: float) -> Mean:
    return torch.tensor(value, dtype=torch.float64), torch.tensor(1.0)
