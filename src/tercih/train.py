"""The loop. It knows nothing of any method, and nothing of where data come from."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from tercih import spans
from tercih.batches import AnyBatch
from tercih.checkpoint import Checkpoints
from tercih.distributed.placed import place
from tercih.distributed.spread import spread
from tercih.distributed.team import ALONE, Team
from tercih.forward import Mean, Models
from tercih.method import Method, State
from tercih.metrics import MetricsFile
from tercih.optimisation import Optimisation
from tercih.progress import Progress
from tercih.spans import span

EXPLODED = 1e6


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step, why, and what is left."""


class Data(Protocol):
    """What is trained on: item number `step`, made from (seed, step) alone, whether it is read or sampled."""

    @property
    def steps(self) -> int: ...
    def __call__(self, step: int) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Trainer(Protocol):
    """What the loop drives; `metrics` are the last step's, also after loading."""

    metrics: dict[str, float]

    def step(self, step: int) -> dict[str, float]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, saved: dict[str, Any]) -> None: ...


def fit(
    method: Method,
    models: Models,
    data: Data,
    optimisation: Optimisation,
    folder: Path | str | None = None,
    *,
    team: Team = ALONE,
    title: str = "training",
    save_every: float = 60.0,
    on_step: Callable[[int, Mapping[str, float]], None] | None = None,
) -> dict[str, float]:
    """Train `models.policy` by `method` on `data`; returns the last step's metrics.

    With a `folder`, metrics go to `folder/metrics.jsonl` and checkpoints to `folder/checkpoints`: at the latest every
    `save_every` seconds, and more often where saving costs little (under 5 % of the time). A run that was killed goes
    on from the newest one and ends with the same bits. In a `team` every process calls it with the same method, models
    and data; the result is that of one process, up to rounding, and the leader alone needs the folder. Raises
    TrainingError on a loss that is not finite or explodes; the last good checkpoint stays.
    """
    trainer = _Trainer(method, models, data, optimisation, team)
    with spans.training(title, models.policy):
        metrics = run(
            trainer, data.steps, folder, team=team, title=title, save_every=save_every, on_step=on_step,
            mend="A lower learning rate (--optimisation.lr) or a smaller gradient norm (--optimisation.max-norm) may"
            " help",
        )  # fmt: skip
    trainer.placed.publish()
    return metrics


def run(
    trainer: Trainer,
    steps: int,
    folder: Path | str | None = None,
    *,
    team: Team = ALONE,
    title: str = "training",
    save_every: float = 60.0,
    on_step: Callable[[int, Mapping[str, float]], None] | None = None,
    mend: str = "A lower learning rate may help",
) -> dict[str, float]:
    """Let a trainer take `steps` steps, with progress, metrics and checkpoints as `fit` says. `mend` is what may help
    against numbers that are not finite."""
    checkpoints = Checkpoints(Path(folder) / "checkpoints") if folder and team.leads else None
    start = 0
    if saved := team.tell(checkpoints.load() if checkpoints else None):
        start = saved[0]
        trainer.load_state_dict(saved[1])
    metrics: dict[str, float] = trainer.metrics
    last_save, cost = time.monotonic(), 0.0
    kept = folder if team.leads else None
    with MetricsFile(kept, keep=start) as log, Progress(title, total=steps, done=start) as progress:
        for step in range(start, steps):
            try:
                metrics = trainer.step(step)
            except FloatingPointError as error:
                raise TrainingError(f"step {step}: {error}. {_left(checkpoints)}{mend}") from error
            log.write(step, metrics)
            progress.advance(metrics)
            since = time.monotonic() - last_save
            if team.tell(bool(checkpoints) and (since > save_every or since > 20 * cost or step + 1 == steps)):
                began = time.monotonic()
                with span("checkpoint"):
                    state = trainer.state_dict()
                    if checkpoints:
                        checkpoints.save(step + 1, state)
                last_save = time.monotonic()
                cost = last_save - began
            if on_step:
                on_step(step, metrics)
            if spans.enough():
                break
    return metrics


class _Trainer:
    """A model, its optimiser and its method's state: what a checkpoint holds."""

    def __init__(
        self, method: Method, models: Models, data: Data, optimisation: Optimisation, team: Team = ALONE
    ) -> None:
        self.method, self.data, self.optimisation, self.team = method, data, optimisation, team
        self.given = models
        self.state: State = method.init(models)
        self.placed = place(team, models.policy)
        self.policy = self.placed.trained
        self.models = spread(team, replace(models, policy=self.policy))
        self.optimiser = optimisation.build(self.placed.parameters)
        self.metrics: dict[str, float] = {}
        self.device = next(self.policy.parameters()).device

    def step(self, step: int) -> dict[str, float]:
        """All updates on one item of data. Raises FloatingPointError on numbers that are not finite or explode."""
        if self.method.learns_from == "rollouts":
            self.placed.publish()  # what samples reads the model that was given
        self.state = self.method.before(self.given, self.state)
        with span("data"):
            item = self.data(step)
        for group in self.optimiser.param_groups:
            group["lr"] = self.optimisation.lr_at(step, self.data.steps)
        means = _Means()
        if isinstance(item, AnyBatch):
            item = item.to(self.device)
            means.add(item.describe())
        self.policy.train()
        for batch in spans.each("forward", self.method.batches(item, self.models, self.state)):
            means.add(self._update([batch] if isinstance(batch, AnyBatch) else batch))
        self.metrics = means.values()
        self.state = self.method.after(self.state, item, self.metrics)
        self.metrics |= {f"state/{k}": float(v) for k, v in self.state.items() if isinstance(v, int | float)}
        return self.metrics

    def _update(self, parts: Sequence[AnyBatch]) -> dict[str, Mean]:
        """One optimiser step on all parts together, each in as many micro-batches as memory asks for."""
        units: dict[str, Tensor] = {}
        for part in parts:
            units |= part.units()
        self.optimiser.zero_grad(set_to_none=True)
        means, value = _Means(), 0.0
        for part in parts:
            for micro, counts in self.team.share(part, self.optimisation.micro_rows or part.rows):
                with span("forward"):
                    loss = self.method.loss(self.policy, micro)
                terms = [t.weight * t.sum / units[t.per].clamp(min=1e-9) for t in loss.terms.values() if t.weight]
                total = torch.stack(terms).sum()
                if not counts:
                    total = total * 0
                with span("backward"):
                    total.backward()  # type: ignore[no-untyped-call]
                    self.placed.keep_gradients()
                value += float(total.detach())  # after the backward pass: a GPU need not wait in between
                if not abs(value) < EXPLODED:
                    raise FloatingPointError(f"the loss is {value:.3g} ({_describe(loss.terms)})")
                means.add(loss.metrics if counts else {name: (s * 0, n * 0) for name, (s, n) in loss.metrics.items()})
        with span("optimiser"):
            self.placed.sum_gradients()
            norm = float(self.placed.whole(self.optimisation.clip(self.placed.parameters)))
            if not math.isfinite(norm):
                raise FloatingPointError(f"the gradient norm is {norm}")
            self.optimiser.step()
            self.placed.round()
        sums = self.team.sum_means(means.sums | {"loss": _one(value)})
        return sums | {"loss": _one(float(sums["loss"][0])), "gradient_norm": _one(norm)}

    def _frozen(self) -> set[str]:
        """What is not in checkpoints."""
        return {name for name, p in self.policy.named_parameters() if not p.requires_grad}

    def state_dict(self) -> dict[str, Any]:
        """Whole tensors, however many processes hold them: any number of processes can go on from it."""
        policy, frozen = self.policy, self._frozen()
        tensors = policy.state_dict() | {name: wide.detach() for name, (_, wide) in self.placed.twins.items()}
        # A quantised weight, which is frozen, has entries besides that are neither parameters nor buffers.
        known = {n for n, _ in [*policy.named_parameters(remove_duplicate=False), *policy.named_buffers()]}
        return {
            "model": self.placed.whole({k: v for k, v in tensors.items() if k in known and k not in frozen}),
            "optimiser": self.placed.whole(self.optimiser.state_dict()),
            "method": dict(self.state),
            "data": self.data.state_dict(),
            "metrics": self.metrics,
            "rng": torch.get_rng_state(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        frozen = self._frozen()
        parts = self.placed.cut(saved["model"], self.policy.state_dict())
        missing, unexpected = self.policy.load_state_dict(parts, strict=False)
        wrong = [f"missing {n}" for n in missing if n not in frozen] + [f"unknown {n}" for n in unexpected]
        if wrong:
            raise TrainingError(f"the checkpoint does not fit the model: {', '.join(wrong[:5])}; name another folder")
        self.placed.widen(parts)
        optimiser = saved["optimiser"]
        moments = {
            index: self.placed.cut(state, dict.fromkeys(state, self.placed.parameters[index]))
            for index, state in optimiser["state"].items()
        }
        self.optimiser.load_state_dict(optimiser | {"state": moments})
        self.state = saved["method"]
        self.data.load_state_dict(saved["data"])
        self.metrics = saved["metrics"]
        torch.set_rng_state(saved["rng"])


class _Means:
    """Metrics of many updates; a host round-trip only when they are read."""

    def __init__(self) -> None:
        self.sums: dict[str, Mean] = {}

    def add(self, metrics: Mapping[str, Mean]) -> None:
        for name, (total, count) in metrics.items():
            old = self.sums.get(name)
            self.sums[name] = (total, count) if old is None else (old[0] + total, old[1] + count)

    def values(self) -> dict[str, float]:
        return {name: float(total / count) if count else math.nan for name, (total, count) in self.sums.items()}


def _one(x: float) -> Mean:
    return torch.tensor(x, dtype=torch.float64), torch.tensor(1.0)


def _describe(terms: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {float(term.sum.detach()):.3g}" for name, term in terms.items())


def _left(checkpoints: Checkpoints | None) -> str:
    steps = checkpoints.steps() if checkpoints else []
    return f"The last good checkpoint is step {steps[-1]} in {checkpoints.folder}. " if checkpoints and steps else ""
