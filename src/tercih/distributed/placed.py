"""Where a trained model's weights lie: whole in every process, or cut over all of them (FSDP2)."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tercih.distributed.team import Team


class Whole:
    """Every process holds all weights; gradients are added up before the optimiser sees them."""

    def __init__(self, team: Team, policy: nn.Module) -> None:
        self.team, self.policy, self.trained = team, policy, policy
        self.parameters = trained_parameters(policy)

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

        super().__init__(team, policy)
        self.trained = copy.deepcopy(policy)
        self.trained.in_step = True  # type: ignore[assignment]
        mesh = init_device_mesh(self.parameters[0].device.type, (team.size,))
        kinds = {kind for m in self.trained.modules() for kind in getattr(m, "_no_split_modules", None) or ()}
        for module in [m for m in self.trained.modules() if type(m).__name__ in kinds]:
            fully_shard(module, mesh=mesh)
        fully_shard(self.trained, mesh=mesh)
        for module in self.trained.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)  # losses are already means over the whole batch
                module.set_force_sum_reduction_for_comms(True)
        self.parameters = trained_parameters(self.trained)

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


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def place(team: Team, policy: nn.Module) -> Whole:
    return Sharded(team, policy) if team.sharded and team.size > 1 else Whole(team, policy)


__all__: Sequence[str] = ["Sharded", "Whole", "place"]
