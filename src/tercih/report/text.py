"""What the report of a run of a text model says."""

from typing import Any

from tercih.evaluation.over_optimisation import over_optimised_from, read_curve
from tercih.evaluation.run_folder import RunFolder, number
from tercih.report import curves, loop, plots, sections
from tercih.report.words import flatten


def page(contents: RunFolder) -> dict[str, Any]:
    """The names that text.html and the head of the page read."""
    curve, best_of_n = read_curve(contents.evaluation.get("curve", [])), contents.evaluation.get("best_of_n", [])
    calibration = contents.evaluation.get("calibration")
    bins = calibration.get("bins", []) if isinstance(calibration, dict) else []
    names, table = sections.rater_table(contents)
    config = contents.run.get("config")
    shown = {
        "loop": (loop.circle(contents.stages), loop.track(contents.stages)) if len(contents.stages) > 1 else None,
        "samples": sections.samples(contents),
        "raters": {"names": names, "rows": table, "picture": plots.raters(contents.raters)} if table else None,
        "reliability": plots.reliability(bins),
        "over_optimisation": plots.over_optimisation(curve, best_of_n),
    }
    absent = [name.replace("_", " ") for name, value in shown.items() if not value]
    absent += [] if curves.stages(contents) else ["curves"]
    absent += [] if isinstance(config, dict) and list(flatten(config)) else ["config"]
    facts = sections.facts(contents)
    return shown | {
        "body": "text.html",
        "headline": sections.headline(contents),
        "facts": facts,
        "strip": plots.win_strip(sections.win_rates(contents)),
        "sample_count": len(contents.samples),
        "ece": number(contents.evaluation, "calibration", "ece"),
        "reward_model": next((fact for fact in facts if fact.name == "Reward model accuracy"), None),
        "summit": over_optimised_from(curve),
        "limits": sections.limits(contents, absent),
    }
