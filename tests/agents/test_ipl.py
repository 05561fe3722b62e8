"""IPL: its losses by plain loops, what each of them may change, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from tercih.agents.ipl import IPL, Implicit, expectile_loss
from tercih.data.labelled_clips import compared
from tercih.forward import Models
from tercih.segments import SegmentPairs

BOX, PUSH = spaces.Box(-np.inf, np.inf, (3,)), spaces.Box(-2.0, 2.0, (2,))


def some_pairs(steps: int = 4) -> SegmentPairs:
    dice = np.random.default_rng(0)
    return compared(dice.normal(size=(3, 2, steps, 3)), dice.normal(size=(3, 2, steps, 2)), np.eye(3))


@pytest.fixture
def model() -> Implicit:
    return Implicit(BOX, PUSH, hidden=(8,), seed=1)


def test_the_losses_are_those_of_plain_loops(model: Implicit) -> None:
    pairs, method = some_pairs(), IPL(gamma=0.9, expectile=0.7, temperature=0.5)
    pairs.items.mask_BT[1, 3:] = False
    with torch.no_grad():
        for weight in model.targets.parameters():
            weight += 0.1  # so that it is seen which of the two is read
    terms = method.loss(model, pairs).terms
    rewards: list[list[list[float]]] = []
    square = value = actor = 0.0
    with torch.no_grad():
        for row in range(pairs.rows):
            observation_TO, action_TA = pairs.items.observation_BTO[row], pairs.items.action_BTA[row]
            value_T = model.actor.value(observation_TO)
            q_KT, slow_KT = (each(torch.cat([observation_TO, action_TA], 1)) for each in (model.critics, model.targets))
            logp_T = model.actor(observation_TO, action_TA).logp_B
            steps = 2 if row == 1 else 3
            rewards.append([[float(q_KT[k, t] - 0.9 * value_T[t + 1]) for t in range(steps)] for k in range(2)])
            square += sum(r * r for of_critic in rewards[-1] for r in of_critic) / steps
            for t in range(steps):
                advantage = float(slow_KT[:, t].min() - value_T[t])
                value += abs(0.7 - (advantage < 0)) * advantage**2 / steps
                actor -= min(math.exp(advantage / 0.5), 100.0) * float(logp_T[t]) / steps
    preference = 0.0
    for n, first in enumerate((1.0, 0.0, 0.5)):
        for k in range(2):
            d = sum(rewards[2 * n][k]) - sum(rewards[2 * n + 1][k])
            preference += first * math.log1p(math.exp(-d)) + (1 - first) * math.log1p(math.exp(d))
    for name, expected in (("preference", preference), ("chi2", square), ("value", value), ("actor", actor)):
        assert math.isclose(float(terms[name].sum.detach()), expected, rel_tol=1e-4), name


@pytest.mark.parametrize(
    ("term", "changed"),
    [("preference", {"critics"}), ("chi2", {"critics"}), ("value", {"actor.weights", "actor.biases", "actor.critic"})],
)
def test_every_loss_teaches_its_own_part(model: Implicit, term: str, changed: set[str]) -> None:
    IPL().loss(model, some_pairs()).terms[term].sum.backward()
    moved = {n for n, p in model.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    assert moved
    assert all(any(name.startswith(prefix) for prefix in changed) for name in moved), moved
    if term == "value":  # of the layers that actor and critic are side by side in, the critic's half
        assert not bool((model.actor.weights[0].grad[0] != 0).any())  # type: ignore[index]


def test_the_actor_learns_alone(model: Implicit) -> None:
    IPL().loss(model, some_pairs()).terms["actor"].sum.backward()
    assert all(p.grad is None for p in model.critics.parameters())
    assert not bool((model.actor.weights[0].grad[1] != 0).any())  # type: ignore[index]


def test_the_slow_critics_follow(model: Implicit) -> None:
    method = IPL(tau=0.25)
    with torch.no_grad():
        model.critics.weights_KIO[0] += 1.0
    before = model.targets.weights_KIO[0].clone()
    list(method.batches(some_pairs(), Models(policy=model), {}))
    torch.testing.assert_close(model.targets.weights_KIO[0] - before, torch.full_like(before, 0.25))


def test_expectiles() -> None:
    found = expectile_loss(torch.tensor([-2.0, 0.0, 3.0]), 0.75)
    assert found.tolist() == [0.25 * 4, 0.0, 0.75 * 9]


def test_what_it_refuses(model: Implicit) -> None:
    with pytest.raises(ValueError, match="at least two steps"):
        list(IPL().batches(some_pairs(1), Models(policy=model), {}))
    with pytest.raises(ValueError, match=r"trains a tercih\.agents\.ipl\.Implicit"):
        list(IPL().batches(some_pairs(), Models(policy=model.actor), {}))
    for options in ({"expectile": 1.0}, {"gamma": 1.1}, {"tau": 0.0}):
        with pytest.raises(ValueError, match=r"ipl\.gamma is in"):
            IPL(**options)
    with pytest.raises(ValueError, match=r"ipl\.temperature must be > 0"):
        IPL(temperature=0.0)
