"""What each section of a report says, taken from a run folder; a section without data is empty and is left out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tercih.evaluation.intervals import Estimate
from tercih.evaluation.run_folder import Row, RunFolder, estimate, is_control, number
from tercih.evaluation.warning_signs import RunWarning, find_warnings
from tercih.report.words import duration, figure, interval, moment, prose, share, share_interval

MOST_LETTERS = 1500  # of one text; the page says how many more there are
RATER_KEYS = ("rater", "simulated", "judgements", "reliability", "reliability_se", "left_rate", "left_low", "left_high")


@dataclass(frozen=True, slots=True)
class Headline:
    """The result in one sentence, and what to know before repeating it."""

    title: str
    lede: tuple[str, ...]
    badges: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """One number with its name and its interval or unit."""

    name: str
    value: str
    detail: str


def headline(contents: RunFolder) -> Headline:
    """The win rate with its interval and verdict, else the gold scores, else only what was run."""
    win, lede = estimate(contents.summary, "gold_win_rate"), []
    base, policy = (number(contents.summary, "gold_mean", side) for side in ("base", "policy"))
    if win is not None:
        title = _verdict(win)
        among = f" over {win.n:,} comparisons" if win.n else ""
        known = f"The 95% interval is {share_interval(win)}" if share_interval(win) else "No interval is known"
        lede.append(f"{known}{among}; the judge is the gold score, which training never reads.")
    elif base is not None and policy is not None:
        title = f"The gold score went from {figure(base)} to {figure(policy)}."
        lede.append("No win rate was recorded: how sure this is cannot be said.")
    else:
        title = f"A run of {contents.run.get('recipe', 'an unnamed recipe')}."
        lede.append("No result was recorded.")
    if is_control(contents):
        lede.append("This is a negative control: there was nothing to learn, and a rate near 50% is the right result.")
    lede.append(
        {
            True: "The raters were simulated: no person was asked.",
            False: "The raters were people.",
            None: "The run folder does not say whether its raters were people.",
        }[simulated(contents)]
    )
    who = {True: "simulated raters", False: "human raters", None: "raters unknown"}[simulated(contents)]
    return Headline(title, tuple(lede), (who, "negative control") if is_control(contents) else (who,))


def simulated(contents: RunFolder) -> bool | None:
    """Whether any rater was simulated; None where nothing says so."""
    recorded = [contents.run.get("simulated_raters"), *(row.get("simulated") for row in contents.raters)]
    known = [value for value in recorded if isinstance(value, bool)]
    return any(known) if known else None


def facts(contents: RunFolder) -> list[Fact]:
    """The other numbers of summary.json."""
    summary = contents.summary
    candidates = [_before_after(summary, "gold_mean", "Gold score", ""), _kl(summary)]
    candidates.append(_before_after(summary, "distinct2", "Distinct-2", "unique share of word pairs"))
    if accuracy := estimate(summary, "reward_model", "accuracy"):
        detail = f"{share_interval(accuracy)}, {accuracy.n:,} pairs" if accuracy.n else share_interval(accuracy)
        candidates.append(Fact("Reward model accuracy", share(accuracy.value), detail))
    if (gold := number(summary, "best_of_n", "gold")) is not None:
        bound = number(summary, "best_of_n", "kl_bound")
        reach = "" if bound is None else f"gold, at KL ≤ {figure(bound)} nats"
        candidates.append(Fact(f"Best of {figure(number(summary, 'best_of_n', 'n'))}", figure(gold), reach))
    if (minutes := number(summary, "minutes")) is not None:
        memory = number(summary, "peak_rss_mb")
        detail = "" if memory is None else f"peak memory {figure(memory / 1024)} GiB"
        candidates.append(Fact("Time", duration(60 * minutes), detail))
    return [fact for fact in candidates if fact is not None]


def win_rates(contents: RunFolder) -> list[tuple[str, Estimate]]:
    """The win rates that were recorded, with the names that the picture shows."""
    names = {"gold_win_rate": "gold win rate", "length_controlled_win_rate": "the same, with length held equal"}
    return [(name, rate) for key, name in names.items() if (rate := estimate(contents.summary, key)) is not None]


def warnings(contents: RunFolder) -> list[RunWarning]:
    """What the run itself recorded, then what its files show beyond that."""
    rows = contents.evaluation.get("warnings", [])
    recorded = [RunWarning(str(row.get("kind", "warning")), str(row.get("text", ""))) for row in rows]
    kinds = {warning.kind for warning in recorded}
    return recorded + [warning for warning in find_warnings(contents) if warning.kind not in kinds]


def samples(contents: RunFolder, some: int = 3) -> list[dict[str, Any]]:
    """The prompts on which gold rose most, the first in the file, and those on which it fell most: no favourites."""
    rows = list(enumerate(contents.samples))
    scored = [(gain, i, row) for i, row in rows if (gain := _gain(row)) is not None]
    scored.sort(key=lambda entry: (entry[0], entry[1]))
    rise = [(i, row, "largest rise") for gain, i, row in reversed(scored) if gain > 0][:some]
    fall = [(i, row, "largest fall") for gain, i, row in scored if gain < 0][:some]
    chosen = {i for i, *_ in rise + fall}
    first = [(i, row, "first in the file") for i, row in rows if i not in chosen][:some]
    return [_sample(row, why) for _, row, why in rise + first + fall]


def rater_table(contents: RunFolder) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of text, one a rater; columns that nobody filled are left out, unknown ones are kept."""
    extra = sorted({key for row in contents.raters for key in row} - set(RATER_KEYS))
    table = []
    for row in sorted(contents.raters, key=lambda row: -(number(row, "reliability") or 0.0)):
        kind = "—" if "simulated" not in row else "simulated" if row["simulated"] else "person"
        error, left = number(row, "reliability_se"), number(row, "left_rate")
        low, high = number(row, "left_low"), number(row, "left_high")
        spread = "" if low is None or high is None else f" ({share(low)} to {share(high)})"
        reliability = figure(number(row, "reliability")) + (f" ± {figure(1.96 * error)}" if error is not None else "")
        cells = [
            str(row.get("rater", "?")),
            kind,
            figure(number(row, "judgements")),
            reliability,
            share(left) + spread,
        ]
        table.append(cells + [_cell(row.get(key)) for key in extra])
    names = [
        "rater",
        "kind",
        "judgements",
        "reliability (95%)",
        "left answers (95%)",
        *(e.replace("_", " ") for e in extra),
    ]
    return names, table


def run_facts(contents: RunFolder) -> list[tuple[str, str]]:
    """What one needs to run it again."""
    run = contents.run
    machine, versions = (value if isinstance(value := run.get(key), dict) else {} for key in ("machine", "versions"))
    parts = [str(machine["cpu"])] if "cpu" in machine else []
    parts += [f"{machine['cores']} cores"] if "cores" in machine else []
    parts += [f"{figure(number(machine, 'memory_gb'))} GB memory"] if "memory_gb" in machine else []
    known = {
        "recipe": run.get("recipe"),
        "seed": run.get("seed"),
        "control": run.get("control"),
        "started": moment(run.get("started")),
        "finished": moment(run.get("finished")),
        "machine": ", ".join(parts),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return [(name, str(value)) for name, value in known.items() if value not in (None, "", False)]


def _verdict(win: Estimate) -> str:
    rate = share(win.value)
    if math.isnan(win.low):
        return f"The trained policy beats its base {rate} of the time."
    if win.low > 0.5:
        return f"The trained policy beats its base {rate} of the time."
    if win.high < 0.5:
        return f"The trained policy loses to its base: it wins only {rate} of the time."
    return f"The trained policy cannot be told from its base: it wins {rate} of the time."


def _before_after(summary: Row, key: str, name: str, detail: str) -> Fact | None:
    base, policy = number(summary, key, "base"), number(summary, key, "policy")
    if base is None or policy is None:
        return None
    spread = [
        interval(number(summary, key, f"{side}_low"), number(summary, key, f"{side}_high"))
        for side in ("base", "policy")
    ]
    known = f"base {spread[0]}; policy {spread[1]}" if all(spread) else detail or "base → policy"
    return Fact(name, f"{figure(base)} → {figure(policy)}", known)


def _kl(summary: Row) -> Fact | None:
    kl = number(summary, "kl_nats")
    return None if kl is None else Fact("KL from the start", f"{figure(kl)} nats", "a whole answer")


def _gain(row: Row) -> float | None:
    new, old = number(row, "gold_policy"), number(row, "gold_base")
    return None if new is None or old is None else new - old


def _sample(row: Row, why: str) -> dict[str, Any]:
    sides = [
        {
            "name": name,
            "text": _shortened(prose(row.get(key, ""))),
            "gold": figure(number(row, f"gold_{key}")),
            "proxy": figure(number(row, f"proxy_{key}")),
        }
        for key, name in (("base", "Base"), ("policy", "Policy"))
    ]
    gain = _gain(row)
    change = "" if gain is None else f"gold {'+' if gain > 0 else ''}{figure(gain)}"
    return {"prompt": _shortened(prose(row.get("prompt", ""))), "sides": sides, "why": why, "change": change}


def _shortened(text: str) -> tuple[str, int]:
    """The beginning of a text and how many letters are not shown."""
    return text[:MOST_LETTERS], max(0, len(text) - MOST_LETTERS)


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "—" if value is None else str(value)
    return figure(float(value))


def limits(contents: RunFolder, absent: Sequence[str]) -> list[str]:
    """What this report cannot show, beginning with this run's own gaps."""
    own: Mapping[bool | None, str] = {
        True: "The raters were simulated. That this works with people, who tire, disagree and care, is not shown.",
        False: "The raters were these people and no others; what another group would prefer is not shown.",
        None: "Whether the raters were people or simulated was not recorded.",
    }
    general = [
        own[simulated(contents)],
        "The gold score stands in for what people want. A policy may please it and still be of no use, or do harm.",
        "One run with one seed. The intervals cover the choice of prompts and answers, not the choice of the seed.",
        "A warning is a reason to look and no proof. Silence is no proof either: a check without data cannot speak.",
    ]
    missing = [f"Left out, because the run folder does not hold the data: {', '.join(absent)}."] if absent else []
    return [*general, *missing, *contents.notes]
