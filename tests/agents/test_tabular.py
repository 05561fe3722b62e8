"""Exact plans in small worlds, against enumeration, and what is inferred from them."""

from itertools import product

import numpy as np
import pytest

from tercih.agents.apprenticeship import apprenticeship
from tercih.agents.max_ent_irl import expected_features, max_ent_irl
from tercih.agents.tabular import Floats, Tabular
from tercih.environments.control import ControlError, World


def made(states: int = 3, actions: int = 2, seed: int = 0) -> Tabular:
    dice = np.random.default_rng(seed)
    return Tabular(
        transition_SAS=dice.dirichlet(np.ones(states), (states, actions)), start_S=dice.dirichlet(np.ones(states))
    )


REWARD_S = np.array([0.3, -1.0, 2.0])


def test_soft_policies_and_visits_are_those_of_plain_recursion() -> None:
    world, horizon = made(), 4

    def value(t: int, s: int) -> float:
        return float(np.log(sum(np.exp(q(t, s, a)) for a in range(2))))

    def q(t: int, s: int, a: int) -> float:
        after = sum(world.transition_SAS[s, a, x] * value(t + 1, x) for x in range(3)) if t + 1 < horizon else 0.0
        return REWARD_S[s] + after

    policy_TSA = world.soft_policy(REWARD_S, horizon)
    for t, s, a in product(range(horizon), range(3), range(2)):
        assert np.isclose(policy_TSA[t, s, a], np.exp(q(t, s, a) - value(t, s)))
    visit_S = np.zeros(3)
    for states in product(range(3), repeat=horizon):
        for actions in product(range(2), repeat=horizon - 1):
            chance = world.start_S[states[0]]
            for t, a in enumerate(actions):
                chance *= policy_TSA[t, states[t], a] * world.transition_SAS[states[t], a, states[t + 1]]
            for s in states:
                visit_S[s] += chance
    assert np.allclose(world.visits(policy_TSA), visit_S)
    assert np.isclose(visit_S.sum(), horizon)


def test_the_best_policy_is_the_best_of_all() -> None:
    world = made(4, 3, seed=1)
    reward_S = np.random.default_rng(2).normal(size=4)

    def earned(policy_SA: Floats) -> float:
        return float(world.discounted_visits(policy_SA, 0.9) @ reward_S)

    every = [earned(np.eye(3)[list(choice)]) for choice in product(range(3), repeat=4)]
    assert np.isclose(earned(world.best_policy(reward_S, 0.9)), max(every))
    assert max(every) > min(every) + 0.1


def test_discounted_visits_are_the_sum_over_time() -> None:
    world = made()
    policy_SA = np.random.default_rng(3).dirichlet(np.ones(2), 3)
    at_S, total_S = world.start_S, np.zeros(3)
    for t in range(400):
        total_S = total_S + 0.9**t * at_S
        at_S = np.einsum("s,sa,sax->x", at_S, policy_SA, world.transition_SAS)
    assert np.allclose(world.discounted_visits(policy_SA, 0.9), total_S)


def test_tables_of_environments_are_read() -> None:
    with World("FrozenLake-v1", {"is_slippery": False}) as world:
        table = Tabular.of(world)
    assert table.start_S.argmax() == 0
    assert table.transition_SAS[0].argmax(1).tolist() == [0, 4, 1, 0]  # left, down, right, up from the corner
    assert (table.transition_SAS[5].argmax(1) == 5).all()  # a hole: nobody leaves it
    with World("CartPole-v1") as world, pytest.raises(ControlError, match="no table of transitions"):
        Tabular.of(world)


def test_what_is_inferred_has_the_highest_likelihood() -> None:
    """What is found is its highest point."""
    world, horizon = made(), 5
    feature_SK = np.random.default_rng(1).normal(size=(3, 2))
    truth_TSA = world.soft_policy(feature_SK @ np.array([1.0, -0.5]), horizon)
    expected_K = world.visits(truth_TSA) @ feature_SK
    found = max_ent_irl(world, feature_SK, expected_K, horizon)

    def likelihood(weight_K: Floats) -> float:
        """E_truth[Σ log π(a_t | s_t)], exactly."""
        policy_TSA, at_S, total = world.soft_policy(feature_SK @ weight_K, horizon), world.start_S, 0.0
        for truth_SA, policy_SA in zip(truth_TSA, policy_TSA, strict=True):
            total += float(at_S @ (truth_SA * np.log(policy_SA)).sum(1))
            at_S = np.einsum("s,sa,sax->x", at_S, truth_SA, world.transition_SAS)
        return total

    assert np.allclose(found.weight_K, [1.0, -0.5], atol=1e-4)
    for step in np.eye(2) * 0.01:
        assert likelihood(found.weight_K) > likelihood(found.weight_K + step)
        assert likelihood(found.weight_K) > likelihood(found.weight_K - step)


def test_features_of_paths_are_summed_and_averaged() -> None:
    feature_SK = np.array([[1.0, 0.0], [0.0, 1.0]])
    paths = np.array([[0, 0, 1], [1, 1, 1]])
    assert expected_features(feature_SK, paths).tolist() == [1.0, 2.0]
    assert expected_features(feature_SK, paths, 0.5).tolist() == [0.75, 1.0]


def test_an_apprentice_comes_as_near_as_it_says() -> None:
    world = made(6, 3, seed=5)
    dice = np.random.default_rng(6)
    feature_SK = dice.random((6, 3))
    expert_SA = dice.dirichlet(np.ones(3), 6)
    expected_K = world.discounted_visits(expert_SA, 0.9) @ feature_SK
    learned = apprenticeship(world, feature_SK, expected_K, 0.9, epsilon=1e-2)
    of_each = np.stack([world.discounted_visits(policy_SA, 0.9) @ feature_SK for policy_SA in learned.policy_ISA])
    left = np.linalg.norm(learned.share_I @ of_each - expected_K)
    assert left <= 1e-2
    assert np.isclose(left, learned.margin_I[-1])
    assert (learned.share_I >= 0).all()
    unreachable = apprenticeship(world, feature_SK, expected_K + 100, 0.9)
    assert unreachable.margin_I[-1] > 10  # and it ends


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda w, f: max_ent_irl(w, f[:2], np.zeros(2), 5), r"features of 3 states .* are the demonstrations of this"),
        (lambda w, f: max_ent_irl(w, f, np.zeros(5), 5), r"got \(3, 2\) and \(5,\)"),
        (lambda w, f: max_ent_irl(w, f, np.full(2, np.nan), 5), "must be finite"),
        (lambda w, f: max_ent_irl(w, f, np.zeros(2), 0), "horizon >= 1"),
        (lambda w, f: apprenticeship(w, f, np.zeros(2), 1.0), r"gamma in \[0, 1\)"),
        (lambda w, f: expected_features(f, np.zeros((0, 4), int)), "at least one path"),
        (lambda w, f: expected_features(f, np.array([[0, 3]])), "whole numbers from 0 to 2"),
        (lambda w, f: expected_features(f, np.array([[0.5]])), "whole numbers from 0 to 2"),
        (
            lambda w, f: Tabular(transition_SAS=w.transition_SAS * 2, start_S=w.start_S),
            "probabilities that add up to 1",
        ),
        (lambda w, f: Tabular(transition_SAS=w.transition_SAS[:2], start_S=w.start_S), r"array \(S, A, S\)"),
    ],
)
def test_what_cannot_be_is_refused(wrong: object, said: str) -> None:
    with pytest.raises(ControlError, match=said):
        wrong(made(), np.ones((3, 2)))  # type: ignore[operator]
