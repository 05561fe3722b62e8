"""Training curves: which metrics a stage has, what they are called, and in which unit they are."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tercih.evaluation.run_folder import Row, RunFolder, number
from tercih.report.plots import training_curve

UNITS = {
    "sft/loss": "nats a token",
    "reward_model/loss": "nats a pair",
    "policy/entropy": "nats a step",
    "policy/clip_fraction": "share of steps",
    "policy/reward": "scaled reward",
    "return": "the environment’s own",
    "reward/heldout_accuracy": "share of answers",
    "reward/loss": "nats a comparison",
    "reward/heldout_loss": "nats a comparison",
    "loss": "loss",
    "gold": "gold score",
    "reward": "learned reward",
    "kl": "nats",
    "entropy": "nats a token",
    "value_loss": "squared reward",
    "accuracy": "share of pairs",
    "clip_fraction": "share of tokens",
    "response_length": "tokens",
    "truncated": "share of answers",
    "lr": "learning rate",
    "gradient_norm": "norm",
}
AT_ONCE = 8  # curves of a stage that are open; the rest is folded away


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric's name and picture, and how many of its values were not finite (NaN, or null in the file)."""

    name: str
    picture: Markup
    lost: int


@dataclass(frozen=True, slots=True)
class Stage:
    """The curves of one stage, the best known first; `folded` are those that a reader has to open."""

    name: str
    steps: int
    open: list[Curve]
    folded: list[Curve]


def stages(contents: RunFolder) -> list[Stage]:
    """Stages in the order of the pipeline where it is known, else of the alphabet."""
    order = {str(stage.get("name")): i for i, stage in enumerate(contents.stages)}
    titles = {str(stage.get("name")): str(stage["title"]) for stage in contents.stages if stage.get("title")}
    found = []
    for name in sorted(contents.metrics, key=lambda stage: (order.get(stage, len(order)), stage)):
        curves = _curves(name, contents.metrics[name])
        if curves:
            title = titles.get(name, name.replace("_", " "))
            found.append(Stage(title, len(contents.metrics[name]), curves[:AT_ONCE], curves[AT_ONCE:]))
    return found


def _curves(stage: str, rows: Sequence[Row]) -> list[Curve]:
    names = {name for row in rows for name in row if name != "step" and number(row, name) is not None}
    known = list(UNITS)
    ordered = sorted(names, key=lambda name: (known.index(name) if name in UNITS else len(known), name))
    curves = []
    for name in ordered:
        logged = [(number(row, "step"), i, number(row, name)) for i, row in enumerate(rows) if name in row]
        points = [(i if step is None else step, value) for step, i, value in logged if value is not None]
        picture = training_curve(name, UNITS.get(f"{stage}/{name}", UNITS.get(name, "value")), points)
        if picture is not None:
            curves.append(Curve(name.replace("_", " "), picture, len(logged) - len(points)))
    return curves
