"""The shelf: complete, true to the classes and proofs, and the pages made from it are as they would be made now."""

import shutil
from pathlib import Path

import pytest

from commands.workshop import tercih
from tercih.algorithms import METHODS
from tercih.conformance import PROOFS
from tercih.conformance.compare import comparable
from tercih.run import read_json, write_json
from tercih.shelf import END, MADE, pages, replaced, shelf

DOCS = Path(__file__).parents[2] / "docs"


def test_everything_that_is_trained_or_proven_is_on_the_shelf() -> None:
    assert set(shelf()) == set(METHODS) | set(PROOFS)


def test_every_proof_has_been_run_and_passed() -> None:
    """Whether it still passes, the tests of proofs say."""
    assert {name: entry.status for name, entry in shelf().items() if entry.status != "passed"} == {}


def test_the_pages_are_what_the_shelf_says() -> None:
    stale = [str(page.relative_to(DOCS)) for page, text in pages(DOCS).items() if page.read_text() != text]
    assert not stale, f"run `tercih methods --write docs`: {', '.join(stale)}"


def test_a_page_is_written_again(tmp_path: Path) -> None:
    for page in pages(DOCS):
        to = tmp_path / page.relative_to(DOCS)
        to.parent.mkdir(exist_ok=True)
        to.write_text(page.read_text().replace("thumbs up and down", "thumbs"))
    for kept in DOCS.glob("compared*.json"):
        (tmp_path / kept.name).write_bytes(kept.read_bytes())
    made = tercih("methods", "--write", str(tmp_path))
    assert made.status == 0, made.err
    assert "2 pages changed: index, kto" in made.out
    assert (tmp_path / "methods" / "kto.md").read_text() == (DOCS / "methods" / "kto.md").read_text()


def test_a_page_without_the_place_for_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kto\.md needs one line .*card"):
        replaced("# kto\n", "card", "new", "kto.md")
    assert replaced(f"a\n{MADE.format('card')}\nold\n{END}\nb\n", "card", "new", "x").split("\n")[2] == "new"


def test_a_page_that_is_missing_is_said_to_be_yours(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    (tmp_path / "docs" / "methods" / "kto.md").unlink()
    told = tercih("methods", "--write", str(tmp_path / "docs"))
    assert told.status == 2
    assert "kto.md is missing: write it" in " ".join(told.err.split())
    assert MADE.format("proof") in told.err


def test_all_methods_are_in_the_table() -> None:
    assert {row["method"] for row in read_json(DOCS / "compared.json")["rows"]} == set(comparable())


def test_one_row_of_the_table_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tercih.conformance.compare.STEPS", 2)
    kept = tmp_path / "compared.json"
    write_json(kept, {"seed": 0, "rows": [{"method": "dpo", "share": 7}, {"method": "simpo", "share": 7}]})
    made = tercih("methods", "simpo", "--compare", str(kept))
    assert made.status == 0, made.err
    dpo, simpo = read_json(kept)["rows"]
    assert dpo == {"method": "dpo", "share": 7}
    assert set(simpo) == set(read_json(DOCS / "compared.json")["rows"][0])
    assert "was made with --seed 0" in tercih("methods", "simpo", "--compare", str(kept), "--seed", "1").err
    assert "'gail' is not compared" in tercih("methods", "gail", "--compare", str(kept)).err


def finished(folder: Path, seed: int, control: str, gold: float) -> str:
    number = {"value": gold, "low": gold, "high": gold, "n": 1}
    row = {"method": "dpo", "learns_from": "pairs", "seconds": 2.0, "base": number | {"value": 0.25}}
    row |= dict.fromkeys(("gold", "wins", "kl"), number)
    folder.mkdir()
    write_json(folder / "run.json", {"recipe": "stories_methods"})
    write_json(folder / "summary.json", {"rows": [row], "seed": seed, "control": control})
    return str(folder)


def test_the_table_on_real_text_is_made_of_runs(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(DOCS, docs)
    runs = [
        finished(tmp_path / name, seed, control, gold)
        for name, seed, control, gold in (
            ("a", 0, "none", 0.5),
            ("b", 1, "none", 0.8),
            ("c", 0, "shuffled-labels", 0.3),
        )
    ]
    made = tercih("methods", "--write", str(docs), "--stories", *runs)
    assert made.status == 0, made.err
    text = (docs / "which_method.md").read_text()
    assert "| [dpo](methods/dpo.md) | 0.650 | 0.50, 0.80 | 65% | 0.7 | 0.300 | 2 |" in text
    assert "| *the base* | 0.250 | 0.25, 0.25 |" in text


def test_runs_that_cannot_make_a_table_are_refused(tmp_path: Path) -> None:
    control = finished(tmp_path / "c", 0, "shuffled-labels", 0.3)
    (tmp_path / "unfinished").mkdir()
    for runs, said in (
        ([control], "all of these runs are controls"),
        ([str(tmp_path / "unfinished")], "unfinished is no finished run of `tercih run stories_methods`"),
    ):
        told = tercih("methods", "--write", str(tmp_path), "--stories", *runs)
        assert told.status == 2
        assert said in " ".join(told.err.split())
    alone = tercih("methods", "--stories", control)
    assert alone.status == 2
    assert "say --write docs, too" in alone.err


def test_one_method_is_told_with_its_options() -> None:
    told = tercih("methods", "kto")
    assert told.status == 0, told.err
    for part in ("arXiv:2402.01306", "--method.undesirable 1.0", "src/tercih/algorithms/kto.py", "ablation"):
        assert part in told.out


def test_an_unknown_method_is_an_error_that_names_the_others() -> None:
    told = tercih("methods", "ktoo")
    assert told.status == 2
    assert "there is no method 'ktoo'; there are sft," in told.err
