"""What a project has been told, as rows: TRL's columns first, then everything that is known of how it was said.

    pair           prompt, chosen, rejected, label     (label: a, b, tie, all_bad or cannot; without a winner, chosen
                                                        and rejected are null)
    ranking        prompt, completions, order          (order[0] indexes the best; null for one who could not judge)
    thumb          prompt, completion, label
    rule           prompt, completion, rule, broken    (broken: yes, no or unsure)
    demonstration  prompt, completion
    other kinds    prompt, response and the answer's own fields

These columns are there for texts; clips stand in `items` alone. The rest is the same for every kind: PROVENANCE.
Raters are named by their pseudonyms; no table that says who they are leaves the store.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from tercih.feedback import tables
from tercih.feedback.database import Database
from tercih.feedback.tables import account, assignment, guideline, item, question, rater
from tercih.feedback.tables import project as projects
from tercih.records import Item

CHUNK = 200  # questions whose items are held in memory at once
ASIDE = ("tutorial", "exam", "repeat", "withdrawn")  # states whose answers are no training data
PROVENANCE = (
    "question", "project", "run", "step", "index", "kind", "items", "spec", "sampler", "propensity", "votes", "state",
    "repeats", "rater", "rater_kind", "answer", "version", "shown", "suggestion", "time", "seconds", "guideline",
)  # fmt: skip

Row = dict[str, Any]


class ExchangeError(ValueError):
    """What cannot be written or taken in; the message says what and how to mend it."""


def rows(
    database: Database, project: str, *, kind: str = "", everything: bool = False, decided: bool = False
) -> Iterator[Row]:
    """One row an answer that stands, by run, step, index and time; of one `kind` where it is named.

    With `everything` also what is no training data: answers of tutorials, exams, repeats and withdrawn questions, and
    a row without rater for every question that nobody has answered; a copy of the project needs these. With `decided`
    only answers that say something: no ties, nobody who could not judge. Raises ExchangeError for an unknown project.
    """
    with database.transaction() as connection:
        known = connection.execute(sa.select(projects.c.id).order_by(projects.c.id)).scalars().all()
        if project not in known:
            there = f"there are {', '.join(known[:10])}" if known else "it holds none"
            raise ExchangeError(f"there is no project {project!r} in {database.place}; {there}")
        names = pseudonyms(connection)
        written = connection.execute(
            sa.select(guideline.c.created).where(guideline.c.project == project).order_by(guideline.c.version)
        )
        guidelines = list(written.scalars())
        found = connection.execution_options(yield_per=CHUNK).execute(_query(project, kind, everything)).mappings()
        for chunk in found.partitions(CHUNK):
            ids = {key for each in chunk for key in each["items"]}
            shown = {
                each["id"]: dict(each)
                for each in connection.execute(sa.select(item).where(item.c.id.in_(ids))).mappings()
            }
            for each in chunk:
                row = _row(dict(each), [shown[key] for key in each["items"]], names, guidelines)
                if not decided or _decides(row):
                    yield row


def pseudonyms(connection: sa.Connection) -> dict[str, str]:
    """Names for those raters whose own could tell who they are: a login, or an address. They are numbered in the order
    in which they came, so that they have the same name in every export."""
    ids = connection.execute(sa.select(rater.c.id).order_by(rater.c.created, rater.c.id)).scalars().all()
    known = sa.select(account.c.login).where(account.c.login.is_not(None))
    logins = {login.casefold() for login in connection.execute(known).scalars()}
    taken = set(ids)
    found: dict[str, str] = {}
    for number, name in enumerate(ids, start=1):
        if name.casefold() in logins or "@" in name:
            alias = f"rater-{number}"
            while alias in taken:
                alias += "x"
            taken.add(alias)
            found[name] = alias
    return found


def _query(project: str, kind: str, everything: bool) -> sa.Select[Any]:
    said = (assignment.c.question == question.c.id) & (assignment.c.state == "done")
    own = ("rater", "answer", "version", "shown", "time", "seconds")
    query = (
        sa.select(question, *(assignment.c[name] for name in own), rater.c.kind.label("rater_kind"))
        .select_from(question)
        .join(assignment, said, isouter=everything)
        .join(rater, rater.c.id == assignment.c.rater, isouter=everything)
        .where(question.c.project == project)
        .order_by(
            question.c.run, question.c.step, question.c.index, question.c.id, assignment.c.time, assignment.c.rater
        )
    )
    if kind:
        query = query.where(question.c.kind == kind)
    return query if everything else query.where(question.c.state.not_in(ASIDE))


def _row(
    each: Mapping[str, Any], items: list[dict[str, Any]], names: Mapping[str, str], guidelines: list[float]
) -> Row:
    shown, spec, answer, name = each["shown"] or {}, each["spec"], each["answer"], each["rater"]
    read = shown.get("guideline") or (bisect_right(guidelines, each["time"]) if each["time"] is not None else 0)
    run = each["run"]
    if each["repeats"]:  # such a run carries its rater's name
        for real, alias in names.items():
            run = run.removesuffix(f" repeat {real}") + (f" repeat {alias}" if run.endswith(f" repeat {real}") else "")
    provenance = {
        **{field: each[field] for field in PROVENANCE if field in each},
        "question": each["id"],
        "run": run,
        "items": items,
        "state": "open" if each["state"] == "full" else each["state"],  # seats that are only leased stay behind
        "rater": None if name is None else names.get(name, name),
        "shown": {field: value for field, value in shown.items() if field != "guideline"},
        "suggestion": spec.get("suggestion") if shown.get("suggestion") else None,
        "guideline": read or None,
    }
    trl = _trl(each["kind"], items, answer or {"cannot": True}, spec)
    return trl | {field: provenance[field] for field in PROVENANCE}


def _decides(row: Row) -> bool:
    answer = row["answer"]
    return answer is not None and not answer.get("cannot") and answer.get("choice") not in ("tie", "all_bad")


def _trl(kind: str, items: list[dict[str, Any]], answer: Mapping[str, Any], spec: Mapping[str, Any]) -> Row:
    """TRL's columns; every row of a kind has the same ones, null where the answer does not say."""
    if any(each["kind"] != "text" for each in items):
        return {}
    prompts = [_content(each["content"]["prompt"]) for each in items]
    texts = [_content(each["content"]["completion"]) for each in items]
    prompt = {"prompt": prompts[0]}
    cannot = bool(answer.get("cannot"))
    if kind == "pair":
        choice = "cannot" if cannot else answer["choice"]
        chosen, rejected = {"a": texts, "b": texts[::-1]}.get(choice, [None, None])
        return prompt | {"chosen": chosen, "rejected": rejected, "label": choice}
    if kind == "ranking":
        return prompt | {"completions": texts, "order": answer.get("order")}
    if kind == "thumb":
        return prompt | {"completion": texts[0], "label": answer.get("good")}
    if kind == "rule":
        return prompt | {"completion": texts[0], "rule": spec.get("rule"), "broken": answer.get("broken")}
    if kind == "demonstration":
        return prompt | {"completion": answer.get("completion")}
    return prompt | {"response": texts[0]} | {field: answer.get(field) for field in OWN.get(kind, ())}


OWN = {
    "rating": ("score",),
    "critique": ("critique", "correction"),
    "spans": ("spans",),
    "plausible": ("plausible", "supported"),
    "live": ("signals",),
}


def _content(plain: str | list[list[str]]) -> str | list[dict[str, str]]:
    return plain if isinstance(plain, str) else [{"role": role, "content": text} for role, text in plain]


def items_of(row: Row) -> tuple[Item, ...]:
    """The items of an exported row."""
    return tuple(tables.item_of(each) for each in row["items"])
