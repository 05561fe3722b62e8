"""The command: its rows, its exit code, and that nothing without a proof ever passes."""

import json
from pathlib import Path

import pytest
import torch

from tercih import progress
from tercih.algorithms import METHODS
from tercih.conformance import PROOFS, verify
from tercih.conformance.checks import Check, Findings, above_zero, at_least, at_most, every
from tercih.conformance.lab import Lab
from tercih.method import Method
from tercih.train import TrainingError

GOOD, BAD = at_most("error", 0.001, 0.01), at_most("error", 0.5, 0.01)


def findings(identity: Check = GOOD) -> Findings:
    return Findings(identity=identity, ordering=GOOD, negative_control=GOOD, ablation=GOOD)


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in PROOFS:
        monkeypatch.setitem(PROOFS, name, lambda lab: findings())
    return monkeypatch


def test_checks() -> None:
    assert GOOD.passed
    assert not BAD.passed
    assert not at_most("error", float("nan"), 1).passed
    assert not at_least("error", float("nan"), 1).passed
    assert at_most("error", float("nan"), 1).as_dict()["value"] is None
    assert above_zero("gain", [1.0, 2.0, 3.0]).passed
    assert not above_zero("gain", [-0.1, 2.0, 3.0]).passed
    assert not above_zero("gain", [0.0, 0.0, 0.0]).passed
    assert not above_zero("gain", [float("nan"), 2.0, 3.0]).passed


def test_the_check_that_failed_speaks_for_all() -> None:
    both = every(GOOD, BAD)
    assert (both.passed, both.value) == (False, 0.5)
    assert both.detail == "error 0.001 ≤ 0.01; error 0.5 ≤ 0.01"
    assert every(GOOD, GOOD).passed


def test_every_method_has_a_row(proofs: pytest.MonkeyPatch, tmp_path: Path) -> None:
    proofs.setitem(METHODS, "unproven", Method)
    file = tmp_path / "new" / "rows.json"
    assert verify.verify(json_file=file, seed=7) == 0
    written = json.loads(file.read_text())
    rows = {row["method"]: row for row in written["rows"]}
    assert written["seed"] == 7
    assert set(rows) == set(METHODS) | set(PROOFS)
    assert rows["unproven"]["status"] == "blocked"
    assert rows["unproven"]["reason"] == "no proof yet"
    assert rows["unproven"]["identity"] is None
    row = rows["dpo"]
    assert row["status"] == "passed"
    assert row["identity"] == {"passed": True, "metric": "error", "value": 0.001, "bound": "≤ 0.01", "detail": ""}
    assert row["data_hash"] == Lab(seed=7).data_hash != Lab(seed=8).data_hash
    assert row["paper_number_reproduced"] is False
    assert {"ordering", "negative_control", "ablation", "minutes"} < set(row)


def test_rows_of_methods_that_are_not_named_stay(proofs: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    verify.verify(["sft", "dpo"], json_file=file)
    proofs.setitem(PROOFS, "dpo", lambda lab: findings(BAD))
    verify.verify(["dpo", "kto"], json_file=file)
    rows = {row["method"]: row["status"] for row in json.loads(file.read_text())["rows"]}
    assert rows == {"sft": "passed", "dpo": "failed", "kto": "passed"}
    with pytest.raises(ValueError, match=r"rows\.json holds rows with seed = 0, not 1: name another file"):
        verify.verify(["dpo"], json_file=file, seed=1)
    with pytest.raises(ValueError, match="full = False, not True"):
        verify.verify(["dpo"], json_file=file, full=True)


def test_one_failure_fails_the_command(proofs: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    proofs.setitem(PROOFS, "dpo", lambda lab: findings(BAD))
    assert verify.verify(["sft"]) == 0
    assert verify.verify(["sft", "dpo"]) == 1
    assert "failed" in capsys.readouterr().out


def test_training_that_explodes_is_a_failure(proofs: pytest.MonkeyPatch) -> None:
    def explode(lab: Lab) -> Findings:
        raise TrainingError("step 3: the loss is nan")

    proofs.setitem(PROOFS, "ppo", explode)
    row = verify.prove("ppo", Lab())
    assert (row.status, row.reason) == ("failed", "step 3: the loss is nan")


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ValueError, match="no method 'pppo'; verify knows sft, "):
        verify.verify(["pppo"])


def test_threads_and_progress_are_put_back() -> None:
    before = (torch.get_num_threads(), progress.console.quiet)
    with verify.one_quiet_thread():
        assert (torch.get_num_threads(), progress.console.quiet) == (1, True)
    assert (torch.get_num_threads(), progress.console.quiet) == before


@pytest.mark.learns
def test_proofs_are_repeatable() -> None:
    with verify.one_quiet_thread():
        for name in ("bradley_terry", "best_of_n"):
            assert PROOFS[name](Lab(seed=1)) == PROOFS[name](Lab(seed=1))


@pytest.mark.learns
@pytest.mark.parametrize("name", PROOFS)
def test_the_quick_proofs_hold(name: str) -> None:
    with verify.one_quiet_thread():
        row = verify.prove(name, Lab())
    assert row.status == "passed", row.as_dict()


@pytest.mark.full
@pytest.mark.parametrize("name", PROOFS)
def test_the_full_proofs_hold(name: str) -> None:
    with verify.one_quiet_thread():
        row = verify.prove(name, Lab(full=True))
    assert row.status == "passed", row.as_dict()
