"""AWAC by hand: what the policy would say, and how much a token is imitated."""

import pytest
import torch

from small import causal, random_scored
from tercih.algorithms.awac import AWAC, awac_weight
from tercih.forward import Models
from tercih.models import action_values
from tercih.models.action_values import ActionValueModel


def test_a_lead_of_lambda_is_imitated_e_times_as_much() -> None:
    assert awac_weight(torch.tensor([0.0, 2.0, -2.0]), 2.0).tolist() == pytest.approx([1.0, 2.71828183, 0.36787944])


@pytest.mark.parametrize("chunk", [2**22, 40])
def test_what_is_aimed_at_is_the_mean_over_what_the_policy_might_say_next(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(action_values, "chunk", lambda device: chunk)
    policy = ActionValueModel(causal(), temperature=0.8, seed=2)
    data = random_scored([1, 2], seed=4)
    (batch,) = AWAC(gamma=0.9, polyak=0.0).batches(data, Models(policy=policy), {})
    tokens = data.tokens
    for row in range(tokens.rows):
        prompt, length = int(tokens.prompt_of_B[row]), int(tokens.response_len_B[row])
        asked = tokens.prompt_ids_PS[prompt, : int(tokens.prompt_len_P[prompt])]
        ids = torch.cat([asked, tokens.response_ids_BT[row, :length]])[None]
        with torch.no_grad():
            hidden_LD = policy.causal.base_model(ids).last_hidden_state[0]
            chance_LV = (policy.causal(ids).logits[0] / 0.8).softmax(-1)
            q_LV = torch.minimum(hidden_LD @ policy.first_target.T, hidden_LD @ policy.second_target.T)
        value_L = (chance_LV * q_LV).sum(-1)
        learned = [t for t in range(length) if tokens.loss_mask_BT[row, t]]
        for t, after in zip(learned, [*learned[1:], None], strict=True):
            at = len(asked) + t - 1
            expected = float(data.score_B[row]) if after is None else 0.9 * float(value_L[len(asked) + after - 1])
            assert float(batch.aim_BT[row, t]) == pytest.approx(expected)
            lead = float(q_LV[at, ids[0, at + 1]] - value_L[at])
            assert float(batch.imitation_BT[row, t]) == pytest.approx(float(torch.tensor(lead).exp()))


@pytest.mark.parametrize(
    ("options", "said"), [({"lam": 0.0}, "awac.lam must be > 0"), ({"polyak": 2.0}, r"awac.polyak must be in \[0, 1\]")]
)
def test_what_cannot_be_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AWAC(**options)
