"""Dialogues with what there was to say at every turn, as JSON Lines (or one JSON list); plain, .gz or .xz.

    turns, a list of {context, offered, said, reward}    -> a dialogue; the last turn ends it
    context, offered [, said, reward]                    -> a dialogue of one turn

`context` is all that was said before and `offered` a list of utterances: strings or lists of messages, as everywhere.
`said` is the place of the one that was said, from 0, and `reward` a number, 0 where nothing came of it. Both are left
out where nobody has spoken yet: such turns can be picked from, not learned from. Other columns are not read.
"""

from pathlib import Path

from tercih.records import Dialogue, Turn
from tercih.sources.columns import content
from tercih.sources.fields import need, number, objects
from tercih.sources.rows import BadRow, Row, convert, json_rows


def read(path: str | Path, skip_bad: bool = False) -> list[Dialogue]:
    """One dialogue a row; raises `SourceError` naming file, line and turn."""
    return convert(json_rows(path), _dialogue, str(path), skip_bad)


def _dialogue(row: Row) -> Dialogue:
    if "turns" not in row:
        return Dialogue(turns=(_turn(row),))
    turns = []
    for place, each in enumerate(objects(row, "turns"), start=1):
        try:
            turns.append(_turn(each))
        except BadRow as error:
            raise BadRow(f"turn {place}: {error}") from None
    return Dialogue(turns=tuple(turns))


def _turn(row: Row) -> Turn:
    need(row, "context", "offered")
    if not isinstance(row["offered"], list):
        raise BadRow(f"offered must be a list of utterances, got {type(row['offered']).__name__}")
    offered = tuple(content({"offered": utterance}, "offered") for utterance in row["offered"])
    said = row.get("said")
    if (said is None) != (row.get("reward") is None):
        raise BadRow("said and reward belong together: give both, a reward of 0 too, or neither")
    if isinstance(said, bool) or not isinstance(said, int | None):
        raise BadRow(f"said must be the place of an utterance in offered, counted from 0, got {said!r}")
    reward = 0.0 if said is None else number(row, "reward")
    try:
        return Turn(context=content(row, "context"), offered=offered, said=said, reward=reward)
    except ValueError as error:
        raise BadRow(str(error)) from None
