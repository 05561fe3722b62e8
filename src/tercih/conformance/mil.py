"""Proof of rewards that remember: a room whose treasure is poisoned in the first half of an episode; with `full` the
other rooms too, and an agent."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log10
from statistics import mean

import numpy as np
import torch
from torch import Tensor

from tercih.agents.dqn import DQN
from tercih.agents.mil import InRooms, read
from tercih.conformance.checks import Check, Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Lab, generator
from tercih.environments.rooms import Rooms, cut, walks
from tercih.models.remembering import KINDS, RememberingReward, return_loss

STEPS, HELD = 16, 300
EPISODES = 45
ACTING = DQN(
    hidden=(64, 64),
    lr=2e-3,
    batch=64,
    starts=1280,
    update_every=16,
    target_every=50,
    explore_over=20_000,
    capacity=50_000,
)
Data = tuple[Tensor, Tensor]
"""Walks as rewards read them, (B, T, O), and what each step was truly worth, (B, T)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Errors:
    """Squared errors on unseen walks, divided by the variance: knowing nothing comes to 1."""

    of_returns: float
    of_steps: float


def prove(lab: Lab, method: type[RememberingReward] = RememberingReward) -> Findings:
    seeds = range(lab.seed, lab.seed + lab.of(quick=3, full=5))
    kinds = KINDS if lab.full else ("nn", "emb_lstm", "csc_lstm")
    models = {kind: [fitted(method, kind, seed) for seed in seeds] for kind in kinds}
    found = judged(models, "timer", seeds)
    shuffled = fitted(method, "csc_lstm", lab.seed, shuffled=True)
    csc = mean(each.of_returns for each in found["csc_lstm"])
    forgetful = [
        errors(model, unseen("timer", seed), forgets=True).of_returns
        for model, seed in zip(models["csc_lstm"], seeds, strict=True)
    ]
    earned = [acted(seed, model) for seed, model in zip(seeds[:3], models["csc_lstm"], strict=False)] * lab.full
    return Findings(
        identity=every(
            at_most("|reward of a step − the LSTM written out|", loop_difference(method), 1e-5),
            at_most("|the same − step by step, as an agent hears it|", step_difference(method), 1e-5),
        ),
        ordering=every(
            above_zero("log10 error of returns, nn − csc_lstm", lead(found, "nn", "csc_lstm", "of_returns")),
            above_zero("log10 error of steps, emb_lstm − csc_lstm", lead(found, "emb_lstm", "csc_lstm", "of_steps")),
            *(more(method, lab, found, earned) if lab.full else ()),
        ),
        negative_control=every(
            at_least(
                "error of returns, shuffled among walks",
                errors(shuffled, unseen("timer", lab.seed)).of_returns,
                0.7,
                f"{csc:.3f} with true ones",
            ),
            *[
                at_most("return of an agent on it / on the true ones'", acted(lab.seed, shuffled) / gain, 0.5)
                for gain in earned[:1]
            ],
        ),
        ablation=at_least(
            "error of returns, memory reset before every step", mean(forgetful), 0.3, f"{csc:.3f} with it"
        ),
    )


def more(
    method: type[RememberingReward], lab: Lab, timer: dict[str, list[Errors]], earned: Sequence[float]
) -> Iterator[Check]:
    """What the full proof adds: the other LSTMs in the timer, the other rooms, and who acts on what was learned."""
    yield above_zero("log10 error of returns, inst_lstm − csc_lstm", lead(timer, "inst_lstm", "csc_lstm", "of_returns"))
    seeds = range(lab.seed, lab.seed + 3)
    for room in ("moving", "key", "charger"):
        kinds = ("nn", "csc_lstm") + ("emb_lstm",) * (room == "key")
        models = {kind: [fitted(method, kind, seed, room=room, updates=600) for seed in seeds] for kind in kinds}
        found = judged(models, room, seeds)
        yield above_zero(f"returns, {room}, nn − csc_lstm", lead(found, "nn", "csc_lstm", "of_returns"))
        if room != "moving":  # where it explains returns alone
            yield above_zero(f"steps, {room}, nn − csc_lstm", lead(found, "nn", "csc_lstm", "of_steps"))
        if room == "key":
            yield above_zero(f"steps, {room}, emb_lstm − csc_lstm", lead(found, "emb_lstm", "csc_lstm", "of_steps"))
    blind = [acted(seed, None) for seed in seeds]
    yield above_zero(
        "true return of an agent, what csc_lstm remembers − position alone",
        [ours - theirs for ours, theirs in zip(earned, blind, strict=True)],
    )


def acted(seed: int, reward: RememberingReward | None) -> float:
    """True return in the timer of an agent that learned on this reward and sees its memory; without one it learned on
    the true reward and sees its position alone."""
    agent = InRooms(
        rooms=Rooms(kind="timer", count=40, steps=STEPS, dice=np.random.default_rng((24, seed))),
        settings=ACTING, sees="position" if reward is None else "memory", reward=reward, seed=seed,
    )  # fmt: skip
    for _ in range(EPISODES):
        agent.episode()
    return mean(agent.evaluate() for _ in range(5))


def judged(models: dict[str, list[RememberingReward]], room: str, seeds: Iterable[int]) -> dict[str, list[Errors]]:
    return {
        kind: [errors(model, unseen(room, seed)) for model, seed in zip(of_kind, seeds, strict=True)]
        for kind, of_kind in models.items()
    }


def lead(found: dict[str, list[Errors]], worse: str, better: str, which: str) -> list[float]:
    """One a seed; in powers of ten, since errors are so far apart."""
    return [log10(getattr(a, which) / getattr(b, which)) for a, b in zip(found[worse], found[better], strict=True)]


def fitted(
    method: type[RememberingReward], kind: str, seed: int, *, room: str = "timer", updates: int = 300, lr: float = 0.02,
    count: int = 800, steps: int = STEPS, whole: bool = False, shuffled: bool = False,
) -> RememberingReward:  # fmt: skip
    """On `count` walks and what they were worth until they were cut; `whole`: until their end; `shuffled`: each has the
    return of another. What remembers nothing needs fewer updates."""
    step_BTO, reward_BT = walked(room, count, steps, seed)
    worth_B, steps_B = cut(reward_BT.numpy(), seed)
    return_B, length_B = torch.from_numpy(worth_B), torch.from_numpy(steps_B)
    if whole:
        return_B, length_B = reward_BT.sum(1), torch.full_like(length_B, steps)
    dice = generator(seed, 21)
    if shuffled:
        return_B = return_B[torch.randperm(count, generator=dice)]
    model = method(2, kind, dropout=0.0, seed=seed)
    model.begin(return_B, length_B)
    updates = min(updates, 100) if kind == "nn" else updates
    optimiser = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    rise = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, lr, total_steps=updates + 1, pct_start=0.25, cycle_momentum=False
    )
    spread = return_B.var()
    for _ in range(updates):
        row_B = torch.randint(count, (50,), generator=dice)
        optimiser.zero_grad()
        loss = return_loss(model(step_BTO[row_B]).reward_BT, return_B[row_B], length_B[row_B]) / spread
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rise.step()
    return model.eval()


@lru_cache(16)
def walked(room: str, count: int, steps: int, seed: int) -> Data:
    position_BT2, reward_BT, _ = walks(room, count, steps, seed)
    return read(position_BT2), torch.from_numpy(reward_BT).float()


def unseen(room: str, seed: int, steps: int = STEPS) -> Data:
    """Whole walks."""
    return walked(room, HELD, steps, 1000 + seed)


@torch.no_grad()
def errors(model: RememberingReward, data: Data, *, forgets: bool = False) -> Errors:
    """`forgets`: every step is the first one to its memory."""
    step_BTO, true_BT = data
    read_BTO = step_BTO.flatten(0, 1)[:, None] if forgets else step_BTO
    reward_BT = model(read_BTO).reward_BT.view_as(true_BT)
    return Errors(
        of_returns=float(return_loss(reward_BT, true_BT.sum(1)) / true_BT.sum(1).var()),
        of_steps=float((reward_BT - true_BT).square().mean() / true_BT.var()),
    )


def loop_difference(method: type[RememberingReward]) -> float:
    """Gates and cells written out (Hochreiter & Schmidhuber 1997, with forget gates), and what is read off them."""
    step_BTO = torch.randn(3, 5, 2, generator=generator(22))
    worst = 0.0
    for kind in ("emb_lstm", "inst_lstm", "csc_lstm"):
        model = method(2, kind).eval()
        weights = {name: value.detach().double().numpy() for name, value in model.memory.named_parameters()}  # type: ignore[union-attr]
        found_BT = model(step_BTO).reward_BT.detach()
        for b, step_TO in enumerate(step_BTO):
            h_H, c_H, before = np.zeros(2), np.zeros(2), 0.0
            for t, step_O in enumerate(step_TO):
                e_E = model.embed(step_O[None])[0].detach()
                gates = (
                    weights["weight_ih_l0"] @ e_E.double().numpy() + weights["bias_ih_l0"]
                    + weights["weight_hh_l0"] @ h_H + weights["bias_hh_l0"]
                )  # fmt: skip
                keep_in, forget, out = (1 / (1 + np.exp(-gates[part : part + 2])) for part in (0, 2, 6))
                c_H = forget * c_H + keep_in * np.tanh(gates[4:6])
                h_H = out * np.tanh(c_H)
                remembered_H = torch.from_numpy(h_H).float()
                read = torch.cat([remembered_H, e_E]) if kind == "csc_lstm" else remembered_H
                worth = float(model.head(read).detach())
                expected = worth - before if kind == "emb_lstm" and t else worth
                before = worth
                worst = max(worst, abs(float(found_BT[b, t]) - expected))
    return worst


def step_difference(method: type[RememberingReward]) -> float:
    step_BTO = torch.randn(3, 5, 2, generator=generator(23))
    worst, kept = 0.0, None
    model = method(2, "csc_lstm").eval()
    whole_BT = model(step_BTO).reward_BT.detach()
    for t in range(step_BTO.shape[1]):
        reward_B, _, kept = model.advance(step_BTO[:, t], kept)
        worst = max(worst, float((reward_B - whole_BT[:, t]).abs().max()))
    return worst
