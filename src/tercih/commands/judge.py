"""`tercih judge`: pairs labelled by a language model, as data to train on."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

from tercih.commands.judges import JudgeOptions, judge_of
from tercih.config import ConfigError, from_command_line
from tercih.data.tokenize import Tokenizer
from tercih.evaluation.intervals import Estimate, bootstrap_mean, wilson
from tercih.models.load import load_policy
from tercih.progress import Progress, console
from tercih.records import Comparison, Content, Dialogue, Ranking, Text
from tercih.rewards.endpoint import Endpoint
from tercih.rewards.judge import Judge, Verdict, comparison, rater_name
from tercih.rollout.sampler import sample_items
from tercih.rollout.sampling import Sampling
from tercih.run import write_json, write_jsonl
from tercih.sources import Record, load

T = TypeVar("T")
AT_ONCE = 256  # pairs between two looks at the progress


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeData(JudgeOptions):
    """Let a language model say which of two answers is better: soft labels, asked in both orders.

    Its answers are those of a rater called ai:MODEL. What it could not be read off is counted and left out.
    """

    data: tuple[str, ...]
    """Pairs, rankings (all their pairs), or with --policy prompts: files or data sets as for `tercih train`."""
    out: Path
    """FILE.jsonl to write, with columns prompt, chosen, rejected, strength, rater; it must not be there yet."""
    policy: str = ""
    """Folder or Hub name of a model that answers every prompt of --data; its answers are judged."""
    samples: int = 2
    """With --policy: answers to every prompt, all pairs of which are judged."""
    sampling: Sampling = Sampling()
    columns: tuple[tuple[str, str], ...] = ()
    """Pairs of our column name and the data's, where they differ: --columns prompt question."""
    skip_bad: bool = False
    """Leave out rows that cannot be used, saying how many, instead of stopping at the first."""
    json: Path | None = None
    """Also write what was counted to this file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A pair, and what its source said of it: the chance of the first to be better, None where nobody judged it."""

    a: Text
    b: Text
    said: float | None = None


def judge(arguments: Sequence[str]) -> None:
    main(from_command_line(JudgeData, arguments, program="tercih judge"))


def main(config: JudgeData) -> dict[str, Any]:
    """Everything that can be refused is refused before anything is asked."""
    if config.out.exists():
        raise ConfigError(f"{config.out} is there already; name another file with --out")
    for file in filter(None, (config.out, config.json)):
        if not file.absolute().parent.is_dir():
            raise ConfigError(f"there is no folder {file.parent} to write {file.name} in; make it first")
    if config.samples < 2:
        raise ConfigError(f"--samples must be >= 2, for pairs to be judged, got {config.samples}")
    pairs = asked_of(config)
    judge = judge_of(config, answers=config.out.with_name(config.out.name + ".answers") if config.url else None)
    verdicts: list[Verdict] = []
    with Progress("judging", total=len(pairs)) as progress:
        for part in _parts(pairs, AT_ONCE):
            verdicts += judge.better([(each.a, each.b) for each in part])
            progress.advance(by=len(part))
    found = [comparison(p.a, p.b, v, rater_name(judge.voice)) for p, v in zip(pairs, verdicts, strict=True)]
    rows = [_row(each) for each in found if each is not None]
    if not rows:
        raise ConfigError(
            f"no letter could be read off any of {sum(v.asked for v in verdicts)} replies of {judge.voice.name};"
            " nothing was written. Ask it one of them by hand, and take another model"
        )
    write_jsonl(config.out, rows)
    told = counted(pairs, verdicts) | spent(judge, config)
    if config.json:
        write_json(config.json, {"rater": rater_name(judge.voice), **told})
    for line in lines(told, judge):
        console.print(line)
    console.print(f"wrote {len(rows)} pairs to {config.out}\nNext:\n  tercih train dpo --data {config.out} …")
    return told


def asked_of(config: JudgeData) -> list[Asked]:
    """Pairs that read differently, each once."""
    records = [(spec, each) for spec in config.data for each in load(spec, dict(config.columns), config.skip_bad)]
    found = _sampled([each for _, each in records], config) if config.policy else []
    for index, (spec, record) in enumerate([] if config.policy else records):
        found += _pairs(record, f"record {index + 1}, of {spec},")
    once = {frozenset((each.a.id, each.b.id)): each for each in found if each.a.id != each.b.id}
    if not once:
        raise ConfigError(f"{', '.join(config.data)} hold no two answers that differ, so there is nothing to judge")
    return list(once.values())


def _pairs(record: Record, where: str) -> list[Asked]:
    if isinstance(record, Comparison):
        won = {"a": 0.5 + record.strength / 2, "b": 0.5 - record.strength / 2, "tie": 0.5}[record.answer]
        return [Asked(a=record.a, b=record.b, said=won)]
    if isinstance(record, Ranking):
        best_first = [record.items[i] for i in record.order]
        return [Asked(a=a, b=b, said=1.0) for a, b in combinations(best_first, 2)]
    raise ConfigError(
        f"{where} is a {type(record).__name__}, but pairs or rankings are judged; with --policy FOLDER a model answers"
        " prompts first"
    )


def _sampled(records: Sequence[Record], config: JudgeData) -> list[Asked]:
    prompts = [_prompt(record) for record in records]
    policy, tokenizer = load_policy(config.policy), Tokenizer.load(config.policy)
    with Progress("sampling", total=len(prompts) * config.samples) as progress:
        items = sample_items(
            policy, tokenizer, prompts, config.sampling, samples=config.samples, seed=config.seed,
            origin=config.policy, on_progress=lambda done, _all: progress.advance(by=done - progress.done),
        )  # fmt: skip
    return [Asked(a=a, b=b) for group in _parts(items, config.samples) for a, b in combinations(group, 2)]


def _parts(of: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (of[start : start + size] for start in range(0, len(of), size))


def _prompt(record: Record) -> Text:
    if isinstance(record, Dialogue):
        raise ConfigError("dialogues with what was offered are no prompts to be answered; name other --data")
    item = record.a if isinstance(record, Comparison) else record.items[0] if isinstance(record, Ranking) else record
    item = item if isinstance(item, Text) else item.item
    return Text(prompt=item.prompt, completion="", columns=item.columns)


def _row(each: Comparison) -> dict[str, Any]:
    better, worse = (each.b, each.a) if each.answer == "b" else (each.a, each.b)
    strength = 0.0 if each.answer == "tie" else each.strength
    texts = {"prompt": each.a.prompt, "chosen": better.completion, "rejected": worse.completion}
    row = {name: _plain(content) for name, content in texts.items()} | {"strength": strength, "rater": each.rater}
    return {**each.a.columns, **row}


def _plain(content: Content) -> Any:
    return content if isinstance(content, str) else [asdict(turn) for turn in content]


def counted(pairs: Sequence[Asked], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """How many, what could not be read, the liking for a position, and how often it agrees with what the data said."""
    leans = [v.lean for v in verdicts if v.lean is not None]
    both = [
        (p.said, v.chance) for p, v in zip(pairs, verdicts, strict=True) if p.said is not None and v.chance is not None
    ]
    decided = [(said, chance) for said, chance in both if said != 0.5 and chance != 0.5]
    agree = sum((said > 0.5) == (chance > 0.5) for said, chance in decided)
    return {
        "pairs": len(pairs),
        "judged": sum(v.chance is not None for v in verdicts),
        "replies": sum(v.asked for v in verdicts),
        "unread": sum(v.unread for v in verdicts),
        "position_bias": bootstrap_mean(leans, seed=0).as_dict() if len(leans) > 1 else None,
        "agreement": wilson(agree, len(decided)).as_dict() if decided else None,
    }


def spent(judge: Judge, config: JudgeData) -> dict[str, Any]:
    if not isinstance(judge.voice, Endpoint):
        return {}
    used = judge.voice.spent
    return {"service": asdict(used) | {"price": used.price(config.price_read, config.price_written)}}


def lines(told: dict[str, Any], judge: Judge) -> list[str]:
    found = [
        f"{told['judged']} of {told['pairs']} pairs judged by {rater_name(judge.voice)}, no person;"
        f" {told['unread']} of {told['replies']} replies could not be read and are left out"
    ]
    if told["position_bias"]:
        found.append(
            f"likes what is shown first by {Estimate(**told['position_bias'])}, gone in the mean of both orders"
        )
    if told["agreement"]:
        found.append(f"agrees with the labels of the data on {Estimate(**told['agreement'])}")
    if service := told.get("service"):
        found.append(
            f"{service['fresh']} questions asked, {service['known']} known before, {service['tries']} tries in vain;"
            f" {service['read']} tokens read and {service['written']} written, for {service['price']:.4g}"
            + (f" ({service['uncounted']} answers came without numbers)" if service["uncounted"] else "")
        )
    return found
