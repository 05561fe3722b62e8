"""Dialogues with what was offered at every turn."""

import json
from pathlib import Path
from typing import Any

import pytest

from tercih.records import Dialogue, Message, Turn
from tercih.sources import SourceError, load

FIRST = {"context": "hello", "offered": [" hi", " go away"], "said": 1, "reward": 0}
YES = {"role": "assistant", "content": "Yes?"}
LAST = {"context": "hello go away sorry", "offered": [" stay", " go", " well"], "said": 0, "reward": -1.5}


def read(folder: Path, *rows: dict[str, Any], **options: Any) -> list[Any]:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load(f"offered:{path}", **options)


def test_a_row_is_a_dialogue_or_a_single_turn(tmp_path: Path) -> None:
    long, short, asked = read(
        tmp_path,
        {"turns": [FIRST, LAST], "id": 7},
        LAST,
        {"context": [{"role": "user", "content": "Hello."}], "offered": ["Hi.", [YES]]},
    )
    first = Turn(context="hello", offered=(" hi", " go away"), said=1)
    last = Turn(context="hello go away sorry", offered=(" stay", " go", " well"), said=0, reward=-1.5)
    assert long == Dialogue(turns=(first, last))
    assert short == Dialogue(turns=(last,))
    assert [item.completion for item in long.items] == [" hi", " go away", " stay", " go", " well"]
    (turn,) = asked.turns
    assert turn.said is None
    assert turn.context == (Message(role="user", content="Hello."),)
    assert turn.offered == ("Hi.", (Message(role="assistant", content="Yes?"),))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"turns": []}, "turns must be a list of objects, and not empty"),
    ({"turns": [FIRST, LAST | {"said": 3}]}, r"turn 2: turn\.said must be from 0 to 2, got 3"),
    ({"turns": [FIRST | {"context": " "}]}, "turn 1: context is empty"),
    ({"context": "hello"}, "column 'offered' is missing or null; there are context"),
    ({"turn": [FIRST]}, "column 'context' is missing or null; there are turn"),
    (LAST | {"offered": "stay"}, "offered must be a list of utterances, got str"),
    (LAST | {"offered": []}, r"turn\.offered must hold at least one utterance"),
    (LAST | {"offered": [" stay", ""]}, "offered is empty"),
    (LAST | {"offered": [" stay", " stay"]}, r"turn\.offered holds an utterance twice"),
    (LAST | {"said": -1}, r"turn\.said must be from 0 to 2, got -1"),
    (LAST | {"said": " stay"}, "said must be the place of an utterance in offered, counted from 0, got ' stay'"),
    (LAST | {"said": True}, "said must be the place"),
    (LAST | {"said": None}, "said and reward belong together"),
    ({name: LAST[name] for name in ("context", "offered", "said")}, "said and reward belong together"),
    (LAST | {"reward": "much"}, "reward must be a finite number, got 'much'"),
    (LAST | {"reward": float("nan")}, "reward must be a finite number, got nan"),
]


@pytest.mark.parametrize(("row", "reason"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_a_bad_row_says_where_and_why(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(SourceError, match=rf"log\.jsonl, row 2: {reason}.*; mend or remove this row"):
        read(tmp_path, FIRST, row)
    assert len(read(tmp_path, FIRST, row, skip_bad=True)) == 1


def test_without_its_format_it_says_which(tmp_path: Path) -> None:
    for row in ({"turns": [FIRST]}, LAST):
        read(tmp_path, row)
        with pytest.raises(SourceError, match=r"log\.jsonl holds dialogues .*; read it as offered:.*log\.jsonl"):
            load(str(tmp_path / "log.jsonl"))


def test_a_dialogue_has_turns_and_no_endless_reward() -> None:
    with pytest.raises(ValueError, match="a dialogue needs at least one turn"):
        Dialogue(turns=())
    with pytest.raises(ValueError, match=r"turn\.reward must be finite, got inf"):
        Turn(context="hello", offered=(" hi",), said=0, reward=float("inf"))
