"""Demonstrations and preferences as a recipe, a small version."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tercih.agents.preferences import Asking
from tercih.environments.control import ControlError
from tercih.recipes import control_run
from tercih.recipes.ibarz import TINY, Ibarz, main


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ibarz") / "run"
    main(Ibarz(tiny=True, out=out))
    return out


@pytest.mark.recipe
def test_it_writes_what_the_report_shows(whole: Path) -> None:
    control, summary = read(whole / "evaluation" / "control.json"), read(whole / "summary.json")
    assert [row["steps"] for row in control["milestones"]] == [0, 120, 240, 360, 480]
    assert all(len(row["true"]) == len(row["predicted"]) == 8 for row in control["milestones"])
    assert control["milestones"][0]["predicted"] != control["milestones"][-1]["predicted"]
    assert sum(row["asked"] for row in control["feedback"]["asked"]) == 12
    assert (summary["labels"], summary["shown"], summary["steps"]) == (12, 1, 480)
    assert (whole / "demonstrations.npz").exists()
    page = (whole / "report.html").read_text()
    assert "data:video/mp4;base64," in page
    assert "What it earns, and what the learned reward says of it" in page


@pytest.mark.recipe
def test_after_a_stop_the_trained_agent_is_evaluated(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acted: list[dict[str, torch.Tensor]] = []
    compare = control_run.compare

    def watched(folder: Path, task: Any, act: Any, seed: int) -> str:
        acted.append({name: x.clone() for name, x in act.__self__.network.state_dict().items()})
        return compare(folder, task, act, seed)

    monkeypatch.setattr(control_run, "compare", watched)
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    (out / "stages.json").write_text(json.dumps(read(out / "stages.json")[:1]))
    shutil.rmtree(out / "evaluation")
    main(Ibarz(tiny=True, out=out))
    for name in ("control.json", "returns.json"):
        assert read(out / "evaluation" / name) == read(whole / "evaluation" / name)
    last = torch.load(out / "policy" / "milestones" / "step-000000004.pt", weights_only=True)
    assert all(torch.equal(x, acted[0][name]) for name, x in last.items())


@pytest.mark.recipe
def test_a_run_that_was_stopped_goes_on(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped as a third of its questions was about to be asked."""
    asked: list[int] = []
    ask = Asking.ask

    def stopped(self: Asking, step: int, *rest: Any) -> None:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(step)
        ask(self, step, *rest)

    monkeypatch.setattr(Asking, "ask", stopped)
    with pytest.raises(KeyboardInterrupt):
        main(Ibarz(tiny=True, out=tmp_path / "run"))
    monkeypatch.undo()
    main(Ibarz(tiny=True, out=tmp_path / "run"))
    for name in ("control.json", "returns.json"):
        assert read(tmp_path / "run" / "evaluation" / name) == read(whole / "evaluation" / name)


@pytest.mark.recipe
def test_demonstrations_are_read_from_a_file_and_suffice_alone(whole: Path, tmp_path: Path) -> None:
    main(Ibarz(tiny=True, labels=0, demonstrations=whole / "demonstrations.npz", out=tmp_path / "run"))
    assert "nobody was asked" in (tmp_path / "run" / "report.html").read_text()
    assert read(tmp_path / "run" / "summary.json")["shown"] == 1


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (Ibarz(labels=0, shown=0), ValueError, "nothing to learn from"),
        (Ibarz(shown=-1), ValueError, "--labels and --shown must be >= 0"),
        (Ibarz(environment="CartPole-v1"), ValueError, "the scripted guide knows Tercih/Maze-v0 alone"),
        (Ibarz(environment="CartPole-v1", shown=0), ControlError, "hide the ends|can end before their limit"),
        (Ibarz(environment="Pendulum-v1", shown=0), ValueError, "Discrete actions"),
        (Ibarz(demonstrations=Path("nowhere.npz")), ValueError, "there is no file nowhere.npz"),
        (Ibarz(demonstrations=Path("x.npz"), shown=2), ValueError, "leave it out with --demonstrations"),
        (Ibarz(tiny=True, loop=TINY), ValueError, "--tiny has settings of its own"),
    ],
)
def test_what_cannot_be_learned_is_said_before_anything_is_done(
    config: Ibarz, error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        main(config)
    assert not list(tmp_path.iterdir())
