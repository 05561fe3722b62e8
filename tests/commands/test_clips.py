"""`tercih clips`: from an environment's name to questions that a project takes."""

import hashlib
import json
from pathlib import Path

import pytest

from tercih.data.steps import read_steps
from tercih.feedback.database import Database
from tercih.feedback.exchange.export import rows
from tercih.feedback.projects import Project
from tercih.feedback.store import Store
from tercih.feedback.web.uploads import ask_all

from .workshop import tercih


def test_questions_about_clips(tmp_path: Path) -> None:
    out, database = tmp_path / "clips", tmp_path / "t.db"
    options = ["--environment", "Pendulum-v1", "--options", "g", "5.0", "--episodes", 4, "--seconds", 0.4]
    made = tercih("clips", *options, "--pairs", 5, "--out", out)
    assert made.status == 0, made.err
    lines = [json.loads(line) for line in (out / "questions.jsonl").read_text().splitlines()]
    assert len(lines) == 5
    assert len({tuple(each["media"] for each in line["clips"]) for line in lines}) == 5
    for each in lines[0]["clips"]:
        assert hashlib.sha256((out / each["media"]).read_bytes()).hexdigest() == each["digest"]
        steps = read_steps(out / each["steps"])
        assert (steps.environment, steps.options, len(steps), each["seconds"]) == ("Pendulum-v1", {"g": 5.0}, 12, 0.4)

    imported = tercih("import", out / "questions.jsonl", "--project", "p", "--database", database)
    assert '"questions": 5' in imported.out
    assert '"questions": 0' in tercih("import", out / "questions.jsonl", "--project", "p", "--database", database).out
    with Database(database) as opened:
        asked = list(rows(opened, "p", everything=True))
        assert {row["kind"] for row in asked} == {"pair"}
        assert asked[0]["items"][0]["content"]["steps"].endswith(".npz")
        text = (out / "questions.jsonl").read_text()  # uploaded on the project's page they are the same questions
        assert ask_all(Store(opened), Project(id="p"), text) == {"question": 5}
        assert len(list(rows(opened, "p", everything=True))) == 5

    again = tercih("clips", *options, "--pairs", 5, "--out", tmp_path / "again")
    assert again.status == 0
    assert (tmp_path / "again" / "questions.jsonl").read_text() == (out / "questions.jsonl").read_text()
    assert "is there already" in tercih("clips", *options, "--pairs", 5, "--out", out).err


def test_single_clips(tmp_path: Path) -> None:
    made = tercih("clips", "--environment", "CartPole-v1", "--episodes", 2, "--kind", "live", "--out", tmp_path / "c")
    assert made.status == 0, made.err
    lines = [json.loads(line) for line in (tmp_path / "c" / "questions.jsonl").read_text().splitlines()]
    assert [(line["kind"], len(line["clips"])) for line in lines] == [("live", 1), ("live", 1)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--episodes", 3, "--pairs", 4], "3 clips make 3 pairs, not 4"),
        (["--episodes", 0], "--episodes must be >= 1"),
        (["--seconds", 0], "--seconds must be in"),
        (["--seed", -1], "--seed must be >= 0"),
        (["--options", "g", "heavy"], "--options g must be JSON"),
        (["--environment", "Nowhere-v0"], "'Nowhere-v0' cannot be made here"),
        (["--environment", "antigravity:Nowhere-v0"], "without a module"),
    ],
)
def test_what_cannot_be_asked(tmp_path: Path, options: list[object], said: str) -> None:
    base = [] if "--environment" in options else ["--environment", "Pendulum-v1"]
    failed = tercih("clips", *base, *options, "--out", tmp_path / "c")
    assert failed.status == 2
    assert said in failed.err
    assert not (tmp_path / "c").exists()


def test_a_bad_line_about_clips_is_named(tmp_path: Path) -> None:
    good = {"media": "a.mp4", "digest": "a", "seconds": 1.0}
    lines = [{"clips": [good, good | {"digest": "b"}]}, {"clips": [good]}]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    failed = tercih("import", tmp_path / "q.jsonl", "--project", "p", "--database", tmp_path / "t.db")
    assert failed.status == 2
    assert "q.jsonl, row 2: a pair shows 2 answers, got 1" in failed.err
    with Store(tmp_path / "t.db") as store:
        assert store.questions("upload p") == []
