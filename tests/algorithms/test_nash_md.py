"""Nash-MD by hand: what a match is worth, and what is refused."""

import pytest
import torch

from small import causal, random_tokens, rollout
from tercih.algorithms.nash_md import NashMD
from tercih.batches import Compared
from tercih.forward import Models
from tercih.models.language_model import LanguageModel, Reference
from tercih.ops import row_sum


def test_a_match_is_worth_its_lead_over_an_even_one_less_what_leaving_the_reference_costs() -> None:
    models = Models(policy=LanguageModel(causal()), reference=Reference(LanguageModel(causal(seed=1))))
    tokens = random_tokens([1, 2, 1])
    data = rollout(tokens, models.policy(tokens).logp_BT.detach())
    (batch,) = NashMD(tau=0.3).batches(data, models, {})
    assert isinstance(batch, Compared)
    ratio_B = row_sum(data.logp_BT - models.reference_logp(tokens), tokens.loss_mask_BT)
    assert torch.allclose(batch.advantage_B, data.reward_B - 0.5 - 0.3 * ratio_B)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"tau": 0.0}, "nash_md.tau must be > 0, got 0"), ({"mixture": 1.1}, r"nash_md.mixture must be in \[0, 1\]")],
)
def test_what_cannot_be_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        NashMD(**options)
