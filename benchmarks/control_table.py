"""What comparisons are worth beside the true reward: the table of Christiano et al. 2017 at the size of a laptop.

    python benchmarks/control_table.py --out runs/table --json FILE

For every environment and seed an agent is trained on the environment's own reward, on 700 and on 1,400 answers of a
simulated teacher without faults, and on 700 that coins have turned around (`tercih run control_ppo`). What is there is
not run again, and a run that was stopped goes on: start the same command as often as you like.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tercih.evaluation.intervals import bootstrap_mean

SHUFFLED = "shuffled-labels"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--environments", nargs="+", default=["HalfCheetah-v5", "Swimmer-v5"], help="Gymnasium's ids")
    parser.add_argument("--labels", nargs="+", type=int, default=[0, 700, 1400], help="answers; 0 is the true reward")
    parser.add_argument("--steps", type=int, default=800_000, help="of the environment")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    arms = [(labels, "none") for labels in options.labels] + [(700, SHUFFLED)]
    rows = []
    for seed in range(options.seeds):
        for environment in options.environments:
            for labels, control in arms:
                rows.append(run(options.out, environment, labels, control, seed, options.steps))
                print(line(rows[-1]), flush=True)
    table = [summed(rows, environment, arm) for environment in options.environments for arm in arms]
    for each in table:
        print(each)
    if options.json:
        options.json.write_text(json.dumps({"benchmark": "control_table", "rows": rows, "table": table}, indent=2))


def run(out: Path, environment: str, labels: int, control: str, seed: int, steps: int) -> dict[str, Any]:
    """The summary of one run, which is carried out or gone on with where there is none yet."""
    folder = out / f"{environment}-{labels}-{control}-{seed}"
    if not (folder / "summary.json").exists():
        command = [sys.executable, "-m", "tercih", "run", "control_ppo", "--environment", environment]
        command += ["--labels", str(labels), "--control", control, "--seed", str(seed), "--steps", str(steps)]
        subprocess.run([*command, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def line(row: dict[str, Any]) -> str:
    found = row["return"]
    return (
        f"{row['environment']} seed {row['seed']}, {row['labels']} labels ({row['control']}): {found['value']:.0f}"
        f" [{found['low']:.0f}, {found['high']:.0f}]; at random {row['random']['value']:.0f}; {row['minutes']:.1f} min"
    )


def summed(rows: list[dict[str, Any]], environment: str, arm: tuple[int, str]) -> dict[str, Any]:
    """Of all seeds: returns, and their share of the true reward's gain over acting at random, with its interval."""
    here = [row for row in rows if row["environment"] == environment]
    true = {row["seed"]: row["return"]["value"] for row in here if row["labels"] == 0}
    ours = [row for row in here if (row["labels"], row["control"]) == arm]
    shares = [
        (row["return"]["value"] - row["random"]["value"]) / (true[row["seed"]] - row["random"]["value"])
        for row in ours
        if row["seed"] in true
    ]
    found = {"environment": environment, "labels": arm[0], "control": arm[1],
             "returns": [row["return"]["value"] for row in ours], "shares": shares}  # fmt: skip
    return found | ({"share": bootstrap_mean(shares, seed=0).as_dict()} if len(shares) > 1 else {})


if __name__ == "__main__":
    main()
