"""One step of a Bradley-Terry reward model (forward, backward, clipping, AdamW) beside TRL's `RewardTrainer`.

    python benchmarks/reward_model.py --json rm.json [--model FOLDER llama-15m llama-135m] [--threads 1] [--rounds 10]

Two kinds of data: half of the positions of a padded batch are padding or the second copy of a shared prompt; all
lengths are equal. Both sides begin with the same head; loss and gradient norm of the first step must agree before
anything is timed. TRL runs in an environment of its own: see `peers.sh`.
"""

from argparse import Namespace
from collections.abc import Iterator

import preferences
from harness.bench import Work, main


def works(options: Namespace) -> Iterator[Work]:
    return preferences.works(options, "reward_model")


if __name__ == "__main__":
    main(__doc__, works)
