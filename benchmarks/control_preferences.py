"""Deep RL from human preferences beside imitation: how long until an agent reaches the same true return.

    python benchmarks/control_preferences.py --json FILE [--environment Pendulum-v1] [--labels 400] [--seeds 3]

Both sides get the same environment, copies, clip length, number of comparisons by an oracle and settings of PPO; each
is asked for its return (the environment's own, over unseen episodes) as it goes, and that is not counted. The level is
the best return that both reach; the ratio is imitation's seconds until it is first reached by ours. imitation runs in
an environment of its own (`benchmarks/peers.sh`); without it this ends and says so.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SIDES = {"imitation": "preferences_peer.py", "ours": "preferences_ours.py"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--environment", default="Pendulum-v1", help="Gymnasium's id; its episodes are equally long")
    parser.add_argument("--labels", type=int, default=400, help="comparisons")
    parser.add_argument("--steps", type=int, default=100_000, help="of the environment, for training")
    parser.add_argument("--clip", type=int, default=50, help="steps of a clip")
    parser.add_argument("--gamma", type=float, default=0.9, help="PPO's discount")
    parser.add_argument("--lr", type=float, default=1e-3, help="PPO's learning rate")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of either side")
    parser.add_argument("--peers", type=Path, default=HERE.parent / ".peers", help="the folder that peers.sh made")
    options = parser.parse_args()
    python = {"imitation": options.peers / "imitation" / "bin" / "python", "ours": Path(sys.executable)}
    if not python["imitation"].exists():
        raise SystemExit(f"there is no {python['imitation']}: make it with benchmarks/peers.sh {options.peers}")
    rows = []
    for seed in range(options.seeds):
        case = {
            "environment": options.environment, "labels": options.labels, "steps": options.steps, "seed": seed,
            "clip": options.clip, "gamma": options.gamma, "lr": options.lr, "threads": options.threads, "copies": 8,
            "length": 256, "minibatch": 64, "epochs": 10, "iterations": 20, "episodes": 24,
        }  # fmt: skip
        curves = {name: curve(python[name], SIDES[name], case) for name in SIDES}
        level = min(max(each["return"] for each in of_side) for of_side in curves.values())
        seconds = {name: reached(of_side, level) for name, of_side in curves.items()}
        ratio = seconds["imitation"] / seconds["ours"]
        best = {name: max(each["return"] for each in of_side) for name, of_side in curves.items()}
        rows.append({"case": case, "curves": curves, "level": level, "seconds": seconds, "best": best, "ratio": ratio})
        print(
            f"seed {seed}: return {level:.0f} after {seconds['ours']:.1f} s, imitation {seconds['imitation']:.1f} s:"
            f" {ratio:.2f} times as fast; best {best['ours']:.0f} and {best['imitation']:.0f}",
            flush=True,
        )
    print(f"median {statistics.median(row['ratio'] for row in rows):.2f} times as fast")
    if options.json:
        options.json.write_text(json.dumps({"benchmark": "control_preferences", "rows": rows}, indent=2))


def curve(python: Path, script: str, case: dict[str, Any]) -> list[dict[str, float]]:
    environ = os.environ | {"OMP_NUM_THREADS": str(case["threads"])}
    made = subprocess.run(
        [str(python), str(HERE / "sides" / script), json.dumps(case)], capture_output=True, text=True, env=environ
    )
    rows = [json.loads(line) for line in made.stdout.splitlines() if line.startswith('{"seconds"')]
    if made.returncode or not rows:
        raise SystemExit(f"{script} ended with {made.returncode}: {made.stderr[-1500:]}")
    return rows


def reached(rows: list[dict[str, float]], level: float) -> float:
    return next(each["seconds"] for each in rows if each["return"] >= level)


if __name__ == "__main__":
    main()
