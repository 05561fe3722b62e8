"""What the report of a comparison of query rules says: accuracy against labels, and the labels that asking saves."""

from typing import Any

from tercih.evaluation.run_folder import RunFolder, estimate, is_control, number
from tercih.report.control_plots import STYLES, efficiency
from tercih.report.sections import Fact, Headline
from tercih.report.words import figure, interval, share

MEASURES = {"accuracy": "held-out accuracy", "correlation": "correlation with the true reward"}
NAMES = {"one": "blue", "two": "orange", "three": "green", "muted": "grey"}


def page(contents: RunFolder) -> dict[str, Any]:
    """The names that efficiency.html and the head of the page read."""
    found = contents.efficiency
    rules, labels = found.get("rules", {}), [float(x) for x in found.get("labels", [])]
    pictures = []
    for measure, label in MEASURES.items():
        curves = {}
        for name, rule in rules.items():
            curve = [estimate(row) for row in rule.get(measure, [])]
            if len(curve) == len(labels) and None not in curve:
                curves[name] = [one for one in curve if one]
        picture = efficiency(labels, curves, label)
        if picture is not None:
            key = "; ".join(f"{NAMES[style]}: {name}" for name, (style, _) in zip(curves, STYLES, strict=False))
            pictures.append((f"{label[:1].upper()}{label[1:]} against labels. {key[:1].upper()}{key[1:]}.", picture))
    table = []
    for name, rule in rules.items():
        saved, low, high, part = (number(rule, "saved", key) for key in ("saved", "low", "high", "share"))
        if saved is not None:
            edges = [None if x is None else round(x) for x in (low, high)]
            table.append([name, figure(round(saved)), interval(*edges), share(part).replace("-", "−")])
    seeds, clips = number(found, "seeds"), number(found, "clips")
    facts = [
        Fact(f"Labels saved by {name}", saved, f"{spread} of {figure(labels[-1])}") for name, saved, spread, _ in table
    ]
    return {
        "body": "efficiency.html",
        "strip": None,
        "pictures": pictures,
        "table": table,
        "headline": Headline(
            f"What each rule of asking saves in {found.get('environment', '?')}.",
            (
                f"Rewards of {figure(clips)} clips of an agent at all its stages, learned from growing numbers of"
                f" comparisons that each rule chose, {figure(seeds)} times each.",
                "The teacher was simulated and is always right: no person was asked.",
                *(
                    ["This is a negative control: half of the answers were turned around."]
                    if is_control(contents)
                    else []
                ),
            ),
            ("simulated teacher", "negative control") if is_control(contents) else ("simulated teacher",),
        ),
        "facts": facts,
        "limits": [
            "The teacher is simulated and never errs; people err most where clips are alike.",
            "The clips were made beforehand and are the same for every rule: that a better reward leads to other clips"
            " is not shown. The intervals cover the draws of clips, questions and networks, not the agent that acted.",
        ],
    }
