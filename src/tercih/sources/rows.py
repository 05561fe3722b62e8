"""What all formats share: rows that know their number, files that may be compressed, and one kind of error."""

import gzip
import json
import logging
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

Row = Mapping[str, Any]
T = TypeVar("T")

logger = logging.getLogger(__name__)


class SourceError(ValueError):
    """Data that cannot be used: the message names the file, the row and the mend."""


class BadRow(ValueError):
    """One row cannot be used; `convert` says which row it was."""


def convert(rows: Iterable[tuple[int, Row]], make: Callable[[Row], T], where: str, skip_bad: bool = False) -> list[T]:
    """`make` applied to every numbered row of the file `where`.

    A row for which `make` raises `BadRow` ends in a `SourceError`; with `skip_bad` it is left out instead, and one
    warning says how many were and why the first of them was.
    """
    made: list[T] = []
    bad: list[str] = []
    for number, row in rows:
        try:
            made.append(make(row))
        except BadRow as error:
            if not skip_bad:
                mend = "mend or remove this row, or leave all such rows out with --skip-bad"
                raise SourceError(f"{where}, row {number}: {error}; {mend}") from None
            bad.append(f"row {number}: {error}")
    if bad:
        logger.warning("%s: left out %d of %d rows; the first was %s", where, len(bad), len(bad) + len(made), bad[0])
    if not made:
        raise SourceError(f"{where} holds no usable row")
    return made


def read_text(path: str | Path) -> str:
    """The whole of a UTF-8 text file, unpacked if its name ends in .gz or .xz."""
    path = Path(path)
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file")
    packed = path.read_bytes()
    try:
        plain = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(path.suffix, bytes)(packed)
        return plain.decode()
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise SourceError(f"{path} is damaged ({error}); fetch or pack it again") from None
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text (byte {error.start}); convert it to UTF-8") from None


def json_rows(path: str | Path) -> Iterator[tuple[int, Row]]:
    """Numbered objects of a JSON Lines file (numbered by line), or of a file that is one JSON list (by place)."""
    for number, value in _json_values(path, read_text(path)):
        if not isinstance(value, dict):
            raise SourceError(f"{path}, row {number}: expected an object with named columns, got {_short(value)}")
        yield number, value


def _json_values(path: str | Path, text: str) -> Iterator[tuple[int, Any]]:
    if text.lstrip().startswith("["):
        yield from enumerate(_parse(path, text, None), start=1)
        return
    # not str.splitlines: JSON strings may hold U+2028 and its like unescaped
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _parse(path, line, number)


def _parse(path: str | Path, text: str, line: int | None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {line or error.lineno}, column {error.colno}"
        raise SourceError(f"{path}, {place}: not valid JSON ({error.msg}); mend or remove it") from None


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
