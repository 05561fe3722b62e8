"""JSONL, Parquet, Hub folders, stories, IMDB, and the table that names them."""

import gzip
import json
import lzma
from pathlib import Path

import pytest

from tercih.records import Comparison, Demonstration, Thumb
from tercih.sources import SourceError, imdb, jsonl, load, parquet, stories

PAIR = {"prompt": "p", "chosen": "good\u2028line", "rejected": "bad"}
REVIEW = {"id": "test/pos/1", "rating": 9, "label": "pos", "text": "Fine."}


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.jsonl.xz", "x.json"])
def test_jsonl(tmp_path: Path, name: str) -> None:
    text = json.dumps([PAIR]) if name.endswith("json") else json.dumps(PAIR, ensure_ascii=False) + "\n\n"
    pack = {"z": lzma.compress if name.endswith("xz") else gzip.compress}.get(name[-1], bytes)
    (tmp_path / name).write_bytes(pack(text.encode()))
    (pair,) = load(str(tmp_path / name))
    assert isinstance(pair, Comparison)
    assert pair.a.completion == "good\u2028line"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (json.dumps(PAIR) + '\n{"prompt": "p", \n', r"line 2, column \d+: not valid JSON"),
        (json.dumps(PAIR) + "\n[1]\n", r"row 2: expected an object"),
        ("", "is empty"),
        ('[{"prompt": ]', "line 1, column 13: not valid JSON"),
    ],
)
def test_damaged_jsonl(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(SourceError, match=reason) as caught:
        jsonl.read(path)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        jsonl.read(tmp_path / "none.jsonl")
    for suffix, pack in ((".gz", gzip.compress), (".xz", lzma.compress)):
        path = tmp_path / f"x.jsonl{suffix}"
        path.write_bytes(pack(json.dumps(PAIR).encode() * 50)[:-12])
        with pytest.raises(SourceError, match="is damaged"):
            jsonl.read(path)
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError, match="not UTF-8"):
        jsonl.read(tmp_path / "x.jsonl")


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_pylist([{"messages": messages}, {"messages": messages}]), path)
    first, _ = load(str(path))
    assert isinstance(first, Demonstration)
    assert first.item.completion[0].content == "a"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        parquet.read(path)
    with pytest.raises(SourceError, match="no such file"):
        parquet.read(tmp_path / "none.parquet")


def test_hub_reads_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(json.dumps(PAIR) + "\n")
    (pair,) = load(f"hub:{tmp_path / 'data'}")
    assert isinstance(pair, Comparison)
    with pytest.raises(SourceError, match="cannot be loaded"):
        load(f"hub:{tmp_path / 'data'}:nosuchsplit")
    with pytest.raises(SourceError, match="NAME:CONFIG:SPLIT"):
        load("hub:a:b:c:d")


def test_stories(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("\nOne.\n\nStill one.\n<|endoftext|>\nTwo.\n<|endoftext|>\n")
    assert stories.read(path) == ["One.\n\nStill one.", "Two."]
    path.write_text("One.\n\nStill one.\nTwo.\n")
    assert stories.read(path) == ["One.\n\nStill one.", "Two."]
    assert stories.read(path, separator="blank") == ["One.", "Still one.\nTwo."]
    (first, *_) = load(f"stories:{path}")
    assert isinstance(first, Demonstration)
    assert (first.item.prompt, first.item.completion) == ("", "One.\n\nStill one.")
    path.write_text("\n \n")
    with pytest.raises(SourceError, match="holds no story"):
        stories.read(path)
    with pytest.raises(SourceError, match=r"stories\.separator"):
        stories.read(path, separator="comma")


def test_imdb(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(REVIEW) + "\n")
    (review,) = imdb.read(path)
    assert review.item.completion == "Fine."
    assert review.item.columns == {"id": "test/pos/1", "rating": 9, "label": "pos"}
    for change, reason in (({"text": ""}, "text is empty"), ({"label": "good"}, "label"), ({"rating": None}, "rating")):
        path.write_text(json.dumps(REVIEW | change) + "\n")
        with pytest.raises(SourceError, match=reason):
            imdb.read(path)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [("x.csv", "does not say what format"), ("hhh:x.jsonl.z", "did you mean 'hh'"), ("hub", "does not say")],
)
def test_unknown_specs(spec: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        load(spec)


def test_columns_only_where_they_can_vary(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="fixed columns"):
        load(f"hh:{tmp_path}", columns={"prompt": "x"})


@pytest.mark.data
def test_real_files(data_dir: Path) -> None:
    v1 = stories.read(data_dir / "text" / "tinystories" / "tinystories_v1_first944KB.txt.xz")
    v2 = stories.read(data_dir / "text" / "tinystories" / "tinystories_v2_10k_lines.txt.xz")
    assert (len(v1), len(v2)) == (1097, 1728)
    assert sum(story.startswith(("Once", "One day")) for story in v2) > 1000
    assert len(imdb.read(data_dir / "sentiment" / "imdb" / "val.jsonl.xz")) == 2000
    thumbs = load(str(data_dir / "preferences" / "instructions" / "llamafactory_kto_en_demo.json.xz"))
    assert len(thumbs) == 300
    assert all(isinstance(thumb, Thumb) for thumb in thumbs)
