"""One step of supervised fine-tuning (forward, backward, clipping, AdamW) beside TRL's `SFTTrainer`.

    python benchmarks/sft.py --json sft.json [--model FOLDER llama-15m llama-135m] [--threads 1] [--rounds 10]

Two kinds of data: half of the positions of a padded batch are padding; all lengths are equal. Loss and gradient norm of
the first step must agree before anything is timed. TRL runs in an environment of its own: see `peers.sh`.
"""

from argparse import Namespace
from collections.abc import Iterator

from harness.bench import TRL, Work, main
from harness.models import prepared, words
from harness.texts import demonstrations, size_of, wasted


def works(options: Namespace) -> Iterator[Work]:
    for given in options.model:
        with prepared(given, mean_length=64, natural_end=None) as folder:
            known, size = words(folder.path), size_of(folder.parameters)
            for equal in (False, True):
                rows = demonstrations(known, size, equal=equal)
                lengths = [len(f"{r['prompt']}{r['completion']}".split()) + 2 for r in rows]
                yield Work(
                    benchmark="sft",
                    name="equal lengths" if equal else "half padding",
                    model=folder.name,
                    case={"kind": "sft", "model": str(folder.path), "rows": rows, "lr": 1e-6, "max_norm": 1.0},
                    peer=TRL,
                    agree=True,
                    about={"padding": round(wasted(lengths), 2)},
                )


if __name__ == "__main__":
    main(__doc__, works)
