"""Training runs that two processes and one must end alike; `python jobs.py FOLDER` is a member of the team of two."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import test_train
from faults import victim
from small import Fixed, byte_pairs, causal, random_pairs, random_tokens
from tercih.algorithms.dpo import DPO
from tercih.algorithms.ppo import PPO
from tercih.algorithms.sft import SFT
from tercih.batches import Batch
from tercih.data.tokenize import Tokenizer
from tercih.distributed.team import ALONE, Team, joined
from tercih.forward import Loss, Models, Term
from tercih.method import Method
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.load import LoRA, add_lora
from tercih.models.memory import Memory, settle
from tercih.optimisation import Optimisation
from tercih.train import fit

Case = tuple[Method, Models, Any]
STEPS = 3
FAST = Optimisation(lr=1e-2, eps=1e-5, weight_decay=0.01, max_norm=0.5)


@dataclass(frozen=True)
class Job:
    """A run of `STEPS` steps, its case always with float64 weights."""

    case: Callable[..., Case]
    sharded: bool = False
    optimisation: Optimisation = FAST
    equal: bool = True
    """Whether one process ends alike; not where a control takes away what makes it so."""
    tolerance: float = 1e-9
    """A sum in another order, in float64."""


def one_prompt() -> Case:
    """Less than there are processes: one of them has nothing that counts."""
    return SFT(), test_train.policy_models(torch.float64), Batch(tokens=random_tokens([3]))


def tied_separate() -> Case:
    """Embedding and head are one, and values have a trunk of their own."""
    method, _, data = test_train.ppo(torch.float64)
    policy = LanguageModel(causal("llama_tied"), value="separate")
    return method, Models(policy=policy, reference=Reference(LanguageModel(causal(seed=1)))), data


def adapter() -> Case:
    policy = LanguageModel(causal("gpt2"))
    torch.manual_seed(0)
    add_lora(policy, LoRA(rank=2))
    return DPO(), Models(policy=policy, reference=Reference(policy)), random_pairs(5)


def checkpointing() -> Case:
    method, models, data = test_train.ppo(torch.float64)
    settle(models.policy.causal, Memory(gradient_checkpointing=True))
    return method, models, data


def in_16_bits() -> Case:
    policy = LanguageModel(causal(dtype=torch.bfloat16))
    return SFT(), Models(policy=policy), Batch(tokens=random_tokens([1] * 7))


def sampled(team: Team) -> Case:
    """Rollouts of the policy as it is after every update, shared out, with a reward that has running moments."""
    method, models, data = victim.ppo(Tokenizer(byte_pairs()))
    assert isinstance(models.policy, LanguageModel)
    models.policy.double()
    data = replace(data, steps=STEPS, team=team, reward=replace(data.reward))
    return method, Models(policy=models.policy, reference=Reference(models.policy)), data


@dataclass(frozen=True)
class OwnMeans(Method):
    """What plain data parallelism does: each process takes the mean over its own part, and these are averaged."""

    inner: Method
    whole: Batch
    size: int

    def loss(self, policy: nn.Module, batch: Batch) -> Loss:
        found, mine, all_ = self.inner.loss(policy, batch), batch.units(), self.whole.units()
        terms = {k: Term(t.sum * all_[t.per] / mine[t.per] / self.size, t.per) for k, t in found.terms.items()}
        return Loss(terms=terms, metrics=found.metrics)


def own_means() -> Case:
    method, models, data = test_train.sft(torch.float64)
    return OwnMeans(method, data, 2), models, data


def cases() -> Iterator[tuple[str, Job]]:
    of_train = {case.__name__: lambda case=case: case(torch.float64) for case in test_train.CASES}
    further = {f.__name__: f for f in (one_prompt, tied_separate, adapter, checkpointing, sampled)}
    for name, case in {**of_train, **further}.items():
        yield name, Job(case)
        yield f"{name}-sharded", Job(case, sharded=True)
    yield "micro", Job(of_train["ppo"], optimisation=replace(FAST, micro_rows=2))
    yield "micro-sharded", Job(of_train["ppo"], sharded=True, optimisation=replace(FAST, micro_rows=2))
    tf_adam = Optimisation(lr=1e-2, optimiser="tf_adam", eps=1e-5)
    yield "tf_adam-sharded", Job(of_train["sft"], sharded=True, optimisation=tf_adam)
    by_row = replace(FAST, micro_rows=1)  # the same passes, whoever makes them
    yield "in_16_bits", Job(in_16_bits, optimisation=by_row, tolerance=1e-5)
    yield "in_16_bits-sharded", Job(in_16_bits, sharded=True, optimisation=by_row, tolerance=2e-2)  # its sums have 16
    yield "own_means", Job(own_means, equal=False)


JOBS: dict[str, Job] = dict(cases())


class Stopped(BaseException):
    """As if it had been killed after a step."""


def run(job: Job, team: Team, folder: Path | None = None, *, stop: int = STEPS) -> dict[str, Any]:
    """What the run ends with: metrics, weights, and every step's whole gradients."""
    torch.manual_seed(0)
    method, models, data = sampled(team) if job.case is sampled else job.case()
    if isinstance(method, OwnMeans):
        method = replace(method, size=team.size)
    gradients: list[list[Tensor]] = []
    clip = Optimisation.clip

    def recorded(self: Optimisation, parameters: Any) -> Any:
        parameters = list(parameters)
        gradients.append([whole(p.grad) for p in parameters if p.grad is not None])
        return clip(self, parameters)

    def stopping(step: int, _: Mapping[str, float]) -> None:
        if step + 1 == stop < STEPS:
            raise Stopped

    Optimisation.clip = recorded  # type: ignore[method-assign]
    metrics: dict[str, float] = {}
    data = Fixed(data, STEPS) if isinstance(data, Batch) else data
    try:
        metrics = fit(method, models, data, job.optimisation, folder, team=team, save_every=0.0, on_step=stopping)
    except Stopped:
        pass
    finally:
        Optimisation.clip = clip  # type: ignore[method-assign]
    weights = {name: p.detach().clone() for name, p in models.policy.named_parameters()}
    return {"metrics": metrics, "weights": weights, "gradients": gradients}


def whole(x: Tensor) -> Tensor:
    return x.full_tensor() if type(x) is not Tensor else x.clone()


def share_of_weights(job: Job, team: Team) -> float:
    """How much of the trained weights lies in this process, and that every layer is gathered by itself."""
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    from tercih.distributed.placed import place

    _, models, _ = job.case()
    placed = place(team, models.policy)
    assert sum(isinstance(m, FSDPModule) for m in placed.trained.modules()) == 1 + 2, "the root and two layers"
    assert all(isinstance(p, DTensor) for p in placed.parameters)
    here = sum(p.to_local().numel() for p in placed.parameters if isinstance(p, DTensor))
    return here / sum(p.numel() for p in placed.parameters)


def main(folder: Path) -> None:
    """Every job once; then the halves of runs that a team of another size begins or ends."""
    with joined() as team:
        for name, job in JOBS.items():
            found = run(job, replace(team, sharded=job.sharded))
            torch.save(found, folder / f"{name}-{team.rank}.pt")
        for sharded in (False, True):
            placed, kind = replace(team, sharded=sharded), "sharded" if sharded else "whole"
            for name in ("begins", "ends"):
                place = folder / f"{kind}-{name}"
                found = run(JOBS["tied_separate"], placed, place, stop=1 if name == "begins" else STEPS)
                torch.save(found, folder / f"{kind}-{name}-{team.rank}.pt")
        share = share_of_weights(JOBS["sft"], replace(team, sharded=True))
        torch.save(share, folder / f"share-{team.rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))


__all__ = ["ALONE", "JOBS", "PPO", "STEPS", "run"]
