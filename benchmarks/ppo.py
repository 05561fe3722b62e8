"""A whole step of PPO with values and a reference (sample, score, four epochs of updates) beside TRL's last PPO.

    python benchmarks/ppo.py --json ppo.json [--model FOLDER llama-15m] [--epochs 4] [--threads 1]

TRL 1.12's experimental trainer keeps a value model of its own, so ours does as well (`separate`); `shared` is our
default, where values are read from the policy's own trunk. Natural and equal lengths as in `policy_gradient.py`. TRL's
reward is a module that costs nothing, ours a plain function of the decoded text. TRL runs in an environment of its own:
see `peers.sh`.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from harness.bench import TRL_PPO, Work, main
from harness.models import add_scorer, beginnings, prepared
from harness.texts import spread
from policy_gradient import EQUAL, LONGEST, MEAN, letter

PROMPTS = 64


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--epochs", type=int, default=4)


def works(options: Namespace) -> Iterator[Work]:
    for given in options.model:
        for natural in (True, False):
            with prepared(given, mean_length=MEAN if natural else None, natural_end=options.end) as folder:
                prompts, scorer = beginnings(folder, spread(PROMPTS, 4, 32, seed=0)), add_scorer(folder)
                for value in ("separate", "shared"):
                    lengths = "natural lengths" if natural else "equal lengths"
                    yield Work(
                        benchmark="ppo",
                        name=f"{lengths}, values {value}",
                        model=folder.name,
                        case={
                            "kind": "reinforce", "model": str(folder.path), "scorer": str(scorer), "prompts": prompts,
                            "samples": 1, "max_new_tokens": LONGEST if natural else EQUAL, "batch": PROMPTS,
                            "letter": letter(folder), "method": "ppo", "value": value, "reference": True,
                            "settings": {"epochs": options.epochs, "kl_coef": 0.05}, "lr": 1e-6, "max_norm": None,
                        },
                        peer=TRL_PPO,
                        about={"longest": LONGEST if natural else EQUAL, "epochs": options.epochs},
                    )  # fmt: skip


if __name__ == "__main__":
    main(__doc__, works, options)
