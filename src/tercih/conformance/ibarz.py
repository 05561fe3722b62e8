"""Proof of demonstrations and preferences: in a sparse maze neither one demonstration nor questions alone are enough,
and a reward that does not learn from people is exploited, which the alarm tells.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tercih.agents.clips import Schedule
from tercih.agents.dqfd import DQfD, margin_loss
from tercih.agents.dqn import DQN
from tercih.agents.evaluate import episodes
from tercih.agents.ibarz import Demonstrated, FromDemonstrationsAndPreferences
from tercih.agents.preferences import Asking
from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.conformance.checks import Check, Findings, above_zero, at_least, at_most, every
from tercih.conformance.clips import Oracle
from tercih.conformance.lab import Lab, generator
from tercih.environments.control import Array
from tercih.environments.maze import FREE, MOVES, PLACES, moved, place, planned, steps_to
from tercih.environments.worlds import Worlds
from tercih.evaluation.parting import Milestone, parted_from_answers, parted_from_truth, read_gained
from tercih.rewards.steps import StepReward

TASK, EPISODE, COPIES, CLIP = "Tercih/Maze-v0", 40, 10, 8
ROWS, LAST = 8, 3
"""Stretches of an episode in every copy; an agent's return is that of the last ones, one step in ten at random."""
HACKED = 12  # stretches, for a reward that is to be exploited
AUTO, LABELS = 10, 400
AGENT = DQfD(
    dqn=DQN(
        hidden=(64,), lr=5e-3, gamma=0.95, batch=256, capacity=12 * EPISODE * COPIES, starts=1, explore_over=1,
        explore_to=0.1, target_every=5, dueling=False,
    ),
    long=5, pretrain=100,
)  # fmt: skip
REWARD = RewardLearning(members=3, hidden=(32,), minibatch=32, updates=25, first_updates=50, lr=1e-2, weight_decay=1e-2)
Method = type[FromDemonstrationsAndPreferences]


def prove(lab: Lab, method: Method = FromDemonstrationsAndPreferences) -> Findings:
    seeds = range(lab.seed, lab.seed + lab.of(quick=3, full=5))
    one = {seed: shown(seed, 1, noise=0.0) for seed in seeds}
    both = [trained(method, seed, one[seed]) for seed in seeds]
    shared = mean(each.earned for each in both)
    imitators = [trained(method, seed, one[seed], rewards=False).earned for seed in seeds]
    coins = [trained(method, seed, one[seed], shuffled=True).earned for seed in seeds[: lab.of(quick=1, full=3)]]
    good = shown(lab.seed, 3, noise=0.2)
    begun = {auto: trained(method, lab.seed, good, rows=0, auto=auto) for auto in (0, 4 * AUTO)}
    unmargined = trained(method, lab.seed, good, rows=0, auto=0, settings=replace(AGENT, margin_weight=0.0))
    return Findings(
        identity=every(
            at_most("margin loss − explicit loop", loop_difference(), 1e-6),
            at_most("|what both memories hold − the newest reward|", staleness(both[0].run), 1e-5),
            at_least("share of shown states where what was shown is done, after pretraining", imitated(begun[0]), 0.95),
            at_least(
                "share of good clips over those of chance, before anybody was asked", foresight(begun[4 * AUTO]), 0.9
            ),
        ),
        ordering=every(
            above_zero(
                "return, demonstration and preferences − demonstration alone",
                [a.earned - b for a, b in zip(both, imitators, strict=True)],
            ),
            *(slower(method, seeds) if lab.full else ()),
        ),
        negative_control=at_most("return, answers by a coin", mean(coins), 0.5, f"{shared:.2f} with true ones"),
        ablation=every(
            at_most("share of shown states where what was shown is done, no margin", imitated(unmargined), 0.7),
            at_most("share of good clips over those of chance, no automatic answers", foresight(begun[0]), 0.5),
            *(unaided(method, one, both) if lab.full else ()),
        ),
    )


@dataclass(kw_only=True)
class Trained:
    """A run, what it met in each stretch, and its network before the first and after each."""

    run: FromDemonstrationsAndPreferences
    metrics: list[dict[str, float]]
    networks: list[dict[str, Tensor]]

    @property
    def earned(self) -> float:
        return mean(row["return"] for row in self.metrics[-LAST:])

    @property
    def first(self) -> float:
        """What was earned in the first half of the training."""
        return mean(row["return"] for row in self.metrics[: len(self.metrics) // 2])


def trained(
    method: Method, seed: int, demonstrations: list[Demonstrated], *, rows: int = ROWS, labels: int = LABELS,
    auto: int = AUTO, frozen_after: int | None = None, rewards: bool = True, shuffled: bool = False,
    settings: DQfD = AGENT,
) -> Trained:  # fmt: skip
    with Worlds(TASK, COPIES, seed=seed) as worlds:
        learner = RewardLearner(REWARD, worlds.observation_space, worlds.action_space, seed=seed)
        run = method(
            settings=settings, worlds=worlds, shown=demonstrations, clip=CLIP, steps=rows, length=EPISODE, every=10,
            auto=auto, frozen_after=frozen_after, rewards=rewards, seed=seed,
            asking=Asking(
                learner=learner, answers=Oracle(shuffled=shuffled, seed=seed), random_share=1.0, seed=seed
            ),
            schedule=Schedule(labels=labels, first=0.3, decay=10.0),
        )  # fmt: skip
        if not rows:
            run.begin()
        networks, metrics = [copy.deepcopy(run.learner.network.state_dict())], []
        for step in range(rows):
            metrics.append(run.step(step))
            networks.append(copy.deepcopy(run.learner.network.state_dict()))
    return Trained(run=run, metrics=metrics, networks=networks)


def shown(seed: int, count: int, *, noise: float, rest: float = 0.0) -> list[Demonstrated]:
    """Episodes with a reward of somebody who knows the way, but does something at random with chance `noise`, and who,
    with `rest`, takes the key to the fountain first and stays there for another step with that chance."""
    dice, found = np.random.default_rng((seed, 7)), list[Demonstrated]()
    with Worlds(TASK, 1, seed=900 + seed) as worlds:
        while len(found) < count:
            wish = wanderer(dice, noise, rest)
            seen, rows, earned = worlds.reset()[0], [], 0.0
            for _ in range(EPISODE):
                action = wish(seen)
                made = worlds.step(np.array([action]))
                rows.append((seen, action, made.following_N[0]))
                seen, earned = made.observation_N[0], earned + made.reward_N[0]
            observation_T, action_T, following_T = (np.stack(each) for each in zip(*rows, strict=True))
            if earned:
                found.append(Demonstrated(observation_T=observation_T, action_T=action_T, following_T=following_T))
    return found


def wanderer(dice: np.random.Generator, noise: float, rest: float) -> Callable[[Any], int]:
    rested = not rest

    def wish(observation: Any) -> int:
        nonlocal rested
        cell, key = place(observation)
        rested = not rest if not key else rested or (cell == PLACES["*"] and dice.random() >= rest)
        if dice.random() < noise:
            return int(dice.integers(len(MOVES)))
        if not key or rested:
            return planned(observation)
        return int(np.argmin([steps_to(PLACES["*"])[moved(cell, key, a)[0]] for a in range(len(MOVES))]))

    return wish


def slower(method: Method, seeds: range) -> tuple[Check, ...]:
    """What takes too long for the quick proof: preferences without demonstrations, and the planted hack."""
    earned = [trained(method, seed, []).earned for seed in seeds[:2]]
    return at_most("return, preferences alone, the highest", max(earned), 0.5), *hacks(method, seeds)


def unaided(method: Method, shown_by: Mapping[int, list[Demonstrated]], both: Sequence[Trained]) -> tuple[Check]:
    """Automatic answers keep what was imitated alive until people have said what they want."""
    alone = [trained(method, seed, each, auto=0).first for seed, each in shown_by.items()]
    return (
        above_zero(
            "return in the first half, automatic answers − none",
            [a.first - b for a, b in zip(both, alone, strict=True)],
        ),
    )


def hacks(method: Method, seeds: range) -> tuple[Check, Check]:
    """Somebody always rests before the door, with the key in hand: it looks good, and earns nothing. A reward that
    learns from nobody after the automatic answers is exploited there; one that goes on learning is not."""
    found: dict[int | None, list[tuple[bool, bool]]] = {}
    for frozen_after in (0, None):
        runs = [
            trained(
                method, seed, shown(seed, 3, noise=0.2, rest=0.9), rows=HACKED, auto=2 * AUTO, frozen_after=frozen_after
            )
            for seed in seeds
        ]
        found[frozen_after] = [alarms(run, 500 + seed) for run, seed in zip(runs, seeds, strict=True)]
    return (
        at_least("planted hacks that the answers alone tell, share of seeds", mean(b for _, b in found[0]), 0.8),
        at_most("alarms where people go on being asked, share of seeds", mean(a or b for a, b in found[None]), 0.0),
    )


def alarms(trained: Trained, seed: int) -> tuple[bool, bool]:
    """By the true return, and by the answers alone."""
    along = milestones(trained, seed)
    return (
        parted_from_truth(along) is not None,
        parted_from_answers(along, read_gained(trained.metrics)) is not None,
    )


def milestones(trained: Trained, seed: int, count: int = 20) -> list[Milestone]:
    """Of the run's networks, on the same unseen episodes; its network is the last one again afterwards."""
    found, run = [], trained.run
    for at, network in enumerate(trained.networks):
        run.learner.network.load_state_dict(network)
        with Worlds(TASK, count, seed=seed) as unseen:
            unseen.reset()
            played, _ = episodes(run.likeliest, unseen)
        learned_TN = run.asking.learner.ensemble.reward(played["observation"], played["action"], played["following"])
        found.append(
            Milestone(
                share=at / (len(trained.networks) - 1), steps=at * EPISODE * COPIES,
                true=tuple(played["reward"].sum(0).tolist()), predicted=tuple(learned_TN.sum(0).tolist()),
            )
        )  # fmt: skip
    return found


def staleness(run: FromDemonstrationsAndPreferences) -> float:
    """Of all that is remembered, demonstrated and lived."""
    worst = 0.0
    for memory in (run.learner.shown, run.learner.lived):
        seen = (x[: len(memory)].numpy() for x in (memory.observation, memory.action, memory.following))
        apart = memory.reward[: len(memory)].numpy() - run.asking.learner.ensemble.reward(*seen)
        worst = max(worst, float(np.abs(apart).max()))
    return worst


def imitated(trained: Trained) -> float:
    """In how many of the states that were shown the best action is one that was shown there."""
    done: dict[int, set[int]] = {}
    for each in trained.run.shown:
        for observation, action in zip(each.observation_T, each.action_T, strict=True):
            done.setdefault(int(observation.argmax()), set()).add(int(action))
    best = trained.run.likeliest(np.eye(2 * len(FREE), dtype=np.float32)[list(done)])
    return mean(int(action) in shown for action, shown in zip(best, done.values(), strict=True))


def foresight(trained: Trained) -> float:
    """How often a clip that ends in a reward, of somebody who knows the way, is judged better than one of chance."""
    ensemble, seed = trained.run.asking.learner.ensemble, trained.run.seed
    if not trained.run.asking.learner.optimiser.state:
        return 0.5  # it says nothing yet
    score = {noise: [float(x) for x in judged(ensemble.reward, noise, seed)] for noise in (0.0, 1.0)}
    return mean(good > bad for good, bad in product(score[0.0], score[1.0]))


def judged(reward: StepReward, noise: float, seed: int) -> Array:
    """What the clips up to each one's first reward (or the first clips, where there is none) are worth, (N,)."""
    dice = np.random.default_rng((seed, 8))
    with Worlds(TASK, 30, seed=700 + seed) as worlds:
        wishes = [wanderer(dice, noise, 0.0) for _ in range(len(worlds))]
        worlds.reset()
        played, _ = episodes(lambda seen_N: np.array([w(s) for w, s in zip(wishes, seen_N, strict=True)]), worlds)
    reward_TN = reward(played["observation"], played["action"], played["following"])
    last_N = played["reward"].argmax(0).clip(min=CLIP - 1)
    return np.stack([reward_TN[last - CLIP + 1 : last + 1, n].sum() for n, last in enumerate(last_N)])


def loop_difference() -> float:
    dice = generator(18)
    value_BA = torch.randn(9, 4, generator=dice)
    action_B = torch.randint(4, (9,), generator=dice)
    found_B = margin_loss(value_BA, action_B, 0.8)
    worst = 0.0
    for b, (value_A, shown_a) in enumerate(zip(value_BA.tolist(), action_B.tolist(), strict=True)):
        lead = max(value + (0.8 if a != shown_a else 0.0) for a, value in enumerate(value_A))
        worst = max(worst, abs(float(found_B[b]) - (lead - value_A[shown_a])))
    return worst
