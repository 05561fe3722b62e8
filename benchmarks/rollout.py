"""The built-in rollout engine beside `transformers.generate`: same weights, prompts and lengths.

    python benchmarks/rollout.py --json rollout.json [--model FOLDER llama-15m] [--end '<0x0A>'] [--threads 1]

Natural lengths: responses end by themselves, on average at a third of the longest allowed (a random model's at any
token with the same probability; `--end` names the token that ends one of a model folder); equal lengths: none does.
Ours also returns log-probabilities; generate does not.
"""

import json
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass

from harness.bench import GENERATE, Work, main
from harness.models import beginnings, prepared
from harness.texts import spread

from tercih.data.tokenize import Tokenizer

BATCH, MEAN = 64, 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    name: str
    prompts: int
    samples: int
    tokens: int
    natural: bool


SHAPES = (
    Shape(name="one prompt", prompts=1, samples=1, tokens=64, natural=False),
    Shape(name="equal lengths", prompts=64, samples=1, tokens=64, natural=False),
    Shape(name="natural lengths", prompts=64, samples=1, tokens=192, natural=True),
    Shape(name="natural lengths, queue", prompts=256, samples=1, tokens=192, natural=True),
    Shape(name="natural lengths, 8 samples a prompt", prompts=32, samples=8, tokens=192, natural=True),
)


def works(options: Namespace) -> Iterator[Work]:
    for given in options.model:
        for natural in (False, True):
            with prepared(given, mean_length=MEAN if natural else None, natural_end=options.end) as folder:
                tokenizer = Tokenizer.load(folder.path)
                for shape in SHAPES:
                    if shape.natural != natural:
                        continue
                    ids = [tokenizer.prompt(p) for p in beginnings(folder, spread(shape.prompts, 4, 32, seed=0))]
                    yield Work(
                        benchmark="rollout",
                        name=shape.name,
                        model=folder.name,
                        case={
                            "kind": "rollout", "model": str(folder.path), "ids": json.loads(json.dumps(ids)),
                            "samples": shape.samples, "max_new_tokens": shape.tokens, "batch": BATCH,
                            "ends": [tokenizer.eos],
                        },
                        peer=GENERATE,
                        about={"longest": shape.tokens, "batch": BATCH},
                    )  # fmt: skip


if __name__ == "__main__":
    main(__doc__, works)
