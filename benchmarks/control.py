"""A rollout of PPO in an environment and the updates on it, beside Stable-Baselines3's PPO.

    python benchmarks/control.py --json control.json [--environments CartPole-v1 HalfCheetah-v5] [--threads 1]

Eight copies in one process, rollouts of 256 and 2048 steps of each, minibatches of 64, ten epochs, an actor and a
critic of 2×64, standardised observations and rewards on both sides. Stable-Baselines3 runs in an environment of its
own: see `peers.sh`. `steps_a_second` is of the environment's steps, updates included.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from harness.bench import SB3, Work, main

COPIES = 8


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--environments", nargs="+", default=["CartPole-v1", "Pendulum-v1"], help="ids of Gymnasium")
    parser.add_argument("--lengths", nargs="+", type=int, default=[256, 2048], help="steps of a rollout in every copy")


def works(options: Namespace) -> Iterator[Work]:
    for environment in options.environments:
        for length in options.lengths:
            yield Work(
                benchmark="control",
                name=f"{environment}, rollouts of {length}",
                model="MLP 2x64",
                case={
                    "kind": "control", "environment": environment, "copies": COPIES, "length": length,
                    "steps": COPIES * length, "minibatch": 64, "epochs": 10, "lr": 3e-4, "eps": 1e-5, "max_norm": 0.5,
                },
                peer=SB3,
                about={"copies": COPIES},
            )  # fmt: skip


if __name__ == "__main__":
    main(__doc__, works, options)
