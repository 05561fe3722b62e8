"""The arithmetic that methods share, each thing once: pure functions on tensors, no models, no configuration.

Shape suffixes as in `tercih.batches`. A `mask` is boolean and of the same shape as what it selects.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from tercih.batches import Compared, Credited, Pairs
from tercih.forward import Mean


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


def row_mean(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over the tokens of every response, shape (B,)."""
    return row_sum(x_BT, mask_BT) / mask_BT.sum(1).clamp(min=1)


def chance_of_first(target_N3: Tensor) -> Tensor:
    """That the first of two is the better one, shape (N,); a tie counts half for either side. Targets add up to 1."""
    return target_N3[:, 0] + target_N3[:, 2] / 2


def logistic_loss(difference_N: Tensor, chance_N: Tensor) -> Tensor:
    """Cross-entropy of σ(difference) with how likely the first of two is the better one, shape (N,)."""
    return -chance_N * logsigmoid(difference_N) - (1 - chance_N) * logsigmoid(-difference_N)


def of_better(x_B: Tensor, batch: Pairs) -> Tensor:
    """What `x_B` is for the better of two responses: its mean where the label is soft. Shape (N,)."""
    chance_N = chance_of_first(batch.target_N3)
    return chance_N * x_B[batch.first_row_N] + (1 - chance_N) * x_B[batch.second_row_N]


def plackett_luce_loss(score_NK: Tensor, real_NK: Tensor, places: int) -> Tensor:
    """-log P(order) = -Σ_k log( e^{s_k} / Σ_{l >= k} e^{s_l} ) over the first `places` places, shape (N,).

    `score_NK` is sorted best first. With `places=1` it is the best-of-K softmax of Ziegler et al. 2019, eq. 1.
    """
    score_NK = torch.where(real_NK, score_NK, -1e30)  # finite: infinities have no gradient
    rest_NK = score_NK.flip(1).logcumsumexp(1).flip(1)  # log Σ_{l >= k} e^{s_l}
    last_N1 = real_NK.sum(1, keepdim=True) - 1  # the last place is decided by the others
    place_K = torch.arange(score_NK.shape[1], device=score_NK.device)
    counts_NK = (place_K < last_N1) & (place_K < places)
    return -torch.where(counts_NK, score_NK - rest_NK, 0.0).sum(1)


def group_size(group_B: Tensor) -> Tensor:
    """How many rows the group of every row has, shape (B,). ValueError where a row has nobody to be compared with."""
    size_B = torch.bincount(group_B)[group_B]
    if bool((size_B < 2).any()):
        raise ValueError(
            f"prompt {int(group_B[size_B < 2][0])} of a rollout has only one response, but this method compares the"
            " responses to a prompt with each other: sample at least 2 of each (--samples, or Rollouts(samples=…))"
        )
    return size_B


def group_mean(x_B: Tensor, group_B: Tensor) -> Tensor:
    """Mean of the group of every row, shape (B,); of equals exactly what they are."""
    low_B = _lowest(x_B, group_B)
    return low_B + _group_sum(x_B - low_B, group_B) / group_size(group_B)


def mean_of_others(x_B: Tensor, group_B: Tensor) -> Tensor:
    """Mean of the group of every row without the row itself, shape (B,); of equals exactly what they are."""
    low_B = _lowest(x_B, group_B)
    above_B = x_B - low_B
    return low_B + (_group_sum(above_B, group_B) - above_B) / (group_size(group_B) - 1)


def group_normalised(x_B: Tensor, group_B: Tensor) -> Tensor:
    """Group mean 0 and standard deviation 1, shape (B,); exactly 0 in a group of equals.

    GRPO's advantage (Shao et al. 2024, §4.1.2), which does not say which deviation: unbiased (ddof 1), and + 1e-4 so
    that rounding is not blown up, as in TRL.
    """
    centred_B = x_B - group_mean(x_B, group_B)
    variance_B = _group_sum(centred_B**2, group_B) / (group_size(group_B) - 1)
    return centred_B / (variance_B.sqrt() + 1e-4)


def group_softmax(x_B: Tensor, group_B: Tensor) -> Tensor:
    """exp(x) over its sum in the group of every row, shape (B,)."""
    empty_P = x_B.new_zeros(int(group_B.max()) + 1)
    high_P = empty_P.scatter_reduce(0, group_B, x_B.detach(), "amax", include_self=False)
    weight_B = (x_B - high_P[group_B]).exp()
    return weight_B / _group_sum(weight_B, group_B)


def best_of_group(x_B: Tensor, group_B: Tensor) -> Tensor:
    """Which row is the highest of its group, shape (B,); of equals the first. Groups of one row are refused."""
    group_size(group_B)
    order_B = x_B.argsort(descending=True, stable=True)
    place_B = torch.empty_like(order_B)
    place_B[order_B] = torch.arange(len(order_B), device=order_B.device)
    first_G = torch.full_like(place_B, len(place_B)).scatter_reduce(0, group_B, place_B, "amin")  # as if B groups
    return place_B == first_G[group_B]


def best_share(x_B: Tensor, weight_B: Tensor, share: float) -> Tensor:
    """The highest rows, as many as it takes to have `share` of the whole weight, shape (B,); of equals the first come
    first."""
    order_B = x_B.argsort(descending=True, stable=True)
    above_B = weight_B[order_B].cumsum(0) - weight_B[order_B]
    kept_B = torch.zeros_like(order_B, dtype=torch.bool)
    kept_B[order_B] = above_B < share * weight_B.sum() * (1 - 1e-6)  # rounding adds no row
    return kept_B


def log_complement(logp: Tensor) -> Tensor:
    """log(1 − p) of log p; p counts as 1 − 1e-6 where it is more."""
    return torch.log(-torch.expm1(logp.clamp(max=-1e-6)))


def _group_sum(x_B: Tensor, group_B: Tensor) -> Tensor:
    return x_B.new_zeros(int(group_B.max()) + 1).index_add(0, group_B, x_B)[group_B]


def _lowest(x_B: Tensor, group_B: Tensor) -> Tensor:
    empty_P = x_B.new_zeros(int(group_B.max()) + 1)
    return empty_P.scatter_reduce(0, group_B, x_B, "amin", include_self=False)[group_B]


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


def following(value_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """What the value is at the next masked token of the row: V(s') for V(s); 0 after the last. Shape (B, T)."""
    found_BT, next_B = torch.zeros_like(value_BT), torch.zeros_like(value_BT[:, 0])
    for t in reversed(range(value_BT.shape[1])):
        found_BT[:, t] = torch.where(mask_BT[:, t], next_B, 0.0)
        next_B = torch.where(mask_BT[:, t], value_BT[:, t], next_B)
    return found_BT


def one_step(score_B: Tensor, value_BT: Tensor, mask_BT: Tensor, gamma: float) -> Tensor:
    """r + γ V(s') of every token, where the score is the reward of the last one. Shape (B, T)."""
    aim_BT = gamma * following(value_BT, mask_BT)
    row_B = torch.arange(len(score_B), device=score_B.device)
    aim_BT[row_B, last_index(mask_BT)] += score_B.to(aim_BT)
    return aim_BT


def twin_error(q_BT: Tensor, other_q_BT: Tensor, aim_BT: Tensor) -> Tensor:
    """Squared errors of two heads that learn the same."""
    return (q_BT - aim_BT) ** 2 + (other_q_BT - aim_BT) ** 2


def gae_of_steps(
    reward_TN: Tensor,
    value_TN: Tensor,
    following_value_TN: Tensor,
    terminated_TN: Tensor,
    over_TN: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    """The same for T steps of N environments in which episodes end and others begin, shape (T, N).

    `following_value_TN` is the value of what a step led to. It counts nothing where the episode `terminated_TN`, and
    stands for all that would have come where it was only cut off: at its time limit, and after the last step. No
    advantage is carried from one episode (`over_TN`) into the one before it.
    """
    delta_TN = reward_TN + gamma * torch.where(terminated_TN, 0.0, following_value_TN) - value_TN
    carried_TN = gamma * lam * (~over_TN).to(delta_TN)
    last_N, advantage_TN = torch.zeros_like(delta_TN[0]), torch.empty_like(delta_TN)
    for t in reversed(range(len(delta_TN))):
        last_N = torch.addcmul(delta_TN[t], carried_TN[t], last_N)
        advantage_TN[t] = last_N
    return advantage_TN


def clipped_surrogate(
    logp: Tensor, old_logp: Tensor, advantage: Tensor, clip: float, clip_high: float | None = None
) -> Tensor:
    """The PPO loss of every action, not yet reduced (Schulman et al. 2017, eq. 7); the ratio may rise by `clip_high`
    where that is another bound than `clip`, by which it may fall."""
    ratio = (logp - old_logp).exp()
    near = ratio.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high))
    return torch.max(-ratio * advantage, -near * advantage)


def is_clipped(
    logp: Tensor, old_logp: Tensor, advantage: Tensor, clip: float, clip_high: float | None = None
) -> Tensor:
    """Where `clipped_surrogate` has no gradient left: the ratio has gone as far as it may, the way A favours."""
    ratio = (logp.detach() - old_logp).exp()
    high = ratio > 1 + (clip if clip_high is None else clip_high)
    return torch.where(advantage > 0, high, (advantage < 0) & (ratio < 1 - clip))


def clipped_value_loss(value: Tensor, old_value: Tensor, target: Tensor, clip: float) -> Tensor:
    """½ max((V - R)², (clip(V, V_old ± clip) - R)²) (lm-human-preferences, train_policy.py)."""
    near = old_value + (value - old_value).clamp(-clip, clip)
    return 0.5 * torch.max((value - target) ** 2, (near - target) ** 2)


def last_index(mask_BT: Tensor) -> Tensor:
    """Position of the last True of every row, shape (B,); 0 where there is none."""
    T = mask_BT.shape[1]
    position_T = torch.arange(T, device=mask_BT.device)
    return torch.where(mask_BT, position_T, 0).amax(1)


def clip_fraction(logp: Tensor, old_logp: Tensor, clip: float, mask: Tensor) -> Mean:
    """A metric: how many ratios over the mask have left 1 ± clip, to whatever side."""
    ratio = (logp.detach() - old_logp).exp()
    return mean_of(((ratio - 1).abs() > clip).float(), mask)


def token_rewards(score_B: Tensor, kl_BT: Tensor, mask_BT: Tensor, kl_coef: float) -> Tensor:
    """-β(log π - log π0) on every token, and the score on the last one (Ziegler et al. 2019, eq. 2), shape (B, T)."""
    reward_BT = torch.where(mask_BT, -kl_coef * kl_BT, 0.0)
    row_B = torch.arange(len(score_B), device=score_B.device)
    reward_BT[row_B, last_index(mask_BT)] += score_B
    return reward_BT


def kl1(logp: Tensor, reference_logp: Tensor) -> Tensor:
    """log π − log π0 of the sampled token: unbiased, may be negative (Schulman's k1)."""
    return logp - reference_logp


def kl3(logp: Tensor, reference_logp: Tensor) -> Tensor:
    """π0/π − 1 − log(π0/π): unbiased, never negative, low variance (Schulman's k3)."""
    difference = reference_logp - logp
    return difference.exp() - 1 - difference


def kl_metric(batch: Compared | Credited) -> dict[str, Mean]:
    """Nats per response between the policy that sampled and the reference, where the reference was asked."""
    if batch.reference_logp_BT is None:
        return {}
    kl_BT = kl1(batch.old_logp_BT, batch.reference_logp_BT)
    return {"kl": mean_of(row_sum(kl_BT, batch.tokens.loss_mask_BT))}


def adaptive_kl(coefficient: float, kl: float, *, target: float, episodes: int, horizon: float) -> float:
    """The KL controller of Ziegler et al. 2019, eq. after (2): β · (1 + clip(KL/target − 1, ±0.2) · episodes/horizon).

    RL4LMs moves β by 0.1 · clip(…) per update instead, whatever the batch: the same with `horizon = 10 * episodes`.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * episodes / horizon)
