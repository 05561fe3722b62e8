"""`tercih doctor RECIPE` or `tercih doctor --model … --data …`: what would go wrong, before hours are spent."""

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from tercih.commands.recipes import configure, find
from tercih.config import ConfigError, from_command_line
from tercih.doctor.examine import examine
from tercih.doctor.inspection import Finding, Inspection, error
from tercih.progress import console
from tercih.run import write_json
from tercih.sources import SourceError, load

SIGNS = {"error": "[bold red]error[/]", "warning": "[yellow]warning[/]", "ok": "[green]ok[/]"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Doctor:
    """Say what would go wrong with this model on these data; exit status 1 if anything would.

    With the name of a recipe before all options (tercih doctor quickstart), what that recipe uses is examined.
    """

    model: str
    """Folder or Hub name of the model to start from."""
    data: tuple[str, ...] = ()
    """Files or data sets to train on: a .jsonl or .parquet path, or hh:PATH, hub:NAME, …"""
    heldout: tuple[str, ...] = ()
    """Files or data sets to be judged on; their prompts must not be among the others."""
    columns: tuple[tuple[str, str], ...] = ()
    """Pairs of our column name and the data's, where they differ: --columns prompt question."""
    max_new_tokens: int = 64
    """Length at which sampled answers are cut."""
    rows: int = 32
    """Responses in one forward and backward pass, for the estimate of memory."""
    json: Path | None = None
    """Write the findings to this file as well."""

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")


def doctor(arguments: Sequence[str]) -> int:
    """Exit status: 0 where nothing would go wrong, 1 where something would; warnings alone are 0."""
    if arguments and not arguments[0].startswith("-"):
        case, file = _recipe(arguments[0], arguments[1:])
        return conclude(examine(case), file, f"tercih run {arguments[0]}")
    config = from_command_line(Doctor, arguments, program="tercih doctor")
    refused: list[Finding] = []
    records = [record for spec in config.data for record in _read(spec, config, refused)]
    heldout = [record for spec in config.heldout for record in _read(spec, config, refused)]
    case = Inspection(
        model=config.model,
        records=records,
        heldout=heldout,
        max_new_tokens=config.max_new_tokens,
        rows=config.rows,
    )
    data = " ".join(config.data) or "DATA"
    go = f"tercih train METHOD --model {config.model} --data {data} --out OUT"
    return conclude([*refused, *examine(case)], config.json, go)


def conclude(findings: Sequence[Finding], file: Path | None, go: str) -> int:
    """Show what was found, and the one thing to do next."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    mends = any(finding.mend for finding in findings)
    for column in ("", "what", "found", *(["what to do"] if mends else [])):
        table.add_column(column, overflow="fold")
    for finding in findings:
        cells = (finding.title, finding.detail, *([finding.mend] if mends else []))
        table.add_row(SIGNS[finding.level], *map(escape, cells), style="dim" if finding.level == "ok" else "")
    console.print(table, soft_wrap=False)
    if file:
        write_json(file, [asdict(finding) for finding in findings])
        console.print(f"wrote {file}")
    worst = next((finding for finding in findings if finding.mend), None)
    count = Counter(finding.level for finding in findings)
    console.print(f"errors: {count['error']}, warnings: {count['warning']}, in order: {count['ok']}")
    if worst:
        console.print(f"[bold]First:[/] {escape(worst.title)}: {escape(worst.mend)}")
    if not count["error"]:
        console.print(f"[bold]Nothing stands in the way.[/] Next:\n  {escape(go)}")
    return int(count["error"] > 0)


def _recipe(name: str, arguments: Sequence[str]) -> tuple[Inspection, Path | None]:
    parser = argparse.ArgumentParser(prog=f"tercih doctor {name}", add_help=False, allow_abbrev=False)
    parser.add_argument("--json", type=Path, metavar="FILE")
    ours, rest = parser.parse_known_args(arguments)
    module = find(name)
    inspect = getattr(module, "inspect", None)
    if inspect is None:
        raise ConfigError(
            f"the recipe {name} does not say what it uses (it has no function inspect(config) -> Inspection);"
            " examine its model and data by tercih doctor --model … --data …"
        )
    case: Inspection = inspect(configure(module, name, rest, f"tercih doctor {name}"))
    return case, ours.json


def _read(spec: str, config: Doctor, refused: list[Finding]) -> Sequence[Any]:
    """The records that can be used; what cannot is added to `refused`."""
    said = _Listener()
    logger = logging.getLogger("tercih.sources")
    logger.addHandler(said)
    logger.propagate = False
    try:
        records = load(spec, dict(config.columns), skip_bad=True)
    except SourceError as problem:
        refused.append(replace(error(str(problem), f"mend {spec}"), title="data"))
        return ()
    finally:
        logger.removeHandler(said)
        logger.propagate = True
    mend = "mend these rows, or leave them out with --skip-bad"
    refused += [replace(error(message.replace("left out", "cannot use"), mend), title="data") for message in said.heard]
    return records


class _Listener(logging.Handler):
    """Keeps what is logged, so that rows left out become findings."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())
