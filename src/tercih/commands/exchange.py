"""`tercih export`, `tercih import` and `tercih backup`: answers out of the store, into it, and a copy of all of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tercih.config import ConfigError, from_command_line
from tercih.feedback.database import Database
from tercih.feedback.exchange import argilla, formats, label_studio
from tercih.feedback.exchange.backup import backup as copy
from tercih.feedback.exchange.export import rows
from tercih.feedback.exchange.foreign import Fields
from tercih.feedback.exchange.load import load, settings_of
from tercih.feedback.exchange.put import put
from tercih.feedback.kinds import KINDS
from tercih.progress import console

TOOLS = {"argilla": argilla.read, "label-studio": label_studio.read}


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """Write the answers of a project, with TRL's column names and full provenance; nothing in it names a person."""

    project: Annotated[str, tyro.conf.Positional]
    database: str
    """Path of an SQLite file, or a PostgreSQL URL."""
    out: Path
    """FILE.jsonl, FILE.parquet, or a folder of Hugging Face datasets; it must not be there yet."""
    format: Literal["", "jsonl", "parquet", "datasets"] = ""
    """Empty: as the name of --out says."""
    kind: str = ""
    """Only answers to questions of this kind; Parquet and datasets hold one kind each."""
    decided: bool = False
    """Leave out ties and raters who could not judge, so that TRL takes the file as it is."""
    everything: bool = False
    """Also tutorials, exams, repeats, withdrawn questions and those nobody has answered: a copy of the project."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """Take a file into a project, all of it or none; to do so again changes nothing."""

    file: Annotated[str, tyro.conf.Positional]
    """An export of ours, rows with TRL's columns (.jsonl, .parquet, a folder of datasets, hub:NAME:SPLIT), or another
    tool's export."""
    project: str
    """Made if it is not there."""
    database: str
    """Path of an SQLite file, or a PostgreSQL URL."""
    tool: Literal["", "argilla", "label-studio"] = ""
    """Whose export it is."""
    fields: Fields = field(default_factory=Fields)
    columns: tuple[tuple[str, str], ...] = ()
    """Pairs of our column name and the file's, where they differ: --columns prompt question."""
    gold: bool = False
    """What the rows say is the known answer: raters are tested on them."""
    skip_bad: bool = False
    """Leave out rows that cannot be used, with a warning that counts them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Backup:
    """Copy the whole database to one file while servers go on writing to it. It holds accounts: keep it as safe."""

    database: str
    """Path of the SQLite file."""
    out: Path
    """It must not be there yet."""


def export(arguments: Sequence[str]) -> None:
    config = from_command_line(Export, arguments, program="tercih export")
    form = formats.format_of(config.out, config.format)
    if config.kind and config.kind not in KINDS:
        raise ConfigError(f"--kind must be one of {', '.join(KINDS)}, got {config.kind!r}")
    with existing(config.database) as database:
        chosen = rows(database, config.project, kind=config.kind, everything=config.everything, decided=config.decided)
        count = formats.write(chosen, config.out, form)
    console.print(f"wrote {count} rows to {config.out}", soft_wrap=True)
    if config.kind in ("", "pair", "ranking", "thumb", "demonstration") and form != "datasets":
        console.print(f"train on it: tercih train METHOD --data {config.out} …", soft_wrap=True)


def import_(arguments: Sequence[str]) -> None:
    config = from_command_line(Import, arguments, program="tercih import")
    with Database(config.database) as database:
        if config.tool:
            if config.columns or config.gold or config.skip_bad:
                raise ConfigError("--columns, --gold and --skip-bad are for rows with TRL's columns, not for --tool")
            settings = settings_of(database, config.project)
            taken = put(database, config.project, TOOLS[config.tool](config.file, settings, config.fields))
        else:
            if config.fields != Fields():
                raise ConfigError("--fields is for --tool; rename columns with --columns OURS THEIRS")
            names = dict(config.columns)
            taken = load(
                database, config.project, config.file, columns=names, gold=config.gold, skip_bad=config.skip_bad
            )
    what = json.dumps({"questions": taken.questions, "answers": taken.answers, "raters": taken.raters})
    console.print(f"{config.project}: new are {what}", soft_wrap=True)


def backup(arguments: Sequence[str]) -> None:
    config = from_command_line(Backup, arguments, program="tercih backup")
    size = copy(config.database, config.out)
    console.print(f"wrote {size / 2**20:.1f} MB to {config.out}; it holds accounts, so keep it safe", soft_wrap=True)


def existing(place: str) -> Database:
    """A database that is there: to read from a new one would only leave an empty file."""
    if "://" not in place and not Path(place).is_file():
        raise ConfigError(f"there is no database {place}")
    return Database(place)
