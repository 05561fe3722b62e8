"""ILQL by hand: expectiles, what follows, and what a folder keeps of the heads."""

from pathlib import Path

import pytest
import torch

from small import byte_pairs, causal, random_scored, random_tokens
from tercih.algorithms.ilql import ILQL, expectile_loss
from tercih.forward import Models, Want
from tercih.models.action_values import ActionValueModel
from tercih.models.language_model import LanguageModel
from tercih.models.load import load_policy, save_model
from tercih.ops import following
from tercih.rollout.engine import Engine
from tercih.rollout.sampling import Sampling

ACTIONS = Want(value=True, actions=True)


def test_an_expectile_weighs_what_lies_above_and_below() -> None:
    assert expectile_loss(torch.tensor([2.0, -2.0, 0.0]), 0.9).tolist() == pytest.approx([3.6, 0.4, 0.0])


def test_what_follows_is_the_next_learned_token_and_nothing_after_the_last() -> None:
    value_BT = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    mask_BT = torch.tensor([[True, False, True, True]])
    assert following(value_BT, mask_BT).tolist() == [[3.0, 0.0, 4.0, 0.0]]


def test_q_is_drawn_to_what_follows_and_at_the_end_to_the_score() -> None:
    policy = ActionValueModel(causal())
    with torch.no_grad():
        policy.value_head.bias.fill_(2.0)  # type: ignore[union-attr]
    data = random_scored([1, 2])
    (batch,) = ILQL(gamma=0.5).batches(data, Models(policy=policy), {"updates": 1})
    for row in range(3):
        aims = batch.aim_BT[row][data.tokens.loss_mask_BT[row]].tolist()
        assert aims[:-1] == pytest.approx([1.0] * (len(aims) - 1))
        assert aims[-1] == pytest.approx(float(data.score_B[row]))


def test_targets_follow_every_so_many_updates_and_are_not_trained() -> None:
    policy, data = ActionValueModel(causal()), random_scored([1, 1])
    method, models = ILQL(polyak=0.5, target_every=2), Models(policy=policy)
    with torch.no_grad():
        policy.q_heads[0].weight.add_(1.0)
    before = policy.first_target.clone()
    list(method.batches(data, models, {"updates": 1}))
    assert torch.equal(policy.first_target, before)
    list(method.batches(data, models, {"updates": 2}))
    assert torch.allclose(policy.first_target, before + 0.5)
    assert not policy.first_target.requires_grad


def test_the_steered_policy_is_what_it_says_and_is_sampled_from() -> None:
    policy, tokens = ActionValueModel(causal()), random_tokens([1, 2])
    with torch.no_grad():
        said, plain = policy(tokens, ACTIONS), policy.steered(0.0)(tokens)
        assert torch.allclose(plain.logp_BT, said.logp_BT)
        assert torch.allclose(said.target_q_BT, torch.minimum(said.q_BT, said.other_q_BT)), (
            "targets begin as their heads"
        )
        ids = torch.tensor([[1, 5, 6]])
        hidden = policy.causal.base_model(ids).last_hidden_state[0, -1]
        q_V = torch.minimum(policy.first_target @ hidden, policy.second_target @ hidden)
        expected_V = (policy.causal(ids).logits[0, -1].log_softmax(-1) + 50 * q_V).log_softmax(-1)
    made = Engine(policy.steered(50.0).causal, eos_ids={2}).generate(
        [[1, 5, 6]], Sampling(max_new_tokens=1), samples=4, seed=0
    )
    for token, logp in zip(made.response_ids_BT[:, 0].tolist(), made.logp_BT[:, 0].tolist(), strict=True):
        assert logp == pytest.approx(float(expected_V[token]), abs=1e-9)


def test_a_folder_keeps_the_heads(tmp_path: Path) -> None:
    tokenizer = byte_pairs()
    policy = ActionValueModel(causal(dtype=torch.float32, vocabulary=len(tokenizer)), seed=3)
    policy.follow(0.0)
    save_model(policy, tokenizer, tmp_path)
    again = load_policy(tmp_path, actions=True)
    assert isinstance(again, ActionValueModel)
    tokens = random_tokens([2])
    with torch.no_grad():
        assert torch.equal(again(tokens, ACTIONS).target_q_BT, policy(tokens, ACTIONS).target_q_BT)
    assert type(load_policy(tmp_path)) is LanguageModel, "to all others it is a plain policy"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tau": 1.0}, r"ilql.tau must be in \(0, 1\), got 1"),
        ({"gamma": 1.5}, r"ilql.gamma must be in \[0, 1\]"),
        ({"cql_coef": -1.0}, "ilql.cql_coef must be >= 0"),
        ({"target_every": 0}, "ilql.target_every must be > 0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ILQL(**options)  # type: ignore[arg-type]


def test_a_policy_without_the_heads_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="build an ActionValueModel"):
        LanguageModel(causal())(random_tokens([1]), Want(actions=True))
