"""Every loss that TRL has too, on the same frozen tensors: the loss and its gradient, ours beside theirs.

    python benchmarks/parity.py [--peers FOLDER] [--write docs/parity.md]

Three small tables of logits (policy, the policy that sampled, reference), answers of unlike lengths and rewards are
drawn once and written to a file, which both sides read: ours in this Python, TRL's in its own (`peers.sh`). Fails where
they differ by more than is written down, where a difference that is written down is not there, and where ours still
differs once it has what the reason says.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cases import CASES, Case
from harness.frozen import Found, Frozen, frozen, load, read
from harness.turns import HERE

AGREE = 1e-5
SEED = 0
PEERS = {"trl116": "TRL 1.16", "trl112": "TRL 1.12"}
STARTS_AND_ENDS = "<!-- {} of the table that benchmarks/parity.py writes -->"


@dataclass(frozen=True)
class Gap:
    """By how much losses differ, and gradients at most; no loss where its value says nothing."""

    loss: float | None
    slope: float

    @property
    def closed(self) -> bool:
        return self.slope <= AGREE and (self.loss or 0.0) <= AGREE


@dataclass(frozen=True)
class Row:
    name: str
    case: Case
    loss: float
    gap: Gap
    explained: Gap | None  # what is left of it where ours has what the reason says

    @property
    def as_said(self) -> bool:
        return self.explained.closed and not self.gap.closed if self.explained else self.gap.closed

    def __str__(self) -> str:
        value, apart = ("—", "—") if self.gap.loss is None else (f"{self.loss:.6f}", f"{self.gap.loss:.1e}")
        verdict = "agrees"
        if self.explained:
            verdict = f"differs: {self.case.differs} (with that in ours: {self.explained.slope:.1e})"
        return f"| {self.name} | {self.case.theirs} | {value} | {apart} | {self.gap.slope:.1e} | {verdict} |"


def all_of_ours(data: Frozen) -> Found:
    return {name: case.ours(data) for name, case in CASES.items()}


def all_as_theirs(data: Frozen) -> Found:
    """Of those that differ."""
    return {name: case.as_theirs(data) for name, case in CASES.items() if case.as_theirs}


def compared(found: Found, as_theirs: Found, theirs: Found) -> list[Row]:
    """KeyError where a side lacks a case."""

    def gap(name: str, case: Case, side: Found) -> Gap:
        (loss, gradient), (their_loss, their_gradient) = side[name], theirs[name]
        apart = abs(loss - their_loss) if case.value else None
        return Gap(apart, float((gradient - their_gradient).abs().max()))

    return [
        Row(name, case, found[name][0], gap(name, case, found), gap(name, case, as_theirs) if case.differs else None)
        for name, case in CASES.items()
    ]


def ask(peers: Path, frozen_at: Path, folder: Path) -> Found:
    """What the peers find. SystemExit with their own words where they fail."""
    theirs: Found = {}
    for name in PEERS:
        python = peers / name / "bin" / "python"
        if not python.exists():
            raise SystemExit(f"{python} is not there: make it with benchmarks/peers.sh {peers}")
        script, answers = HERE / "sides" / f"parity{name.removeprefix('trl')}.py", folder / f"{name}.npz"
        done = subprocess.run(
            [python, script, frozen_at, answers], text=True, capture_output=True, check=False,
            env={"PYTHONPATH": str(HERE), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{PEERS[name]} failed:\n{done.stderr[-3000:]}")
        theirs |= read(answers)
    return theirs


def table(rows: Sequence[Row]) -> str:
    head = "| ours | TRL's | loss | difference | largest difference of the gradient | |\n|---|---|---|---|---|---|"
    return "\n".join([head, *map(str, rows)])


def put(text: str, page: Path) -> None:
    """Between the two marks of the page."""
    begins, ends = STARTS_AND_ENDS.format("start"), STARTS_AND_ENDS.format("end")
    before, rest = page.read_text().split(begins)
    page.write_text(f"{before}{begins}\n{text}\n{ends}{rest.split(ends)[1]}")


def main(words: Sequence[str]) -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--peers", type=Path, default=HERE.parent / ".peers", help="the folder that peers.sh made")
    made.add_argument("--write", type=Path, help="the page whose table is written anew")
    made.add_argument("--seed", type=int, default=SEED)
    options = made.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="tercih-parity-") as name:
        frozen_at = Path(name) / "frozen.npz"
        frozen(options.seed).save(frozen_at)
        data, theirs = load(frozen_at), ask(options.peers, frozen_at, Path(name))
    rows = compared(all_of_ours(data), all_as_theirs(data), theirs)
    print(table(rows))
    if options.write:
        put(table(rows), options.write)
    wrong = [row.name for row in rows if not row.as_said]
    if wrong:
        print(f"not as written down: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
