"""What every acquisition rule saves against asking at random, on a problem whose truth is known, and how often the
switch of the active arm is right, on projects whose truth is known; see docs/asking.md.

    python benchmarks/asking.py --seeds 20 --first-seed 1000
    python benchmarks/asking.py --switch --seeds 100

Prints one row a rule and pool: labels saved with a 95 % interval over paired seeds, and the quality after all labels;
or one row an arm: how many were still on after each look, what they saved, and what the trial would have seen.
"""

import argparse
import math
import time

import numpy as np

from tercih.feedback.acquisition import RULES
from tercih.feedback.rehearsal import ARMS, POOLS, Problem, planted, rehearse
from tercih.feedback.trial import FINAL, FIRST, Trial, trial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--switch", action="store_true", help="measure the switch instead of the rules")
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    switch(seeds) if given.switch else rules(seeds)


def rules(seeds: range) -> None:
    print("| pool | rule | labels saved of 160 | share | nats per pair, random → rule | seconds |")
    print("|---|---|---|---|---|---|")
    for pool in POOLS:
        for rule in RULES:
            began = time.perf_counter()
            random_SK, active_SK, saved = rehearse(Problem(pool=pool), rule, len(seeds), seeds.start)
            ends = f"{random_SK[:, -1].mean():.3f} → {active_SK[:, -1].mean():.3f}"
            took = time.perf_counter() - began
            print(
                f"| {pool} | {rule} | {saved.saved:.0f} [{saved.low:.0f}, {saved.high:.0f}] | {100 * saved.share:.0f} %"
                f" | {ends} | {took:.1f} |",
                flush=True,
            )


def switch(seeds: range) -> None:
    looks = (FIRST, 2 * FIRST, FINAL)
    print(f"| arm | on after {' | after '.join(map(str, looks))} | share saved, median | would see, median |")
    print("|---|---|---|---|---|---|")
    for arm in ARMS:
        on, last = np.zeros(len(looks), dtype=int), []
        for seed in seeds:
            told = [each for each in through(arm, seed) if each]
            last.append(told[-1])
            on[: len(told)] += [each.pays for each in told]
        share, sees = (np.nanmedian([getattr(each, name) for each in last]) for name in ("share", "sees"))
        counts = " | ".join(f"{count} of {len(seeds)}" for count in on)
        print(f"| {arm} | {counts} | {100 * share:.0f} % | {100 * sees:.0f} % |", flush=True)


def through(arm: str, seed: int) -> list[Trial | None]:
    """The looks of one project, up to the one that drops the arm."""
    phi_ND, target_N, active_N = planted(arm, seed, math.ceil(FINAL * 5 / 4))
    found: list[Trial | None] = []
    for labels in (FIRST, 2 * FIRST, FINAL):
        until = 2 * math.ceil(labels * 5 / 4)
        found.append(trial(phi_ND[:until], target_N[:until], active_N[:until]))
        if not (found[-1] and found[-1].pays):
            break
    return found


if __name__ == "__main__":
    main()
