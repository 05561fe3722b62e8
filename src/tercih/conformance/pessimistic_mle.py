"""Proof of pessimistic MLE: an arm that was compared once is not believed, however lucky it was.

Four arms (Zhu et al. 2023, §3): φ = (1,1,0), (1,0,0), (0,0,0), (0,1,0) and θ* = (−1, .1, .9), so that the rewards are
−.9, −1, 0 and .1. All comparisons are of the first with the second, but one, of the second with the third: with
probability σ(−1) = .27 that one goes the wrong way, and θ̂ is wrong however many the others are.
"""

from dataclasses import replace

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from tercih.algorithms.bradley_terry import bradley_terry_loss
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Lab, generator
from tercih.rewards.pessimism import Ellipsoid, PessimisticMLE, covariance, order_nll

ARM_AD = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]], dtype=torch.float64)
TRUE_D = torch.tensor([-1.0, 0.1, 0.9], dtype=torch.float64)
REWARD_A = ARM_AD @ TRUE_D
BOUND = 2.0
GOOD, BAD = 2, 1  # references: the third arm, which is acceptable; the second, which is compared most, and worst


def prove(lab: Lab, method: type[PessimisticMLE] = PessimisticMLE) -> Findings:
    count, trials = lab.of(quick=(500, 6), full=(2000, 100))
    ours, believing = method(bound=BOUND), method(bound=BOUND, scale=0, ridge=1e-9)
    keys = [(lab.seed, i, 70) for i in range(lab.of(quick=3, full=5))]
    careful = [losses(ours, count, trials, key) for key in keys]
    plain = [losses(believing, count, trials, key) for key in keys]
    coins = np.mean([losses(ours, count, trials, key, coins=True)[1] for key in keys])
    return Findings(
        identity=every(
            at_most("|value − lowest in the ellipsoid, by search|", search_difference(method()), 1e-6),
            at_most("|pairs' likelihood − Bradley–Terry's|", pair_difference(), 1e-12),
            at_most("error of θ̂ from every order's frequency, K = 4", recovery(method()), 1e-3),
            at_most("|Σ_D − explicit loop over pairs|", covariance_difference(), 1e-12),
        ),
        ordering=above_zero(
            f"reward lost, MLE − pessimistic, {count} comparisons",
            [p[0] - s[0] for p, s in zip(plain, careful, strict=True)],
        ),
        negative_control=at_most("share of coin labels that lead away from v", float(coins), 0.25),
        ablation=every(
            at_least("reward lost by the MLE", float(np.mean([loss for loss, _ in plain])), 0.15),
            at_least("reward lost where v is a bad arm", losses(ours, count, trials, keys[0], reference=BAD)[0], 0.5),
        ),
    )


def comparisons(count: int, dice: torch.Generator, *, lucky: bool, coins: bool = False) -> Tensor:
    """`count` pairs sorted best first, (count, 2, 3); of the last, the second arm won over the third where `lucky`."""
    wins = 0.5 if coins else float((REWARD_A[0] - REWARD_A[1]).sigmoid())
    lost_N = torch.rand(count - 1, generator=dice, dtype=torch.float64) > wins
    pair_N2 = torch.where(lost_N[:, None], torch.tensor([1, 0]), torch.tensor([0, 1]))
    return ARM_AD[torch.cat([pair_N2, torch.tensor([[1, 2] if lucky else [2, 1]])])]


def losses(
    method: PessimisticMLE, count: int, trials: int, key: tuple[int, ...], *, reference: int = GOOD, coins: bool = False
) -> tuple[float, float]:
    """How much reward the choice loses on the best arm, and how often it is not v: means over `trials` sets of labels,
    each with both ways in which the lone comparison can go, by their probabilities."""
    dice = generator(*key)
    luck = 0.5 if coins else float((REWARD_A[1] - REWARD_A[2]).sigmoid())
    lost = away = 0.0
    for _ in range(trials):
        for lucky, probability in ((True, luck), (False, 1 - luck)):
            known = method.fit(comparisons(count, dice, lucky=lucky, coins=coins))
            chosen = int(known.values(ARM_AD, ARM_AD[reference]).argmax())
            lost += probability * float(REWARD_A.max() - REWARD_A[chosen])
            away += probability * (chosen != reference)
    return lost / trials, away / trials


def search_difference(method: PessimisticMLE) -> float:
    """Over the arms, against a search on the ellipsoid that knows nothing of the formula."""
    known = method.fit(comparisons(50, generator(71), lucky=True))
    value_A = known.values(ARM_AD, ARM_AD[GOOD])
    return max(abs(float(value) - lowest(known, arm_D)) for value, arm_D in zip(value_A, ARM_AD, strict=True))


def lowest(known: Ellipsoid, away_D: Tensor) -> float:
    away, centre, precision = (x.numpy() for x in (away_D, known.parameter_D, known.precision_DD))
    inside = {"type": "ineq", "fun": lambda x: known.radius**2 - (x - centre) @ precision @ (x - centre)}
    found = optimize.minimize(lambda x: x @ away, centre, method="SLSQP", constraints=[inside], options={"ftol": 1e-12})
    return float(found.fun)


def pair_difference() -> float:
    feature_NKD = torch.randn(20, 2, 3, generator=generator(72), dtype=torch.float64)
    difference_N = (feature_NKD[:, 0] - feature_NKD[:, 1]) @ TRUE_D
    won_N3 = torch.tensor([[1.0, 0, 0]], dtype=torch.float64).expand(20, 3)
    return abs(float(order_nll(TRUE_D, feature_NKD) - bradley_terry_loss(difference_N, won_N3).sum()))


def recovery(method: PessimisticMLE) -> float:
    """All 24 orders of four items, each as often as θ* says, to the nearest of 50,000."""
    item_KD = torch.randn(4, 3, generator=generator(73), dtype=torch.float64)
    order_NK = torch.tensor(list(_orders(4)))
    share_N = torch.stack([-order_nll(TRUE_D, item_KD[order_K][None]) for order_K in order_NK]).exp()
    often_N = (share_N * 50_000).round().long()
    found_D = replace(method, bound=BOUND).fit(item_KD[order_NK.repeat_interleave(often_N, 0)]).parameter_D
    return float((found_D - TRUE_D).abs().max())


def covariance_difference() -> float:
    feature_NKD = torch.randn(5, 4, 3, generator=generator(74), dtype=torch.float64)
    total_DD, pairs = torch.zeros(3, 3, dtype=torch.float64), 0
    for item_KD in feature_NKD:
        for i in range(4):
            for j in range(i):
                total_DD += torch.outer(item_KD[i] - item_KD[j], item_KD[i] - item_KD[j])
                pairs += 1
    return float((covariance(feature_NKD) - total_DD / pairs).abs().max())


def _orders(count: int) -> list[list[int]]:
    if not count:
        return [[]]
    return [[*rest[:at], count - 1, *rest[at:]] for rest in _orders(count - 1) for at in range(count)]
