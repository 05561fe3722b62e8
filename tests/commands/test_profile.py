"""`tercih profile` as a user sees it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from commands.workshop import tercih
from tercih.commands.profile import shortened
from tercih.recipes.loop import TINY
from tercih.recipes.quickstart import Quickstart

RECIPE = '''"""Imitates, slowly where it is told to."""

import time
from dataclasses import dataclass
from pathlib import Path

from tercih.algorithms.sft import SFT
from tercih.forward import Models
from tercih.data import collate
from tercih.data.offline import Offline
from tercih.data.tokenize import Tokenizer
from tercih.models.language_model import LanguageModel
from tercih.models.load import load_causal
from tercih.optimisation import Optimisation
from tercih.records import Demonstration, Text
from tercih.train import fit


@dataclass(frozen=True, kw_only=True, slots=True)
class Mine:
    model: str
    out: Path = Path("runs/mine")
    sleep: float = 0.0
    records: int = 64


def main(config: Mine) -> None:
    tokenizer, model = Tokenizer.load(config.model), LanguageModel(load_causal(config.model))

    def rows(records):
        time.sleep(config.sleep)
        return collate.demonstrations(records, tokenizer, model.context)

    said = [Demonstration(item=Text(prompt="what is it", completion=" good yes")) for _ in range(config.records)]
    data = Offline(records=said, collate=rows, size=1, epochs=1, seed=0)
    fit(SFT(), Models(policy=model), data, Optimisation(lr=1e-4), config.out, title="imitating")
'''


@pytest.fixture
def mine(shelf: Path) -> list[object]:
    Path("mine.py").write_text(RECIPE)
    return ["profile", "mine.py", "--model", shelf / "model", "--seconds", 0.6]


def test_the_table_says_where_time_went_and_nothing_is_kept(mine: list[object]) -> None:
    outcome = tercih(*mine, "--sleep", 0.1, "--json", "found.json")
    assert outcome.status == 0, outcome.err
    assert "Most worth changing: data" in outcome.out
    assert "of the matrix peak" in outcome.out
    assert not Path("runs").exists()
    (stage,) = json.loads(Path("found.json").read_text())["stages"]
    assert stage["title"] == "imitating"
    assert stage["shares"]["data"] > 0.5
    assert sum(stage["shares"].values()) == pytest.approx(1)
    assert stage["seconds"] < 3
    assert stage["learned_per_second"] > 0


def test_what_cannot_be_profiled(mine: list[object]) -> None:
    for words, why in (
        ((*mine, "--out", "runs/x"), "leave out --out"),
        ((*mine, "--seconds", 0), "--seconds must be > 0"),
        (("profile", "--seconds", 3), "the recipe comes first"),
        (("profile", "nothing"), "there is no recipe 'nothing'"),
        ((*mine, "--records", 1), "trained nothing for two steps"),
    ):
        outcome = tercih(*words)
        assert (outcome.status, why in outcome.err) == (2, True), outcome.err


def test_a_loop_asks_little_and_trains_as_it_would() -> None:
    config = Quickstart()
    short = shortened(config, Path("elsewhere"))
    assert short.out == Path("elsewhere")
    assert (short.loop.feedback, short.loop.evaluation) == (TINY.feedback, TINY.evaluation)
    assert (short.loop.policy, short.loop.reward, short.sft) == (config.loop.policy, config.loop.reward, config.sft)
    tiny = replace(config, tiny=True)
    assert shortened(tiny, Path("elsewhere")).loop == tiny.loop
