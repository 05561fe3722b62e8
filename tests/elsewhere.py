"""A device that is not the processor, without a GPU: tensors that say they are elsewhere, and compute here.

    python tests/elsewhere.py

As on a GPU, a tensor with a dimension that was left behind on the processor is an error wherever it meets one that is
elsewhere. Runs the correctness checks of `benchmarks/gpu.sh` there and two steps of every method, and writes a line of
JSON for each. It changes torch for good, so it runs in a process of its own.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("elsewhere")
ELSEWHERE = torch.device("elsewhere:0")
MOVES = {"aten::_to_copy", "aten::copy_", "aten::lift_fresh"}
INDEXES = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"}


class There(torch.Tensor):
    """Holds a tensor of the processor."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> "There":
        made: There = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=ELSEWHERE,
        )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(
        cls, operator: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        return computed(operator, arguments, dict(options or {}))


def computed(operator: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    name, leaves = operator._schema.name, tree_leaves((arguments, options))
    there = any(isinstance(x, There) for x in leaves)
    if there and name not in MOVES:
        # Indices may be on the processor, values may not.
        judged = tree_leaves(arguments[2:3]) if name in INDEXES else leaves
        left = [tuple(x.shape) for x in judged if isinstance(x, Tensor) and not isinstance(x, There) and x.ndim]
        if left:
            raise RuntimeError(f"{name} is given tensors of two devices; on the processor: {left}")
    told = next((x for x in leaves if isinstance(x, torch.device)), None)
    goes = isinstance(arguments[0], There) if name == "aten::copy_" else there if told is None else _is_there(told)
    with _disable_current_modes():
        found = operator(*tree_map(_here, arguments), **tree_map(_here, options))
    if not goes:
        return found
    made = tree_map(lambda x: There(x) if isinstance(x, Tensor) and not isinstance(x, There) else x, found)
    return made if name == "aten::lift_fresh" else return_and_correct_aliasing(operator, arguments, options, made)


def _here(x: Any) -> Any:
    if isinstance(x, There):
        return x.held
    return torch.device("cpu") if isinstance(x, torch.device) and _is_there(x) else x


def _is_there(device: torch.device) -> bool:
    return device.type == ELSEWHERE.type


class Operators(TorchDispatchMode):
    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        return computed(operator, arguments, dict(options or {}))


class Functions(TorchFunctionMode):
    """What torch does with tensors in C++ before any operator."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(options or {})
        device = given.get("device")
        if function is torch.tensor and device is not None and _is_there(torch.device(device)):
            del given["device"]
            return torch.tensor(*arguments, **given).to(ELSEWHERE)
        if arguments and isinstance(arguments[0], There):
            if function is torch.Tensor.tolist:
                return arguments[0].held.tolist()
            if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
                arguments = [arguments[0], _indices(arguments[1]), *arguments[2:]]
        return function(*arguments, **given)


def _indices(index: Any) -> Any:
    """Lists of numbers as tensors, where the indexed one is."""
    if isinstance(index, tuple):
        return tuple(map(_indices, index))
    return torch.tensor(list(index)).to(ELSEWHERE) if isinstance(index, list | range) else index


def train(method: "Method") -> float:
    """The loss of the second step."""
    trained: Any = LanguageModel(causal(dtype=torch.float32), value="shared" if method.needs_values else None)
    if method.needs_action_values:
        trained = ActionValueModel(causal(dtype=torch.float32))
    if method.trains == "reward_model":
        trained = RewardModel(causal(dtype=torch.float32), bins=getattr(method, "centres", ()))
    tokens = random_tokens([3, 2, 4, 2])
    scores = random_ratings if method.trains == "reward_model" else random_scored
    item: Any = {
        "demonstrations": Batch(tokens=tokens), "pairs": random_pairs(3, dtype=torch.float32),
        "rankings": random_rankings(), "thumbs": random_thumbs([1, 2, 1], dtype=torch.float32),
        "rules": random_thumbs([1, 2, 1], dtype=torch.float32), "scored": scores([1, 2, 1], dtype=torch.float32),
        "turns": random_turns(dtype=torch.float32),
        "rollouts": rollout(tokens, -torch.rand(tokens.response_ids_BT.shape)),
    }[method.learns_from]  # fmt: skip
    if method.asks_with:
        asked = tokens.with_words([AnyWords()[method.asks_with]], torch.zeros_like(tokens.prompt_of_B))
        item = replace(item, tokens=asked)
    trained.to(ELSEWHERE)
    reference = Reference(trained) if method.needs_reference else None
    models = Models(policy=trained, reference=reference, words=AnyWords())
    metrics = fit(method, models, Fixed(item, steps=2), Optimisation(lr=1e-3))
    return metrics["loss"]


if __name__ == "__main__":
    torch.inference_mode = torch.no_grad  # what only says it is elsewhere cannot be an inference tensor
    here = Path(__file__).parents[1]
    sys.path[:0] = [str(here), str(here / "benchmarks")]
    from on_gpu import checks
    from tests.small import (
        AnyWords,
        Fixed,
        causal,
        random_pairs,
        random_rankings,
        random_ratings,
        random_scored,
        random_thumbs,
        random_tokens,
        random_turns,
        rollout,
    )

    from tercih.algorithms import METHODS
    from tercih.batches import Batch
    from tercih.forward import Models
    from tercih.method import Method
    from tercih.models.action_values import ActionValueModel
    from tercih.models.language_model import LanguageModel, Reference
    from tercih.models.reward_model import RewardModel
    from tercih.optimisation import Optimisation
    from tercih.train import fit

    checks.PRECISIONS = (torch.float32,)
    checks.CONFIGS = {"llama": checks.CONFIGS["llama"]}  # moving here unties weights that are tied
    with Functions(), Operators():
        for row in checks.rows(ELSEWHERE):
            print(json.dumps({"check": row.check, "error": row.error, "passed": row.passed}), flush=True)
        for name, kind in METHODS.items():
            loss = train(kind())
            print(json.dumps({"check": name, "loss": loss, "passed": math.isfinite(loss)}), flush=True)
