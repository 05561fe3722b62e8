"""Running moments are those of all rows at once, however they come."""

import pytest
import torch

from tercih.models.running import Running


def test_moments_are_those_of_everything() -> None:
    x_B3 = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 0.1]) + 1e3
    running = Running(3)
    for part in x_B3.split([1, 2, 500, 497]):
        running.absorb(part)
    wide_B3 = x_B3.double()
    assert torch.allclose(running.mean, wide_B3.mean(0), rtol=1e-12)
    assert torch.allclose(running.deviation, wide_B3.std(0, unbiased=False), rtol=1e-6)
    assert float(running.count) == 1000


def test_before_the_first_row_nothing_is_moved() -> None:
    running = Running(2)
    assert running.mean.tolist() == [0, 0]
    assert running.deviation.tolist() == [1, 1]


@pytest.mark.parametrize("shape", [(), (2,)])
def test_what_is_restored_goes_on_with_the_same_bits(shape: tuple[int, ...]) -> None:
    dice = torch.Generator().manual_seed(0)
    first, second = torch.rand(7, *shape, generator=dice), torch.rand(9, *shape, generator=dice)
    whole, half, other = Running(*shape), Running(*shape), Running(*shape)
    whole.absorb(first)
    whole.absorb(second)
    half.absorb(first)
    other.load_state_dict(half.state_dict())
    other.absorb(second)
    assert torch.equal(whole.deviation, other.deviation)
