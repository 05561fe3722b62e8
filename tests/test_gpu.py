"""The correctness part of `benchmarks/gpu.sh`: on a GPU, where there is one, and on a device that only pretends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tercih.algorithms import METHODS


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_computes_what_float64_on_the_processor_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "benchmarks"), *sys.path])
    from on_gpu import checks

    rows = list(checks.rows(torch.device("cuda")))
    assert len(rows) > 40
    assert [row for row in rows if not row.passed] == []


def test_nothing_is_left_behind_on_the_processor():
    """On a device of Python's own: a tensor that methods, models or the engine make on the processor would meet one
    that is elsewhere, which is an error there as on a GPU."""
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, here.with_name("elsewhere.py")], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(here.parents[1] / "src"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(rows) == 18 + len(METHODS)
    assert all(row["passed"] for row in rows), rows
