from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tercih.agents.clips import Schedule
from tercih.agents.experience import Collector
from tercih.agents.ppo import PPO
from tercih.agents.preferences import RULES, FromPreferences, Heard, Query
from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.environments.worlds import Worlds
from tercih.feedback.teachers import Teacher
from tercih.forward import Models
from tercih.models.control import ActorCritic
from tercih.optimisation import Optimisation
from tercih.train import fit

PENDULUM = "Pendulum-v1"
SMALL = RewardLearning(hidden=(16,), updates=4, first_updates=10)


class Late:
    """A teacher who answers what was asked `rounds` calls ago."""

    def __init__(self, rounds: int = 0, votes: int = 1) -> None:
        self.rounds, self.calls, self.votes = rounds, 0, votes
        self.asked: list[tuple[tuple[int, int], int, tuple[float, ...]]] = []
        self.queries: list[Query] = []

    def put(self, queries: Sequence[Query]) -> None:
        self.queries += queries
        for query in queries:
            worth = Teacher().worth(np.stack([query.first.reward_L, query.second.reward_L]))
            self.asked.append((query.key, self.calls, Teacher().answer(*worth, 0.0, 1.0, (0.0, 0.9))))

    def take(self) -> Sequence[Heard]:
        due = [(key, said) for key, at, said in self.asked if at + self.rounds <= self.calls]
        self.asked = [each for each in self.asked if each[:1] not in [(key,) for key, _ in due]]
        self.calls += 1
        return [Heard(key=key, rater=rater, target=said) for key, said in due for rater in "ab"[: self.votes]]

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls, "asked": [[list(k), at, list(said)] for k, at, said in self.asked]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.calls = saved["calls"]
        self.asked = [((k[0], k[1]), at, tuple(said)) for k, at, said in saved["asked"]]


def loop(worlds: Worlds, answers: Late, *, steps: int = 6, labels: int = 24, **options: Any) -> FromPreferences:
    policy = ActorCritic(worlds.observation_space, worlds.action_space)
    return FromPreferences(
        collector=Collector(policy=policy, worlds=worlds, steps=steps, length=40),
        learner=RewardLearner(SMALL, worlds.observation_space, worlds.action_space),
        answers=answers, schedule=Schedule(labels=labels), clip=10, **options,
    )  # fmt: skip


def train(data: FromPreferences, folder: Path | None = None, stop: int = 99) -> dict[str, float]:
    def on_step(step: int, metrics: Any) -> None:
        if step + 1 == stop:
            raise KeyboardInterrupt

    method, optimisation = PPO(epochs=2, minibatch=40), Optimisation(lr=1e-3)
    return fit(method, Models(policy=data.collector.policy), data, optimisation, folder, save_every=0, on_step=on_step)


def test_as_many_are_asked_as_the_schedule_says_and_the_environments_reward_is_never_learned_from() -> None:
    with Worlds(PENDULUM, 4) as worlds:
        data = loop(worlds, answers := Late())
        learned = data(0)
        assert data.asked == data.schedule.due(0) == len(data.learner)
        train(data)
    assert data.asked == 24 == len(answers.queries) == len({query.key for query in answers.queries})
    ours = data.learner.ensemble.reward
    assert data.collector.reward == ours
    assert float(learned.reward_TN.max()) > 0  # Pendulum's own reward never is


def test_a_fifth_is_asked_at_random_and_the_rest_where_members_disagree_most() -> None:
    with Worlds(PENDULUM, 4) as worlds:
        data = loop(worlds, answers := Late(), labels=100)
        for step in range(3):
            data(step)
    first = [query for query in answers.queries if query.key[0] == 0]
    later = [query for query in answers.queries if query.key[0] == 2]
    assert {query.sampler for query in first} == {"random"}
    by_chance = [query for query in later if query.sampler == "random"]
    assert len(by_chance) == -(-len(later) // 5)
    assert 0 < by_chance[0].propensity < 1

    def disagreement(queries: list[Query]) -> float:
        clips = [(c.observation_L, c.action_L) for query in queries for c in (query.first, query.second)]
        with torch.no_grad():
            score_MN2 = data.learner.ensemble.every(data.learner.segments(clips)).view(3, -1, 2)
        return float((score_MN2[..., 0] - score_MN2[..., 1]).var(0).mean())

    assert disagreement([query for query in later if query.sampler != "random"]) > disagreement(by_chance)


def test_the_rule_that_is_named_chooses_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a rule that wants pairs of unlike rewards, the pairs asked about are more unlike than those by chance."""
    monkeypatch.setitem(RULES, "bald", lambda score_MB, pair_N2, _: np.abs(np.diff(score_MB.mean(0)[pair_N2])[:, 0]))
    with Worlds(PENDULUM, 4) as worlds:
        data = loop(worlds, answers := Late(), labels=100, rule="bald")
        for step in range(3):
            data(step)
        later = [query for query in answers.queries if query.key[0] == 2]
        assert {query.sampler for query in later} == {"random", "bald"}
        clips = [(c.observation_L, c.action_L) for query in later for c in (query.first, query.second)]
        with torch.no_grad():
            score_N2 = data.learner.ensemble.every(data.learner.segments(clips)).mean(0).view(-1, 2)
        unlike = (score_N2[:, 0] - score_N2[:, 1]).abs().numpy()
        chosen = np.array([query.sampler == "bald" for query in later])
        assert unlike[chosen].mean() > unlike[~chosen].mean()
        with pytest.raises(ValueError, match="rule must be one of disagreement, bald"):
            loop(worlds, Late(), rule="best")


def test_answers_may_come_late_and_training_goes_on() -> None:
    with Worlds(PENDULUM, 4) as worlds:
        data = loop(worlds, Late(rounds=2))
        for step in range(6):
            data(step)
            due = data.schedule.due(max(0, step - 2) / 5) if step >= 2 else 0
            assert len(data.learner) == due
            assert len(data.waiting) == data.asked - due


def test_what_nobody_can_say_is_dropped() -> None:
    class Silent(Late):
        def take(self) -> Sequence[Heard]:
            return [replace(one, target=(0.0, 0.0, 0.0)) if one.key[1] % 2 else one for one in super().take()]

    with Worlds(PENDULUM, 4) as worlds:
        data = loop(worlds, Silent())
        data(0)
    assert data.asked == 6
    assert len(data.learner) == 3
    assert not data.waiting


def test_every_rater_counts_and_the_newest_word_of_each(tmp_path: Path) -> None:
    class Fickle(Late):
        def take(self) -> Sequence[Heard]:
            said = list(super().take())
            if self.calls == 2:  # "b" has thought again about the first question, and takes back the second
                said += [
                    Heard(key=(0, 0), rater="b", target=(0.0, 0.0, 1.0)),
                    Heard(key=(0, 1), rater="b", target=(0.0, 0.0, 0.0)),
                ]
            return said

    with Worlds(PENDULUM, 4) as worlds:
        data = loop(worlds, Fickle(votes=2))
        data(0)
        before = data.learner.target_N3.clone()
        data(1)
    asked = data.schedule.due(0)
    assert len(before) == 2 * asked
    assert torch.equal(before[0], before[1])
    after = data.learner.target_N3[: len(before)]
    assert after[1].tolist() == [0, 0, 1]
    assert after[3].tolist() == [0, 0, 0]
    same = [i for i in range(len(before)) if i not in (1, 3)]
    assert torch.equal(after[same], before[same])
    assert not data.waiting


@pytest.mark.parametrize("rounds", [0, 2])
def test_a_run_that_was_stopped_ends_with_the_same_bits(rounds: int, tmp_path: Path) -> None:
    ends = []
    for name, stops in (("whole", [99]), ("parts", [2, 5, 99])):
        for stop in stops:
            with Worlds(PENDULUM, 4) as worlds:
                data = loop(worlds, Late(rounds))
                try:
                    train(data, tmp_path / name, stop)
                except KeyboardInterrupt:
                    continue
        ends.append(data)
    whole, parts = ends
    for a, b in (
        (whole.collector.policy, parts.collector.policy),
        (whole.learner.ensemble, parts.learner.ensemble),
    ):
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
            assert torch.equal(x, y)
    files = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]
