"""The shelf: every method with its card, its class and what became of its proof. `tercih methods` prints it, and writes
the heads of the pages and the table of `docs/` from it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any, get_args

from tercih.algorithms import METHODS
from tercih.card import Card, Family
from tercih.conformance import PROOFS
from tercih.conformance.compare import FEW
from tercih.conformance.verify import CHECKS
from tercih.method import Method
from tercih.run import read_json

ELSEWHERE = {
    "best_of_n": "algorithms.best_of_n",
    "pm_pretraining": "conformance.pm_pretraining",
    "judge": "rewards.judge",
    "reward_ensemble": "rewards.ensemble",
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
"""In docs/: what `tercih methods --compare` found last, and the summaries of runs of
`tercih run stories_methods`."""


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
    titles = ("method", "learns from", "of what is possible so far from π0", "gain", f"with {FEW}", "shuffled")
    rows = [f"| {' | '.join(titles)} | KL | TV to π\\* | from its own optimum | s |", "|---" * 10 + "|"]
    for row in sorted(kept["rows"], key=lambda row: -row["share"]):
        shares = ", ".join(f"{100 * share:.0f}" for share in row["shares"])
        numbers = " | ".join(f"{row[name]:.2f}" for name in ("gain", "few", "control", "kl", "distance"))
        said = f"{row['learns_from']} | {row['share']:.0%} ({shares}) | {numbers} | {own_optimum(row['method'])}"
        rows += [f"| {_page(row['method'])} | {said} | {row['seconds']:.1f} |"]
    return "\n".join(rows)


def own_optimum(name: str) -> str:
    """What the identity of a method's proof measured, with the name of the measure."""
    found = (shelf()[name].proof or {}).get("identity")
    return _cell(f"{found['metric']}: {found['value']:.2g}") if found else ""


def gathered(folders: Sequence[Path]) -> dict[str, Any]:
    """The summaries of finished runs of `tercih run stories_methods`; ValueError where one is none, or all are
    controls."""
    for folder in folders:
        if not (folder / "summary.json").exists() or read_json(folder / "run.json")["recipe"] != "stories_methods":
            raise ValueError(f"--stories: {folder} is no finished run of `tercih run stories_methods`")
    runs = [read_json(folder / "summary.json") for folder in folders]
    if all(run["control"] != "none" for run in runs):
        raise ValueError("--stories: all of these runs are controls; name one without, too")
    return {"runs": runs}


def stories(kept: Mapping[str, Any]) -> str:
    """The table of finished runs of `tercih run stories_methods`: means over seeds, every seed's gold, and how many
    seconds the quickest run took."""
    real = [run["rows"] for run in kept["runs"] if run["control"] == "none"]
    by_lot = [run["rows"] for run in kept["runs"] if run["control"] != "none"]

    def of(runs: Sequence[Any], name: str, what: str) -> list[float]:
        return [row[what]["value"] for rows in runs for row in rows if row["method"] == name]

    def mean(found: Sequence[float], places: int) -> str:
        return f"{sum(found) / len(found):.{places}f}" if found else "not run"

    names = sorted((row["method"] for row in real[0]), key=lambda name: -sum(of(real, name, "gold")))
    rows = [
        "| method | gold | of each seed | preferred to the base | KL, nats | gold, shuffled | s |",
        "|---" * 7 + "|",
    ]
    for name in names:
        gold, wins, far = (of(real, name, what) for what in ("gold", "wins", "kl"))
        each = ", ".join(f"{value:.2f}" for value in gold)
        seconds = min(row["seconds"] for rows in real for row in rows if row["method"] == name)
        rows += [
            f"| {_page(name)} | {mean(gold, 3)} | {each} | {sum(wins) / len(wins):.0%} | {mean(far, 1)}"
            f" | {mean(of(by_lot, name, 'gold'), 3)} | {seconds:.0f} |"
        ]
    base = [rows[0]["base"]["value"] for rows in real]
    each = ", ".join(f"{value:.2f}" for value in base)
    return "\n".join([*rows, f"| *the base* | {mean(base, 3)} | {each} | | 0 | | |"])


def _page(name: str) -> str:
    return f"[{name}](methods/{name}.md)"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("π*", "π\\*")


def pages(docs: Path) -> dict[Path, str]:
    """Every page that is made in part, as it should be."""
    index = docs / "index.md"
    made = {index: replaced(index.read_text(), "methods", table(), str(index))}
    for entry in shelf().values():
        page = docs / "methods" / f"{entry.name}.md"
        if not page.exists():
            places = "\n".join(f"{MADE.format(what)}\n{END}" for what in ("card", "proof"))
            raise ValueError(
                f"{page} is missing: write it, and leave these lines where its head and its proof go:\n{places}"
            )
        text = replaced(page.read_text(), "card", head(entry), str(page))
        made[page] = replaced(text, "proof", proof(entry), str(page))
    guide = docs / "which_method.md"
    text = guide.read_text()
    for what, file, said in (("comparison", COMPARED, comparison), ("stories", STORIES, stories)):
        kept = docs / file
        text = replaced(text, what, said(read_json(kept)) if kept.exists() else "*Not run yet.*", str(guide))
    made[guide] = text
    return made
