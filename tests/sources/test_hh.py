import gzip
import json
import logging
import lzma
from pathlib import Path

import pytest

from tercih.records import Message
from tercih.sources import SourceError, hh

PROMPT = "\n\nHuman: Hello?\n\nAssistant: Hi.\n\nHuman: Name a fruit."
GOOD = PROMPT + "\n\nAssistant: An apple."
BAD = PROMPT + "\n\nAssistant: An anvil."


def write_lines(path: Path, *rows: object) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    opened = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)(path, "wt")
    with opened as file:
        file.write(text)
    return path


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.jsonl.xz"])
def test_original_form(tmp_path: Path, name: str) -> None:
    (pair,) = hh.read(write_lines(tmp_path / name, {"chosen": GOOD, "rejected": BAD}))
    assert pair.a.prompt == pair.b.prompt
    assert [m.role for m in pair.a.prompt] == ["user", "assistant", "user"]
    assert pair.a.prompt[-1].content == "Name a fruit."
    assert pair.a.completion == (Message(role="assistant", content="An apple."),)
    assert pair.b.completion == (Message(role="assistant", content="An anvil."),)
    assert (pair.answer, pair.left) == ("a", None)


def test_scored_form_takes_the_higher_score_as_chosen(tmp_path: Path) -> None:
    path = tmp_path / "x.json.xz"
    with lzma.open(path, "wt") as file:
        json.dump([{"text": [BAD, GOOD], "score": [0.0, 1.0]}, {"text": [GOOD, BAD], "score": [1.0, 0.0]}], file)
    first, second = hh.read(path)
    assert first == second
    assert first.a.completion[0].content == "An apple."


def test_dialogues_that_part_early_keep_their_further_turns(tmp_path: Path) -> None:
    longer = GOOD + "\n\nHuman: Another?\n\nAssistant: A pear."
    (pair,) = hh.read(write_lines(tmp_path / "x.jsonl", {"chosen": longer, "rejected": BAD}))
    assert [m.role for m in pair.a.completion] == ["assistant", "user", "assistant"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": GOOD, "rejected": GOOD}, "the same"),
        ({"chosen": GOOD, "rejected": PROMPT + "\n\nAssistant: "}, "turn of the assistant is empty"),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"}, "share no prompt"),
        ({"chosen": GOOD, "rejcted": BAD}, "this one has chosen, rejcted"),
        ({"text": [GOOD, BAD], "score": [1.0, 1.0]}, "scores must differ"),
    ],
)
def test_bad_rows(tmp_path: Path, row: object, reason: str) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"chosen": GOOD, "rejected": BAD}, row)
    with pytest.raises(SourceError, match=reason) as caught:
        hh.read(path)
    assert str(path) in str(caught.value)
    assert "row 2" in str(caught.value)


def test_skipping_bad_rows_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"chosen": GOOD, "rejected": GOOD}, {"chosen": GOOD, "rejected": BAD})
    with caplog.at_level(logging.WARNING):
        assert len(hh.read(path, skip_bad=True)) == 1
    assert "left out 1 of 2 rows" in caplog.text


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "pairs"), [("harmless-base.test.jsonl.gz", 2308), ("helpful-base.test.json.xz", 2348)]
)
def test_real_files(data_dir: Path, name: str, pairs: int) -> None:
    path = data_dir / "preferences" / "hh-rlhf" / name
    with pytest.raises(SourceError, match="turn of the assistant is empty"):
        hh.read(path)
    read = hh.read(path, skip_bad=True)
    assert len(read) == pairs
    assert all(c.a.prompt[-1].role == "user" and c.a.completion[0].role == "assistant" for c in read)
    assert all(c.a.prompt == c.b.prompt and c.a.id != c.b.id for c in read)
