"""Proof of the preference transformer: it learns a reward that hangs on what came before, and which moments decide.

People watch clips of somebody who finds keys and meets doors, and count the doors that were opened; without a key found
before, none opens.
"""

from statistics import mean

import torch
from torch import Tensor, nn

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.conformance.checks import Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Lab, generator
from tercih.conformance.tables import Discrete
from tercih.data.labelled_clips import Drawn, shuffled
from tercih.forward import Models
from tercih.models.ensemble import RewardEnsemble
from tercih.models.preference_transformer import PreferenceTransformer
from tercih.optimisation import Optimisation
from tercih.segments import SegmentPairs, Segments
from tercih.train import fit

SPACES = Discrete(n=4), Discrete(n=2)
NOTHING, KEY, DOOR, OPEN = 0, 1, 2, 1
LENGTH, HELD_OUT = 5, 500


def prove(lab: Lab, model: type[PreferenceTransformer] = PreferenceTransformer) -> Findings:
    seeds = [(lab.seed, i) for i in range(lab.of(quick=3, full=5))]
    labels, steps = lab.of(quick=(400, 120), full=(2000, 400))

    def accuracy(key: tuple[int, ...], scorer: nn.Module, lose: bool = False) -> float:
        pairs, held = answers(labels, (*key, 0)), answers(HELD_OUT, (*key, 1))
        pairs = shuffled(pairs, key[-1]) if lose else pairs
        learn(scorer, pairs, steps, seed=key[-1])
        return right(scorer, held)

    scorers = [small(model, seed=i) for _, i in seeds]
    learned = [accuracy(key, scorer) for key, scorer in zip(seeds, scorers, strict=True)]
    markov = [accuracy(key, RewardEnsemble(*SPACES, members=1, seed=key[-1])) for key in seeds]
    return Findings(
        identity=every(
            at_most("largest difference of weights and score from plain loops", loops(small(model)), 1e-6),
            at_most("influence of later steps on r_t, of padding on the score", leaks(small(model)), 1e-6),
        ),
        ordering=above_zero(
            "held-out accuracy − that of a reward of single steps",
            [a - b for a, b in zip(learned, markov, strict=True)],
        ),
        negative_control=at_most(
            "held-out accuracy, shuffled labels, mean",
            mean(accuracy(key, small(model, seed=key[-1]), lose=True) for key in seeds),
            0.7,
            f"{mean(learned):.3g} with real ones",
        ),
        ablation=at_least(
            "weight of doors and keys over that of other steps (1 without preference attention)",
            mean(attended(scorer) for scorer in scorers),
            1.1,
        ),
    )


def small(
    model: type[PreferenceTransformer], seed: int = 0, preference_attention: bool = True
) -> PreferenceTransformer:
    return model(
        *SPACES, hidden=24, heads=2, dropout=0.0, longest=LENGTH, preference_attention=preference_attention, seed=seed
    )


def answers(count: int, key: tuple[int, ...]) -> SegmentPairs:
    """So many decided comparisons of random clips, each answered without an error."""
    dice = generator(*key)
    seen_BT = torch.randint(4, (24 * count, LENGTH), generator=dice)
    done_BT = torch.randint(2, (24 * count, LENGTH), generator=dice)
    opened_BT = (seen_BT == DOOR) & (done_BT == OPEN) & ((seen_BT == KEY).cumsum(1) > 0)
    score_N2 = opened_BT.sum(1).view(-1, 2)
    first_N = (score_N2[:, 0] > score_N2[:, 1]).float()
    decided_N = (score_N2[:, 0] != score_N2[:, 1]).nonzero().squeeze(1)[:count]
    row_N = torch.arange(0, len(seen_BT), 2)
    return SegmentPairs(
        items=Segments(observation_BTO=seen_BT, action_BTA=done_BT, mask_BT=torch.ones_like(seen_BT, dtype=torch.bool)),
        first_row_N=row_N,
        second_row_N=row_N + 1,
        target_N3=torch.stack([first_N, 1 - first_N, torch.zeros_like(first_N)], 1),
        weight_N=torch.ones_like(first_N),
        margin_N=torch.zeros_like(first_N),
    ).take(decided_N)


def learn(scorer: nn.Module, pairs: SegmentPairs, steps: int, seed: int) -> None:
    data = Drawn(pairs=pairs, steps=steps, batch=32, seed=seed)
    fit(BradleyTerry(), Models(policy=scorer), data, Optimisation(lr=1e-2, weight_decay=1e-4))
    scorer.eval()


@torch.no_grad()
def right(scorer: nn.Module, held: SegmentPairs) -> float:
    score_N2 = scorer(held.items).view(-1, 2)
    first_N = score_N2[:, 0] > score_N2[:, 1]
    return float((first_N == (held.target_N3[:, 0] > 0.5)).double().mean())


@torch.no_grad()
def loops(scorer: PreferenceTransformer) -> float:
    """z_i = Σ_t softmax_t(⟨q_i, k_t⟩/√H) r_t, and the score their mean over i."""
    clips = answers(4, (7,)).items
    x_BTH = scorer.eval()._read(clips)
    query, key, reward = scorer.query(x_BTH), scorer.key(x_BTH), scorer.reward(x_BTH).squeeze(-1)
    expected = []
    for q_TH, k_TH, r_T in zip(query, key, reward, strict=True):
        z = []
        for i in range(LENGTH):
            e_T = [float((q_TH[i] * k_TH[t]).sum() / len(q_TH[i]) ** 0.5) for t in range(LENGTH)]
            p_T = [torch.tensor(e).exp() for e in e_T]
            z.append(sum(float(p) * float(r) for p, r in zip(p_T, r_T, strict=True)) / float(sum(p_T)))
        expected.append(mean(z))
    return float((scorer(clips) - torch.tensor(expected)).abs().max())


@torch.no_grad()
def leaks(scorer: PreferenceTransformer) -> float:
    """Clips that differ from their middle on, and clips that are as long as their padding lets them be."""
    clips, other = answers(4, (7,)).items, answers(4, (8,)).items
    half = LENGTH // 2
    scorer.eval()

    def joined(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a[:, :half], b[:, half:]], 1)

    mask_BT = torch.arange(LENGTH).expand(clips.rows, -1) < half
    changed = Segments(
        observation_BTO=joined(clips.observation_BTO, other.observation_BTO),
        action_BTA=joined(clips.action_BTA, other.action_BTA),
        mask_BT=clips.mask_BT,
    )
    later = scorer.judge(clips)[0][:, :half] - scorer.judge(changed)[0][:, :half]
    padded, cut = (
        Segments(observation_BTO=x.observation_BTO[:, :to], action_BTA=x.action_BTA[:, :to], mask_BT=mask_BT[:, :to])
        for x, to in ((changed, LENGTH), (clips, half))
    )
    return float(torch.cat([later.flatten(), scorer(padded) - scorer(cut)]).abs().max())


@torch.no_grad()
def attended(scorer: PreferenceTransformer) -> float:
    clips = answers(200, (9,)).items
    weight_BT = scorer.judge(clips)[1]
    decides_BT = (clips.observation_BTO == DOOR) | (clips.observation_BTO == KEY)
    return float(weight_BT[decides_BT].mean() / weight_BT[~decides_BT].mean())
