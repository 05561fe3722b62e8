"""`tercih verify [METHOD…]`: carries out the proofs and prints what they found."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.live import Live
from rich.table import Table

from tercih import progress
from tercih.algorithms import METHODS
from tercih.conformance import PROOFS
from tercih.conformance.checks import Check, Findings
from tercih.conformance.lab import Lab
from tercih.environments.control import MISSING, ControlError
from tercih.train import TrainingError

CHECKS = ("identity", "ordering", "negative_control", "ablation")
COLOURS = {"passed": "green", "failed": "red", "blocked": "yellow"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What became of one method; `reason` says why it is blocked, or why its proof could not be finished."""

    method: str
    status: Literal["passed", "failed", "blocked"]
    findings: Findings | None = None
    reason: str = ""
    seconds: float = 0.0
    data_hash: str = ""

    def check(self, name: str) -> Check | None:
        check: Check | None = getattr(self.findings, name, None)
        return check

    def as_dict(self) -> dict[str, Any]:
        """The acceptance contract's JSON row."""
        checks = {name: check.as_dict() if (check := self.check(name)) else None for name in CHECKS}
        return (
            {"method": self.method}
            | checks
            | {
                "status": self.status,
                "reason": self.reason,
                "minutes": round(self.seconds / 60, 4),
                "data_hash": self.data_hash,
                "paper_number_reproduced": False,
            }
        )


def verify(methods: Sequence[str] = (), *, json_file: Path | None = None, full: bool = False, seed: int = 0) -> int:
    """Prints the table as it fills, writes the rows to `json_file`; returns the exit code, 1 where a proof failed.

    Where methods are named and the file is there, their rows take the place of the old ones, and the others stay.
    """
    names = chosen(methods)
    lab = Lab(full=full, seed=seed)
    about = {"seed": seed, "full": full, "language": str(lab.language)}
    kept = _kept(json_file, about) if json_file and methods else []
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    console = Console()
    with Live(table(lab, rows, names), console=console, auto_refresh=False) as live, one_quiet_thread():
        for name in names:
            rows.append(prove(name, lab))
            live.update(table(lab, rows, names), refresh=True)
    if not console.is_terminal:
        console.print()  # there, Live leaves the last line open
    if json_file:
        found = {row.method: row.as_dict() for row in rows}
        content = about | {"rows": list(({row["method"]: row for row in kept} | found).values())}
        partial = json_file.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        partial.replace(json_file)
    return int(any(row.status == "failed" for row in rows))


def _kept(json_file: Path, about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of an earlier run; ValueError where these were found otherwise than the new ones will be."""
    if not json_file.exists():
        return []
    held = json.loads(json_file.read_text())
    for name, value in about.items():
        if held.get(name) != value:
            raise ValueError(
                f"{json_file} holds rows with {name} = {held.get(name)!r}, not {value!r}: name another file for --json"
            )
    rows: list[dict[str, Any]] = held["rows"]
    return rows


def chosen(methods: Sequence[str]) -> list[str]:
    """All methods there are, or those asked for."""
    known = list(METHODS | PROOFS)
    for name in methods:
        if name not in known:
            raise ValueError(f"there is no method {name!r}; verify knows {', '.join(known)}")
    return list(methods) or known


def prove(name: str, lab: Lab) -> Row:
    if name not in PROOFS:
        return Row(method=name, status="blocked", reason="no proof yet")
    began = time.monotonic()
    try:
        findings, reason = PROOFS[name](lab), ""
    except TrainingError as error:
        findings, reason = None, str(error)
    except ControlError as error:
        if str(error) != MISSING:
            raise
        return Row(method=name, status="blocked", reason="needs Gymnasium")
    return Row(
        method=name,
        status="passed" if findings and findings.passed else "failed",
        findings=findings,
        reason=reason,
        seconds=time.monotonic() - began,
        data_hash=lab.data_hash,
    )


@contextmanager
def one_quiet_thread() -> Iterator[None]:
    """Tensors this small are slower on several; and dozens of short trainings need no bars of their own."""
    threads, quiet = torch.get_num_threads(), progress.console.quiet
    torch.set_num_threads(1)
    progress.console.quiet = True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        progress.console.quiet = quiet


def table(lab: Lab, rows: Sequence[Row], names: Sequence[str]) -> Table:
    kind = "full" if lab.full else "quick"
    done = f"{len(rows)} of {len(names)} done"
    caption = (
        f"{kind}: {lab.language}, {len(lab.worlds)} paired seeds from {lab.seed}; {done}; --json lists every check"
    )
    grid = Table(caption=caption, show_lines=True)
    for title in ("method", "identity", "ordering", "negative control", "ablation", "status"):
        grid.add_column(title, overflow="fold")
    grid.add_column("s", justify="right")
    for row in rows:
        cells = [_cell(row.check(name)) for name in CHECKS] if row.findings else [row.reason, "", "", ""]
        status = f"[{COLOURS[row.status]}]{row.status}[/]"
        grid.add_row(row.method, *cells, status, f"{row.seconds:.1f}")
    return grid


def _cell(check: Check | None) -> str:
    if check is None:
        return ""
    return str(check) if check.passed else f"[red]{check}[/]"
