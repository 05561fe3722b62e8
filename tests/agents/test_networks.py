from itertools import pairwise

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from tercih.agents.networks import Critics, Frames, QNetwork


def separate(critics: Critics, k: int) -> nn.Sequential:
    """Critic k as ordinary layers with the same weights."""
    layers: list[nn.Module] = []
    for weight_KIO, bias_K1O in zip(critics.weights_KIO, critics.biases_K1O, strict=True):
        layer = nn.Linear(weight_KIO.shape[1], weight_KIO.shape[2])
        layer.weight.data, layer.bias.data = weight_KIO[k].detach().T.clone(), bias_K1O[k, 0].detach().clone()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Flatten(0))


def test_critics_in_one_are_critics_apart() -> None:
    torch.manual_seed(0)
    critics = Critics(5, (16, 8)).double()
    x_BI = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    weight_KB = torch.randn(2, 7, dtype=torch.float64)
    value_KB = critics(x_BI)
    (value_KB * weight_KB).sum().backward()
    gradient_BI = torch.zeros(7, 5, dtype=torch.float64)
    for k in range(2):
        alone, again_BI = separate(critics, k), x_BI.detach().clone().requires_grad_()
        torch.testing.assert_close(value_KB[k], alone(again_BI))
        (alone(again_BI) * weight_KB[k]).sum().backward()
        gradient_BI += again_BI.grad
        linear = [layer for layer in alone if isinstance(layer, nn.Linear)]
        for layer, weight_KIO, bias_K1O in zip(linear, critics.weights_KIO, critics.biases_K1O, strict=True):
            torch.testing.assert_close(weight_KIO.grad[k].T, layer.weight.grad)
            torch.testing.assert_close(bias_K1O.grad[k, 0], layer.bias.grad)
    torch.testing.assert_close(x_BI.grad, gradient_BI)
    assert not torch.allclose(value_KB[0], value_KB[1])


def test_critics_begin_as_linear_layers_do() -> None:
    torch.manual_seed(0)
    sizes = (40, 50, 60, 1)
    for (inputs, outputs), weight_KIO in zip(pairwise(sizes), Critics(40, (50, 60)).weights_KIO, strict=True):
        bound = nn.Linear(inputs, outputs).weight.detach().abs().max()
        assert weight_KIO.shape == (2, inputs, outputs)
        assert float(weight_KIO.detach().abs().max()) == pytest.approx(float(bound), rel=0.1)


def test_only_differences_of_advantages_count() -> None:
    torch.manual_seed(0)
    network = QNetwork(Box(-1, 1, (3,)), (8, 8), 4, dueling=True)
    x_BO = torch.randn(5, 3)
    before_BA = network(x_BO)
    with torch.no_grad():
        network.advantage[-1].bias += 3
    torch.testing.assert_close(network(x_BO), before_BA)
    assert network.value is not None
    torch.testing.assert_close(before_BA.mean(-1, keepdim=True), network.value(network.trunk(x_BO)))


def test_frames_are_the_same_with_their_channels_first_and_last() -> None:
    made = []
    frame_BHWC = torch.randint(256, (2, 84, 84, 4), dtype=torch.uint8)
    for shape, order in (((84, 84, 4), (0, 1, 2, 3)), ((4, 84, 84), (0, 3, 1, 2))):
        torch.manual_seed(0)
        network = QNetwork(Box(0, 255, shape, np.uint8), (512,), 6, dueling=False)
        assert Frames.width(shape) == 7 * 7 * 64
        found: Tensor = network(frame_BHWC.permute(order))
        assert found.shape == (2, 6)
        made.append(found)
    torch.testing.assert_close(*made)


def test_the_smallest_frame() -> None:
    assert Frames.width((36, 36, 3)) == 64
    with pytest.raises(ValueError, match="at least 36 pixels"):
        QNetwork(Box(0, 255, (36, 35, 3), np.uint8), (8,), 2, dueling=True)


def test_the_width_is_that_of_the_convolutions() -> None:
    assert Frames((1, 50, 40))(torch.zeros(1, 1, 50, 40, dtype=torch.uint8)).shape == (1, Frames.width((1, 50, 40)))
