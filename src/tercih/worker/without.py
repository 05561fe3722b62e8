"""What each rater and each source does to the reward that is learned from a project, into the `fit` table."""

from typing import Any

from tercih.feedback import overview
from tercih.feedback.acquisition import Floats
from tercih.feedback.fits import last_change, read_fit, write_fit
from tercih.feedback.jobs import Job
from tercih.feedback.overview.without import KIND, MOST_VOICES
from tercih.records import Text
from tercih.worker.bench import Bench, project_of

GROWN = 1.1  # how many times the answers of the last time are worth learning again so often


def without(bench: Bench, job: Job) -> dict[str, Any]:
    """Row "without"; nothing is done before there is a tenth more to learn from than the last time."""
    name = project_of(job)
    last = last_change(bench.database, name)
    known = read_fit(bench.database, name, KIND)
    total = overview.progress(bench.database, name)["given"]
    if known and total < GROWN * known["result"]["answers"]:
        return {"events": last, "new": False}
    said = overview.read(bench.database, name).told[-MOST_VOICES:]
    items = [item for each, _ in said for item in (each.a, each.b)]
    texts = {item.id: item for item in items if isinstance(item, Text)}
    features: dict[str, Floats] | None = None
    if bench.models and len(texts) == len({item.id for item in items}):
        from tercih.worker.scores import judge  # torch, which a worker without models does not need

        feature_BD, _ = judge(bench.models[:1], list(texts.values()))
        features = dict(zip(texts, feature_BD, strict=True))
    try:
        found = overview.without(said, features)
    except ValueError as error:
        return {"events": last, "new": False, "why": str(error)}
    write_fit(bench.database, name, KIND, last, found | {"answers": total})
    return {"events": last, "new": True, "raters": len(found["raters"]), "sources": len(found["sources"])}
