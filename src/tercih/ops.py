"""The arithmetic that methods share, each thing once: pure functions on tensors, no models, no configuration.

Shape suffixes as in `tercih.batches`. A `mask` is boolean and of the same shape as what it selects.
"""

import torch
from torch import Tensor

from tercih.batches import Mean


def total(x: Tensor, mask: Tensor) -> Tensor:
    """Σ x over the mask; what lies outside is ignored even when it is not finite."""
    return torch.where(mask, x, 0.0).sum()


def mean_of(x: Tensor, mask: Tensor | None = None) -> Mean:
    """A detached metric: the sum of `x` and how many numbers it adds up, over the mask."""
    x = x.detach()
    if mask is None:
        return x.sum(), torch.tensor(float(x.numel()))
    return total(x, mask), mask.sum()


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    return total(x, mask) / mask.sum().clamp(min=1)


def row_sum(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum over the tokens of every response, shape (B,)."""
    return torch.where(mask_BT, x_BT, 0.0).sum(1)


def whiten(x: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Unit variance over the mask, and zero mean unless `shift_mean` is False (Ziegler et al. 2019's rewards).

    Biased variance (ddof 0) and + 1e-8 under the root, as in the released code.
    """
    mean = masked_mean(x, mask)
    variance = masked_mean((x - mean) ** 2, mask)
    white = (x - mean) * (variance + 1e-8).rsqrt()
    return white if shift_mean else white + mean


def gae(reward_BT: Tensor, value_BT: Tensor, mask_BT: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16), shape (B, T), 0 outside the mask.

    The step after the last masked token is terminal: a value of 0, nothing bootstrapped.
    """
    advantage_BT = torch.zeros_like(reward_BT)
    last_B, next_value_B = torch.zeros_like(reward_BT[:, 0]), torch.zeros_like(reward_BT[:, 0])
    for t in reversed(range(reward_BT.shape[1])):
        real_B = mask_BT[:, t]
        delta_B = reward_BT[:, t] + gamma * next_value_B - value_BT[:, t]
        # Positions that are not learned from (another speaker's words) are stepped over, not ended at.
        last_B = torch.where(real_B, delta_B + gamma * lam * last_B, last_B)
        next_value_B = torch.where(real_B, value_BT[:, t], next_value_B)
        advantage_BT[:, t] = torch.where(real_B, last_B, 0.0)
    return advantage_BT


def clipped_surrogate(logp: Tensor, old_logp: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """The PPO loss of every action, not yet reduced (Schulman et al. 2017, eq. 7)."""
    ratio = (logp - old_logp).exp()
    return torch.max(-ratio * advantage, -ratio.clamp(1 - clip, 1 + clip) * advantage)


def last_index(mask_BT: Tensor) -> Tensor:
    """Position of the last True of every row, shape (B,); 0 where there is none."""
    T = mask_BT.shape[1]
    position_T = torch.arange(T, device=mask_BT.device)
    return torch.where(mask_BT, position_T, 0).amax(1)


def kl1(logp: Tensor, reference_logp: Tensor) -> Tensor:
    """log π − log π0 of the sampled token: unbiased, may be negative (Schulman's k1)."""
    return logp - reference_logp


def kl3(logp: Tensor, reference_logp: Tensor) -> Tensor:
    """π0/π − 1 − log(π0/π): unbiased, never negative, low variance (Schulman's k3)."""
    difference = reference_logp - logp
    return difference.exp() - 1 - difference


def adaptive_kl(coefficient: float, kl: float, *, target: float, episodes: int, horizon: float) -> float:
    """The KL controller of Ziegler et al. 2019, eq. after (2): β · (1 + clip(KL/target − 1, ±0.2) · episodes/horizon).

    RL4LMs moves β by 0.1 · clip(…) per update instead, whatever the batch: the same with `horizon = 10 * episodes`.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * episodes / horizon)
