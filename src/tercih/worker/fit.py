"""A project's raters, what they add up to (Dawid & Skene 1979), and what its page on quality shows, into the `fit`
table."""

from dataclasses import asdict
from typing import Any

from tercih.feedback.fits import last_change, read_fit, write_fit
from tercih.feedback.jobs import Job
from tercih.feedback.overview import QUALITY, read, work_out
from tercih.feedback.projects import ProjectError, load_project
from tercih.feedback.quality import dawid_skene
from tercih.worker.bench import Bench, project_of


def fit(bench: Bench, job: Job) -> dict[str, Any]:
    """Rows "raters", "consensus" and "quality" of the project; nothing is done where nothing is new."""
    name = project_of(job)
    last = last_change(bench.database, name)  # first: what is answered from now on is for the next fit
    if (known := read_fit(bench.database, name, "raters")) and known["events"] >= last:
        return {"events": last, "new": False}
    answers = read(bench.database, name)
    result = dawid_skene(answers.comparisons) if answers.comparisons else None
    raters, pairs = (result.raters, result.consensus) if result else ([], [])
    try:
        report = work_out(answers, load_project(bench.database, name), raters, pairs)
    except ProjectError:  # a run's own, which has no page
        report = None
    if report:
        write_fit(bench.database, name, QUALITY, last, report.row)
    consensus = [{"a": b.a.id, "b": b.b.id, "p_a": b.p_a, "p_b": b.p_b, "votes": b.votes} for b in pairs]
    write_fit(bench.database, name, "consensus", last, consensus)
    write_fit(bench.database, name, "raters", last, [asdict(row) for row in raters])  # last: it says that all is done
    return {"events": last, "new": True, "raters": len(raters), "pairs": len(consensus)}
