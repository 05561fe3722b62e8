"""Clips that a training run asks about: kept in the run's folder, put into its store, and answered there.

A simulated teacher answers at once and is heard through the store like people; so a run that was stopped finds what had
been answered.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tercih.agents.preferences import Heard, Key, Query
from tercih.data.steps import Steps, keep_steps
from tercih.environments.worlds import Worlds
from tercih.feedback.questions import Judgement, Question
from tercih.feedback.simulated import PREFIX, Control
from tercih.feedback.store import Store
from tercih.feedback.teachers import FIRST, NOTHING, TIE, Target, Teacher
from tercih.recipes.ask_live import CLIPS, LivePeople
from tercih.records import Answer, Comparison
from tercih.run import RunError

RATER = PREFIX + "teacher"
Worth = Callable[[Steps], float]
"""What a clip is worth to the one who judges it. The trainer never sees it."""


class TeacherAnswers:
    """A simulated teacher, asked and heard through the run's store.

    Draws are keyed by (`seed`, step, index). The mean and deviation that the teacher measures differences in are those
    of all clips that were asked about so far. `control` "shuffled-labels" turns half of the answers around by lot: the
    negative control.
    """

    votes = 1

    def __init__(
        self, folder: Path, store: Store, worlds: Worlds, teacher: Teacher, worth: Worth, *, run: str, seed: int,
        control: Control = "none",
    ) -> None:  # fmt: skip
        self.clips, self.store, self.worlds, self.run = folder / CLIPS, store, worlds, run
        self.teacher, self.worth, self.seed, self.control = teacher, worth, seed, control
        self.pending: dict[Key, str] = {}
        self.count, self.sum, self.squares = 0, 0.0, 0.0
        store.enrol(RATER, kind="simulated")

    def put(self, queries: Sequence[Query]) -> None:
        steps = [(query.first.acted(self.worlds), query.second.acted(self.worlds)) for query in queries]
        asked = [self._question(query, pair) for query, pair in zip(queries, steps, strict=True)]
        self.store.ask(asked)
        worth_N2 = np.array([[self.worth(each) for each in pair] for pair in steps], dtype=np.float64)
        self.count, self.sum = self.count + worth_N2.size, self.sum + float(worth_N2.sum())
        self.squares += float((worth_N2**2).sum())
        judgements = []
        for query, question, worth_2 in zip(queries, asked, worth_N2, strict=True):
            self.pending[query.key] = question.id
            said = self._say(query.key, worth_2)
            if said != NOTHING:
                judgements.append(Judgement(question=question.id, rater=RATER, answer=_answer(said)))
        self.store.judge_all(judgements)

    def take(self) -> Sequence[Heard]:
        """In the order in which was asked."""
        if not self.pending:
            return []
        said: dict[str, Comparison[Any]] = {}
        for step in sorted({step for step, _ in self.pending}):
            for answer in self.store.comparisons(self.run, step):
                said[_pair(*answer.pair)] = answer
        asked = {q.id: q for step, _ in self.pending for q in self.store.questions(self.run, step)}
        heard = []
        for key, question in sorted(self.pending.items()):
            found = said.get(_pair(*(item.id for item in asked[question].items)))
            heard.append(Heard(key=key, rater=RATER, target=target_of(found) if found else NOTHING))
        self.pending = {}
        return heard

    def _question(self, query: Query, pair: tuple[Steps, Steps]) -> Question:
        step, index = query.key
        clips = tuple(keep_steps(self.clips, each, origin=f"step {step}") for each in pair)
        return Question(
            items=clips, run=self.run, step=step, index=index, sampler=query.sampler, propensity=query.propensity,
            votes=1,
        )  # fmt: skip

    def _say(self, key: Key, worth_2: Any) -> Target:
        mean = self.sum / self.count
        spread = max(self.squares / self.count - mean**2, 0.0) ** 0.5 or 1.0
        noise, slip, coin = np.random.default_rng((self.seed, *key)).random(3)
        said = self.teacher.answer(worth_2[0], worth_2[1], mean, spread, (noise, slip))
        turned = self.control == "shuffled-labels" and coin < 0.5
        return (said[1], said[0], said[2]) if turned else said

    def state_dict(self) -> dict[str, Any]:
        return {
            "pending": [[*key, question] for key, question in self.pending.items()],
            "worth": [self.count, self.sum, self.squares],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.pending = {(step, index): question for step, index, question in saved["pending"]}
        self.count, self.sum, self.squares = saved["worth"]


class PeopleAnswers:
    """The raters of a labelling server, who answer while the agent goes on training.

    Training goes on while at most `ahead` answers are still awaited, and waits where it would run ahead of what people
    want. What is heard when is written down by `LivePeople`, so that a run that is gone on with hears the same.
    """

    def __init__(self, live: LivePeople, worlds: Worlds, *, ahead: int) -> None:
        if ahead < 0:
            raise ValueError(f"--ask-ahead must be >= 0, got {ahead}")
        self.live, self.worlds, self.ahead = live, worlds, ahead
        self.votes = live.people.votes
        self.key_of: dict[str, Key] = {}
        """By question."""
        self.told: dict[tuple[str, str], Target] = {}
        """By question and rater, what was heard last."""

    def put(self, queries: Sequence[Query]) -> None:
        asked = []
        for query in queries:
            clips = tuple(
                self.live.keep(each.acted(self.worlds), origin=f"step {query.key[0]}")
                for each in (query.first, query.second)
            )
            question = Question(
                items=clips, run=self.live.people.name, step=query.key[0], index=query.key[1], sampler=query.sampler,
                propensity=query.propensity, votes=self.votes,
            )  # fmt: skip
            self.key_of[question.id] = query.key
            asked.append(question)
        self.live.put(asked)

    def take(self) -> Sequence[Heard]:
        heard = self._take()
        while self.awaited > self.ahead:
            if self.live.taken >= self.live.until:  # what was heard before is not waited for again
                time.sleep(self.live.people.every)
            heard += self._take()
        return heard

    @property
    def awaited(self) -> int:
        """Answers that may still come: what was taken back is one of them, that somebody cannot judge is none, nor is
        what a lead has withdrawn."""
        said = Counter(question for question, _ in (*self.live.standing, *self.live.unsure))
        return sum(max(0, self.votes - said[each]) for each in self.key_of if each not in self.live.withdrawn)

    def _take(self) -> list[Heard]:
        """What is now said otherwise than it was."""
        self.live.take()
        said = {whose: target_of(answer) for whose, answer in self.live.standing.items()}
        gone = {whose: NOTHING for whose in self.told if whose not in said}
        news = {whose: target for whose, target in (said | gone).items() if self.told.get(whose) != target}
        self.told |= news
        return [Heard(key=self.key_of[asked], rater=rater, target=target) for (asked, rater), target in news.items()]

    def state_dict(self) -> dict[str, Any]:
        return {
            "live": self.live.state_dict(),
            "key_of": [[*key, asked] for asked, key in self.key_of.items()],
            "told": [[asked, rater, *target] for (asked, rater), target in self.told.items()],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.live.load_state_dict(saved["live"])
        self.key_of = {asked: (step, index) for step, index, asked in saved["key_of"]}
        self.told = {(asked, rater): (a, b, tie) for asked, rater, a, b, tie in saved["told"]}


def own_reward(teacher: Teacher) -> Worth:
    """The environment's own reward of a clip's steps. A RunError where it gives none."""

    def worth(steps: Steps) -> float:
        found = float(teacher.worth(steps.rewards[None])[0])
        if not np.isfinite(found):
            raise RunError(f"the reward of {steps.environment} is not finite, so no teacher can judge by it")
        return found

    return worth


def target_of(answer: Comparison[Any]) -> Target:
    return {"a": FIRST, "b": (0.0, 1.0, 0.0), "tie": TIE}[answer.answer]


def _answer(said: Target) -> Answer:
    return "tie" if said == TIE else "a" if said == FIRST else "b"


def _pair(a: str, b: str) -> str:
    return f"{a} {b}"
