"""An agent as it was along its training: its weights, kept at even shares of it."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tercih.data.steps import write_whole
from tercih.train import Data, Trainer

COUNT = 9  # the untrained agent, each eighth of the training, and the last


class Keeper:
    """Before every step that begins a share of `steps` the weights are kept as `folder/milestones/step-N.pt`, N steps
    having been learned from.

    They are kept before a step and not after it, so that a run that was stopped keeps the same ones: it begins a step
    anew with the weights that it had.
    """

    def __init__(self, agent: nn.Module, folder: Path, steps: int) -> None:
        self.agent, self.folder, self.steps = agent, folder, steps
        self.at = {round(share * steps / (COUNT - 1)) for share in range(COUNT)}

    def before(self, step: int) -> None:
        if step in self.at:
            self.keep(step)

    def keep(self, step: int) -> None:
        """Call it for the last one when the training is done."""
        keep_weights(self.folder / "milestones" / f"step-{step:09d}.pt", self.agent)


class Milestones(Keeper):
    """Data of a training run as they are, for `train.fit`."""

    def __init__(self, data: Data, agent: nn.Module, folder: Path) -> None:
        super().__init__(agent, folder, data.steps)
        self.data = data

    def __call__(self, step: int) -> Any:
        self.before(step)
        return self.data(step)

    def state_dict(self) -> dict[str, Any]:
        return self.data.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.data.load_state_dict(state)


class TrainerMilestones(Keeper):
    """A trainer as it is, for `train.run`."""

    def __init__(self, trainer: Trainer, steps: int, agent: nn.Module, folder: Path) -> None:
        super().__init__(agent, folder, steps)
        self.trainer, self.metrics = trainer, trainer.metrics

    def step(self, step: int) -> dict[str, float]:
        self.before(step)
        self.metrics = self.trainer.step(step)
        return self.metrics

    def state_dict(self) -> dict[str, Any]:
        return self.trainer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.trainer.load_state_dict(state)
        self.metrics = self.trainer.metrics


def milestones(folder: Path) -> list[tuple[int, Path]]:
    """(items learned from, weights) in their order."""
    found = sorted((folder / "milestones").glob("step-*.pt"))
    return [(int(path.stem.removeprefix("step-")), path) for path in found]


def keep_weights(path: Path, module: nn.Module) -> None:
    packed = BytesIO()
    torch.save(module.state_dict(), packed)
    write_whole(path, packed.getvalue())


def load_weights(path: Path, module: nn.Module) -> None:
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
