"""Dawid–Skene against majority on judgements of real people."""

import csv
import io
import lzma
from pathlib import Path

import pytest

from tercih.feedback.quality import dawid_skene, majority
from tercih.records import Comparison, Consensus, Text


def rows(path: Path, delimiter: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(lzma.open(path, "rt").read()), delimiter=delimiter))


def items(name: str) -> tuple[Text, Text]:
    first, second = (Text(prompt=name, completion=side) for side in "12")
    return first, second


def accuracy(beliefs: list[Consensus], gold: dict[str, str]) -> float:
    known = [c for c in beliefs if gold.get(str(c.a.prompt)) in ("a", "b")]
    right = [0.5 if c.p_a == c.p_b else float((c.p_a > c.p_b) == (gold[str(c.a.prompt)] == "a")) for c in known]
    return sum(right) / len(right)


@pytest.mark.data
@pytest.mark.parametrize(("name", "yes", "floor"), [("rte", "1", 0.92), ("temp", "before", 0.94)])
def test_snow_2008(data_dir: Path, name: str, yes: str, floor: float) -> None:
    told = rows(data_dir / "crowd" / "snow2008" / f"{name}.csv.xz", ",")
    gold = {row["orig_id"]: "a" if row["gold"] == yes else "b" for row in told}
    said = [
        Comparison(
            a=items(row["orig_id"])[0],
            b=items(row["orig_id"])[1],
            answer="a" if row["response"] == yes else "b",
            rater=row["!amt_worker_ids"],
            left="a",  # yes and no have no order: coordinates are the same for all
        )
        for row in told
    ]
    weighed = accuracy(dawid_skene(said).consensus, gold)
    assert weighed > accuracy(majority(said), gold)
    assert weighed >= floor


@pytest.mark.data
def test_ukp_arguments(data_dir: Path) -> None:
    answers = {"a1": "a", "a2": "b", "equal": "tie"}
    told = rows(data_dir / "crowd" / "ukpconvarg" / "crowd.tsv.xz", "\t")
    gold = {
        row["pair_id"]: answers[row["label"]] for row in rows(data_dir / "crowd" / "ukpconvarg" / "gold.tsv.xz", "\t")
    }
    said = [
        Comparison(
            a=items(row["pair_id"])[0],
            b=items(row["pair_id"])[1],
            answer=answers[row["label"]],
            rater=row["worker"],
        )
        for row in told
    ]
    assert accuracy(dawid_skene(said).consensus, gold) > accuracy(majority(said), gold) + 0.01
