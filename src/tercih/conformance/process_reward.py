"""Proof of process rewards: the chance of every step is found, their product is that of the whole chain, and as many
chains teach more than labels of whole chains do.

A token is a step; each goes wrong with a chance of its own, and a rater labels steps up to the first wrong one
(Lightman et al. 2023). Suffix E: beginnings of answers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tercih.algorithms.process_reward import ProcessReward
from tercih.batches import Thumbs
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Always, Lab, World, generator, train
from tercih.forward import Models
from tercih.rewards.stepwise import STEP_RULES
from tercih.tokens import Tokens


@dataclass(frozen=True)
class Chains:
    """A world's answers as chains of steps."""

    world: World
    starts: list[tuple[int, ...]]
    chance_E: Tensor

    @classmethod
    def of(cls, world: World) -> "Chains":
        starts = sorted({answer[:end] for answer in world.language.answers for end in range(1, len(answer) + 1)})
        noise_E = torch.randn(len(starts), generator=generator(*world.key, 90), dtype=torch.float64)
        return cls(world, starts, (1 + 2 * noise_E).sigmoid())

    def steps(self, chance_E: Tensor) -> list[Tensor]:
        """The chances of the steps of every answer."""
        at = {start: place for place, start in enumerate(self.starts)}
        return [
            chance_E[[at[answer[: end + 1]] for end in range(len(answer))]] for answer in self.world.language.answers
        ]

    def whole(self, chance_E: Tensor, rule: str = "product") -> Tensor:
        """That of every answer, shape (Y,)."""
        return torch.stack([STEP_RULES[rule](chance_S) for chance_S in self.steps(chance_E)])

    @property
    def tokens(self) -> Tokens:
        length_E = torch.tensor([len(start) for start in self.starts])
        longest = int(length_E.max())
        return Tokens(
            prompt_ids_PS=torch.zeros(len(self.starts), 1, dtype=torch.long),
            prompt_len_P=torch.ones(len(self.starts), dtype=torch.long),
            response_ids_BT=torch.tensor([start + (0,) * (longest - len(start)) for start in self.starts]),
            response_len_B=length_E,
            prompt_of_B=torch.arange(len(self.starts)),
            loss_mask_BT=torch.arange(longest) < length_E[:, None],
        )

    def everybody(self) -> Thumbs:
        return Thumbs(tokens=self.tokens, good_B=self.chance_E, weight_B=torch.ones_like(self.chance_E))

    def labelled(self, count: int, *, outcomes: bool = False, shuffled: bool = False, draw: int = 0) -> Thumbs:
        """`count` answers of the reference, each step labelled up to the first wrong one, or with `outcomes` whether
        all are right, at their ends alone; summed up beginning by beginning."""
        draws, language = generator(*self.world.key, 91, draw), self.world.language
        at = {start: place for place, start in enumerate(self.starts)}
        chosen = torch.multinomial(self.world.base_Y, count, replacement=True, generator=draws).tolist()
        luck_CT = torch.rand(count, language.length, generator=draws, dtype=torch.float64).tolist()
        said: list[tuple[int, bool]] = []
        chance = self.chance_E.tolist()
        for answer, luck_T in zip((language.answers[y] for y in chosen), luck_CT, strict=True):
            places = [at[answer[: end + 1]] for end in range(len(answer))]
            right = [luck < chance[place] for place, luck in zip(places, luck_T, strict=False)]
            if outcomes:
                said.append((places[-1], all(right)))
            else:
                first_wrong = right.index(False) if False in right else len(right) - 1
                said += list(zip(places, right, strict=True))[: first_wrong + 1]
        place_R, good_R = torch.tensor([p for p, _ in said]), torch.tensor([float(g) for _, g in said]).double()
        if shuffled:
            good_R = good_R[torch.randperm(len(good_R), generator=draws)]
        weight_E = torch.bincount(place_R, minlength=len(self.starts)).double()
        good_E = torch.bincount(place_R, good_R, minlength=len(self.starts)) / weight_E.clamp(min=1)
        return Thumbs(tokens=self.tokens, good_B=good_E, weight_B=weight_E)

    def learned(self, method: ProcessReward, data: Thumbs, steps: int) -> Tensor:
        """σ(score) of every beginning, shape (E,)."""
        scorer = self.world.scorer()
        with torch.no_grad():
            scorer.score_head.weight.zero_()
        train(method, Models(policy=scorer), Always(batch=data, steps=steps))
        with torch.no_grad():
            chance_E: Tensor = scorer(self.tokens).sigmoid()
        return chance_E


def prove(lab: Lab, method: type[ProcessReward] = ProcessReward) -> Findings:
    count, steps, draws = lab.of(quick=(200, 25, 3), full=(1000, 60, 5))
    every_chain = [Chains.of(world) for world in lab.worlds]
    first = every_chain[0]
    exact_E = first.learned(method(), first.everybody(), 5 * steps)
    truth_Y = first.whole(first.chance_E)

    def error(chains: Chains, *, outcomes: bool) -> float:
        """Of the chance that an answer is right, in the mean over all answers, however seldom they are given, and over
        draws of labels."""
        total, true_Y = 0.0, chains.whole(chains.chance_E)
        for draw in range(draws):
            found_E = chains.learned(method(), chains.labelled(count, outcomes=outcomes, draw=draw), steps)
            found_Y = chains.whole(found_E, "last" if outcomes else "product")
            total += float((found_Y - true_Y).abs().mean())
        return total / draws

    blind_E = first.learned(method(), first.labelled(25 * count, shuffled=True), steps)
    return Findings(
        identity=every(
            at_most("max error of P(step right | right so far)", float((exact_E - first.chance_E).abs().max()), 0.01),
            at_most("max error of P(chain right)", float((first.whole(exact_E) - truth_Y).abs().max()), 0.01),
            at_most("|P(chain right) − of all ways to go wrong|", loop_gap(first), 1e-12),
        ),
        ordering=above_zero(
            f"error of P(chain right), labels of {count} outcomes − of their steps",
            [error(chains, outcomes=True) - error(chains, outcomes=False) for chains in every_chain],
        ),
        negative_control=at_most(
            "|slope| on the true chances, labels shuffled", abs(slope(blind_E, first.chance_E)), 0.2
        ),
        ablation=at_least(
            "max error of P(chain right), the last step's alone",
            float((first.whole(exact_E, "last") - truth_Y).abs().max()),
            0.2,
        ),
    )


def loop_gap(chains: Chains) -> float:
    """1 − Σ over the first wrong step of P(it is the first)."""
    worst = 0.0
    for chance_S, found in zip(chains.steps(chains.chance_E), chains.whole(chains.chance_E).tolist(), strict=True):
        so_far, wrong = 1.0, 0.0
        for chance in chance_S.tolist():
            wrong, so_far = wrong + so_far * (1 - chance), so_far * chance
        worst = max(worst, abs(1 - wrong - found))
    return float(worst)


def slope(found_E: Tensor, true_E: Tensor) -> float:
    centred_E = true_E - true_E.mean()
    return float((found_E @ centred_E) / (centred_E @ centred_E))
