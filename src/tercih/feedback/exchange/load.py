"""Files into a project: what `export.py` wrote comes back as it was, rows with TRL's columns become questions."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tercih.feedback.database import Database
from tercih.feedback.exchange import formats
from tercih.feedback.exchange.export import Row, items_of
from tercih.feedback.exchange.put import Asked, Given, Taken, put
from tercih.feedback.exchange.uploads import USES, question_of
from tercih.feedback.kinds import KINDS
from tercih.feedback.projects import Project
from tercih.feedback.questions import Question
from tercih.feedback.tables import project as projects
from tercih.records import Comparison, Demonstration, Item, Ranking, Rating, RuleLabel, StepLabels, Text, Thumb
from tercih.sources.columns import UNKNOWN, Record, records
from tercih.sources.rows import SourceError

Rows = Iterable[tuple[int, Row]]


def load(
    database: Database,
    project: str,
    path: str,
    *,
    columns: Mapping[str, str] | None = None,
    gold: bool = False,
    skip_bad: bool = False,
) -> Taken:
    """Take a file in, all of it or none; again is a no-op.

    What rows with TRL's columns say is an answer where they name its rater; with `gold` it is the known answer of a
    gold question; else it is only asked. Raises SourceError or ExchangeError naming the file and the row.
    """
    settings = settings_of(database, project)
    return put(database, project, read(path, settings, columns=columns, gold=gold, skip_bad=skip_bad))


def settings_of(database: Database, project: str) -> Project:
    """Of a project, or of the one that is to be made."""
    with database.transaction() as connection:
        config = connection.scalar(sa.select(projects.c.config).where(projects.c.id == project))
    return Project.of(project, config or {})


def read(
    path: str,
    settings: Project,
    *,
    columns: Mapping[str, str] | None = None,
    gold: bool = False,
    skip_bad: bool = False,
) -> list[Asked]:
    """The questions of a file; see `load`."""
    rows = iter(formats.read(path))
    first = next(rows, None)
    if first is None:
        raise SourceError(f"{path} is empty")
    if {"question", "items", "answer", "shown"} <= first[1].keys():
        return _exported(chain([first], rows), path)
    if "clips" in first[1]:
        if columns or gold or skip_bad:
            raise SourceError(f"{path} asks about clips: its columns keep their names, and each line says its own use")
        return [_about_clips(row, f"{path}, row {number}", settings) for number, row in chain([first], rows)]
    told = records(chain([first], rows), path, columns, skip_bad)
    return [_asked(record, number, path, settings, gold) for number, record in enumerate(told, start=1)]


# What we wrote


def _exported(rows: Rows, path: str) -> list[Asked]:
    found: dict[str, Asked] = {}
    for number, packed in rows:
        where = f"{path}, row {number}"
        row = formats.plain(packed, where)
        try:
            each = _restored(row, where)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise SourceError(
                f"{where}: a column is missing or not as `tercih export` writes it ({type(error).__name__}: {error})"
            ) from None
        except ValueError as error:
            raise SourceError(f"{where}: {error}") from None
        before = found.setdefault(each.id, each)
        if before is not each:
            if replace(before, place="", answers=()) != replace(each, place="", answers=()):
                raise SourceError(f"{where}: question {each.id} is described otherwise in an earlier row")
            found[each.id] = replace(before, answers=before.answers + each.answers)
    return list(found.values())


def _restored(row: Row, where: str) -> Asked:
    votes = row["votes"]
    asked = Question(
        items=items_of(row), run=str(row["run"]), step=_whole(row, "step"), index=_whole(row, "index"),
        kind=row["kind"], spec=row["spec"], sampler=str(row["sampler"]), propensity=float(row["propensity"]),
        votes=1 if votes is None else _whole(row, "votes"),
    )  # fmt: skip
    if row["repeats"] is None and row["question"] != asked.id:
        raise ValueError(f"question {row['question']!r} is not the hash of its run, step and index")
    given: tuple[Given, ...] = ()
    if row["rater"] is not None:
        shown = dict(row["shown"]) | ({"guideline": int(row["guideline"])} if row.get("guideline") else {})
        one = Given(
            rater=row["rater"], answer=row["answer"], shown=shown, version=_whole(row, "version"),
            time=_number(row, "time"), seconds=_number(row, "seconds"),
        )  # fmt: skip
        given = (one,)
    key = "" if row["repeats"] is None else str(row["question"])
    return Asked(place=where, question=asked, answers=given, state=row["state"], repeats=row["repeats"], key=key)


def _whole(row: Row, name: str) -> int:
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ValueError(f"{name} must be a whole number >= 0, got {value!r}")
    return value


def _number(row: Row, name: str) -> float | None:
    value = row[name]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return None if value is None else float(value)


# Clips, as a project's page takes them


def _about_clips(row: Row, where: str, settings: Project) -> Asked:
    try:
        use, asked = question_of(row, settings)
    except (ValueError, TypeError, KeyError) as error:
        raise SourceError(f"{where}: {error}") from None
    return Asked(place=where, question=asked, state=USES[use])


# TRL's columns


def _pair(record: Comparison) -> tuple[tuple[Item, ...], dict[str, Any] | None]:
    return (record.a, record.b), {"choice": record.answer, "strength": record.strength}


def _ranking(record: Ranking) -> tuple[tuple[Item, ...], dict[str, Any] | None]:
    return record.items, {"order": list(record.order)}


def _thumb(record: Thumb) -> tuple[tuple[Item, ...], dict[str, Any] | None]:
    return (record.item,), {"good": record.good}


def _demonstration(record: Demonstration | Rating | StepLabels) -> tuple[tuple[Item, ...], dict[str, Any] | None]:
    return (record.item,), None


def _rule(record: RuleLabel) -> tuple[tuple[Item, ...], dict[str, Any] | None]:
    return (record.item,), {"broken": ("yes" if record.broken else "no") if record.certain else "unsure"}


def _prompt(record: Text) -> tuple[tuple[Item, ...], dict[str, Any] | None]:
    return (record,), None


SHAPES: dict[type, tuple[str, Callable[[Any], tuple[tuple[Item, ...], dict[str, Any] | None]]]] = {
    Comparison: ("pair", _pair),
    Ranking: ("ranking", _ranking),
    Thumb: ("thumb", _thumb),
    RuleLabel: ("rule", _rule),
    Demonstration: ("rating", _demonstration),
    Rating: ("rating", _demonstration),  # on a scale of the file's own, so that its number is no answer here
    StepLabels: ("rating", _demonstration),
    Text: ("demonstration", _prompt),
}


def _asked(record: Record, number: int, path: str, settings: Project, gold: bool) -> Asked:
    """A record as a question of the project's own kind where that is about as many items, else of the record's."""
    where = f"{path}, row {number}"
    natural, shape = SHAPES[type(record)]
    items, answer = shape(record)
    few, many = KINDS[settings.kind].items
    fits = few <= len(items) <= many and natural != "demonstration"
    kind = settings.kind if fits else natural
    answer = answer if kind == natural else None
    if gold and answer is None:
        raise SourceError(f"{where}: there is no known answer to a {kind} in this row; leave out --gold")
    rater = getattr(record, "rater", UNKNOWN)
    said = answer is not None and not gold and rater not in ("", UNKNOWN)
    spec: dict[str, Any] = {"gold": answer} if gold else {}
    if isinstance(record, RuleLabel):
        spec |= {"rule": record.rule}
    try:
        asked = Question(
            items=items, run=f"{settings.id} {Path(path).name}", step=0, index=number, kind=kind, votes=settings.votes,
            spec=spec,
        )  # fmt: skip
    except ValueError as error:
        raise SourceError(f"{where}: {error}") from None
    given = (Given(rater=rater, answer=answer or {}, time=getattr(record, "time", None)),) if said else ()
    return Asked(place=where, question=asked, answers=given, state="gold" if gold else "open")
