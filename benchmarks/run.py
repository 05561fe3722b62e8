"""All benchmarks beside their peers, into one file.

    benchmarks/peers.sh                                   # once: the peers' environments
    python benchmarks/run.py --json results.json [--only sft dpo] [--model FOLDER llama-15m] [--threads 1]

Options are those of the single benchmarks. A ratio belongs to its machine less than a time does, but compare only what
was measured with nothing else running.
"""

from argparse import ArgumentParser
from typing import Any

import control
import dpo
import policy_gradient
import ppo
import reward_model
import sft
from harness import bench

import rollout

BENCHMARKS = {
    "sft": sft.works,
    "dpo": dpo.works,
    "reward_model": reward_model.works,
    "policy_gradient": policy_gradient.works,
    "ppo": ppo.works,
    "rollout": rollout.works,
    "control": control.works,
}


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", default=list(BENCHMARKS), choices=list(BENCHMARKS))
    policy_gradient.options(parser)
    ppo.options(parser)
    control.options(parser)


def main() -> None:
    parser = bench.parser(__doc__)
    options(parser)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in given.only:
        rows += bench.run(BENCHMARKS[name], given)
        bench.save(given, rows)


if __name__ == "__main__":
    main()
