"""Proof of behavioural cloning: a table becomes the frequencies of what was done, a Gaussian its mean and spread."""

from dataclasses import replace

import numpy as np
import torch

from tercih.agents.bc import BC, Always
from tercih.agents.demonstrations import Demonstrated
from tercih.agents.tabular import Floats
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.field import SIDE, Field, table_of
from tercih.conformance.lab import EXACT, Lab, generator
from tercih.environments.worlds import Worlds
from tercih.forward import Models
from tercih.models.control import ActorCritic
from tercih.train import fit

STATES = SIDE * SIDE


def prove(lab: Lab, method: type[BC] = BC) -> Findings:
    fields = [Field(key=(lab.seed, i), sure=2.0) for i in range(len(lab.worlds))]
    field = fields[0]
    few, many = lab.of(quick=(1, 64), full=(1, 512))
    seen, cloned = clone(field, method, many)
    _, aimless = clone(field, method, many, aimless=True)
    _, blind = clone(field, method, many, blind=True)
    return Findings(
        identity=every(
            at_most("max |π(a|s) − frequency|", float(np.abs(cloned - seen).max()), 1e-3),
            at_most("error of a Gaussian's mean and log deviation", gaussian_error(lab, method), 1e-3),
        ),
        ordering=above_zero(
            f"TV to the expert's actions, {few} − {many} episodes",
            [f.distance(clone(f, method, few)[1]) - f.distance(clone(f, method, many)[1]) for f in fields],
        ),
        negative_control=at_most(
            "gain in true return from one who acts at random",
            field.gain(aimless),
            0.2,
            f"{field.gain(cloned):.2f} from the expert",
        ),
        ablation=at_least(
            "TV to the expert's actions where states are hidden",
            field.distance(blind),
            0.2,
            f"{field.distance(cloned):.3f} where they are not",
        ),
    )


def clone(
    field: Field, method: type[BC], episodes: int, *, aimless: bool = False, blind: bool = False
) -> tuple[Floats, Floats]:
    """Frequencies of each action in each state (uniform where nobody was), and π; both (S, A)."""
    with field.worlds() as worlds:
        policy = field.policy(worlds)
        told = field.read(worlds, policy, episodes, aimless=aimless)
    if blind:
        told = replace(told, observation_B=torch.zeros_like(told.observation_B))
    count_SA = torch.zeros(STATES, policy.actor.out_features, dtype=torch.float64)
    count_SA.index_put_((told.observation_B, told.action_B), torch.ones((), dtype=torch.float64), accumulate=True)
    imitate(method, policy, told, steps=150)
    if blind:  # it acts as if every state were the one it knows
        return count_SA.numpy(), np.repeat(table_of(policy)[:1], STATES, axis=0)
    count_SA[count_SA.sum(1) == 0] = 1
    return (count_SA / count_SA.sum(1, keepdim=True)).numpy(), table_of(policy)


def imitate(method: type[BC], policy: ActorCritic, told: Demonstrated, steps: int) -> None:
    """All of it in each step: a gradient without noise."""
    fit(method(minibatch=told.rows), Models(policy=policy), Always(acts=told, steps=steps), EXACT)


def gaussian_error(lab: Lab, method: type[BC]) -> float:
    """Real actions around a mean of every state: the maximum likelihood is known."""
    rows, draws = 64, generator(lab.seed, 4)
    with Worlds("Pendulum-v1", 1) as worlds, Field(key=(lab.seed, 0)).worlds() as fields:
        policy = ActorCritic(fields.observation_space, worlds.action_space, hidden=())
    state_B = torch.arange(rows) % STATES
    action_B1 = torch.randn(rows, 1, generator=draws) * 0.5 + state_B[:, None] / STATES
    imitate(method, policy, Demonstrated(observation_B=state_B, action_B=action_B1, following_B=state_B), steps=150)
    mean_S = torch.stack([action_B1[state_B == s].mean() for s in range(STATES)])
    deviation = (action_B1.squeeze(1) - mean_S[state_B]).square().mean().sqrt()
    assert policy.log_deviation_A is not None
    with torch.no_grad():
        found_S = policy.actor(torch.eye(STATES)).squeeze(1)
        off = (policy.log_deviation_A - deviation.log()).abs().max()
        return max(float((found_S - mean_S).abs().max()), float(off))
