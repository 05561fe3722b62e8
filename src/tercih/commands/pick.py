"""`tercih pick MODEL`: what to say of what is offered, by a model of `tercih train cql` or any reward model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import tyro

from tercih.commands.folders import model_folder
from tercih.config import ConfigError, from_command_line
from tercih.data.collate import encode, fitting
from tercih.data.tokenize import Tokenizer
from tercih.evaluation.intervals import wilson
from tercih.models.load import load_reward_model
from tercih.progress import Progress, console
from tercih.records import Content, Dialogue, Turn
from tercih.rewards import LearnedReward
from tercih.run import write_jsonl
from tercih.sources import load

AT_ONCE = 64  # turns between two looks at the progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Pick:
    """Score every utterance that is offered, and say which is the best.

    Whether somebody has spoken already makes no difference: where it is known, what was said is counted.
    """

    model: Annotated[Path, tyro.conf.Positional]
    """A run folder or a model folder; the model is of `tercih train cql`, or any reward model."""
    data: tuple[str, ...]
    """Files of what is offered: offered:PATH."""
    out: Path
    """FILE.jsonl to write, a line a turn: dialogue and turn (from 1), context, offered, pick (from 0), scores; it must
    not be there yet."""
    skip_bad: bool = False
    """Leave out rows that cannot be used, saying how many, instead of stopping at the first."""


def pick(arguments: Sequence[str]) -> None:
    main(from_command_line(Pick, arguments, program="tercih pick"))


def main(config: Pick) -> list[dict[str, Any]]:
    """The rows that it writes. Everything that can be refused is refused before anything is scored."""
    if config.out.exists():
        raise ConfigError(f"{config.out} is there already; name another file with --out")
    if not config.out.absolute().parent.is_dir():
        raise ConfigError(f"there is no folder {config.out.parent} to write {config.out.name} in; make it first")
    folder = model_folder(config.model)
    model, tokenizer = load_reward_model(folder), Tokenizer.load(folder)
    dialogues = [each for spec in config.data for each in _dialogues(spec, config.skip_bad, tokenizer, model.context)]
    turns = [(n, m, turn) for n, dialogue in enumerate(dialogues, 1) for m, turn in enumerate(dialogue.turns, 1)]
    reward, rows = LearnedReward(model, tokenizer), []
    with Progress("scoring", total=len(turns)) as progress:
        for start in range(0, len(turns), AT_ONCE):
            part = turns[start : start + AT_ONCE]
            scores = iter(reward.score([item for _, _, turn in part for item in turn.items]).reward_BC[:, 0].tolist())
            for dialogue, place, turn in part:
                rows.append(
                    {"dialogue": dialogue, "turn": place, **_row(turn, list(islice(scores, len(turn.offered))))}
                )
            progress.advance(by=len(part))
    write_jsonl(config.out, rows)
    console.print(f"wrote {len(rows)} picks to {config.out}")
    known = [row["pick"] == row["said"] for row in rows if "said" in row]
    if known:
        share = wilson(sum(known), len(known))
        console.print(
            f"the pick is what was said in {share.value:.0%} [{share.low:.0%}, {share.high:.0%}] of {share.n}"
        )
    return rows


def _dialogues(spec: str, skip_bad: bool, tokenizer: Tokenizer, context: int) -> list[Dialogue]:
    """Those of a source, all of which the model can read."""
    found = load(spec, {}, skip_bad)
    for index, record in enumerate(found):
        if not isinstance(record, Dialogue):
            raise ConfigError(
                f"record {index + 1} of {spec} is a {type(record).__name__}, and says nothing of what is offered;"
                " name a file with --data offered:PATH"
            )

    def read(some: list[Dialogue], tokenizer: Tokenizer, context: int) -> None:
        for item in some[0].items:
            encode(item, tokenizer, context)

    return fitting(found, read, tokenizer, context, drop=False, where=spec)


def _row(turn: Turn, scores: list[float]) -> dict[str, Any]:
    best = max(range(len(scores)), key=scores.__getitem__)
    said = {} if turn.said is None else {"said": turn.said, "reward": turn.reward}
    offered = [_plain(utterance) for utterance in turn.offered]
    return {"context": _plain(turn.context), "offered": offered, **said, "pick": best, "scores": scores}


def _plain(content: Content) -> Any:
    return content if isinstance(content, str) else [asdict(message) for message in content]
