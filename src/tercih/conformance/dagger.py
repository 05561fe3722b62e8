"""Proof of DAgger: the same number of answers teaches more where the learner asks than where the expert goes."""

import math

import numpy as np
import torch
from torch import Tensor

from tercih.agents.bc import BC
from tercih.agents.dagger import DAgger
from tercih.agents.demonstrations import Demonstrated
from tercih.agents.evaluate import Act, returns
from tercih.conformance.checks import Findings, above_zero, at_most, every
from tercih.conformance.lab import Lab
from tercih.data.steps import Array
from tercih.environments.worlds import Worlds
from tercih.forward import Models
from tercih.models.control import ActorCritic
from tercih.optimisation import Optimisation
from tercih.train import fit

TASK, COPIES, LENGTH = "Pendulum-v1", 4, 25


def swing_up(observation_N: Array) -> Array:
    """Pumps energy until the pendulum is near the top, and holds it there."""
    cosine_N, sine_N, speed_N = observation_N.T
    energy_N = speed_N**2 / 6 + 5 * (
        cosine_N - 1
    )  # of a rod of 1 kg and 1 m under 10 m/s², 0 where it stands at the top
    pump_N = np.where(speed_N * energy_N > 0, -2.0, 2.0)
    hold_N = -(12 * np.arctan2(sine_N, cosine_N) + 3 * speed_N)
    return np.clip(np.where(cosine_N > 0.8, hold_N, pump_N), -2, 2)[:, None].astype(np.float32)


class Forgetful(DAgger):
    """Learns from the last round alone."""

    def __call__(self, step: int) -> Demonstrated:
        self.said.clear()
        return DAgger.__call__(self, step)


def prove(lab: Lab, method: type[DAgger] = DAgger) -> Findings:
    rounds, seeds = lab.of(quick=8, full=16), range(len(lab.worlds))
    asked, followed = ([taught(lab, seed, method, rounds, beta) for seed in seeds] for beta in (0.0, 1.0))
    low, high = untaught(lab), float(np.mean(earned(swing_up, lab, 0)))
    aimless = taught(lab, 0, method, rounds, aimless=True)
    forgetful = taught(lab, 0, Forgetful, rounds)
    return Findings(
        identity=every(
            at_most("what the expert's own rounds hold − its rollouts, β = 1", own_rounds(lab, method), 0),
            at_most("answers − what the expert does there", answers_error(lab, method), 0),
        ),
        ordering=above_zero(
            "return, asked where the learner goes − where the expert goes",
            [a - b for a, b in zip(asked, followed, strict=True)],
        ),
        negative_control=at_most(
            "gain from answers at random", (aimless - low) / (high - low), 0.3, "0 untaught, 1 the expert"
        ),
        ablation=at_most(
            "return where earlier rounds are forgotten − where they are kept", forgetful - asked[0], -50.0
        ),
    )


def taught(
    lab: Lab, seed: int, method: type[DAgger], rounds: int, beta: float = 0.0, *, aimless: bool = False
) -> float:
    """Mean return of a learner after so many rounds."""
    dice = np.random.default_rng((lab.seed, seed))

    def at_random(observation_N: Array) -> Array:
        return dice.uniform(-2, 2, (len(observation_N), 1)).astype(np.float32)

    with Worlds(TASK, COPIES, seed=lab.seed + seed) as worlds:
        policy = ActorCritic(worlds.observation_space, worlds.action_space, hidden=(32, 32), seed=seed)
        data = method(
            policy=policy,
            worlds=worlds,
            expert=at_random if aimless else swing_up,
            steps=rounds,
            length=LENGTH,
            beta=beta,
            seed=seed,
        )
        fit(BC(epochs=10), Models(policy=policy), data, Optimisation(lr=0.01, schedule="constant"))
    return earned(policy.likeliest, lab, seed)


def earned(act: Act, lab: Lab, seed: int) -> float:
    with Worlds(TASK, 16, seed=1000 + lab.seed + seed) as unseen:
        return float(np.mean(returns(act, unseen, 16)))


def untaught(lab: Lab) -> float:
    with Worlds(TASK, 1) as worlds:
        policy = ActorCritic(worlds.observation_space, worlds.action_space, hidden=(32, 32))
    return earned(policy.likeliest, lab, 0)


def rounds_of(lab: Lab, method: type[DAgger], beta: float) -> Demonstrated:
    with Worlds(TASK, COPIES, seed=lab.seed) as worlds:
        policy = ActorCritic(worlds.observation_space, worlds.action_space)
        data = method(policy=policy, worlds=worlds, expert=swing_up, steps=3, length=LENGTH, beta=beta)
        return [data(step) for step in range(3)][-1]


def own_rounds(lab: Lab, method: type[DAgger]) -> float:
    told, seen = rounds_of(lab, method, beta=1.0), list[Array]()
    with Worlds(TASK, COPIES, seed=lab.seed) as worlds:
        observation_N = worlds.reset()
        for _ in range(3 * LENGTH):
            seen.append(observation_N)
            observation_N = worlds.step(swing_up(observation_N)).observation_N
    expected_B = torch.from_numpy(np.concatenate(seen))
    return math.inf if expected_B.shape != told.observation_B.shape else difference(told.observation_B, expected_B)


def answers_error(lab: Lab, method: type[DAgger]) -> float:
    told = rounds_of(lab, method, beta=0.0)
    return difference(told.action_B, torch.from_numpy(swing_up(told.observation_B.numpy())))


def difference(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max())
