"""NLPO: masks are kept, move when they should, and go on where they were."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from algorithms.test_ppo import setting
from rollout.test_sampler import rollouts
from tercih.algorithms.nlpo import NLPO, Masked
from tercih.forward import Models
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.nucleus import unpacked
from tercih.ops import kl1, total
from tercih.optimisation import Optimisation
from tercih.train import fit


class Stopped(BaseException):
    """As if it had been killed after a step."""


def test_the_ratio_is_masked_and_the_kl_is_not() -> None:
    models, data = setting()
    method = NLPO(top_p=0.5, min_keep=2)
    state = method.init(models)
    batch = next(method.batches(data, models, state))
    assert isinstance(batch, Masked)
    assert batch.old_logp_BT.equal(data.logp_BT)
    mask_BT = data.tokens.loss_mask_BT
    assert float(batch.kept_BT[mask_BT].min()) < -0.05
    assert batch.tokens.allowed_BTW is not None
    allowed_MV = unpacked(batch.tokens.allowed_BTW[mask_BT], 31)
    assert int(allowed_MV.sum(1).min()) >= 2
    whole_BT = data.logp_BT + batch.kept_BT
    kl = total(kl1(whole_BT, models.reference_logp(data.tokens)), mask_BT)
    plain = replace(method, lam=1.0, gamma=1.0, kl_coef=1.0)
    with torch.no_grad():
        found = plain.prepare(data, models, 1.0).return_BT[:, 0]
    torch.testing.assert_close(found.sum(), data.reward_B.sum() - kl)


def run(folder: Path, stop: int | None = None) -> torch.Tensor:
    data = rollouts(0, 6, steps=5, prompts_per_step=2, samples=2)
    policy = LanguageModel(data.policy.causal, value="shared")
    data = replace(data, policy=policy, reward=replace(data.reward))
    models = Models(policy=policy, reference=Reference(policy))

    def stopping(step: int, _: Mapping[str, float]) -> None:
        if step + 1 == stop:
            raise Stopped

    method = NLPO(epochs=1, top_p=0.5, min_keep=2, mask_every=2)
    optimisation = Optimisation(lr=1e-2, schedule="constant")
    fit(method, models, data, optimisation, folder, save_every=0.0, on_step=stopping)
    return parameters_to_vector(policy.parameters()).detach()


def test_a_run_that_was_killed_goes_on_with_the_same_mask(tmp_path: Path) -> None:
    """The mask of step 3 is that of the policy before step 2, which only the checkpoint still has."""
    whole = run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "killed", stop=3)
    assert run(tmp_path / "killed").equal(whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_p": 1.1}, r"nlpo.top_p must be in \(0, 1\], got 1.1"),
        ({"top_p": 0}, "nlpo.top_p must be > 0, got 0"),
        ({"mask_every": 0}, "nlpo.mask_every must be > 0, got 0"),
        ({"min_keep": 0}, "nlpo.min_keep must be > 0, got 0"),
        ({"clip": -1}, "nlpo.clip must be >= 0, got -1"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NLPO(**options)
