"""The table of biases: for each way in which answers mislead, a number with its interval, or why there is none."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tercih.feedback.overlap import is_right, verdict
from tercih.feedback.overview.agents import Standing
from tercih.feedback.overview.answers import COMMON, LONGEST, Answers
from tercih.feedback.overview.figures import Figure, Values, attempt, between, share
from tercih.feedback.projects import Project
from tercih.feedback.quality import (
    Raked,
    anchoring,
    clustered_mean,
    cohen_kappa,
    krippendorff,
    plain_labels,
    raked,
    repeated,
    repeats,
    spread_of,
)
from tercih.records import Comparison, Consensus

WORTH = {"a": 1.0, "b": 0.0, "tie": 0.5, "all_bad": 0.5}


def biases(
    answers: Answers, settings: Project, consensus: Sequence[Consensus], agents: Sequence[Standing]
) -> list[Figure]:
    """Selection; confirmation; what adaptive overlap saves; training; consensus; raters; agents across tasks."""
    return [
        attempt("coverage", lambda: _coverage(answers, settings)),
        attempt("n_eff", lambda: _worth(answers, settings)),
        attempt("shift", lambda: _shift(answers, settings)),
        attempt("anchoring", lambda: _anchoring(answers)),
        attempt("agreement", lambda: _agreement(answers)),
        attempt("saved", lambda: _saved(answers, settings)),
        attempt("pass", lambda: _passed(answers)),
        attempt("exam", lambda: _training(answers)),
        attempt("dissent", lambda: _dissent(answers)),
        attempt("adjudicated", lambda: _adjudicated(answers, settings)),
        attempt("entropy", lambda: _entropy(consensus)),
        attempt("left", lambda: _left(answers)),
        attempt("flips", lambda: _flips(answers)),
        attempt("retest", lambda: _retest(answers)),
        attempt("split half", lambda: _halves(answers)),
        attempt("golds", lambda: _golds(answers)),
        attempt("seconds", lambda: _seconds(answers)),
        attempt("worst task", lambda: _worst_task(agents)),
    ]


# Who was asked


def _coverage(answers: Answers, settings: Project) -> Values:
    """Evenness of the strata that answered: 1 even, 0 all in one."""
    rows = answers.common
    strata = [_stratum(answers, row) for row in rows]
    if len(set(strata) | set(settings.population)) < 2:
        raise ValueError("the raters are of one stratum, or nobody said of which")
    if not strata:
        raise ValueError("nobody has answered")
    found = spread_of(strata, [row["rater"] for row in rows], wanted=list(settings.population))
    return between(found, len(strata), percent=False)


def _worth(answers: Answers, settings: Project) -> Values:
    rows = answers.common
    return between(_raked(answers, rows, [0.0] * len(rows), settings).n_eff, len(rows), percent=False)


def _shift(answers: Answers, settings: Project) -> Values:
    valued = [(row, value) for row in answers.common if (value := _value(answers, row)) is not None]
    rows = [row for row, _ in valued]
    return between(_raked(answers, rows, [value for _, value in valued], settings).shift, len(rows))


def _raked(answers: Answers, rows: Sequence[Mapping[str, Any]], values: Sequence[float], settings: Project) -> Raked:
    if not settings.population:
        raise ValueError("the settings do not say what shares of the population the strata are")
    if not rows:
        raise ValueError("no answers that a mean can be taken of")
    return raked(values, [row["rater"] for row in rows], [_stratum(answers, row) for row in rows], settings.population)


def _stratum(answers: Answers, row: Mapping[str, Any]) -> str:
    return answers.raters[row["rater"]]["stratum"] or "unknown"


def _value(answers: Answers, row: Mapping[str, Any]) -> float | None:
    """An answer in [0, 1]: of a pair, how far its first item is preferred (where both say who wrote them, the one whose
    origin comes first); of a rating its place on the scale; of a thumb 1 for up; of a rule 1 for broken."""
    said, spec = row["answer"], row["spec"]
    if row["kind"] == "pair" and said.get("choice") in WORTH:
        first, second = (answers.origins.get(key, "") for key in row["items"])
        turned = bool(first and second and second < first)
        return 1 - WORTH[said["choice"]] if turned else WORTH[said["choice"]]
    if row["kind"] == "rating" and "score" in said:
        low, high = spec.get("low", 1), spec.get("high", 7)
        return float((said["score"] - low) / (high - low))
    if row["kind"] == "thumb" and "good" in said:
        return float(said["good"])
    return float(said["broken"] == "yes") if row["kind"] == "rule" and "broken" in said else None


# What they were shown, and how they were prepared


def _anchoring(answers: Answers) -> Values:
    """P(agrees with a suggestion | shown) − P(agrees | hidden)."""
    rows = [row for row in answers.rows if "suggestion" in row["shown"] and "suggestion" in row["spec"]]
    if not rows:
        raise ValueError("no suggestions were shown")
    agreed = [all(row["answer"].get(k) == v for k, v in row["spec"]["suggestion"].items()) for row in rows]
    found = anchoring(agreed, [bool(row["shown"]["suggestion"]) for row in rows], [row["rater"] for row in rows])
    return between(found, len(rows))


def _passed(answers: Answers) -> Values:
    """Raters who passed, of those who have finished an exam."""
    sat = {row["rater"] for row in answers.rows if row["state"] == "exam"}
    stages = Counter(answers.stages.get(name) for name in sat)
    return share(stages["passed"], stages["passed"] + stages["failed"], "nobody has finished an exam")


def _training(answers: Answers) -> Values:
    """Exam answers that were right, less tutorial answers."""
    rows = [row for row in answers.rows if row["state"] in ("tutorial", "exam")]
    if not rows:
        raise ValueError("there is no tutorial and no exam")
    right = [is_right(row["answer"], row["spec"]) for row in rows]
    before = [row["state"] == "tutorial" for row in rows]
    return between(clustered_mean(right, [row["rater"] for row in rows], minus=before), len(rows))


# Whether they agree


def _agreement(answers: Answers) -> Values:
    """Krippendorff's α over all pairs."""
    if not answers.comparisons:
        raise ValueError("no pairs judged")
    found = krippendorff(answers.comparisons)
    return {"value": found.alpha, "low": found.low, "high": found.high, "n": found.pairs}


def _saved(answers: Answers, settings: Project) -> Values:
    """Votes not needed because raters agreed early, of the most allowed."""
    if not settings.adaptive:
        raise ValueError("every question has the same number of raters")
    given = Counter(row["id"] for row in answers.common if row["state"] == "closed")
    most = len(given) * settings.most_votes
    return share(max(most - sum(given.values()), 0), most, "none is closed")


def _dissent(answers: Answers) -> Values:
    """Questions on which raters disagree."""
    said: dict[str, set[str]] = defaultdict(set)
    votes: Counter[str] = Counter()
    for row in answers.common:
        said[row["id"]].add(verdict(row["kind"], row["answer"]))
        votes[row["id"]] += 1
    several = [key for key, count in votes.items() if count > 1]
    return share(sum(len(said[key]) > 1 for key in several), len(several), "no question has two answers yet")


def _adjudicated(answers: Answers, settings: Project) -> Values:
    """Questions that raters left to the lead, decided or not, of those that raters are done with."""
    if not settings.adaptive:
        raise ValueError("every question has the same number of raters, so that none is left to the lead")
    done = {row["id"] for row in answers.rows if row["state"] in ("closed", "dissent")}
    left = {
        row["id"]
        for row in answers.rows
        if row["state"] == "dissent" or (row["state"] == "closed" and row["shown"].get("adjudication"))
    }
    return share(len(left), len(done), "no question has all its answers yet")


def _entropy(consensus: Sequence[Consensus]) -> Values:
    """Mean entropy of the consensus, in nats."""
    if not consensus:
        raise ValueError("no pairs judged")
    p_N3 = np.clip([[b.p_a, b.p_b, 1 - b.p_a - b.p_b] for b in consensus], 1e-12, 1)
    entropy_N = -(p_N3 * np.log(p_N3)).sum(1)
    spread = 1.96 * entropy_N.std() / math.sqrt(len(consensus))
    mean = float(entropy_N.mean())
    return {"value": mean, "low": mean - spread, "high": mean + spread, "n": len(consensus)}


def _halves(answers: Answers) -> Values:
    """Raters are split by the order of their names; every item pair judged in both halves counts (Spearman–Brown)."""
    names = sorted({each.rater for each in answers.comparisons})
    half = set(names[::2])
    votes: dict[frozenset[str], tuple[list[float], list[float]]] = {}
    for each in answers.comparisons:
        worth = 0.5 if each.answer == "tie" else float(_preferred(each) == min(each.pair))
        votes.setdefault(frozenset(each.pair), ([], []))[each.rater not in half].append(worth)
    both = [(np.mean(one), np.mean(other)) for one, other in votes.values() if one and other]
    if len(both) < 10:
        raise ValueError(f"only {len(both)} pairs were judged in both halves of the raters")
    generator, x_N2 = np.random.default_rng(0), np.array(both)

    def stepped(rows_N2: Any) -> float:
        r = float(np.corrcoef(rows_N2.T)[0, 1]) if rows_N2.std(0).min() > 0 else math.nan
        return 2 * r / (1 + r)

    drawn = [stepped(x_N2[generator.integers(len(both), size=len(both))]) for _ in range(500)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return {"value": stepped(x_N2), "low": float(low), "high": float(high), "n": len(both)}


# How they answer


def _left(answers: Answers) -> Values:
    """“Left” among answers that chose a side."""
    sided = [each for each in answers.comparisons if each.left and each.answer != "tie"]
    return between(clustered_mean([each.answer == each.left for each in sided], _raters(sided)), len(sided))


def _flips(answers: Answers) -> Values:
    """Repeats, the other way round, that were answered otherwise."""
    rows = repeats(answers.repeated)
    flips, asked = sum(round(row.flip_rate * row.repeats) for row in rows), sum(row.repeats for row in rows)
    return share(flips, asked, "no question was asked twice yet")


def _retest(answers: Answers) -> Values:
    """Cohen's κ of raters with themselves: agreement on repeats beyond what chance would give."""
    couples = [each for own in repeated(answers.repeated).values() for each in own]
    if not couples:
        raise ValueError("no question was asked twice yet")
    told = [
        (str(at), time, "tie" if each.answer == "tie" else str(_preferred(each) == min(each.pair)))
        for at, couple in enumerate(couples)
        for time, each in zip(("first", "again"), couple, strict=True)
    ]
    return between(cohen_kappa(plain_labels(told), "first", "again"), len(couples), percent=False)


def _golds(answers: Answers) -> Values:
    marks = [is_right(row["answer"], row["spec"]) for row in answers.rows if row["state"] == "gold"]
    return share(sum(marks), len(marks), "no gold questions answered")


def _seconds(answers: Answers) -> Values:
    """Mean active seconds of an answer; long silences count as LONGEST."""
    timed = [row for row in answers.rows if row["state"] in COMMON and row["seconds"]]
    if not timed:
        raise ValueError("no answer was timed")
    found = clustered_mean([min(row["seconds"], LONGEST) for row in timed], [row["rater"] for row in timed])
    return between(found, len(timed), percent=False)


def _worst_task(agents: Sequence[Standing]) -> Values:
    """How far the best agent's worst task lies below its standing over all tasks."""
    if not agents:
        raise ValueError("no two answers of different origins were compared")
    gap = agents[0].gap
    if gap is None:
        raise ValueError("the items say of no two tasks (column “task”), so that none is the worst")
    return {"value": gap.value, "low": gap.low, "high": gap.high, "n": gap.n, "percent": True}


def _preferred(said: Comparison) -> str:
    return said.a.id if said.answer == "a" else said.b.id


def _raters(said: Sequence[Comparison]) -> list[str]:
    return [each.rater for each in said]
