"""The shelf: every method with its card, its class and what became of its proof. `tercih methods` prints it, and writes
the heads of the pages and the table of `docs/` from it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any, get_args

from tercih.algorithms import METHODS
from tercih.card import Card, Family
from tercih.conformance import PROOFS
from tercih.conformance.verify import CHECKS
from tercih.method import Method
from tercih.run import read_json

ELSEWHERE = {
    "best_of_n": "algorithms.best_of_n",
    "pm_pretraining": "conformance.pm_pretraining",
    "judge": "rewards.judge",
    "reward_ensemble": "rewards.ensemble",
    "cql": "algorithms.cql",
    "from_preferences": "agents.preferences",
    "bc": "agents.bc",
    "dagger": "agents.dagger",
    "gail": "agents.gail",
    "airl": "agents.airl",
    "max_ent_irl": "agents.max_ent_irl",
    "apprenticeship": "agents.apprenticeship",
    "pessimistic_mle": "rewards.pessimism",
    "tamer": "agents.tamer",
    "coach": "agents.coach",
    "shaping": "rewards.shaping",
    "overrides": "agents.blocker",
    "beyond": "agents.beyond",
    "cpl": "agents.cpl",
    "ipl": "agents.ipl",
    "preference_transformer": "models.preference_transformer",
    "few_shot": "agents.few_shot",
    "pebble": "agents.pebble",
    "request": "agents.request",
    "mil": "models.remembering",
    "ibarz": "agents.ibarz",
}
"""Where the card of a method lies that `tercih train` does not know."""

PROOFS_FILE = "proofs.json"
"""In the conformance package: what `tercih verify --json` found last."""

COMPARED = "compared.json"
STORIES = "compared_stories.json"
"""In docs/: what `tercih methods --compare` found last, and the summary of `tercih run stories_methods`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    name: str
    card: Card
    module: str
    method: type[Method] | None  # of those that `tercih train` knows
    proof: Mapping[str, Any] | None  # its row of the last `tercih verify --json`

    @property
    def file(self) -> str:
        return "src/" + self.module.replace(".", "/") + ".py"

    @property
    def command(self) -> str:
        return self.card.command or (f"tercih train {self.name}" if self.method else f"tercih verify {self.name}")

    @property
    def status(self) -> str:
        if self.name not in PROOFS:
            return "blocked: no proof"
        return str(self.proof["status"]) if self.proof else "not run"

    def learns_from(self) -> str:
        if self.method is None:
            return ""
        method = self.method()
        needs = [method.learns_from + (", several to a prompt" if method.needs_groups else "")]
        needs += ["values"] if method.needs_values else []
        return "; needs ".join(needs)

    def options(self) -> Iterator[tuple[str, str]]:
        """(option, default) of each, as they are typed."""
        for field in fields(self.method) if self.method else ():  # type: ignore[arg-type]
            default = "" if field.default is MISSING else field.default
            yield f"--method.{field.name.replace('_', '-')}", str(default)

    def found(self) -> Iterator[tuple[str, str]]:
        """(check, what was found) of its last proof, in words."""
        for name in CHECKS if self.proof else ():
            check = self.proof[name] if self.proof else None
            if check:
                value = "not finite" if check["value"] is None else f"{check['value']:.3g}"
                said = f"{check['metric']} {value} {check['bound']}"
                rest = check["detail"]  # of several checks in one it repeats the first
                yield name.replace("_", " "), rest if said in rest else f"{said}; {rest}" if rest else said


@cache
def shelf() -> dict[str, Entry]:
    """All methods by name, family by family."""
    kept = resources.files("tercih.conformance") / PROOFS_FILE
    rows = {row["method"]: row for row in json.loads(kept.read_text())["rows"]}
    modules = {name: method.__module__ for name, method in METHODS.items()}
    modules |= {name: f"tercih.{place}" for name, place in ELSEWHERE.items()}
    entries = [
        Entry(
            name=name, card=_card(module), module=module, method=METHODS.get(name), proof=rows.get(name)
        )
        for name, module in modules.items()
    ]  # fmt: skip
    families = get_args(Family)
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: families.index(entry.card.family))}


def _card(module: str) -> Card:
    card = getattr(import_module(module), "CARD", None)
    if not isinstance(card, Card):
        raise ValueError(f"{module} has no card: write CARD = Card(…) into it, with Card from tercih.card")
    return card


MADE = "<!-- made by `tercih methods --write docs`: {} -->"
END = "<!-- until here -->"


def replaced(text: str, what: str, new: str, place: str) -> str:
    """`text` with the part called `what` made anew. ValueError where the page has no such part."""
    begin = MADE.format(what)
    if text.count(begin) != 1 or END not in text.split(begin)[1]:
        raise ValueError(f"{place} needs one line {begin} and a line {END} after it")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{new}\n{END}{rest.split(END, 1)[1]}"


def head(entry: Entry) -> str:
    card = entry.card
    rows = [
        ("what it does", card.does),
        ("when", card.when),
        ("paper", ", ".join(filter(None, [card.paper, card.link]))),
        ("file", f"[`{entry.file}`](../../{entry.file})"),
        ("command", f"`{entry.command}`"),
        ("learns from", entry.learns_from()),
        ("proof", entry.status),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {_cell(said)} |" for name, said in rows if said)])


def proof(entry: Entry) -> str:
    rows = [f"| {name} | {_cell(said)} |" for name, said in entry.found()]
    return "\n".join(["| check | found |", "|---|---|", *rows])


def table() -> str:
    rows, family = [], ""
    for entry in shelf().values():
        if entry.card.family != family:
            family = entry.card.family
            rows += ["", f"**{family[0].upper()}{family[1:]}**", "", "| page | what it does | learns from | proof |"]
            rows += ["|---|---|---|---|"]
        said = f"| [{entry.name}](methods/{entry.name}.md) | {_cell(entry.card.does)} "
        rows += [said + f"| {entry.learns_from()} | {entry.status} |"]
    return "\n".join(rows[1:])


def comparison(kept: Mapping[str, Any]) -> str:
    """The table of `tercih methods --compare`, furthest along what is possible first."""
    titles = ("method", "learns from", "of what is possible so far from π0", "in each world")
    rows = [f"| {' | '.join(titles)} | gain | shuffled | KL | TV to π\\* | s |", "|---" * 9 + "|"]
    for row in sorted(kept["rows"], key=lambda row: -row["share"]):
        shares = ", ".join(f"{share:.0%}" for share in row["shares"])
        numbers = " | ".join(f"{row[name]:.2f}" for name in ("gain", "control", "kl", "distance", "seconds"))
        page = f"[{row['method']}](methods/{row['method']}.md)"
        rows += [f"| {page} | {row['learns_from']} | {row['share']:.0%} | {shares} | {numbers} |"]
    return "\n".join(rows)


def stories(kept: Mapping[str, Any]) -> str:
    """The table of `tercih run stories_methods`, from its summary."""
    rows = ["| method | gold | preferred to the base | KL, nats | s |", "|---" * 5 + "|"]
    for row in kept["rows"]:
        gold, wins = row["gold"], row["wins"]
        said = f"{gold['value']:.3f} [{gold['low']:.3f}, {gold['high']:.3f}] | {wins['value']:.0%}"
        page = f"[{row['method']}](methods/{row['method']}.md)"
        rows += [f"| {page} | {said} | {row['kl']['value']:.2f} | {row['seconds']:.0f} |"]
    base = kept["rows"][0]["base"]
    return "\n".join([*rows, f"| *the base* | {base['value']:.3f} [{base['low']:.3f}, {base['high']:.3f}] | | 0 | |"])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("π*", "π\\*")


def pages(docs: Path) -> dict[Path, str]:
    """Every page that is made in part, as it should be."""
    index = docs / "index.md"
    made = {index: replaced(index.read_text(), "methods", table(), str(index))}
    for entry in shelf().values():
        page = docs / "methods" / f"{entry.name}.md"
        text = replaced(page.read_text(), "card", head(entry), str(page))
        made[page] = replaced(text, "proof", proof(entry), str(page))
    guide = docs / "which_method.md"
    text = guide.read_text()
    for what, file, said in (("comparison", COMPARED, comparison), ("stories", STORIES, stories)):
        kept = docs / file
        text = replaced(text, what, said(read_json(kept)) if kept.exists() else "*Not run yet.*", str(guide))
    made[guide] = text
    return made
