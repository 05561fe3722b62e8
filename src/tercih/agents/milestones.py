"""An agent as it was along its training: its weights, kept at even shares of it."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tercih.data.steps import write_whole
from tercih.train import Data

COUNT = 9  # the untrained agent, each eighth of the training, and the last


class Milestones:
    """Data of a training run as they are; before every item that begins a share of the run the weights are kept as
    `folder/milestones/step-N.pt`, N items having been learned from.

    They are kept before an item and not after it, so that a run that was stopped keeps the same ones: it begins an item
    anew with the weights that it had.
    """

    def __init__(self, data: Data, agent: nn.Module, folder: Path) -> None:
        self.data, self.agent, self.folder = data, agent, folder
        self.at = {round(share * data.steps / (COUNT - 1)) for share in range(COUNT)}

    @property
    def steps(self) -> int:
        return self.data.steps

    def __call__(self, step: int) -> Any:
        if step in self.at:
            self.keep(step)
        return self.data(step)

    def keep(self, step: int) -> None:
        """Call it for the last one when the training is done."""
        keep_weights(self.folder / "milestones" / f"step-{step:09d}.pt", self.agent)

    def state_dict(self) -> dict[str, Any]:
        return self.data.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.data.load_state_dict(state)


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
