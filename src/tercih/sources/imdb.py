"""IMDB reviews (Maas et al. 2011) as JSON Lines `{"id", "rating", "label", "text"}`."""

from pathlib import Path

from tercih.records import Demonstration, Text
from tercih.sources.rows import BadRow, Row, convert, json_rows


def read(path: str | Path, skip_bad: bool = False) -> list[Demonstration]:
    """Reviews as completions of an empty prompt; `columns` keep `id`, `rating` (1–10) and `label` ("pos" or "neg")."""
    return convert(json_rows(path), _review, str(path), skip_bad)


def _review(row: Row) -> Demonstration:
    for name in ("id", "rating", "label", "text"):
        if row.get(name) is None:
            raise BadRow(f"column {name!r} is missing; there are {', '.join(sorted(row))}")
    if not isinstance(row["text"], str) or not row["text"].strip():
        raise BadRow("text is empty")
    if row["label"] not in ("pos", "neg"):
        raise BadRow(f"label must be 'pos' or 'neg', got {row['label']!r}")
    columns = {name: row[name] for name in ("id", "rating", "label")}
    return Demonstration(item=Text(prompt="", completion=row["text"], columns=columns))
