"""From a piece of work to a row of the table: both sides are opened, agree on the first step, and take turns."""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tercih
from harness.ratios import Ratio, paired_ratio
from harness.turns import HERE, Side, alternate

MiB = 2**20
SIDES = HERE / "sides"
AGREE = 2e-3  # relative; in float32 a gradient of another order of summation is off by far less


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """`environment` is a folder in the place that `peers.sh` made; empty for our own Python."""

    name: str
    script: str
    environment: str = ""


TRL = Peer(name="trl 1.16.0", script="trl116.py", environment="trl116")
TRL_PPO = Peer(name="trl 1.12.0", script="trl112.py", environment="trl112")
SB3 = Peer(name="stable-baselines3 2.9.2", script="sb3.py", environment="sb3")
GENERATE = Peer(name="transformers.generate", script="generate.py")
OURS = Peer(name="tercih", script="ours.py")
OUR_GRPO = Peer(name="our GRPO", script="ours.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One piece of work for both sides. `case` is what they read; `peer_case` is what the peer is told besides.

    With `agree`, the loss and gradient norm of the first step must be equal. `about` says what is particular to the
    data.
    """

    benchmark: str
    name: str
    model: str
    case: Mapping[str, Any]
    peer: Peer
    peer_case: Mapping[str, Any] = field(default_factory=dict)
    agree: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)


class Disagreement(SystemExit):
    """The two sides do not do the same work."""


Works = Callable[[argparse.Namespace], Iterator[Work]]


def parser(about: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, help="file for the results")
    made.add_argument("--model", nargs="+", default=["llama-15m"], help="model folders, or shapes of harness/models.py")
    made.add_argument("--end", help="the token that ends a natural response of a model folder (default: its EOS)")
    made.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads of either side")
    made.add_argument("--rounds", type=int, default=10, help="repetitions of either side, in turn")
    made.add_argument("--peers", type=Path, default=HERE.parent / ".peers", help="the folder that peers.sh made")
    return made


def run(works: Works, options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for work in works(options):
        row = measure(work, options)
        rows.append(row)
        print(line(row), flush=True)
    return rows


def main(about: str | None, works: Works, extend: Callable[[argparse.ArgumentParser], None] | None = None) -> None:
    made = parser(about)
    if extend:
        extend(made)
    options = made.parse_args()
    save(options, run(works, options))


def save(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    if options.json is None:
        return
    about = {
        "threads": options.threads,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "precision": "float32",
    }
    options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


def measure(work: Work, options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tercih-benchmark-") as place:
        case = {**work.case, "threads": options.threads}
        with (
            open_side(OURS, Path(place) / "ours.json", case, options) as ours,
            open_side(work.peer, Path(place) / "peer.json", {**case, **work.peer_case}, options) as peer,
        ):
            if work.agree:
                agree(work, ours.opened, peer.opened)
            pairs = alternate(ours, peer, rounds=options.rounds)
            return _row(work, ours, peer, pairs)


def open_side(side: Peer, path: Path, case: Mapping[str, Any], options: argparse.Namespace) -> Side:
    """A side at work on its first repetition; `options` say how many threads and where peers live."""
    python, imports = sys.executable, [str(Path(tercih.__file__).parents[1])]
    if side.environment:
        python, imports = str(options.peers / side.environment / "bin" / "python"), []
        if not Path(python).exists():
            raise SystemExit(f"there is no {python}: make it with benchmarks/peers.sh {options.peers}")
    path.write_text(json.dumps(case))
    return Side(python, SIDES / side.script, path, threads=options.threads, path=imports)


def agree(work: Work, ours: Mapping[str, float], theirs: Mapping[str, float]) -> None:
    """Raises Disagreement where loss or gradient norm of the first step differ."""
    for what in ("loss", "gradient_norm"):
        a, b = ours[what], theirs[what]
        if not abs(a - b) <= AGREE * max(abs(a), abs(b), 1e-6):
            raise Disagreement(
                f"{work.benchmark}, {work.name}: the {what} of the first step is {a:.7g} here and {b:.7g} in"
                f" {work.peer.name}: they define it differently, so their speeds are not comparable"
            )


def _row(work: Work, ours: Side, peer: Side, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    time = paired_ratio([b["seconds"] for _, b in pairs], [a["seconds"] for a, _ in pairs])
    cpu = paired_ratio([b["cpu"] for _, b in pairs], [a["cpu"] for a, _ in pairs])
    above = [(max(a["peak"] - ours.opened["memory"], 1), max(b["peak"] - peer.opened["memory"], 1)) for a, b in pairs]
    memory = paired_ratio([a for a, _ in above], [b for _, b in above])
    row: dict[str, Any] = {
        "benchmark": work.benchmark, "case": work.name, "model": work.model, "peer": work.peer.name,
        "ours_s": statistics.median(a["seconds"] for a, _ in pairs),
        "peer_s": statistics.median(b["seconds"] for _, b in pairs),
        "times_faster": _as_dict(time), "times_less_cpu": _as_dict(cpu), "rounds": len(pairs),
        "ours_MiB": max(a for a, _ in above) / MiB, "peer_MiB": max(b for _, b in above) / MiB,
        "memory_ratio": _as_dict(memory),
        "ours_held_MiB": ours.opened["memory"] / MiB, "peer_held_MiB": peer.opened["memory"] / MiB,
        "about": dict(work.about),
    }  # fmt: skip
    for what in ("loss", "gradient_norm"):
        if work.agree:
            row[what] = {"ours": ours.opened[what], "peer": peer.opened[what]}
    if "steps" in work.case:
        row |= {f"{side}_steps_a_second": work.case["steps"] / row[f"{side}_s"] for side in ("ours", "peer")}
    lengths = [(a["response_length"], b.get("response_length")) for a, b in pairs if "response_length" in a]
    if lengths:
        row["ours_length"] = statistics.mean(a for a, _ in lengths)
        if known := [b for _, b in lengths if b is not None]:
            row["peer_length"] = statistics.mean(known)
    return row


def _as_dict(ratio: Ratio) -> dict[str, float]:
    return {"median": ratio.median, "low": ratio.low, "high": ratio.high}


def line(row: Mapping[str, Any]) -> str:
    def show(name: str) -> str:
        ratio = row[name]
        return f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"

    notes = [f"{row['rounds']} rounds", *(f"{name} {value}" for name, value in row["about"].items())]
    if "ours_steps_a_second" in row:
        notes.append(f"{row['ours_steps_a_second']:.0f} and {row['peer_steps_a_second']:.0f} steps a second")
    if "ours_length" in row:
        theirs = f" and {row['peer_length']:.0f}" if "peer_length" in row else ""
        notes.append(f"mean length {row['ours_length']:.0f}{theirs}")
    return (
        f"{row['benchmark']}, {row['case']}, {row['model']}: {show('times_faster')} times as fast as {row['peer']}"
        f" ({show('times_less_cpu')} by CPU time), {show('memory_ratio')} of its memory\n"
        f"    {row['ours_s']:.3f} s against {row['peer_s']:.3f} s; {row['ours_MiB']:.0f} MiB against"
        f" {row['peer_MiB']:.0f} MiB above weights and optimiser; {', '.join(notes)}"
    )
