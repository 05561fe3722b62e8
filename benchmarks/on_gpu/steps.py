"""One training step through the loop that recipes use, on a device and plainly in float64 on the processor."""

import copy
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from on_gpu.truth import TEMPERATURE, Errors, Plain, cast, far, some_tokens, weights
from tercih.algorithms.dpo import DPO
from tercih.algorithms.grpo import GRPO
from tercih.batches import Batch, Pairs, Rollout
from tercih.forward import Models
from tercih.method import Method
from tercih.models.language_model import LanguageModel
from tercih.optimisation import Optimisation
from tercih.tokens import Tokens
from tercih.train import fit

ROWS = 5  # in a micro-batch of ours: a prompt's four answers and no more
# With an epsilon far above all gradients Adam's first step is proportional to them, and rounding is not blown up.
STEP = {"lr": 1000.0, "eps": 100.0, "schedule": "constant", "max_norm": None}


class Once:
    """Data of a single step."""

    steps = 1

    def __init__(self, item: Batch) -> None:
        self.item = item

    def __call__(self, step: int) -> Batch:
        return self.item

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is none."""


def errors(name: str, dtype: torch.dtype, device: torch.device) -> Errors:
    """Of the loss, and of what the step changed in the weights."""
    held, cpu = weights(name, dtype), torch.device("cpu")
    other = _moved(held)
    truths = [Plain(cast(x, torch.float64, cpu), TEMPERATURE) for x in (held, other)]
    plains = [Plain(cast(x, dtype, device), TEMPERATURE) for x in (held, other)]
    ours = [LanguageModel(cast(x, dtype, device), temperature=TEMPERATURE) for x in (held, other)]
    found: Errors = {}
    for method, data in ((DPO(), _pairs()), (GRPO(), _rollout(truths[0]))):
        true_loss, truth = _step(method, *truths, _as(data, torch.float64))
        plain_loss, plain = _step(method, *plains, _as(data, torch.float32))
        loss, change = _step(method, *ours, _as(data, torch.float32), micro_rows=ROWS)
        label = type(method).__name__
        found[f"{label} step: loss"] = abs(loss - true_loss), abs(plain_loss - true_loss) + _rounding(dtype)
        found[f"{label} step: change of weights"] = far(change, truth), far(plain, truth)
    return found


def _rounding(dtype: torch.dtype) -> float:
    """A single number may be near the truth by chance."""
    return torch.finfo(dtype).eps


def _moved(causal: Any) -> Any:
    """A reference that is not the policy."""
    twin, dice = copy.deepcopy(causal), torch.Generator().manual_seed(7)
    for parameter in twin.parameters():
        noise = torch.randn(parameter.shape, generator=dice) * 0.02
        parameter.data = (parameter.data.float() + noise).to(parameter.dtype)
    return twin


def _pairs() -> Pairs:
    tokens = some_tokens(seed=2)
    first_row_N = torch.arange(0, tokens.rows, 2)
    dice = torch.Generator().manual_seed(2)
    return Pairs(
        tokens=tokens, first_row_N=first_row_N, second_row_N=first_row_N + 1,
        target_N3=torch.rand(len(first_row_N), 3, generator=dice).softmax(1),
        weight_N=torch.rand(len(first_row_N), generator=dice) + 0.5, margin_N=torch.zeros(len(first_row_N)),
    )  # fmt: skip


@torch.no_grad()
def _rollout(sampler: Plain) -> Rollout:
    """Of almost the policy: ratios are not 1, and all so far from the clip that rounding carries none past it."""
    tokens, dice = some_tokens(seed=4), torch.Generator().manual_seed(4)
    logp_BT = sampler(tokens).logp_BT
    nudge_BT = 0.05 * (2 * torch.randint(0, 2, logp_BT.shape, generator=dice) - 1)
    reward_B = torch.randn(tokens.rows, generator=dice)
    return Rollout(
        tokens=tokens, logp_BT=torch.where(tokens.loss_mask_BT, logp_BT + nudge_BT, 0.0), reward_B=reward_B,
        ended_B=torch.ones(tokens.rows, dtype=torch.bool), parts={"score": reward_B}, version=0,
    )  # fmt: skip


def _as(batch: Batch, dtype: torch.dtype) -> Batch:
    """Its numbers in this precision."""
    held = {f.name: getattr(batch, f.name) for f in fields(batch)}
    numbers = {n: x.to(dtype) for n, x in held.items() if isinstance(x, Tensor) and x.is_floating_point()}
    return replace(batch, **numbers)


def _step(
    method: Method, policy: nn.Module, reference: nn.Module, data: Batch, micro_rows: int = 0
) -> tuple[float, Tensor]:
    """The loss, and what became of the weights: what they are now less what they were, in float64 on the processor."""
    policy = copy.deepcopy(policy)
    before = _all(policy)

    @torch.no_grad()
    def reference_logp(tokens: Tokens) -> Tensor:
        found: Tensor = reference(tokens).logp_BT
        return found

    models = Models(policy=policy, reference=reference_logp)
    metrics = fit(method, models, Once(data), Optimisation(micro_rows=micro_rows, **STEP))  # type: ignore[arg-type]
    return metrics["loss"], _all(policy) - before


def _all(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten().double().cpu() for p in module.parameters()])
