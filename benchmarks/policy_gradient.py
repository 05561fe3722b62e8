"""A whole step of GRPO or RLOO (sample, score by a plain function, update) beside TRL's trainers.

    python benchmarks/policy_gradient.py --json pg.json [--method grpo rloo] [--model FOLDER llama-15m] [--threads 1]

Eight answers each to eight prompts. Natural lengths: answers end by themselves, at most half of the longest allowed on
average (a random model's at any token with the same probability); equal lengths: none does. `--end` names the token
that ends a natural answer of a model folder. Both sides sample afresh in every step, so that only the mean length is
alike. `--beta` is the weight of the penalty towards a reference; without it neither side has one. TRL runs in an
environment of its own: see `peers.sh`.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from harness.bench import TRL, Work, main
from harness.models import SHAPES, Folder, beginnings, prepared
from harness.texts import spread

from tercih.algorithms import METHODS

PROMPTS, SAMPLES = 8, 8
LONGEST, MEAN, EQUAL = 192, 64, 64


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--method", nargs="+", default=["grpo", "rloo"], choices=["grpo", "rloo"])
    parser.add_argument("--ours", help="the method of ours that runs (default: the one of that name)")
    parser.add_argument("--beta", type=float, default=0.0)


def works(options: Namespace) -> Iterator[Work]:
    for given in options.model:
        for natural in (True, False):
            with prepared(given, mean_length=MEAN if natural else None, natural_end=options.end) as folder:
                prompts = beginnings(folder, spread(PROMPTS, 4, 32, seed=0))
                for method in options.method:
                    yield work(folder, method, options.ours or method, prompts, options.beta, natural=natural)


def work(folder: Folder, method: str, ours: str, prompts: list[str], beta: float, *, natural: bool) -> Work:
    return Work(
        benchmark=method,
        name="natural lengths" if natural else "equal lengths",
        model=folder.name,
        case={
            "kind": "reinforce", "model": str(folder.path), "prompts": prompts, "samples": SAMPLES,
            "max_new_tokens": LONGEST if natural else EQUAL, "batch": PROMPTS * SAMPLES, "letter": letter(folder),
            "method": ours, "settings": settings(ours, beta), "value": "shared", "reference": beta > 0,
            "peer_method": method, "beta": beta, "lr": 1e-6, "max_norm": 1.0,
        },
        peer=TRL,
        about={"longest": LONGEST if natural else EQUAL} | ({"ours": ours} if ours != method else {}),
    )  # fmt: skip


def letter(folder: Folder) -> str:
    return "1" if folder.name in SHAPES else "e"


def settings(ours: str, beta: float) -> dict[str, Any]:
    """One update from every rollout."""
    known = {f.name for f in fields(METHODS[ours])}  # type: ignore[arg-type]
    wanted = {"kl_coef": beta, "beta": beta, "epochs": 1}
    return {name: value for name, value in wanted.items() if name in known}


if __name__ == "__main__":
    main(__doc__, works, options)
