"""Small networks of control agents: made once, called some thousand times a second.

Suffixes: B rows, K critics, I inputs and O outputs of a layer, A numbers of an action (or actions to choose from).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers from sizes[0] to sizes[-1] inputs, each followed by a ReLU."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Critics(nn.Module):
    """`count` MLPs of one output as one: every layer is a single batched product over all of them.

    Begins as `count` times nn.Linear would: uniform within 1/√inputs.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], count: int = 2) -> None:
        super().__init__()
        sizes = [inputs, *hidden, 1]
        pairs = list(pairwise(sizes))
        self.count = count
        self.weights_KIO = nn.ParameterList([torch.empty(count, i, o) for i, o in pairs])
        self.biases_K1O = nn.ParameterList([torch.empty(count, 1, o) for _, o in pairs])
        for weight_KIO, bias_K1O in zip(self.weights_KIO, self.biases_K1O, strict=True):
            bound = 1 / math.sqrt(weight_KIO.shape[1])
            nn.init.uniform_(weight_KIO, -bound, bound)
            nn.init.uniform_(bias_K1O, -bound, bound)

    def forward(self, x_BI: Tensor) -> Tensor:
        """Values, (K, B)."""
        x_KBI = x_BI.expand(self.count, *x_BI.shape)
        *hidden, (last_KI1, last_K11) = zip(self.weights_KIO, self.biases_K1O, strict=True)
        for weight_KIO, bias_K1O in hidden:
            x_KBI = torch.baddbmm(bias_K1O, x_KBI, weight_KIO).relu_()
        # A product with one column is a sum: five times as fast, forwards and backwards.
        value_KB: Tensor = (x_KBI * last_KI1.mT).sum(-1) + last_K11.squeeze(-1)
        return value_KB


class GaussianActor(nn.Module):
    """Mean and log standard deviation of every number of an action, both (B, A), from one trunk and one head."""

    LOWEST, HIGHEST = -20.0, 2.0  # of log σ: beyond, densities leave float32

    def __init__(self, inputs: int, hidden: Sequence[int], actions: int) -> None:
        super().__init__()
        self.trunk = mlp([inputs, *hidden])
        self.head = nn.Linear(hidden[-1], 2 * actions)

    def forward(self, observation_BI: Tensor) -> tuple[Tensor, Tensor]:
        mean_BA, log_std_BA = self.head(self.trunk(observation_BI)).chunk(2, -1)
        return mean_BA, log_std_BA.clamp(self.LOWEST, self.HIGHEST)


class QNetwork(nn.Module):
    """The value of each of A actions, (B, A).

    Bytes in three dimensions are frames and go through the convolutions of Mnih et al. 2015; else the first of `hidden`
    stand in their place. With `dueling`, value and advantages have streams of their own, of the last of `hidden`, and
    Q = V + (A − mean A) (Wang et al. 2016, eq. 9).
    """

    def __init__(self, observation_space: Any, hidden: Sequence[int], actions: int, *, dueling: bool) -> None:
        super().__init__()
        shape, last = observation_space.shape, hidden[-1]
        if len(shape) == 3 and observation_space.dtype == np.uint8:
            self.trunk: nn.Module = Frames(shape)
            features = Frames.width(shape)
        else:
            features = math.prod(shape)
            self.trunk = nn.Sequential(nn.Flatten(), mlp([features, *hidden[:-1]]))
            features = [features, *hidden][-2]
        self.advantage = nn.Sequential(mlp([features, last]), nn.Linear(last, actions))
        self.value = nn.Sequential(mlp([features, last]), nn.Linear(last, 1)) if dueling else None

    def forward(self, observation_B: Tensor) -> Tensor:
        x_BI = self.trunk(observation_B.float())
        advantage_BA: Tensor = self.advantage(x_BI)
        if self.value is None:
            return advantage_BA
        value_B1: Tensor = self.value(x_BI)
        return value_B1 + advantage_BA - advantage_BA.mean(-1, keepdim=True)


class Frames(nn.Module):
    """The convolutions of Mnih et al. 2015 ("Model architecture"). Frames are bytes, with their channels first or last:
    wherever the shorter of the two sides is."""

    LAYERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # channels, kernel, stride

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.channels_last = shape[2] < shape[0]
        channels, layers = min(shape[0], shape[2]), list[nn.Module]()
        for outputs, kernel, stride in self.LAYERS:
            layers += [nn.Conv2d(channels, outputs, kernel, stride), nn.ReLU(inplace=True)]
            channels = outputs
        self.layers = nn.Sequential(*layers, nn.Flatten())

    @classmethod
    def width(cls, shape: tuple[int, ...]) -> int:
        """How many features a frame comes to. ValueError where it is too small."""
        sides = list(shape[:2] if shape[2] < shape[0] else shape[1:])
        for _, kernel, stride in cls.LAYERS:
            sides = [(side - kernel) // stride + 1 for side in sides]
        if min(sides) < 1:
            raise ValueError(f"frames of shape {shape} are too small for three convolutions: at least 36 pixels a side")
        return cls.LAYERS[-1][0] * math.prod(sides)

    def forward(self, frame_B: Tensor) -> Tensor:
        frame_BCHW = frame_B.movedim(-1, 1) if self.channels_last else frame_B
        features_BI: Tensor = self.layers(frame_BCHW / 255)
        return features_BI
