"""Reading what people said, one format a file; `SOURCES` names them all.

A spec is NAME:PLACE with a name of the table, or a bare path that ends in .json, .jsonl (also .gz, .xz) or .parquet.
Options may follow a question mark, written as in URLs: `shp:hub:train?score_ratio=2&domain=askculinary`.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from tercih.records import Demonstration, Text
from tercih.sources import (
    alpaca,
    helpsteer,
    hh,
    hub,
    imdb,
    jsonl,
    mix,
    oasst,
    offered,
    parquet,
    promptsource,
    red_team,
    sharegpt,
    shp,
    stories,
    tldr,
    ukpconvarg,
    ultrafeedback,
    webgpt,
)
from tercih.sources.columns import Record
from tercih.sources.rows import SourceError

__all__ = ["SOURCES", "Record", "SourceError", "load", "path_of"]


def _mixed(path: str, skip_bad: bool = False) -> Sequence[Record]:
    return mix.read(path, load, skip_bad)


SOURCES: dict[str, Callable[..., Sequence[Record | str]]] = {
    "jsonl": jsonl.read,
    "parquet": parquet.read,
    "hub": hub.read,
    "hh": hh.read,
    "red_team": red_team.read,
    "shp": shp.read,
    "tldr": tldr.read,
    "webgpt": webgpt.read,
    "ultrafeedback": ultrafeedback.read,
    "helpsteer": helpsteer.read,
    "oasst": oasst.read,
    "alpaca": alpaca.read,
    "sharegpt": sharegpt.read,
    "offered": offered.read,
    "promptsource": promptsource.read,
    "mix": _mixed,
    "stories": stories.read,
    "imdb": imdb.read,
    "ukpconvarg": ukpconvarg.read,
}
WITH_COLUMNS = ("jsonl", "parquet", "hub")


def load(spec: str, columns: Mapping[str, str] | None = None, skip_bad: bool = False) -> list[Record]:
    """All records of a spec such as `hh:PATH`, `hub:NAME:SPLIT` or `pairs.jsonl`, read and checked to the last row.

    `columns` maps our column names to the data's own (`{"prompt": "question"}`); `skip_bad` leaves out rows that cannot
    be used, with a warning that counts them. A plain text (a story) becomes a demonstration with an empty prompt.
    Raises `SourceError`.
    """
    name, place = _split(spec)
    if columns and name not in WITH_COLUMNS:
        raise SourceError(f"{spec}: the format {name!r} has fixed columns; `columns` is for {', '.join(WITH_COLUMNS)}")
    place, options = _options(name, place)
    if columns:
        options["columns"] = columns
    if name != "stories":  # no row of plain text can be bad
        options["skip_bad"] = skip_bad
    try:
        return [_record(each) for each in SOURCES[name](place, **options)]
    except SourceError:
        raise
    except ValueError as error:  # an option that cannot have its value
        raise SourceError(f"{spec}: {error}") from None


def path_of(spec: str) -> str:
    """What a spec names, without the format's name before it and the options after it."""
    return _options(*_split(spec))[0]


def _options(name: str, place: str) -> tuple[str, dict[str, Any]]:
    """What stands before the first question mark, and the options after it, in the types of their defaults."""
    known = {
        p.name: p.default for p in signature(SOURCES[name]).parameters.values() if p.kind is Parameter.KEYWORD_ONLY
    }
    before, mark, after = place.partition("?")
    if not mark or not known:
        return place, {}
    options: dict[str, Any] = {}
    for option, value in parse_qsl(after, keep_blank_values=True) or [(after, "")]:
        if option not in known:
            near = get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise SourceError(f"{name}:{place}: there is no option {option!r}; {hint}")
        options[option] = _typed(f"{name}:{place}: {option}", value, type(known[option]))
    return before, options


def _typed(where: str, value: str, kind: type) -> Any:
    if kind is bool:
        if value not in ("true", "false"):
            raise SourceError(f"{where} must be true or false, got {value!r}")
        return value == "true"
    try:
        return kind(value)
    except ValueError:
        raise SourceError(f"{where} must be a number, got {value!r}") from None


def _split(spec: str) -> tuple[str, str]:
    name, colon, place = spec.partition(":")
    if colon and name in SOURCES:
        return name, place
    suffixes = [suffix for suffix in Path(spec).suffixes if suffix not in (".gz", ".xz")]
    if suffixes and suffixes[-1] in (".json", ".jsonl", ".ndjson"):
        return "jsonl", spec
    if suffixes and suffixes[-1] == ".parquet":
        return "parquet", spec
    near = get_close_matches(name, SOURCES, n=1) if colon else []
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    known = ", ".join(f"{name}:" for name in SOURCES)
    raise SourceError(f"{spec!r} does not say what format it is{meant}; put one of {known} before it")


def _record(value: Record | str) -> Record:
    return Demonstration(item=Text(prompt="", completion=value)) if isinstance(value, str) else value
