import math
from pathlib import Path

import pytest

from tercih.evaluation.run_folder import estimate, number, read_run


def test_an_empty_folder_reads_as_nothing(tmp_path: Path) -> None:
    contents = read_run(tmp_path)
    assert (contents.run, contents.samples, contents.metrics, contents.notes) == ({}, [], {}, ())


def test_a_row_that_was_being_written_is_noted(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text('{"prompt": "a"}\n{"prom')
    contents = read_run(tmp_path)
    assert contents.samples == [{"prompt": "a"}]
    assert "samples.jsonl is cut short" in contents.notes[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", "[1]", "run.json must hold a JSON object"),
        ("run.json", "{", "run.json is not JSON"),
        ("raters.json", '{"a": 1}', "raters.json must hold a JSON list"),
        ("samples.jsonl", "{}\nnonsense\n{}\n", "samples.jsonl, line 2"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_run(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_run(tmp_path / "nowhere")


def test_numbers_are_finite_or_absent() -> None:
    row = {"a": {"b": 2}, "bad": math.nan, "flag": True, "win": {"value": 0.7}}
    assert number(row, "a", "b") == 2.0
    assert [number(row, *keys) for keys in (("a",), ("a", "c"), ("bad",), ("flag",), ("a", "b", "c"))] == [None] * 5
    win = estimate(row, "win")
    assert win is not None
    assert win.value == 0.7
    assert math.isnan(win.low)
    assert estimate(row, "missing") is None
