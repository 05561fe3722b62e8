"""`tercih methods [NAME]`: the shelf."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from tercih.config import from_command_line
from tercih.conformance.compare import comparable, compare
from tercih.conformance.verify import one_quiet_thread
from tercih.run import read_json, write_json
from tercih.shelf import STORIES, Entry, gathered, pages, shelf


@dataclass(frozen=True, kw_only=True, slots=True)
class Methods:
    """What there is: every method with its paper, file, command, what became of its proof, and when to take it."""

    name: Annotated[str, tyro.conf.Positional] = ""
    """One method, with its options and all that its proof found."""
    write: Path | None = None
    """The folder docs/: the parts of its pages that are made from the shelf are written again."""
    stories: tuple[Path, ...] = ()
    """With --write: folders of finished runs of `tercih run stories_methods`, of several seeds and with and without a
    control, for the table on real text."""
    compare: Path | None = None
    """Train every method, or the one that is named, on one enumerable task from the same number of simulated
    judgements, and write what came of it to this file, in which the rows of other methods stay. Minutes."""
    seed: int = 0
    """Of the comparison."""


def methods(arguments: Sequence[str]) -> int:
    config = from_command_line(Methods, arguments, program="tercih methods")
    console = Console()
    if config.compare:
        compare_into(config.compare, config.name, config.seed, console)
    elif config.stories and not config.write:
        raise ValueError("--stories says what a table is made of; say --write docs, too")
    elif config.write:
        if config.stories:
            write_json(config.write / STORIES, gathered(config.stories))
        changed = [page for page, text in pages(config.write).items() if page.read_text() != text]
        for page, text in pages(config.write).items():
            if page in changed:
                page.write_text(text)
        console.print(f"{len(changed)} pages changed: {', '.join(page.stem for page in changed) or 'none'}")
    elif config.name:
        if config.name not in shelf():
            raise ValueError(f"there is no method {config.name!r}; there are {', '.join(shelf())}")
        console.print(one(shelf()[config.name]))
    else:
        console.print(everything())
        console.print("`tercih methods NAME` tells all of one; `tercih verify NAME` proves it.")
    return 0


def compare_into(file: Path, name: str, seed: int, console: Console) -> None:
    names = comparable()
    if name and name not in names:
        raise ValueError(f"{name!r} is not compared with others; these are: {', '.join(names)}")
    held: dict[str, Any] = read_json(file) if name and file.exists() else {"seed": seed, "rows": []}
    if held["seed"] != seed:
        raise ValueError(f"{file} was made with --seed {held['seed']}; use that one, or name another file")
    rows = {row["method"]: row for row in held["rows"]}
    with one_quiet_thread():
        for each in [name] if name else names:
            row = rows[each] = compare(each, seed)
            said = f"{row['share']:.0%} of what is possible {row['kl']:.2f} nats from π0"
            console.print(f"{each}: {said}, {row['seconds']:.1f} s")
    write_json(file, held | {"rows": list(rows.values())})


def everything() -> Table:
    grid = Table(show_edge=False)
    grid.add_column("method", min_width=max(map(len, shelf())))
    for title in ("what it does", "paper", "proof"):
        grid.add_column(title, overflow="fold")
    family = ""
    for entry in shelf().values():
        if entry.card.family != family:
            family = entry.card.family
            grid.add_section()
            grid.add_row("", f"[bold]{family}[/]")
        grid.add_row(entry.name, entry.card.does, entry.card.paper, entry.status)
    return grid


def one(entry: Entry) -> Table:
    card = entry.card
    grid = Table(show_header=False, show_edge=False, box=None, title=entry.name, title_justify="left")
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    grid.add_row("what it does", card.does)
    grid.add_row("when", card.when)
    grid.add_row("paper", " ".join(filter(None, [card.paper, card.link])))
    grid.add_row("file", entry.file)
    grid.add_row("command", entry.command)
    if entry.method:
        grid.add_row("learns from", entry.learns_from())
    for option, default in entry.options():
        grid.add_row("option", f"{option} {default}")
    grid.add_row("proof", entry.status)
    for check, found in entry.found():
        grid.add_row(f"  {check}", found)
    grid.add_row("page", f"docs/methods/{entry.name}.md")
    return grid
