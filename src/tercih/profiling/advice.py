"""The one option that is most worth changing."""

from dataclasses import dataclass

from tercih.profiling.limits import Limits
from tercih.profiling.recorder import IDLE, Stage

PADDED = 0.25  # share of padding from which it is the learner's first trouble
LAZY = 0.15  # share of the matrix peak below which passes are too small to fill the machine


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    option: str
    """By its name in a recipe's settings; `prompts_per_step` is --rows of `tercih train`."""
    why: str


def advise(stage: Stage, limits: Limits, *, gpu: bool) -> Advice:
    """By what takes the most time. The learner's passes count as one."""
    shares = stage.shares()
    passes = shares.get("forward", 0.0) + shares.get("backward", 0.0)
    parts = {name: share for name, share in shares.items() if name not in ("forward", "backward")} | {"passes": passes}
    worst = max(parts, key=lambda name: parts[name])
    takes = f"{{}} takes {parts[worst]:.0%} of the time"
    if worst == "passes":
        return _of_passes(stage, limits, takes.format("learning"))
    if worst == "generate" and gpu:
        return Advice(
            option="engine.url", why=f"{takes.format('sampling')}; a vLLM server is made for it (docs/vllm.md)"
        )
    if worst == "generate" and (stage.of_bandwidth(limits) or 0) > 0.3:
        return Advice(
            option="prompts_per_step",
            why=f"{takes.format('sampling')}, and much of it reads weights: more prompts in a step share that",
        )
    return {
        "generate": Advice(
            option="method.epochs", why=f"{takes.format('sampling')}; learn more often from what was sampled"
        ),
        "score": Advice(
            option="reward", why=f"{takes.format('scoring')}; a smaller reward model or a quicker function, in batches"
        ),
        "reference": Advice(
            option="method.epochs",
            why=f"{takes.format('the reference')}; it is asked once a rollout, whatever is learned",
        ),
        "optimiser": Advice(
            option="lora", why=f"{takes.format('the optimiser')}; an adapter (rank 16) has far fewer weights to move"
        ),
        "data": Advice(
            option="data", why=f"{takes.format('making batches')}; shorter records, or Parquet in place of JSON Lines"
        ),
        "checkpoint": Advice(option="out", why=f"{takes.format('saving')}; put the run folder on a quicker disk"),
        IDLE: Advice(
            option="out",
            why=f"{takes.format('what no span covers')} (metrics, callbacks, other programs); look at the machine",
        ),
    }[worst]


def _of_passes(stage: Stage, limits: Limits, takes: str) -> Advice:
    fraction = stage.of_matrix_peak(limits)
    if stage.padding > PADDED:
        return Advice(
            option="optimisation.micro_rows",
            why=f"{takes}, and {stage.padding:.0%} of what is read is padding; 0 sorts the whole batch by length",
        )
    if fraction is not None and fraction < LAZY:
        return Advice(
            option="prompts_per_step",
            why=f"{takes} at {fraction:.0%} of the matrix peak: passes are too small to fill the machine",
        )
    if stage.trained > 0.5:
        return Advice(option="lora", why=f"{takes}; an adapter saves the gradients of the weights, a third of the work")
    return Advice(option="model", why=f"{takes}, near what the machine can do: only a smaller model is quicker")
