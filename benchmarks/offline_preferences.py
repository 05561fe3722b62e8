"""Policies straight from compared clips (CPL, IPL) beside cloning the same clips; see docs/methods/cpl.md and ipl.md.

    python benchmarks/offline_preferences.py --environment CartPole-v1 --seeds 3

An expert is trained by the project's PPO. Clips are half of a policy that has learned nothing, half of the expert as it
was after `--medium` rollouts; a scripted teacher (simulated) compares them by the expert's advantages, or with
`--by reward` by the environment's reward. Prints the mean return of the likeliest actions in 24 unseen episodes.
"""

import argparse
import copy
import statistics
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import nn

from tercih.agents.clips import Excerpt, cut
from tercih.agents.cpl import CPL
from tercih.agents.evaluate import returns
from tercih.agents.experience import Collector
from tercih.agents.ipl import IPL, Implicit
from tercih.agents.offline import by_advantage, by_reward, labelled
from tercih.agents.ppo import PPO
from tercih.data.labelled_clips import Drawn, shuffled
from tercih.environments.worlds import Worlds
from tercih.feedback.teachers import Teacher
from tercih.forward import Models
from tercih.method import Method
from tercih.models.control import ActorCritic
from tercih.optimisation import Optimisation
from tercih.progress import console
from tercih.segments import SegmentPairs
from tercih.train import fit

GAMMA = {"CartPole-v1": 0.99, "Pendulum-v1": 0.9}
LR = {"CartPole-v1": 3e-4, "Pendulum-v1": 1e-3}


def trained(environment: str, rollouts: int, medium: int, seed: int) -> tuple[ActorCritic, ActorCritic]:
    """The expert, whose critic knows rewards as they are, and the same after its first `medium` rollouts."""
    with Worlds(environment, 8, seed=seed) as worlds:
        policy = ActorCritic(worlds.observation_space, worlds.action_space, seed=seed)
        kept: list[ActorCritic] = []

        def keep(step: int, _: Mapping[str, float]) -> None:
            if step + 1 == medium:
                kept.append(copy.deepcopy(policy))

        data = Collector(policy=policy, worlds=worlds, steps=rollouts, length=256, reward_discount=None, seed=seed)
        optimisation = Optimisation(lr=LR.get(environment, 3e-4), eps=1e-5, max_norm=0.5)
        fit(PPO(gamma=GAMMA.get(environment, 0.99)), Models(policy=policy), data, optimisation, on_step=keep)
    return policy, kept[0]


def clips_of(policy: ActorCritic, environment: str, count: int, length: int, seed: int) -> list[Excerpt]:
    found: list[Excerpt] = []
    with Worlds(environment, 8, seed=seed) as worlds:
        data = Collector(policy=policy, worlds=worlds, steps=1, length=10 * length, seed=seed)
        while len(found) < count:
            found += cut(data.play(len(found)), {}, length)
    return found[:count]


def score(policy: ActorCritic, environment: str, seed: int) -> float:
    with Worlds(environment, 8, seed=seed + 10_000) as worlds:
        return statistics.mean(returns(policy.likeliest, worlds, 24))


def one_seed(given: argparse.Namespace, seed: int) -> Iterator[tuple[str, float]]:
    environment, gamma = given.environment, GAMMA.get(given.environment, 0.99)
    expert, medium = trained(environment, given.rollouts, given.medium, seed)
    yield "expert (true reward, acts)", score(expert, environment, seed)
    yield "the better maker of clips", score(medium, environment, seed)
    with Worlds(environment, 1) as worlds:
        spaces = worlds.observation_space, worlds.action_space
    makers = (ActorCritic(*spaces, seed=seed), medium)
    clips = [
        clip
        for at, policy in enumerate(makers)
        for clip in clips_of(policy, environment, given.labels, given.length, seed + 100 * at)
    ]
    worth = by_reward if given.by == "reward" else by_advantage(expert, gamma)
    pairs = labelled(clips, given.labels, Teacher(), worth=worth, seed=seed)
    control = shuffled(pairs, seed)

    def cpl(pairs: SegmentPairs, pretraining: int) -> float:
        policy = ActorCritic(*spaces, seed=seed)
        learn(CPL(pretraining=pretraining), policy, policy, pairs)
        return score(policy, environment, seed)

    def ipl(pairs: SegmentPairs) -> float:
        model = Implicit(*spaces, hidden=(64, 64), seed=seed)
        learn(IPL(gamma=gamma), model, model.actor, pairs)
        return score(model.actor, environment, seed)

    def learn(method: Method, model: nn.Module, actor: ActorCritic, pairs: SegmentPairs) -> None:
        actor.observe(pairs.items.observation_BTO.flatten(0, 1))
        data = Drawn(pairs=pairs, steps=given.steps, batch=64, seed=seed)
        fit(method, Models(policy=model), data, Optimisation(lr=1e-3))

    yield "cloning", cpl(pairs, given.steps)
    yield "cpl", cpl(pairs, given.steps // 3)
    yield "cpl, shuffled labels", cpl(control, given.steps // 3)
    yield "ipl", ipl(pairs)
    yield "ipl, shuffled labels", ipl(control)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", default="CartPole-v1")
    parser.add_argument("--by", choices=["advantage", "reward"], default="advantage")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--length", type=int, default=16)
    parser.add_argument("--rollouts", type=int, default=24)
    parser.add_argument("--medium", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1500)
    given = parser.parse_args()
    torch.set_num_threads(1)
    console.quiet = True
    found: dict[str, list[float]] = {}
    for seed in range(given.seeds):
        for name, value in one_seed(given, seed):
            found.setdefault(name, []).append(value)
            print(f"seed {seed}: {name} {value:.1f}", flush=True)
    print(f"\n| {given.environment}, {given.labels} labels by {given.by} | mean return | of each seed |")
    print("|---|---|---|")
    for name, values in found.items():
        print(f"| {name} | {np.mean(values):.0f} | {', '.join(f'{value:.0f}' for value in values)} |")


if __name__ == "__main__":
    main()
