"""What was to be reached on a GPU, and what was."""

from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]
NOT_MEASURED = "not measured"
HALF_B = ("qwen-0.5b", "llama-0.5b")


def targets(found: Mapping[str, Rows], shapes: Sequence[str], *, absent: str, peer: bool) -> list[dict[str, Any]]:
    """One entry for each: value, target, and whether it was reached; `absent` says why nothing counts here (or is
    empty), `peer` whether TRL was there."""
    made = []
    for shape in shapes:
        for case in ("equal lengths", "natural lengths"):
            row = _row(found["rollout"], model=shape, case=case)
            name = f"rollout, {case}, batch 64, {shape}: times as fast as transformers.generate"
            made.append(_judge(name, None if row is None else row["times_faster"]["median"], ">=", 4.0, absent))
        row = _row(found["rollout"], model=shape, case="equal lengths")
        name = f"rollout, batch 64, {shape}: share of the memory bandwidth"
        made.append(_judge(name, None if row is None else row["share_of_bandwidth"], ">=", 0.4, absent))
        if shape in HALF_B:
            row = _row(found["learner"], model=shape, work="sft")
            name = f"learner, {shape}: share of the matrix peak"
            made.append(_judge(name, None if row is None else row["share_of_matrix_peak"], ">=", 0.4, absent))
        row = _row(found["step"], model=shape)
        without = "" if peer else "TRL is not installed: make its environment with benchmarks/peers.sh"
        value = None if row is None else row.get("peak_ratio")
        made.append(_judge(f"GRPO step, {shape}: peak memory, share of TRL's", value, "<=", 0.6, absent or without))
    return made


def _row(rows: Rows, **wanted: str) -> Mapping[str, Any] | None:
    return next((row for row in rows if all(row[name] == value for name, value in wanted.items())), None)


def _judge(name: str, value: float | None, how: str, target: float, absent: str) -> dict[str, Any]:
    """`absent` wins over a value: what was measured elsewhere than on a GPU is not what was asked for."""
    if absent or value is None:
        reason = absent or "this part failed or was left out"
        return {
            "name": name,
            "target": f"{how} {target}",
            "value": NOT_MEASURED,
            "reached": NOT_MEASURED,
            "why": reason,
        }
    reached = value >= target if how == ">=" else value <= target
    return {"name": name, "target": f"{how} {target}", "value": value, "reached": reached}
