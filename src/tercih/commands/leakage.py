"""`tercih leakage TRAIN [TEST]`: what is in both, or twice in one; and the training data without it."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tercih.config import ConfigError, from_command_line
from tercih.doctor.inspection import texts, words
from tercih.evaluation.intervals import wilson
from tercih.evaluation.leakage import Match, matches, repeats
from tercih.feedback.exchange.formats import whole
from tercih.progress import console
from tercih.records import RuleLabel
from tercih.run import write_json
from tercih.sources import Record, SourceError, load, path_of
from tercih.sources.parquet import numbered
from tercih.sources.rows import Row, json_rows

SHOWN = 60  # characters of an example


@dataclass(frozen=True, kw_only=True, slots=True)
class Leakage:
    """Count test records that are in the training data, exactly or nearly; without TEST, records that are there twice.

    The exit status is 1 if there are any.
    """

    train: Annotated[str, tyro.conf.Positional]
    """A file or data set: a .jsonl or .parquet path, or hh:PATH, hub:NAME, …"""
    test: Annotated[str, tyro.conf.Positional] = ""
    """Another, to be judged on."""
    by: Literal["", "prompt", "answer", "whole"] = ""
    """What is compared. Empty: prompts, or whole records without TEST or where there are no prompts."""
    n: int = 8
    """Words in an n-gram."""
    overlap: float = 0.8
    """The least share of a text's n-grams that must be in one other text; 1 and a small --n ask for nearly the same."""
    examples: int = 5
    """How many to show, the most alike first."""
    drop: Path | None = None
    """Write the training rows without those that match (without TEST: without the later of two) to this .jsonl file."""
    json: Path | None = None
    """Also write all matches to this file."""
    columns: tuple[tuple[str, str], ...] = ()
    """Pairs of our column name and the data's, where they differ: --columns prompt question."""
    skip_bad: bool = False
    """Leave out rows that cannot be used, saying how many, instead of stopping at the first."""

    def __post_init__(self) -> None:
        if self.n < 1 or not 0 < self.overlap <= 1 or self.examples < 0:
            raise ValueError("needs n >= 1, overlap in (0, 1] and examples >= 0")


def leakage(arguments: Sequence[str]) -> int:
    """Exit status: 0 where nothing matches, 1 where something does."""
    config = from_command_line(Leakage, arguments, program="tercih leakage")
    if config.drop and config.drop.suffix != ".jsonl":
        raise ConfigError(f"--drop writes JSON Lines; {config.drop} must end in .jsonl")
    train = load(config.train, dict(config.columns), config.skip_bad)
    rows = _rows(config.train, len(train))
    if config.drop and rows is None:
        raise ConfigError(
            f"--drop needs a file of rows, every one a good one that gives one record; not {config.train}"
        )
    test = load(config.test, dict(config.columns), config.skip_bad) if config.test else train
    by = config.by or ("prompt" if config.test and any(_text(each, "prompt") for each in test) else "whole")
    found = _matches(train, test, by, config)
    places = [_places(config.train, len(train), rows), _places(config.test, len(test), _rows(config.test, len(test)))]
    if not config.test:
        places[1] = places[0]
    _show(found, test, by, places, config)
    if config.json:
        listed = [asdict(match) | {"test": places[1][match.test], "train": places[0][match.train]} for match in found]
        write_json(config.json, listed)
        console.print(f"wrote {config.json}")
    if config.drop and rows is not None:
        gone = {match.train if config.test else match.test for match in found}
        with whole(config.drop) as part:
            part.write_text("".join(_line(row) for place, (_, row) in enumerate(rows) if place not in gone))
        console.print(f"wrote {len(rows) - len(gone)} of {len(rows)} rows of {config.train} to {config.drop}")
    return 1 if found else 0


def _matches(train: list[Record], test: list[Record], by: str, config: Leakage) -> list[Match]:
    if config.test:
        told = [_text(record, by) for record in train]
        return matches(told, [_text(record, by) for record in test], config.n, config.overlap)
    of: defaultdict[str, list[int]] = defaultdict(list)  # what two people said of one thing is no repetition
    for place, record in enumerate(train):
        of[getattr(record, "rater", "")].append(place)
    found = []
    for mine in of.values():
        twice = repeats([_text(train[place], by) for place in mine], config.n, config.overlap)
        found += [Match(mine[each.test], mine[each.train], each.overlap, each.exact) for each in twice]
    return found


def _text(record: Record, by: str) -> str:
    items = texts(record)
    prompt, answers = words(items[0].prompt), [words(item.completion) for item in items]
    asked = [record.rule] if isinstance(record, RuleLabel) else []
    return "\n".join({"prompt": [prompt], "answer": answers, "whole": [*asked, prompt, *answers]}[by])


def _show(found: list[Match], test: list[Record], by: str, places: list[list[str]], config: Leakage) -> None:
    exact = {match.test for match in found if match.exact}
    near = {match.test for match in found} - exact
    what = "records" if by == "whole" else f"{by}s"
    where = "in the training data" if config.test else "there before"
    for name, some in (("exactly", exact), (f"nearly ({config.overlap:.0%} of {config.n}-grams)", near)):
        share = wilson(len(some), len(test))
        interval = f"{share.value:.2%} [{share.low:.2%}, {share.high:.2%}]"
        console.print(f"{len(some)} of {len(test)} {what} are {where} {name}: {interval}")
    for match in sorted(found, key=lambda match: (-match.exact, -match.overlap))[: config.examples]:
        text = " ".join(_text(test[match.test], by).split())
        text = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
        alike = "the same" if match.exact else f"{match.overlap:.0%}"
        console.print(f"  {places[1][match.test]} ~ {places[0][match.train]} ({alike}): {text}", markup=False)


def _rows(spec: str, count: int) -> list[tuple[int, Row]] | None:
    """The numbered rows of a file of which every row gave one record, else None."""
    path = Path(path_of(spec)) if spec else Path()
    if not path.is_file():
        return None
    try:
        rows = list(numbered(path) if path.suffix == ".parquet" else json_rows(path))
    except SourceError:  # plain text, for instance
        return None
    return rows if len(rows) == count else None


def _places(spec: str, count: int, rows: list[tuple[int, Row]] | None) -> list[str]:
    if rows is None:
        return [f"{spec}, record {number + 1}" for number in range(count)]
    return [f"{path_of(spec)}, row {number}" for number, _ in rows]


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
