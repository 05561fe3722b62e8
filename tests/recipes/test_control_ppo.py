"""A whole control run of seconds: what it writes, and that a stop before the evaluation changes no number."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tercih.commands.folders import report
from tercih.recipes.control_ppo import ControlPPO, main

pytestmark = pytest.mark.recipe


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("control") / "run"
    main(ControlPPO(environment="Pendulum-v1", tiny=True, out=out))
    return out


def test_it_writes_what_the_report_shows(whole: Path) -> None:
    control = read(whole / "evaluation" / "control.json")
    assert [row["steps"] for row in control["milestones"]] == [0, 512, 1024, 1536, 2048]
    assert all(len(row["true"]) == len(row["predicted"]) == 8 for row in control["milestones"])
    assert control["correlation"]["clips"]["n"] == len(control["clips"]) > 100
    asked = {row["sampler"]: row["asked"] for row in control["feedback"]["asked"]}
    assert sum(asked.values()) == 24 == control["feedback"]["asked_by"][-1][1]
    assert control["feedback"]["due_by"][-1] == [1.0, 24]
    assert control["drawn"] == "own"
    page = (whole / "report.html").read_text()
    assert page.count("<img ") == 5 * 6 + 4 * 2 * 3
    assert "data:video/mp4;base64," in page


def test_after_a_stop_the_trained_agent_is_evaluated(whole: Path, tmp_path: Path) -> None:
    """And not the untrained one that the new session begins with; `tercih report` gives the same page again."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    stages = read(out / "stages.json")
    (out / "stages.json").write_text(json.dumps(stages[:1]))
    shutil.rmtree(out / "evaluation")
    main(ControlPPO(environment="Pendulum-v1", tiny=True, out=out))
    for name in ("control.json", "returns.json"):
        assert read(out / "evaluation" / name) == read(whole / "evaluation" / name)
    (out / "report.html").unlink()
    report([str(out)])
    assert "Reward of clips" in (out / "report.html").read_text()
