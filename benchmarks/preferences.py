"""Pairs for `dpo.py` and `reward_model.py`: the same texts for both."""

from argparse import Namespace
from collections.abc import Iterator

from harness.bench import TRL, Work
from harness.models import add_scorer, prepared, words
from harness.texts import preferences, size_of, wasted


def works(options: Namespace, kind: str) -> Iterator[Work]:
    for given in options.model:
        with prepared(given, mean_length=64, natural_end=None) as folder:
            known, size = words(folder.path), size_of(folder.parameters)
            scorer = add_scorer(folder) if kind == "reward_model" else None
            for equal in (False, True):
                pairs = preferences(known, size, equal=equal)
                prompts = [len(p["prompt"].split()) + 1 for p in pairs]
                sides = [[len(p[side].split()) + 1 for p in pairs] for side in ("chosen", "rejected")]
                lengths = [p + a for side in sides for p, a in zip(prompts, side, strict=True)]
                yield Work(
                    benchmark=kind,
                    name="equal lengths" if equal else "half padding or shared prompt",
                    model=folder.name,
                    case={
                        "kind": kind, "model": str(folder.path), "scorer": str(scorer), "pairs": pairs, "beta": 0.1,
                        "lr": 1e-6, "max_norm": 1.0,
                    },
                    peer=TRL,
                    agree=True,
                    about={"padding or shared": round(wasted(lengths, prompts), 2)},
                )  # fmt: skip
