"""Our loop on the same task: a line of JSON every so many rollouts, with the seconds that training took."""

import json
import sys
from collections.abc import Mapping

import numpy as np
import torch
from stopwatch import Stopwatch

from tercih.agents.clips import Schedule
from tercih.agents.evaluate import returns
from tercih.agents.experience import Collector
from tercih.agents.ppo import PPO
from tercih.agents.preferences import FromPreferences
from tercih.agents.reward_learner import RewardLearner, RewardLearning
from tercih.conformance.clips import Oracle
from tercih.environments.worlds import Worlds
from tercih.forward import Models
from tercih.models.control import ActorCritic
from tercih.optimisation import Optimisation
from tercih.train import fit

if __name__ == "__main__":
    case = json.loads(sys.argv[1])
    torch.set_num_threads(case["threads"])
    seed = case["seed"]
    with (
        Worlds(case["environment"], case["copies"], seed=seed) as worlds,
        Worlds(case["environment"], 8, seed=10_000 + seed) as unseen,
    ):
        watch = Stopwatch()
        spaces = worlds.observation_space, worlds.action_space
        policy = ActorCritic(*spaces, seed=seed)
        rollouts = case["steps"] // (case["copies"] * case["length"])
        data = FromPreferences(
            collector=Collector(
                policy=policy, worlds=worlds, steps=rollouts, length=case["length"], seed=seed,
                reward_discount=case["gamma"],
            ),
            learner=RewardLearner(RewardLearning(), *spaces, seed=seed),
            answers=Oracle(), schedule=Schedule(labels=case["labels"]), clip=case["clip"], seed=seed,
        )  # fmt: skip

        def told(step: int, metrics: Mapping[str, float]) -> None:
            if (step + 1) % max(1, rollouts // case["iterations"]):
                return
            with watch.stopped():
                mean = float(np.mean(returns(policy.likeliest, unseen, case["episodes"])))
            steps = (step + 1) * case["copies"] * case["length"]
            print(json.dumps({**watch.read(), "steps": steps, "return": mean}), flush=True)

        method = PPO(gamma=case["gamma"], minibatch=case["minibatch"], epochs=case["epochs"])
        fit(method, Models(policy=policy), data, Optimisation(lr=case["lr"], eps=1e-5, max_norm=0.5), on_step=told)
