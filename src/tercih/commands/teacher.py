"""`tercih teacher PROJECT`: a simulated teacher who errs and ties as often as a rater was measured to."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from tercih.commands.exchange import existing
from tercih.config import ConfigError, from_command_line
from tercih.feedback.measured import Measured, measured, teacher_like
from tercih.feedback.overview.answers import read
from tercih.feedback.overview.figures import Figure

SOURCES = {"golds": "gold questions", "others": "what others said", "repeats": "repeated questions"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherLike:
    """Measure the raters of a project, and make simulated teachers of clips who err and tie as often.

    With --rater the options alone are printed: tercih run control_ppo $(tercih teacher PROJECT --rater NAME)
    """

    project: Annotated[str, tyro.conf.Positional]
    database: str = "tercih.db"
    """An SQLite file or the URL of a PostgreSQL database; also the feedback.sqlite of a run."""
    rater: str = ""
    """Whose teacher; empty: everybody's, as a table."""


def teacher(arguments: Sequence[str]) -> None:
    config = from_command_line(TeacherLike, arguments, program="tercih teacher")
    with existing(config.database) as database:
        found = {each.rater: each for each in measured(read(database, config.project))}
    if not found:
        raise ConfigError(f"nobody has compared pairs in a project {config.project!r} of {config.database}")
    if config.rater and config.rater not in found:
        raise ConfigError(
            f"nobody of the name {config.rater!r} has compared pairs in {config.project}; there are {', '.join(found)}"
        )
    if config.rater:
        one = found[config.rater]
        try:
            options = options_of(one)
        except ValueError as error:
            raise ConfigError(f"{one.rater} {error}") from None
        print(f"{one.rater} {_told(one)}", file=sys.stderr)
        print(options)
        return
    lines = [("rater", "errs", "by", "ties", "as a teacher"), *map(_line, found.values())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _line(rater: Measured) -> tuple[str, ...]:
    by = "–" if rater.errors.missing else f"{rater.errors.n} {SOURCES[rater.errors.name]}"
    try:
        options = options_of(rater)
    except ValueError as error:
        options = str(error)
    return rater.rater, _percent(rater.errors), by, _percent(rater.ties), options


def options_of(rater: Measured) -> str:
    """For a recipe that has `--teacher`."""
    like = teacher_like(rater)
    return f"--teacher.rationality {like.rationality:.4g} --teacher.equal {like.equal:.4g}"


def _told(rater: Measured) -> str:
    return (
        f"errs in {_percent(rater.errors)} of {rater.errors.n} choices, by {SOURCES[rater.errors.name]}, and ties in"
        f" {_percent(rater.ties)} of {rater.ties.n} answers; the teacher does both as often, if clips at random are"
        " compared and what they earn is normal"
    )


def _percent(figure: Figure) -> str:
    if figure.missing:
        return "–"
    return f"{100 * figure.value:.1f} % [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
