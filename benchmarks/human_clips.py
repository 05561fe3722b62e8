"""Rewards learned from clips that people compared (Hejna & Sadigh 2023), against held-out labels of people and of a
script; see docs/human_clips.md.

    python benchmarks/human_clips.py --data ../shared/data/control/ipl --seeds 3

K-fold over the 100 comparisons of each task: a reward is learned from four fifths, and asked about the decided ones of
the fifth. Prints one row a task, teacher and scorer: agreement with the teacher it learned from and with the other,
as shares of decided comparisons with Wilson's 95 % intervals (each comparison counts once, as the mean over seeds).
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.conformance.tables import Box
from tercih.data.labelled_clips import Drawn, read_ipl, shuffled
from tercih.evaluation.intervals import wilson
from tercih.forward import Models
from tercih.models.ensemble import RewardEnsemble
from tercih.models.preference_transformer import PreferenceTransformer
from tercih.optimisation import Optimisation
from tercih.progress import console
from tercih.segments import SegmentPairs, Segments
from tercih.train import fit

TASKS = {"hopper-medium-expert-v2": 5, "walker2d-medium-expert-v2": 8}  # where the forward velocity stands
MEMBERS, FOLDS = 3, 5


def ensemble(pairs: SegmentPairs, seed: int) -> Callable[[Segments], Tensor]:
    """Three networks of 2×64, a bootstrap for each; clips are scored by the mean of the members."""
    scorer = RewardEnsemble(*spaces(pairs), members=MEMBERS, seed=seed)
    scorer.observe(pairs.items.observation_BTO[pairs.items.mask_BT])
    learn(scorer, pairs, Optimisation(lr=1e-3, weight_decay=1e-2), steps=100, batch=16, members=MEMBERS, seed=seed)
    return lambda clips: scorer.every(clips).mean(0)


def transformer(pairs: SegmentPairs, seed: int, preference_attention: bool = True) -> Callable[[Segments], Tensor]:
    scorer = PreferenceTransformer(*spaces(pairs), hidden=32, preference_attention=preference_attention, seed=seed)
    scorer.observe(pairs.items)
    learn(scorer, pairs, Optimisation(lr=1e-3, weight_decay=1e-2), steps=100, batch=16, members=1, seed=seed)
    return scorer.eval()


def without_attention(pairs: SegmentPairs, seed: int) -> Callable[[Segments], Tensor]:
    return transformer(pairs, seed, preference_attention=False)


def thinned(pairs: SegmentPairs, every: int) -> SegmentPairs:
    """The same clips, with one in `every` of their steps."""
    clips = pairs.items
    names = ("observation_BTO", "action_BTA", "mask_BT")
    return replace(pairs, items=Segments(**{name: getattr(clips, name)[:, ::every] for name in names}))


def learn(
    scorer: nn.Module,
    pairs: SegmentPairs,
    optimisation: Optimisation,
    *,
    steps: int,
    batch: int,
    members: int,
    seed: int,
) -> None:
    torch.manual_seed(seed)  # of dropout
    data = Drawn(pairs=pairs, steps=steps, batch=batch, members=members, seed=seed)
    fit(BradleyTerry(), Models(policy=scorer), data, optimisation)


def spaces(pairs: SegmentPairs) -> tuple[Box, Box]:
    clips = pairs.items
    return Box.of(clips.observation_BTO.shape[-1]), Box.of(clips.action_BTA.shape[-1], 1.0)


def foreseen(learner: Callable, pairs: SegmentPairs, seed: int) -> Tensor:
    """By how much the first clip is better, each from the folds that it is not in, (N,)."""
    order_N = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
    difference_N = torch.empty(len(pairs))
    for held_N in order_N.tensor_split(FOLDS):
        rest_N = order_N[~torch.isin(order_N, held_N)]
        scorer = learner(pairs.take(rest_N), seed)
        with torch.no_grad():
            score_N2 = scorer(pairs.take(held_N).items).view(-1, 2)
        difference_N[held_N] = score_N2[:, 0] - score_N2[:, 1]
    return difference_N


def agreement(differences: list[Tensor], pairs: SegmentPairs) -> str:
    """Of the decided comparisons; each counts once, as the mean over seeds."""
    lean_N = pairs.target_N3[:, 0] - pairs.target_N3[:, 1]
    decided_N = lean_N != 0
    right_N = torch.stack([(d_N > 0) == (lean_N > 0) for d_N in differences]).double().mean(0)[decided_N]
    found = wilson(float(right_N.sum()), len(right_N))
    return f"{100 * found.value:.0f} % [{100 * found.low:.0f}, {100 * found.high:.0f}] of {found.n}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/control/ipl"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--every", type=int, default=10, help="of a clip's 100 steps, one in so many is read")
    given = parser.parse_args()
    torch.set_num_threads(1)
    console.quiet = True
    learners = {
        "ensemble": ensemble,
        "transformer": transformer,
        "transformer, no preference attention": without_attention,
    }
    print("| task | scorer | learned from | agrees with human labels | with script labels | seconds |")
    print("|---|---|---|---|---|---|")
    for task, velocity in TASKS.items():
        both = {
            name: thinned(read_ipl(given.data / task / f"num100_{name}_train.npz"), given.every)
            for name in ("human", "script")
        }
        human, script = both["human"], both["script"]
        speed_N2 = human.items.observation_BTO[..., velocity].mean(1).view(-1, 2)
        height_N2 = human.items.observation_BTO[..., 0].mean(1).view(-1, 2)
        for name, of_N2 in (("faster clip", speed_N2), ("higher torso", height_N2)):
            rule = [of_N2[:, 0] - of_N2[:, 1]]
            print(
                f"| {task} | rule: {name} | nothing | {agreement(rule, human)} | {agreement(rule, script)} | |",
                flush=True,
            )
        for teacher, pairs in (*both.items(), ("human, shuffled", human)):
            for name, learner in learners.items():
                began = time.perf_counter()
                differences = [
                    foreseen(learner, shuffled(pairs, seed) if "shuffled" in teacher else pairs, seed)
                    for seed in range(given.seeds)
                ]
                took = time.perf_counter() - began
                found = f"{agreement(differences, human)} | {agreement(differences, script)}"
                print(f"| {task} | {name} | {teacher} | {found} | {took:.0f} |", flush=True)


if __name__ == "__main__":
    main()
