"""PEBBLE as a recipe, a small version: its report shows what that of `control_ppo` shows."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tercih.commands.folders import report
from tercih.recipes.pebble import Pebble, main


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pebble") / "run"
    main(Pebble(tiny=True, out=out))
    return out


@pytest.mark.recipe
def test_it_writes_what_the_report_shows(whole: Path) -> None:
    control = read(whole / "evaluation" / "control.json")
    rows = control["milestones"]
    assert [row["steps"] for row in rows] == [0, 200, 400, 600, 800, 1000, 1200]
    assert all(len(row["true"]) == len(row["predicted"]) == 8 for row in rows)
    assert rows[0]["true"] != rows[-1]["true"]  # not the last agent at every milestone
    assert control["correlation"]["clips"]["n"] == len(control["clips"]) > 100
    assert sum(row["asked"] for row in control["feedback"]["asked"]) == 12
    assert [count for _, count in control["feedback"]["due_by"]] == sorted(
        count for _, count in control["feedback"]["due_by"]
    )
    assert control["feedback"]["due_by"][0] == [0.0, 0]  # it looks around first
    assert control["feedback"]["due_by"][-1] == [1.0, 12]
    page = (whole / "report.html").read_text()
    assert page.count("<img ") == 5 * 6 + 4 * 2 * 3
    assert "data:video/mp4;base64," in page
    for part in ("Reward of clips", "Answers foreseen", "What it earns, and what the learned reward says of it"):
        assert part in page, part


@pytest.mark.recipe
def test_after_a_stop_the_trained_agent_is_evaluated(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    (out / "stages.json").write_text(json.dumps(read(out / "stages.json")[:1]))
    shutil.rmtree(out / "evaluation")
    main(Pebble(tiny=True, out=out))
    for name in ("control.json", "returns.json"):
        assert read(out / "evaluation" / name) == read(whole / "evaluation" / name)
    (out / "report.html").unlink()
    report([str(out)])
    assert "Reward of clips" in (out / "report.html").read_text()


@pytest.mark.recipe
def test_where_nobody_was_asked_the_report_says_so(tmp_path: Path) -> None:
    main(Pebble(tiny=True, labels=0, out=tmp_path / "run"))
    control = read(tmp_path / "run" / "evaluation" / "control.json")
    assert len(control["milestones"]) == 7
    assert control["clips"] == []
    assert "nobody was asked" in (tmp_path / "run" / "report.html").read_text()
