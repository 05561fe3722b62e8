"""JSON Lines (or one JSON list) with the columns of `columns.py`; plain, .gz or .xz."""

from collections.abc import Mapping
from pathlib import Path

from tercih.sources.columns import Record, records
from tercih.sources.rows import json_rows


def read(path: str | Path, columns: Mapping[str, str] | None = None, skip_bad: bool = False) -> list[Record]:
    """Records of a JSON Lines file; raises `SourceError` naming the line (see `columns.records`)."""
    return records(json_rows(path), str(path), columns, skip_bad)
