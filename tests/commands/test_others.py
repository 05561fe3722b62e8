"""Talking to models, reports, recipes of one's own, and help that comes at once."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from commands.workshop import tercih
from tercih import cli
from tercih.recipes import RECIPES

RECIPE = '''"""Writes down how it was called."""

from dataclasses import dataclass
from pathlib import Path

from tercih.algorithms.ppo import PPO


@dataclass(frozen=True, kw_only=True, slots=True)
class Mine:
    out: Path = Path("mine.txt")
    method: PPO = PPO(kl_coef=0.05, clip=0.1)


def main(config: Mine) -> None:
    config.out.write_text(f"{config.method.kl_coef} {config.method.clip}")
'''


def test_help_comes_without_heavy_imports() -> None:
    heavy = {"torch", "transformers", "tyro", "numpy", "rich"}
    code = f"import sys; from tercih.cli import main; main(); print(sorted({heavy} & set(sys.modules)))"
    for argument in ([], ["--help"], ["--version"]):
        ran = subprocess.run([sys.executable, "-c", code, *argument], capture_output=True, text=True, check=True)
        assert ran.stdout.splitlines()[-1] == "[]"


def test_help_names_every_command_and_every_command_is_there() -> None:
    said = tercih("--help").out
    for name in cli.COMMANDS:
        assert f"tercih {name} " in said


@pytest.mark.parametrize("arguments", [["train"], ["run"], ["train", "--help"], ["run", "--help"]])
def test_commands_that_need_a_name_list_them(arguments: list[str]) -> None:
    outcome = tercih(*arguments)
    assert outcome.status == 0
    assert all(name in outcome.out for name in (RECIPES if arguments[0] == "run" else ("sft", "dpo", "ppo")))


@pytest.mark.parametrize("name", ["chat", "report", "merge", "push", "doctor", "quickstart"])
def test_help_of_a_command(name: str) -> None:
    outcome = tercih(name, "--help")
    assert outcome.status == 0
    assert "--config FILE" in outcome.out


def test_help_of_a_method_tells_its_options() -> None:
    said = tercih("train", "dpo", "--help").out
    assert "--method.beta" in said
    assert "Folder or Hub name of the model to start from." in said


def test_a_recipe_of_ones_own() -> None:
    Path("mine.py").write_text(RECIPE)
    Path("c.json").write_text(json.dumps({"method": {"clip": 0.3}}))
    outcome = tercih("run", "mine.py", "--config", "c.json", "--out", "here.txt")
    assert outcome.status == 0, outcome.err
    assert Path("here.txt").read_text() == "0.05 0.3"


@pytest.mark.parametrize("model", ["model", "chat_model"])
def test_chat(shelf: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("what is a\nwhat is b\n"))
    outcome = tercih("chat", shelf / model, "--sampling.max-new-tokens", 4)
    assert outcome.status == 0, outcome.err
    assert outcome.out.count("> ") == 3
    again = io.StringIO("what is a\nwhat is b\n")
    monkeypatch.setattr("sys.stdin", again)
    assert tercih("chat", shelf / model, "--sampling.max-new-tokens", 4).out == outcome.out


def test_chat_and_report_of_a_run(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--model", shelf / "model", "--data", shelf / "pairs.jsonl"]
    assert tercih("train", "dpo", *options, "--out", "run").status == 0
    assert tercih("train", "bradley_terry", *options, "--out", "reward").status == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("what is a\n\nnever read\n"))
    assert tercih("chat", "run", "--sampling.max-new-tokens", 4).out.count("> ") == 2
    for place in ("reward", "reward/model"):
        outcome = tercih("chat", place)
        assert outcome.status == 2
        assert "reward/model is a reward model; it scores and does not talk" in outcome.err
    said = tercih("report", "run")
    assert said.status == 0, said.err
    assert "run/report.html" in said.out
    assert "<html" in Path("run/report.html").read_text()


def test_unexpected_errors_say_how_to_see_more(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text(RECIPE.replace("config.out.write", "raise RuntimeError('no')\n    config.out.write"))
    outcome = tercih("run", "mine.py")
    assert (outcome.status, outcome.err.splitlines()[0]) == (2, "error: no")
    assert "TERCIH_DEBUG=1" in outcome.err
    monkeypatch.setenv("TERCIH_DEBUG", "1")
    with pytest.raises(RuntimeError, match="no"):
        tercih("run", "mine.py")
