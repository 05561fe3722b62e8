"""`tercih profile RECIPE`: where a recipe's time and memory go, and the one option most worth changing."""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.markup import escape
from rich.table import Table

from tercih import spans
from tercih.commands.recipes import configure, find
from tercih.config import ConfigError
from tercih.models.load import default_device
from tercih.profiling.advice import advise
from tercih.profiling.limits import Limits, measure
from tercih.profiling.recorder import IDLE, NAMES, Recorder, Stage
from tercih.progress import console
from tercih.recipes import RECIPES
from tercih.recipes.loop import TINY, LoopSettings
from tercih.run import write_json

HELP = """usage: tercih profile RECIPE [--seconds 20] [--json FILE] [options of the recipe]

Runs the recipe in a temporary folder, each stage of training for that many seconds, and says of the last one where time
and memory went. Recipes of the loop ask few questions and evaluate little on the way. Nothing is kept."""


def profile(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{HELP}\n\nRecipes: {', '.join(RECIPES)}, or PATH.py")
        return
    main, config, ours = options(arguments)
    recorder = Recorder(ours.seconds)
    console.print(f"profiling {arguments[0]}: {ours.seconds:g} s of every training stage …")
    with tempfile.TemporaryDirectory(prefix="tercih-profile-") as place:
        record(main, shortened(config, Path(place) / "run"), recorder)
    if not recorder.stages:
        raise ConfigError(
            f"{arguments[0]} trained nothing for two steps, so there is nothing to say: give it more data"
        )
    device = torch.device(default_device())
    limits = measure(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    show(recorder.stages, limits, gpu=device.type == "cuda")
    if ours.json:
        write_json(ours.json, {"limits": asdict(limits), "stages": [numbers(s, limits) for s in recorder.stages]})
        console.print(f"wrote {ours.json}")


def options(arguments: Sequence[str]) -> tuple[Callable[[Any], Any], Any, argparse.Namespace]:
    """The recipe's main, its configuration, and our own options."""
    name = arguments[0]
    if name.startswith("-"):
        raise ConfigError(f"the recipe comes first: tercih profile NAME {name} …; there are {', '.join(RECIPES)}")
    parser = argparse.ArgumentParser(prog=f"tercih profile {name}", add_help=False, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out")
    ours, rest = parser.parse_known_args(arguments[1:])
    if not ours.seconds > 0:
        raise ConfigError(f"--seconds must be > 0, got {ours.seconds:g}")
    if ours.out is not None:
        raise ConfigError("a profile keeps nothing of the run; leave out --out (--json FILE keeps the numbers)")
    module = find(name)
    return module.main, configure(module, name, rest, f"tercih profile {name}"), ours


def record(main: Callable[[Any], Any], config: Any, recorder: Recorder) -> None:
    """The run itself, silently: its own numbers mean nothing when it is cut short."""
    before, console.quiet = console.quiet, True
    try:
        with spans.listen(recorder):
            main(config)
    finally:
        console.quiet = before


def shortened(config: Any, out: Path) -> Any:
    """The same training in another folder, with less asked before and less evaluated after."""
    names = {f.name for f in fields(config)}
    changed: dict[str, Any] = {"out": out} if "out" in names else {}
    loop = getattr(config, "loop", None)
    if isinstance(loop, LoopSettings) and not getattr(config, "tiny", False):
        changed["loop"] = replace(loop, feedback=TINY.feedback, evaluation=TINY.evaluation)
    return replace(config, **changed)


def numbers(stage: Stage, limits: Limits) -> dict[str, Any]:
    return {
        "title": stage.title,
        "steps": stage.steps,
        "seconds": stage.wall,
        "shares": stage.shares(),
        "peak_mb": {name: peak / 2**20 for name, peak in stage.peak.items()},
        "sampled_per_second": stage.sum_of("sampled") / stage.wall,
        "learned_per_second": stage.sum_of("tokens_learned") / stage.wall,
        "padding": stage.padding,
        "of_matrix_peak": stage.of_matrix_peak(limits),
        "of_bandwidth": stage.of_bandwidth(limits),
    }


def show(stages: Sequence[Stage], limits: Limits, *, gpu: bool) -> None:
    stage = stages[-1]
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=f"{stage.title}: {stage.steps} steps in {stage.wall:.1f} s"
    )
    for column, side in (("", "left"), ("seconds", "right"), ("share", "right"), ("peak MB", "right")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    shares = stage.shares()
    for name in (*NAMES, IDLE):
        if name in shares:
            peak = stage.peak.get(name, 0) / 2**20
            table.add_row(
                name, f"{shares[name] * stage.wall:.2f}", f"{shares[name]:.1%}", f"{peak:.0f}" if peak else "–"
            )
    console.print(table, soft_wrap=False)
    found = numbers(stage, limits)
    if found["sampled_per_second"]:
        console.print(f"sampled   {found['sampled_per_second']:,.0f} tokens per second of the whole step")
    console.print(f"learned   {found['learned_per_second']:,.0f} tokens per second of the whole step, prompts included")
    console.print(f"padding   {found['padding']:.1%} of all positions that were read")
    matrix, memory = found["of_matrix_peak"], found["of_bandwidth"]
    if matrix is not None:
        rate = f"{limits.operations / 1e9:,.0f} billion operations a second in {limits.dtype}"
        console.print(f"learner   {matrix:.1%} of the matrix peak ({rate}, measured)")
    if memory is not None:
        console.print(f"sampling  {memory:.1%} of the memory bandwidth ({limits.bandwidth / 1e9:,.0f} GB/s, measured)")
    for other in stages[:-1]:
        worst = sorted(other.shares().items(), key=lambda item: -item[1])[:3]
        parts = ", ".join(f"{name} {share:.0%}" for name, share in worst)
        console.print(f"[dim]before: {escape(other.title)}, {other.steps} steps in {other.wall:.1f} s: {parts}[/dim]")
    advice = advise(stage, limits, gpu=gpu)
    console.print(f"[bold]Most worth changing:[/] {advice.option}: {escape(advice.why)}")
