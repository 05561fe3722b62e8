"""Where a trained model's weights lie: whole in every process, or cut over all of them (FSDP2).

What an update changes of a weight is often less than its last of 16 bits, and so are most addends of a gradient. So
wherever trained weights have 16 bits, each has a float32 twin: gradients add up there, the optimiser moves it, and the
weight is the twin, rounded.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tercih.distributed.team import Team

NARROW = (torch.bfloat16, torch.float16)


class Whole:
    """Every process holds all weights; gradients are added up before the optimiser sees them."""

    def __init__(self, team: Team, policy: nn.Module) -> None:
        self.team, self.policy, self.trained = team, policy, policy
        self._hold()

    def _hold(self) -> None:
        trained = trained_parameters(self.trained)
        self.twins = {name: (p, twin(p)) for name, p in trained.items() if p.dtype in NARROW}
        self.parameters = [self.twins[name][1] if name in self.twins else p for name, p in trained.items()]
        """What the optimiser moves."""

    def keep_gradients(self) -> None:
        """To be called after every backward pass."""
        for p, wide in self.twins.values():
            if p.grad is not None:
                wide.grad = p.grad.to(wide.dtype) if wide.grad is None else wide.grad.add_(p.grad)
                p.grad = None

    @torch.no_grad()
    def round(self) -> None:
        """To be called after every step of the optimiser."""
        for p, wide in self.twins.values():
            p.copy_(wide)

    @torch.no_grad()
    def widen(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the twins to what a checkpoint holds of them, under the names of their weights."""
        for name, (_, wide) in self.twins.items():
            wide.copy_(tensors[name])

    def sum_gradients(self) -> None:
        self.team.sum_gradients(self.parameters)

    def whole(self, tree: Any) -> Any:
        """Whole tensors in place of parts, in any containers. All processes must call it together."""
        return tree

    def cut(self, tensors: Mapping[str, Tensor], names: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This process's part of whole tensors, cut as those of the same name are."""
        return dict(tensors)

    def publish(self) -> None:
        """Bring the trained weights back into the model that was given. All processes must call it together."""


class Sharded(Whole):
    """Each process holds its part of weights, gradients and optimiser state (Zhao et al. 2023, arXiv:2304.11277).

    A copy of the model is cut; the model that was given stays whole, for whatever samples from it, and has the trained
    weights after `publish`. A transformer layer is gathered when it is read and no longer; embeddings and head, which
    `models.logits` reads, are the root's own and stay from the forward to the end of the backward pass.
    """

    def __init__(self, team: Team, policy: nn.Module) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        self.team, self.policy, self.trained = team, policy, copy.deepcopy(policy)
        self.trained.in_step = True  # type: ignore[assignment]
        mesh = init_device_mesh(next(policy.parameters()).device.type, (team.size,))
        kinds = {kind for m in self.trained.modules() for kind in getattr(m, "_no_split_modules", None) or ()}
        for module in [m for m in self.trained.modules() if type(m).__name__ in kinds]:
            fully_shard(module, mesh=mesh)
        fully_shard(self.trained, mesh=mesh)
        for module in self.trained.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)  # losses are already means over the whole batch
                module.set_force_sum_reduction_for_comms(True)
        self._hold()

    def sum_gradients(self) -> None:
        """Done in the backward pass."""

    def whole(self, tree: Any) -> Any:
        from torch.distributed.tensor import DTensor

        if isinstance(tree, DTensor):
            return tree.full_tensor()
        if isinstance(tree, Mapping):
            return {key: self.whole(value) for key, value in tree.items()}
        if isinstance(tree, list | tuple):
            return type(tree)(self.whole(value) for value in tree)
        return tree

    def cut(self, tensors: Mapping[str, Tensor], names: Mapping[str, Tensor]) -> dict[str, Tensor]:
        from torch.distributed.tensor import DTensor, distribute_tensor

        cut = dict(tensors)
        for name, like in names.items():
            if name in cut and isinstance(like, DTensor) and cut[name].shape == like.shape:
                cut[name] = distribute_tensor(cut[name].to(like.device), like.device_mesh, like.placements)
        return cut

    def publish(self) -> None:
        self.policy.load_state_dict(self.whole(self.trained.state_dict()))


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def twin(p: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(p.detach().float())


def place(team: Team, policy: nn.Module) -> Whole:
    return Sharded(team, policy) if team.sharded and team.size > 1 else Whole(team, policy)


__all__: Sequence[str] = ["Sharded", "Whole", "place"]
