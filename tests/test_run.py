import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tercih.run import Run, RunError, peak_rss_mb, read_json, write_json, write_jsonl


@dataclass(frozen=True)
class Inner:
    lr: float = 1e-3
    steps: int = 5


@dataclass(frozen=True)
class Config:
    out: Path = Path("somewhere")
    seed: int = 0
    inner: Inner = field(default_factory=Inner)
    words: tuple[str, ...] = ("a", "b")


def test_a_new_folder_says_what_was_asked_for(tmp_path: Path) -> None:
    Run(tmp_path / "deep" / "run", "tiny", Config(), seed=3, control="none")
    about = read_json(tmp_path / "deep" / "run" / "run.json")
    assert about["recipe"] == "tiny"
    assert about["config"]["inner"] == {"lr": 1e-3, "steps": 5}
    assert (about["seed"], about["control"]) == (3, "none")
    assert {"python", "tercih", "torch", "transformers"} == set(about["versions"])
    assert {"command", "started", "machine"} <= set(about)
    assert not list((tmp_path / "deep" / "run").glob("*.partial"))


def test_the_same_command_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Run(tmp_path, "tiny", Config())
    before = (tmp_path / "run.json").read_bytes()
    Run(tmp_path, "tiny", Config())
    assert (tmp_path / "run.json").read_bytes() == before
    assert "going on where it was" in capsys.readouterr().out


def test_where_a_run_lies_is_no_setting(tmp_path: Path) -> None:
    Run(tmp_path, "tiny", Config(out=Path("a")))
    Run(tmp_path, "tiny", Config(out=Path("b")))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Config(seed=1), "seed was 0, now 1"),
        (Config(words=("a",)), r"words was \['a', 'b'\], now \['a'\]"),
        (Config(inner=Inner(lr=2.0)), "inner.lr was 0.001, now 2.0"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, other: Config, said: str) -> None:
    Run(tmp_path, "tiny", Config())
    with pytest.raises(RunError, match=f"holds a run with other settings .*{said}.*--out") as caught:
        Run(tmp_path, "tiny", other)
    assert "steps" not in str(caught.value), "what is equal is not listed"


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    Run(tmp_path, "tiny", Config())
    with pytest.raises(RunError, match=r"holds a run of tiny; name another folder with --out"):
        Run(tmp_path, "other", Config())


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"is not empty and holds no run; name another folder with --out"):
        Run(tmp_path, "tiny", Config())
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_that_was_killed_while_it_began_begins(tmp_path: Path) -> None:
    (tmp_path / "run.json.partial").write_text('{"recipe": "ti')
    Run(tmp_path, "tiny", Config())
    assert read_json(tmp_path / "run.json")["recipe"] == "tiny"


def test_stages_are_done_once_and_in_their_own_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []

    def work(folder: Path) -> str:
        calls.append(folder.name)
        (folder / "result").write_text("x")
        return f"did {folder.name}"

    for _ in range(2):
        run = Run(tmp_path, "tiny", Config())
        assert run.stage("first", "The first", work) == tmp_path / "first"
        run.stage("second", "The second", work)
    assert calls == ["first", "second"]
    assert [(s["name"], s["title"], s["detail"]) for s in run.stages] == [
        ("first", "The first", "did first"),
        ("second", "The second", "did second"),
    ]
    assert "The first: done before (did first)" in capsys.readouterr().out
    assert run.minutes == pytest.approx(sum(s["seconds"] for s in run.stages) / 60)


def test_a_stage_that_failed_is_done_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> str:
        (folder / "half").write_text("x")
        raise RuntimeError("no")

    run = Run(tmp_path, "tiny", Config())
    with pytest.raises(RuntimeError, match=r"no"):
        run.stage("first", "The first", fail)
    assert run.stages == []
    seen: list[bool] = []
    Run(tmp_path, "tiny", Config()).stage("first", "The first", lambda f: str(seen.append((f / "half").exists())))
    assert seen == [True], "with what it left, from which it may go on"


def test_finishing_says_when(tmp_path: Path) -> None:
    run = Run(tmp_path, "tiny", Config())
    run.finish()
    assert "finished" in read_json(tmp_path / "run.json")
    Run(tmp_path, "tiny", Config())


def test_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"text": "çok güzel"})
    assert read_json(path) == {"text": "çok güzel"}
    assert "ç" in path.read_text()
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ValueError, match=r"Circular"):
        write_json(path, circle)
    assert read_json(path) == {"text": "çok güzel"}
    write_jsonl(tmp_path / "x.jsonl", [{"a": 1}, {"a": "ç"}])
    assert [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()] == [{"a": 1}, {"a": "ç"}]


def test_peak_memory_is_in_megabytes() -> None:
    assert 10 < peak_rss_mb() < 100_000
