"""A run folder: what was asked for, what has been done, and everything a report needs.

`run.json` holds the command, the resolved configuration, versions and machine; `stages.json` the stages that are done;
every stage has a folder of its own. Starting the same command again goes on with the first stage that is not done.
"""

import fcntl
import json
import os
import platform
import resource
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from tercih.progress import console

LEFTOVERS = ("run.json.partial", "run.lock")  # of a run that was killed while it began


class RunError(ValueError):
    """A run folder that cannot be used as it is, and what to do about it."""


class Run:
    """Opens or reopens a run folder. Refuses one that holds a run with another configuration."""

    def __init__(self, folder: Path | str, recipe: str, config: Any, **facts: Any) -> None:
        """`config` is a dataclass; `facts` are further entries of run.json (seed, control, …)."""
        self.folder, self.recipe = Path(folder), recipe
        wanted = check_folder(self.folder, recipe, config)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock(self.folder / "run.lock")
        path = self.folder / "run.json"
        if path.exists():
            console.print(f"{self.folder} holds this run already; going on where it was")
            return
        about = {
            "recipe": recipe,
            "id": secrets.token_hex(4),
            "command": command_line(),
            "started": now(),
            "versions": versions(),
            "machine": machine(),
        }
        write_json(path, about | facts | {"config": wanted})

    @property
    def stages(self) -> list[dict[str, Any]]:
        path = self.folder / "stages.json"
        return list(json.loads(path.read_text())) if path.exists() else []

    def is_done(self, name: str) -> bool:
        """Whether the stage was done, in this session or another."""
        return any(stage["name"] == name for stage in self.stages)

    def stage(self, name: str, title: str, work: Callable[[Path], str]) -> Path:
        """Do `work(folder of the stage)` unless it was done; what it returns is one line on what came out."""
        folder = self.folder / name
        done = {stage["name"]: stage for stage in self.stages}
        if name in done:
            console.print(f"[dim]{title}: done before ({done[name]['detail']})[/dim]")
            return folder
        console.rule(f"[bold]{title}", align="left")
        began = time.monotonic()
        folder.mkdir(exist_ok=True)
        detail = work(folder)
        if not any(folder.iterdir()):
            folder.rmdir()
        row = {"name": name, "title": title, "seconds": round(time.monotonic() - began, 1), "detail": detail}
        write_json(self.folder / "stages.json", [*self.stages, row])
        console.print(f"{detail}  [dim]({row['seconds']} s)[/dim]")
        return folder

    @property
    def id(self) -> str:
        """A name for this very run, wherever its folder is moved to."""
        return str(read_json(self.folder / "run.json")["id"])

    @property
    def minutes(self) -> float:
        """Of all stages that are done, whichever session did them."""
        return float(sum(stage["seconds"] for stage in self.stages)) / 60

    def finish(self) -> None:
        path = self.folder / "run.json"
        write_json(path, json.loads(path.read_text()) | {"finished": now()})


def check_folder(folder: Path, recipe: str, config: Any) -> dict[str, Any]:
    """The configuration as run.json holds it; refuses a folder that holds anything but this very run, or nothing."""
    wanted: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    for place in ("out", "shard", "cluster", "workers"):  # where it lies and runs is not what it is
        wanted.pop(place, None)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; name another folder with --out")
    if not (folder / "run.json").exists():
        if folder.exists() and any(f.name not in LEFTOVERS for f in folder.iterdir()):
            raise RunError(f"{folder} is not empty and holds no run; name another folder with --out")
        return wanted
    try:
        before = read_json(folder / "run.json")
    except json.JSONDecodeError:
        raise RunError(f"{folder}/run.json is damaged; name another folder with --out, or delete this one") from None
    if before["recipe"] != recipe:
        raise RunError(f"{folder} holds a run of {before['recipe']}; name another folder with --out")
    if differs := _differences(before["config"], wanted):
        raise RunError(
            f"{folder} holds a run with other settings ({'; '.join(differs)}); name another folder with --out, or"
            " delete this one"
        )
    return wanted


def _differences(old: dict[str, Any], new: dict[str, Any], within: str = "") -> list[str]:
    found = []
    for name in {**old, **new}:
        was, now_is = old.get(name), new.get(name)
        if isinstance(was, dict) and isinstance(now_is, dict):
            found += _differences(was, now_is, f"{within}{name}.")
        elif was != now_is:
            found.append(f"{within}{name} was {was!r}, now {now_is!r}")
    return found


def lock(path: Path) -> IO[str]:
    """Held until this process ends: two at once would overwrite each other's work."""
    file = path.open("w")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError(
            f"{path.parent} is being worked on by another process; wait for it, or name another folder"
        ) from None
    return file


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str))
    partial.replace(path)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    partial.replace(path)


def peak_rss_mb() -> float:
    """The most memory this process has held, as the operating system counts it."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1024 if sys.platform != "darwin" else peak / 1024**2, 1)


def command_line() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {p: metadata.version(p) for p in ("tercih", "torch", "transformers")}


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "memory_gb": round(memory, 1)}
