"""The report of control runs, from run folders made by hand."""

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tercih.report import write_report

HOSTILE = "<script>alert('read me')</script>\"><img src=x onerror=alert(1)>"


def write_control_folder(folder: Path, *, hacked: bool = False, people: bool = False, text: str = "") -> Path:
    """A whole run: the true return rises with the predicted one or, `hacked`, falls in the second half."""
    dice = np.random.default_rng(0)
    (folder / "policy").mkdir(parents=True)
    (folder / "evaluation").mkdir()
    picture = BytesIO()
    Image.new("RGB", (8, 8), "teal").save(picture, "JPEG")
    for name in ("strip-000-0.jpg", "strip-100-0.jpg", "asked-0-a-0.jpg", "asked-0-b-0.jpg"):
        (folder / "evaluation" / name).write_bytes(picture.getvalue())
    (folder / "evaluation" / "last.mp4").write_bytes(b"a video")
    shares = np.linspace(0, 1, 9)
    true = [60 * (share if share <= 0.5 or not hacked else 1 - share) for share in shares]
    rows = [
        {"share": share, "steps": round(8000 * share), "true": (height + dice.normal(size=8)).tolist(),
         "predicted": (100 * share + dice.normal(size=8)).tolist()}
        for share, height in zip(shares, true, strict=True)
    ]  # fmt: skip
    seconds = {"median": 4.2, "low": 3.0, "high": 6.1, "n": 40} if people else None
    side = {"better": False, "own": 1.5}
    control: dict[str, Any] = {
        "environment": "Reacher-v5" + text, "milestones": rows, "clip": 25, "drawn": "schematic", "seconds": 3.0,
        "clips": [{"milestone": 0.0, "episode": i, "true": i, "predicted": 2 * i} for i in range(9)],
        "correlation": {"clips": {"value": 0.93, "low": 0.9, "high": 0.95, "n": 9}}, "video": "last.mp4",
        "strip": [{"share": 0.0, "steps": 0, "frames": ["strip-000-0.jpg"]},
                  {"share": 1.0, "steps": 8000, "frames": ["strip-100-0.jpg", "../../run.json"]}],
        "feedback": {
            "simulated": not people, "asked": [{"sampler": "random" + text, "asked": 50, "answered": 40, "ties": 3}],
            "seconds": seconds, "asked_by": [[0.0, 10], [1.0, 50]], "due_by": [[0.0, 10], [1.0, 50]],
            "questions": [{"sampler": "random", "step": 3, "tie": False, "sides": [
                side | {"frames": ["asked-0-a-0.jpg"]}, side | {"better": True, "frames": ["asked-0-b-0.jpg"]}]}],
        },
    }  # fmt: skip
    spread = {"value": 61.0, "low": 55.0, "high": 66.0, "n": 20}
    run = {"recipe": "control_ppo" + text, "command": "tercih run control_ppo" + text, "simulated_raters": not people,
           "control": "none", "config": {"a": 1}}  # fmt: skip
    summary = {"environment": "Reacher-v5" + text, "labels": 40, "return": spread, "random": spread | {"value": -3.0},
               "minutes": 2.0, "steps": 8000}  # fmt: skip
    metrics = [
        {"step": i, "reward/labels": 10 + i, "reward/heldout_accuracy": 0.8, "reward/ahead_accuracy": 0.75,
         "reward/ahead_of": 4, "entropy": 3.0 - i} for i in range(30)
    ]  # fmt: skip
    for name, content in (("run", run), ("summary", summary), ("evaluation/control", control)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "policy" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    return folder


def page_of(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def warnings_of(page: str) -> str:
    return page[page.index('<section id="warnings">') : page.index("</section>", page.index('id="warnings"'))]


def test_a_whole_run_shows_every_section(tmp_path: Path) -> None:
    page = page_of(write_control_folder(tmp_path))
    shown = re.findall(r'<section id="([a-z-]+)"', page)
    assert shown == ["warnings", "film", "returns", "learned-reward", "asked", "curves", "again", "limits"]
    assert "The agent earns 61 in Reacher-v5; acting at random earns −3." in page
    assert "40 comparisons of clips by a simulated teacher; no person was asked" in page
    assert "75%" in page  # of 120 answers foreseen
    assert "r = 0.93" in page
    assert "None of the checks" in warnings_of(page)
    assert "entropy collapse" not in page  # nats a token are not what an agent has
    assert "drawn as a schematic" in page
    assert page.count("<img ") == 4
    assert page.count("<video ") == 1
    assert "nothing can be said of the time that people would take" in page
    assert "<td>50</td><td>40</td><td>3</td>" in page


def test_the_alarm_stands_on_top(tmp_path: Path) -> None:
    page = page_of(write_control_folder(tmp_path, hacked=True))
    said = warnings_of(page)
    assert "Reward hacking" in said
    assert "The true return fell from" in said
    assert "after 4,000 steps" in said
    assert page.index('id="warnings"') < page.index('id="film"')


def test_people_take_time(tmp_path: Path) -> None:
    page = page_of(write_control_folder(tmp_path, people=True))
    assert "An answer took 4.2 s in the median" in page
    assert "simulated" not in page[page.index("<main>") :].split('id="limits"')[0]


def test_a_negative_control_whose_answers_are_foreseen_is_told(tmp_path: Path) -> None:
    folder = write_control_folder(tmp_path)
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"control": "shuffled-labels"}))
    assert "negative control and still 0.75 [0.666, 0.819] (n = 120) of its answers" in warnings_of(page_of(folder))
    metrics = folder / "policy" / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"reward/ahead_accuracy": 0.75', '"reward/ahead_accuracy": 0.5'))
    assert "negative control and still" not in warnings_of(page_of(folder))


def test_a_reward_that_is_sure_of_what_nobody_says_is_told_but_not_in_a_negative_control(tmp_path: Path) -> None:
    folder = write_control_folder(tmp_path)
    metrics, run = folder / "policy" / "metrics.jsonl", json.loads((folder / "run.json").read_text())
    honest = metrics.read_text()
    for gain, said in ((-0.1, True), (0.1, False)):
        told = f'"reward/ahead_gain": {gain}, "reward/ahead_gain_squared": 0.02, "reward/ahead_said": 8.0'
        metrics.write_text(honest.replace('"reward/ahead_accuracy": 0.75', f'{told}, "reward/ahead_accuracy": 0.75'))
        assert ("squared error about" in warnings_of(page_of(folder))) is said
    metrics.write_text(metrics.read_text().replace('"reward/ahead_gain": 0.1', '"reward/ahead_gain": -0.1'))
    assert "0.1 above a coin" in warnings_of(page_of(folder))
    (folder / "run.json").write_text(json.dumps(run | {"control": "shuffled-labels"}))
    assert "squared error about" not in warnings_of(page_of(folder))


def test_what_is_missing_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "control.json").write_text('{"environment": "X-v0", "not_drawn": "no renderer"}')
    (tmp_path / "summary.json").write_text('{"labels": 40}')
    page = page_of(tmp_path)
    assert re.findall(r'<section id="([a-z-]+)"', page) == ["warnings", "limits"]
    assert "No result was recorded" in page
    assert "The film could not be drawn: no renderer." in page
    assert "Left out" in page


def test_hostile_text_stays_text_and_no_file_outside_is_shown(tmp_path: Path) -> None:
    page = page_of(write_control_folder(tmp_path, text=HOSTILE))
    assert "<script" not in page
    assert "onerror=alert(1)>" not in page
    assert page.count("<img ") == 4
    assert not re.search(r"https?:|@import|<link|<iframe", page)
    assert all(source.startswith("data:") for source in re.findall(r'\ssrc="([^"]*)"', page))


@pytest.mark.parametrize("rules", [{}, {"random": {}, "disagreement": {"saved": None}}])
def test_a_comparison_of_rules_without_numbers(tmp_path: Path, rules: dict[str, Any]) -> None:
    (tmp_path / "evaluation").mkdir()
    about = {"environment": "X-v0", "labels": [1, 2], "rules": rules, "seeds": 2, "clips": 3}
    (tmp_path / "evaluation" / "efficiency.json").write_text(json.dumps(about))
    assert 'id="efficiency"' not in page_of(tmp_path)


def test_a_comparison_of_rules(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    curve = [{"value": v, "low": v - 0.1, "high": v + 0.1, "n": 5} for v in (0.6, 0.8)]
    saved = {"saved": 11.8, "low": -3.0, "high": 24.0, "share": 0.2}
    rules = {"random": {"accuracy": curve}, "disagreement": {"accuracy": curve, "saved": saved}}
    about = {"environment": "X-v0", "labels": [16, 64], "rules": rules, "seeds": 5, "clips": 300}
    (tmp_path / "evaluation" / "efficiency.json").write_text(json.dumps(about))
    page = page_of(tmp_path)
    assert "<td>12</td><td>−3 to 24</td><td>20%</td>" in page
    assert "Blue: random; orange: disagreement." in page
    assert page.count('class="plot"') == 1
