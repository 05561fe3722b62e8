"""Mean and deviation of everything seen so far."""

import torch
from torch import Tensor, nn


class Running(nn.Module):
    """`absorb` more rows at any time; saved and restored to the bit with whatever module or state holds it.

    Two sets of numbers are joined as in Chan et al. 1983 (eqs. 2.1), in float64. Before the first row the mean is 0 and
    the deviation 1.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(shape, dtype=torch.float64))  # of distances from the mean, added up

    @torch.no_grad()
    def absorb(self, x_B: Tensor) -> None:
        """Shape (B, …)."""
        x_B = x_B.to(self.mean)
        rows, mean = len(x_B), x_B.mean(0)
        away = mean - self.mean
        share = rows / (self.count + rows)
        self.squares += (x_B - mean).square().sum(0) + away.square() * self.count * share
        self.mean += away * share
        self.count += rows

    @property
    def deviation(self) -> Tensor:
        if not self.count:
            return torch.ones_like(self.squares)
        return (self.squares / self.count + 1e-8).sqrt()
