"""Continuation tasks: openings of real texts, held-out ones apart, and errors that say what to mend."""

from pathlib import Path

import pytest

from tercih.environments import TEXT_TASKS, imdb, stories
from tercih.environments.text import Split, TextTask, continuation_task, cut
from tercih.records import Content, Demonstration, Text

TEXTS = [" ".join(f"w{story}x{word}" for word in range(30)) for story in range(40)]


def none(prompt: Content, completion: str) -> float:
    return 0.0


def test_cut_keeps_every_character() -> None:
    assert cut("One day,\n\na cat sat. ", 3) == ("One day,\n\na", " cat sat. ")
    assert cut("  One", 3) == ("  One", "")
    assert cut("", 3) == ("", "")


def test_openings_are_prompts_and_the_rest_demonstrates() -> None:
    task = continuation_task("tale", TEXTS * 2, none, Split(heldout=10, continuation=5), max_new_tokens=9)
    assert (len(task.train), len(task.heldout), len(task.demonstrations)) == (30, 10, 30)
    for prompt, shown in zip(task.train, task.demonstrations, strict=True):
        assert shown.item.prompt == prompt.prompt
        assert 8 <= len(str(prompt.prompt).split()) <= 16
        assert len(str(shown.item.completion).split()) == 5
        assert any(text.startswith(f"{prompt.prompt}{shown.item.completion}") for text in TEXTS)
    heldout = {item.prompt for item in task.heldout}
    assert heldout.isdisjoint(item.prompt for item in task.train)


def test_a_seed_decides_the_split() -> None:
    tasks = [continuation_task("tale", TEXTS, none, Split(seed=seed, heldout=10), 9) for seed in (0, 0, 1)]
    assert tasks[0] == tasks[1] != tasks[2]


def test_short_texts_are_left_out_and_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="task tale has 40 distinct openings, fewer than 35 \\+ 10 held out"):
        continuation_task("tale", [*TEXTS, "The end."], none, Split(train=35, heldout=10), 9)


@pytest.mark.parametrize("wrong", [{"words": (9, 8)}, {"words": (0, 8)}, {"heldout": -1}, {"train": 0}])
def test_split_refuses_what_makes_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="split"):
        Split(**wrong)  # type: ignore[arg-type]


def test_task_refuses_leaks_and_answered_prompts() -> None:
    ask, other = Text(prompt="a", completion=""), Text(prompt="b", completion="")
    shown = Demonstration(item=Text(prompt="b", completion=" yes"))

    def make(train: Text, heldout: Text, demonstrations: tuple[Demonstration, ...] = (), tokens: int = 4) -> TextTask:
        return TextTask(
            name="t",
            train=(train,),
            heldout=(heldout,),
            demonstrations=demonstrations,
            gold=none,
            max_new_tokens=tokens,
        )

    assert make(ask, other).stop == ()
    for wrong in ((ask, ask), (ask, other, (shown,)), (ask, shown.item), (ask, other, (), 0)):
        with pytest.raises(ValueError, match="task t"):
            make(*wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "hub"), [("stories", "roneneldan/TinyStories"), ("imdb", "stanfordnlp/imdb")])
def test_missing_data_says_what_to_put_where(name: str, hub: str, tmp_path: Path) -> None:
    given = {"gold": none} if name == "imdb" else {}
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=rf"{path}: no file.*{hub}.*TERCIH_DATA"):
            TEXT_TASKS[name](path, **given)


def test_stories_from_hand_written_files(tmp_path: Path) -> None:
    (tmp_path / "stories.txt").write_text("\n<|endoftext|>\n".join(TEXTS))
    (tmp_path / "notes.md").write_text("not a story")
    task = stories.task(tmp_path, Split(heldout=4))
    assert len(task.train) == 36
    assert stories.task(tmp_path / "stories.txt", Split(heldout=4)).train == task.train


def test_reviews_lose_their_html_breaks_only(tmp_path: Path) -> None:
    rows = (f'{{"id": "{i}", "rating": 9, "label": "pos", "text": "{text}<br />Fin."}}' for i, text in enumerate(TEXTS))
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    task = imdb.task(tmp_path, none, Split(heldout=4, continuation=99))
    assert len(task.train) == 36
    assert all(str(shown.item.completion).endswith("\nFin.") for shown in task.demonstrations)
    assert task.gold is none


def test_cheerful_completions_score_higher() -> None:
    scores = [stories.gold("", text) for text in (" They were happy and loved it!", " It was a box.", " It was awful.")]
    assert scores == sorted(scores, reverse=True)
    assert scores[1] == 0.0


@pytest.mark.data
def test_real_stories(data_dir: Path) -> None:
    task = stories.task(data_dir / "text" / "tinystories")
    assert len(task.heldout) == 256
    assert len(task.train) > 2000
    scores = [task.gold(shown.item.prompt, shown.item.completion) for shown in task.demonstrations[:300]]
    assert 0.2 < sum(scores) / len(scores) < 0.8


@pytest.mark.data
def test_real_reviews(data_dir: Path) -> None:
    task = imdb.task(data_dir / "sentiment" / "imdb" / "train.jsonl.xz", none)
    assert len(task.train) > 9000
