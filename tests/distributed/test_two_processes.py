"""Two processes equal one: losses, gradients and weights, with whole copies and with sharded weights."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tercih.distributed.team import ALONE
from tercih.metrics import read_metrics

from . import jobs
from .team import TESTS, environment, free_port

TOLERANCE = 1e-9  # float64; a sum in another order


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where a team of two has run every job, and has gone on with a run that one process began."""
    folder = tmp_path_factory.mktemp("two")
    for kind in ("whole", "sharded"):
        jobs.run(jobs.JOBS["tied_separate"], ALONE, folder / f"{kind}-ends", stop=1)
    port = free_port()
    program = [sys.executable, "-m", "distributed.jobs", str(folder)]
    members = [subprocess.Popen(program, env=environment(rank, 2, port), cwd=TESTS) for rank in range(2)]
    assert [member.wait(300) for member in members] == [0, 0]
    return folder


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    return {}


def alone(one: dict[str, Any], name: str) -> dict[str, Any]:
    key = name.removesuffix("-sharded")
    if key not in one:
        one[key] = jobs.run(jobs.JOBS[name], ALONE)
    return dict(one[key])


def difference(a: dict[str, Any], b: dict[str, Any]) -> float:
    """The largest between two runs, over losses, gradients of all steps, and weights."""
    assert a["weights"].keys() == b["weights"].keys()
    found = [abs(a["metrics"][k] - b["metrics"][k]) for k in ("loss", "gradient_norm")]
    found += [float((a["weights"][k] - b["weights"][k]).abs().max()) for k in a["weights"]]
    for mine, theirs in zip(a["gradients"], b["gradients"], strict=True):
        found += [float((x - y).abs().max()) for x, y in zip(mine, theirs, strict=True)]
    return max(found)


@pytest.mark.learns
@pytest.mark.parametrize("name", [name for name, job in jobs.JOBS.items() if job.equal])
def test_two_processes_equal_one(name: str, two: Path, one: dict[str, Any]) -> None:
    expected = alone(one, name)
    assert len(expected["gradients"]) >= jobs.STEPS
    assert max(float(g.abs().max()) for g in expected["gradients"][-1]) > 1e-3, "no gradient to compare"
    for rank in range(2):
        found = torch.load(two / f"{name}-{rank}.pt")
        assert difference(found, expected) < jobs.JOBS[name].tolerance
        allowed = max(1e-6, jobs.JOBS[name].tolerance)  # some are counted in float32
        assert found["metrics"] == pytest.approx(expected["metrics"], abs=allowed)


@pytest.mark.learns
def test_without_the_denominators_of_the_whole_they_differ(two: Path, one: dict[str, Any]) -> None:
    assert difference(torch.load(two / "own_means-0.pt"), alone(one, "own_means")) > 1e-3


@pytest.mark.learns
def test_a_process_holds_its_part_of_the_weights_and_no_more(two: Path) -> None:
    shares = [torch.load(two / f"share-{rank}.pt") for rank in range(2)]
    assert sum(shares) == pytest.approx(1)
    assert max(shares) < 0.6


@pytest.mark.learns
@pytest.mark.parametrize("kind", ["whole", "sharded"])
def test_a_checkpoint_of_two_goes_on_in_one(kind: str, two: Path, one: dict[str, Any]) -> None:
    expected, folder = alone(one, "tied_separate"), two / f"{kind}-begins"
    assert len(read_metrics(folder)) == 1, "one step was done, and written once"
    went_on = jobs.run(jobs.JOBS["tied_separate"], ALONE, folder)
    assert len(went_on["gradients"]) == len(expected["gradients"]) - 1
    assert difference(went_on, expected | {"gradients": expected["gradients"][1:]}) < TOLERANCE
    assert [row["step"] for row in read_metrics(folder)] == [0, 1, 2]


@pytest.mark.learns
@pytest.mark.parametrize("kind", ["whole", "sharded"])
def test_a_checkpoint_of_one_goes_on_in_two(kind: str, two: Path, one: dict[str, Any]) -> None:
    expected, went_on = alone(one, "tied_separate"), torch.load(two / f"{kind}-ends-0.pt")
    assert len(went_on["gradients"]) == len(expected["gradients"]) - 1
    assert difference(went_on, expected | {"gradients": expected["gradients"][1:]}) < TOLERANCE
    assert [row["step"] for row in read_metrics(two / f"{kind}-ends")] == [0, 1, 2]
