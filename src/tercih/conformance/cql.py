"""Proof of CQL over candidate utterances: in dialogues that can all be enumerated, and are paid at their end."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tercih.algorithms.cql import CQL, chosen
from tercih.batches import Turns
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.enumerable import EnumLM, Language
from tercih.conformance.lab import Always, Lab, generator, train
from tercih.forward import Models
from tercih.models.reward_model import RewardModel
from tercih.optimisation import Optimisation
from tercih.tokens import Tokens

SPOKEN = Language(vocabulary=5, length=4)  # somebody opens, and three utterances of one token answer
OFFERED, GAMMA = 3, 0.9
LURE = 0.3  # what is paid at once, beside 1 at the end
Path = tuple[int, ...]
OPENINGS: list[Path] = [(opening,) for opening in range(SPOKEN.vocabulary)]


def prove(lab: Lab, method: type[CQL] = CQL) -> Findings:
    steps, count = lab.of(quick=(14, 300), full=(100, 1000))
    on = [Dialogues(key=(*world.key, 60)) for world in lab.worlds]
    first = on[0]

    def ranker(gamma: float, alpha: float) -> CQL:
        return method(gamma=gamma, alpha=alpha, updates=4)

    exact = trained(ranker(GAMMA, 0.0), first.turns(first.said), 4 * steps)
    logs = [dialogues.logged(count) for dialogues in on]
    ahead, at_once = (
        [trained(ranker(gamma, 0.1), each.turns(log), steps) for each, log in zip(on, logs, strict=True)]
        for gamma in (GAMMA, 0.0)
    )
    gains = [each.earned(a) - each.earned(b) for each, a, b in zip(on, ahead, at_once, strict=True)]
    by_lot = trained(ranker(GAMMA, 0.1), first.turns(logs[0], shuffled=True), steps)
    few = first.turns(first.logged(10))
    bold, tame = (unsaid(first, trained(ranker(GAMMA, alpha), few, steps), few) for alpha in (0.0, 1.0))
    return Findings(
        identity=every(
            at_most("|Q − dynamic programming|, at most", first.apart(exact), 0.05),
            at_most("picks outside of what is offered", outside(first), 0),
        ),
        ordering=above_zero("return, looking ahead − γ = 0", gains),
        negative_control=at_most(
            "slope of Q on its true value, shuffled / real rewards",
            abs(first.slope(by_lot)) / first.slope(ahead[0]),
            0.2,
        ),
        ablation=at_least("Q of what was not said, without CQL − with", bold - tame, 0.1),
    )


@dataclass(frozen=True)
class Dialogues:
    """Every context has an offer of its own; rewards are small on the way and large at the end."""

    key: tuple[int, ...]

    @cached_property
    def offers(self) -> dict[Path, Path]:
        """What there is to say after each context that can be reached."""
        draws, found, contexts = generator(*self.key, 0), dict[Path, Path](), list(OPENINGS)
        while contexts:
            context = contexts.pop(0)
            offer = torch.randperm(SPOKEN.vocabulary, generator=draws)[:OFFERED].tolist()
            found[context] = tuple(offer)
            if len(context) + 1 < SPOKEN.length:
                contexts += [(*context, utterance) for utterance in offer]
        return found

    @cached_property
    def reward(self) -> dict[Path, float]:
        """Of the last utterance of a path."""
        draws = generator(*self.key, 1)
        return {
            path: float(torch.randn((), generator=draws)) * (1.0 if len(path) == SPOKEN.length else LURE)
            for path in self.said
        }

    @cached_property
    def said(self) -> list[Path]:
        """Every utterance that can be said, with what was said before it."""
        return [(*context, utterance) for context, offer in self.offers.items() for utterance in offer]

    @cached_property
    def q(self) -> dict[Path, float]:
        """Of every utterance, by dynamic programming."""
        found: dict[Path, float] = {}
        for path in sorted(self.said, key=len, reverse=True):
            after = [found[(*path, utterance)] for utterance in self.offers.get(path, ())]
            found[path] = self.reward[path] + GAMMA * max(after, default=0.0)
        return found

    def logged(self, count: int) -> list[Path]:
        """What was said in so many dialogues, picked by lot."""
        draws, found = generator(*self.key, 2), []
        picks_NT = torch.randint(OFFERED, (count, SPOKEN.length - 1), generator=draws).tolist()
        for number, pick_T in enumerate(picks_NT):
            path = OPENINGS[number % len(OPENINGS)]
            for pick in pick_T:
                path = (*path, self.offers[path][pick])
                found.append(path)
        return found

    @cached_property
    def tokens(self) -> Tokens:
        """Each offer is a prompt with its utterances for rows, in the order of `said`."""
        contexts = list(self.offers)
        ids = [[0, *context, *[0] * (SPOKEN.length - 1 - len(context))] for context in contexts]
        rows = len(self.said)
        return Tokens(
            prompt_ids_PS=torch.tensor(ids),
            prompt_len_P=torch.tensor([1 + len(context) for context in contexts]),
            response_ids_BT=torch.tensor([[path[-1]] for path in self.said]),
            response_len_B=torch.ones(rows, dtype=torch.long),
            prompt_of_B=torch.arange(len(contexts)).repeat_interleave(OFFERED),
            loss_mask_BT=torch.ones(rows, 1, dtype=torch.bool),
        )

    def turns(self, paths: Sequence[Path], *, shuffled: bool = False) -> Turns:
        """These utterances as they were said; `shuffled` is the negative control: rewards change places. Dialogues are
        logged to their end, so that what follows an utterance is among them."""
        row = {path: number for number, path in enumerate(self.said)}
        reward_N = torch.tensor([self.reward[path] for path in paths], dtype=torch.float64)
        if shuffled:
            reward_N = reward_N[torch.randperm(len(paths), generator=generator(*self.key, 3))]
        turn_of_context = {path[:-1]: number for number, path in enumerate(paths)}
        offer_NK = [
            [row[path], *[row[(*path[:-1], u)] for u in self.offers[path[:-1]] if u != path[-1]]] for path in paths
        ]
        following_N = [turn_of_context.get(path, -1) if path in self.offers else -1 for path in paths]
        return Turns(
            tokens=self.tokens, offered_row_NK=torch.tensor(offer_NK), reward_N=reward_N,
            next_N=torch.tensor(following_N),
        )  # fmt: skip

    def scores(self, scorer: RewardModel) -> Tensor:
        with torch.no_grad():
            score_B: Tensor = scorer(self.tokens)
        return score_B

    def earned(self, scorer: RewardModel) -> float:
        """Mean discounted return of who always picks the best of what is offered."""
        score, total = dict(zip(self.said, self.scores(scorer).tolist(), strict=True)), 0.0
        for path in OPENINGS:
            while path in self.offers:
                offer = [(*path, utterance) for utterance in self.offers[path]]
                path = max(offer, key=score.__getitem__)
                total += GAMMA ** (len(path) - 2) * self.reward[path] / len(OPENINGS)
        return total

    @cached_property
    def exact_B(self) -> Tensor:
        return torch.tensor([self.q[path] for path in self.said], dtype=torch.float64)

    def apart(self, scorer: RewardModel) -> float:
        return float((self.scores(scorer) - self.exact_B).abs().max())

    def slope(self, scorer: RewardModel) -> float:
        """Of a regression of scores on the true Q, within offers: 1 where they are recovered, 0 by chance."""
        true_CK = self.exact_B.view(-1, OFFERED)
        true_B = (true_CK - true_CK.mean(1, keepdim=True)).flatten()
        return float((self.scores(scorer) @ true_B) / (true_B @ true_B))


def trained(method: CQL, turns: Turns, steps: int) -> RewardModel:
    logits_DV = torch.zeros(SPOKEN.prefixes, SPOKEN.vocabulary, dtype=torch.float64)
    scorer = RewardModel(EnumLM(SPOKEN, logits_DV))
    train(method, Models(policy=scorer), Always(batch=turns, steps=steps), Optimisation(lr=0.2, betas=(0.5, 0.9)))
    return scorer


def outside(dialogues: Dialogues) -> float:
    """How many picks are none of the two that are offered, when the third is the best and -1 stands in its place."""
    row_NK = dialogues.turns(dialogues.said).offered_row_NK
    score_B = torch.zeros(len(dialogues.said))
    score_B[row_NK[:, 2]] += 5.0
    fewer_NK = torch.cat([row_NK[:, :2], torch.full_like(row_NK[:, :1], -1)], 1)
    return float((chosen(score_B, fewer_NK)[:, None] != fewer_NK[:, :2]).all(1).sum())


def unsaid(dialogues: Dialogues, scorer: RewardModel, turns: Turns) -> float:
    """Mean Q of what was offered where somebody spoke, and not said."""
    was_said = torch.zeros(len(dialogues.said), dtype=torch.bool)
    was_said[turns.offered_row_NK[:, 0]] = True
    there = torch.zeros_like(was_said)
    there[turns.offered_row_NK.flatten()] = True
    return float(dialogues.scores(scorer)[there & ~was_said].mean())
