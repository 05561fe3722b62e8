"""From a run folder to one self-contained page: no script, no font, no request to anywhere."""

import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tercih.evaluation.over_optimisation import over_optimised_from, read_curve
from tercih.evaluation.run_folder import RunFolder, number, read_run
from tercih.evaluation.warning_signs import CHECKS
from tercih.report import curves, loop, plots, sections
from tercih.report.words import flatten

HERE = Path(__file__).parent


def write_report(folder: Path) -> Path:
    """Writes `folder`/report.html from the files beside it, and nothing else, and returns its path."""
    page = render(read_run(folder))
    path, unfinished = folder / "report.html", folder / "report.html.part"
    unfinished.write_text(page, encoding="utf-8")
    os.replace(unfinished, path)
    return path


def render(contents: RunFolder) -> str:
    """The page as a function of the run folder's contents."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = Markup((HERE / "report.css").read_text(encoding="utf-8"))
    return environment.get_template("report.html").render(style=style, **_context(contents))


def _context(contents: RunFolder) -> dict[str, Any]:
    curve, best_of_n = read_curve(contents.evaluation.get("curve", [])), contents.evaluation.get("best_of_n", [])
    calibration = contents.evaluation.get("calibration")
    bins = calibration.get("bins", []) if isinstance(calibration, dict) else []
    names, table = sections.rater_table(contents)
    config = contents.run.get("config")
    page = {
        "loop": (loop.circle(contents.stages), loop.track(contents.stages)) if len(contents.stages) > 1 else None,
        "samples": sections.samples(contents),
        "raters": {"names": names, "rows": table, "picture": plots.raters(contents.raters)} if table else None,
        "reliability": plots.reliability(bins),
        "curves": curves.stages(contents),
        "over_optimisation": plots.over_optimisation(curve, best_of_n),
        "config": list(flatten(config)) if isinstance(config, dict) else [],
    }
    absent = [name.replace("_", " ") for name, value in page.items() if not value]
    return page | {
        "headline": sections.headline(contents),
        "facts": sections.facts(contents),
        "strip": plots.win_strip(sections.win_rates(contents)),
        "warnings": sections.warnings(contents),
        "checks": list(CHECKS),
        "sample_count": len(contents.samples),
        "ece": number(contents.evaluation, "calibration", "ece"),
        "reward_model": next((f for f in sections.facts(contents) if f.name == "Reward model accuracy"), None),
        "summit": over_optimised_from(curve),
        "command": str(contents.run.get("command", "")),
        "run": sections.run_facts(contents),
        "recipe": str(contents.run.get("recipe", "")),
        "limits": sections.limits(contents, absent),
    }
