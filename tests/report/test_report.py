import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tercih.report import write_report

from .run_folder_fixture import write_run_folder

HOSTILE = "<script>alert('read me')</script>\"><img src=x onerror=alert(1)>"


@pytest.fixture
def page(tmp_path: Path) -> str:
    return write_report(write_run_folder(tmp_path)).read_text(encoding="utf-8")


def test_a_whole_run_shows_every_section(page: str) -> None:
    shown = re.findall(r'<section id="([a-z-]+)"', page)
    assert shown == [
        "warnings", "loop", "samples", "raters", "reward-model", "over-optimisation", "curves", "again", "limits",
    ]  # fmt: skip
    assert "beats its base 71% of the time" in page
    assert "67–76%" in page
    assert "The raters were simulated" in page
    assert "Two questions went unanswered." in page  # what the recipe recorded
    assert "use the checkpoint of step" in page  # what the report found by itself
    assert "tercih run quickstart --seed 3" in page
    assert "reward_model.members" in page
    assert "value loss (1 not finite)" in page


def test_a_run_with_only_run_json_invents_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"recipe": "quickstart", "command": "tercih run quickstart"}')
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert re.findall(r'<section id="([a-z-]+)"', page) == ["warnings", "again", "limits"]
    assert "No result was recorded" in page
    assert "does not say whether its raters were people" in page
    assert "Left out" in page
    assert "<svg" not in page


def test_an_empty_folder_still_gives_a_page(tmp_path: Path) -> None:
    assert "No result was recorded" in write_report(tmp_path).read_text(encoding="utf-8")


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    page = write_report(write_run_folder(tmp_path, hostile=HOSTILE)).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;") > 20


def test_the_page_asks_nothing_of_anybody(page: str) -> None:
    assert not re.search(r"https?:|@import|url\((?!#head-)|\ssrc=|<link|<script|<iframe", page)
    assert len(page.encode()) < 3_000_000


def test_every_picture_is_well_formed_and_named(page: str) -> None:
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) > 15
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert root.get("role") == "img"
        assert root[0].tag == "title"
        assert root[0].text
        assert "nan" not in re.sub(r">[^<]*<", "><", picture)


def test_the_page_is_a_function_of_the_files(tmp_path: Path) -> None:
    write_run_folder(tmp_path)
    assert write_report(tmp_path).read_bytes() == write_report(tmp_path).read_bytes()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    "name",
    ["run.json", "summary.json", "raters.json", "evaluation.json", "stages.json", "samples.jsonl", "ppo/metrics.jsonl"],
)
def test_any_file_may_be_missing_or_hold_nothing(tmp_path: Path, name: str) -> None:
    write_run_folder(tmp_path)
    (tmp_path / name).write_text("" if name.endswith("l") else "[]" if name.startswith(("raters", "stages")) else "{}")
    assert write_report(tmp_path).exists()
    (tmp_path / name).unlink()
    assert write_report(tmp_path).exists()


def test_values_that_are_no_numbers_are_shown_as_absent(tmp_path: Path) -> None:
    write_run_folder(tmp_path)
    summary = {"gold_mean": {"base": None, "policy": "x"}, "gold_win_rate": {"value": 0.6}, "kl_nats": float("nan")}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "raters.json").write_text(json.dumps([{"rater": "a", "judgements": None}, {}]))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "No interval is known" in page
    assert ">nan" not in page.lower()


@pytest.mark.parametrize(
    ("win", "control", "words"),
    [
        ({"value": 0.3, "low": 0.25, "high": 0.35, "n": 300}, "none", "loses to its base"),
        ({"value": 0.52, "low": 0.46, "high": 0.58, "n": 300}, "none", "cannot be told from its base"),
        ({"value": 0.52, "low": 0.46, "high": 0.58, "n": 300}, "shuffled", "negative control"),
    ],
)
def test_the_headline_says_what_the_interval_allows(tmp_path: Path, win: dict, control: str, words: str) -> None:  # type: ignore[type-arg]
    (tmp_path / "summary.json").write_text(json.dumps({"gold_win_rate": win}))
    (tmp_path / "run.json").write_text(json.dumps({"control": control}))
    assert words in write_report(tmp_path).read_text(encoding="utf-8")


def test_a_long_text_is_cut_aloud_and_a_conversation_is_readable(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "Tell me a story."}]
    row = {"prompt": prompt, "base": "word " * 1000, "policy": "short"}
    (tmp_path / "samples.jsonl").write_text(json.dumps(row) + "\n")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "user: Tell me a story." in page
    assert "3,500 more letters in samples.jsonl" in page


def test_losses_are_shown_beside_gains(page: str) -> None:
    assert page.count("largest rise") == page.count("largest fall") == page.count("first in the file") == 3
