"""CPL: its arithmetic by hand, its two phases, and what labels of advantages are."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from tercih.agents.clips import cut
from tercih.agents.cpl import CPL, cpl_loss
from tercih.agents.experience import Collector
from tercih.agents.offline import by_advantage, by_reward, labelled, logp_of
from tercih.data.labelled_clips import Drawn, compared
from tercih.environments.worlds import Worlds
from tercih.feedback.teachers import Teacher
from tercih.forward import Models
from tercih.models.control import ActorCritic
from tercih.optimisation import Optimisation
from tercih.segments import SegmentPairs
from tercih.train import fit

STATES, ACTIONS = spaces.Discrete(3), spaces.Discrete(2)


def some_pairs(count: int = 4, seed: int = 0) -> SegmentPairs:
    dice = np.random.default_rng(seed)
    target = np.eye(3)[np.arange(count) % 3]
    return compared(dice.integers(3, size=(count, 2, 5)), dice.integers(2, size=(count, 2, 5)), target)


def test_equation_6_by_hand() -> None:
    advantage_B = torch.tensor([1.0, 2.0])
    first, second = torch.tensor([0]), torch.tensor([1])

    def loss(target: list[float], lam: float) -> float:
        return float(cpl_loss(advantage_B, first, second, torch.tensor([target]), lam))

    def minus_log_sigmoid(x: float) -> float:
        return math.log1p(math.exp(-x))

    assert math.isclose(loss([1, 0, 0], 1.0), minus_log_sigmoid(1 - 2), rel_tol=1e-6)
    assert math.isclose(loss([1, 0, 0], 0.5), minus_log_sigmoid(1 - 0.5 * 2), rel_tol=1e-6)
    assert math.isclose(loss([0, 1, 0], 0.5), minus_log_sigmoid(2 - 0.5 * 1), rel_tol=1e-6)
    both = (loss([1, 0, 0], 0.5) + loss([0, 1, 0], 0.5)) / 2
    assert math.isclose(loss([0, 0, 1], 0.5), both, rel_tol=1e-6)


def test_the_loss_sums_discounted_log_probabilities() -> None:
    policy, pairs, method = ActorCritic(STATES, ACTIONS, seed=1), some_pairs(), CPL(alpha=0.3, lam=0.4, gamma=0.9)
    pairs.items.mask_BT[1, 3:] = False
    expected = 0.0
    for n in range(len(pairs)):
        score = []
        for row in (2 * n, 2 * n + 1):
            total = 0.0
            for t in range(5):
                if pairs.items.mask_BT[row, t]:
                    step = (pairs.items.observation_BTO[row, t][None], pairs.items.action_BTA[row, t][None])
                    total += 0.3 * 0.9**t * float(policy(*step).logp_B.detach())
            score.append(total)
        (a, b), first = score, (1.0, 0.0, 0.5)[n % 3]
        expected += first * math.log1p(math.exp(0.4 * b - a)) + (1 - first) * math.log1p(math.exp(0.4 * a - b))
    assert math.isclose(float(method.loss(policy, pairs).terms["preference"].sum.detach()), expected, rel_tol=1e-5)


def test_pretraining_clones_and_then_stops_cloning() -> None:
    method = CPL(pretraining=2)
    policy = ActorCritic(STATES, ACTIONS)
    models, state, seen = Models(policy=policy), method.init(Models(policy=policy)), []
    for _ in range(3):
        (batch,) = method.batches(some_pairs(), models, state)
        seen.append(list(method.loss(policy, batch).terms))
        state = method.after(state, None, {})
    assert seen == [["cloning"], ["cloning"], ["preference"]]


@pytest.mark.learns
def test_cloning_learns_what_was_done_however_it_was_judged() -> None:
    pairs = some_pairs(200)
    clips = pairs.items
    clips.action_BTA.copy_(clips.observation_BTO % 2)  # of every state always one
    policy = ActorCritic(STATES, ACTIONS, hidden=())
    data = Drawn(pairs=pairs, steps=40, batch=32)
    fit(CPL(pretraining=40), Models(policy=policy), data, Optimisation(lr=0.3))
    assert float(logp_of(policy, clips).detach().exp().min()) > 0.9


def test_behind_a_clips_end_nothing_counts() -> None:
    policy, pairs = ActorCritic(STATES, ACTIONS, seed=1), some_pairs()
    pairs.items.mask_BT[:, 3:] = False
    before = float(CPL().loss(policy, pairs).terms["preference"].sum.detach())
    pairs.items.action_BTA[:, 3:] = 1 - pairs.items.action_BTA[:, 3:]
    assert float(CPL().loss(policy, pairs).terms["preference"].sum.detach()) == before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"alpha": 0.0}, "cpl.alpha must be > 0"),
        ({"lam": 1.5}, r"cpl.lam must be in \[0, 1\]"),
        ({"gamma": 0.0}, r"cpl.gamma must be in \(0, 1\]"),
        ({"pretraining": -1}, "cpl.pretraining must be >= 0"),
    ],
)
def test_options_out_of_range(options: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        CPL(**options)  # type: ignore[arg-type]


def test_labels_say_what_the_teacher_saw() -> None:
    """An oracle by reward, and by the advantage under a critic that adds up to r + γ V(s') − V(s)."""
    with Worlds("Pendulum-v1", 2) as worlds:
        policy = ActorCritic(worlds.observation_space, worlds.action_space, seed=3)
        played = Collector(policy=policy, worlds=worlds, steps=1, length=40).play(0)
    clips = cut(played, {}, 5)
    pairs = labelled(clips, 20, Teacher())
    total = {clip.observation_L.astype(np.float32).tobytes(): clip.reward_L.sum() for clip in clips}
    found_N2 = np.array([total[x.numpy().tobytes()] for x in pairs.items.observation_BTO]).reshape(-1, 2)
    assert len(pairs) == 20
    assert (pairs.target_N3[:, 0].numpy() == (found_N2[:, 0] > found_N2[:, 1])).all()
    np.testing.assert_array_equal(by_reward(clips[3]), clips[3].reward_L)

    gamma, clip = 0.9, clips[3]
    with torch.no_grad():
        before_L = policy.value(policy.numbers(clip.observation_L)).double().numpy()
    advantage_L = by_advantage(policy, gamma)(clip)
    expected_L = clip.reward_L[:-1] + gamma * before_L[1:] - before_L[:-1]
    np.testing.assert_allclose(advantage_L[:-1], expected_L, rtol=1e-4, atol=1e-4)
