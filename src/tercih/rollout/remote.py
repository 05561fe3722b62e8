"""Rollout workers on a Ray cluster: processes that sample, each with its own copy of the policy.

Ray starts a killed worker again and gives it the task it had. A response depends on nothing but weights, seed, prompt
and sample, so that none is lost and none is made twice; and a task says by which weights it is to be done.
"""

import math
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tercih.data.tokenize import Tokenizer
from tercih.models.language_model import LanguageModel
from tercih.models.load import default_device, from_config, merged_weights
from tercih.rollout.engine import Engine, Generated, StaleError, rounds_little
from tercih.rollout.parts import concatenated, moved
from tercih.rollout.sampling import Sampling
from tercih.rollout.wire import EngineError

KNOCK = 10.0  # seconds within which a cluster must take a connection
TASKS = 2  # for each worker and rollout: what a killed one costs, and how even the load is


class RolloutWorker:
    """What runs in a worker's process."""

    def __init__(self, config: Any, dtype: torch.dtype, tokenizer: Tokenizer, max_batch: int) -> None:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        self.model = from_config(config, seed=0, dtype=dtype).to(default_device())
        self.engine = Engine(self.model, eos_ids={tokenizer.eos}, decode=tokenizer.decode, max_batch=max_batch)
        self.version: int | None = None

    def generate(
        self,
        version: int,
        weights: Sequence[Any],
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        samples: int,
        seed: int,
        keys: Sequence[int],
    ) -> Generated:
        """By the weights called `version`; `weights` holds where they are, and is read only where this worker has
        others, such as one that has just been started again."""
        if self.version != version:
            import ray

            self.model.load_state_dict(ray.get(weights[0]))
            self.version = version
            self.engine.sync(version)
        return moved(self.engine.generate(prompts, sampling, samples=samples, seed=seed, keys=keys), "cpu")

    def process(self) -> int:
        return os.getpid()


class RayEngine:
    """Samples from `policy` by `workers` processes on the cluster at `address`: "local" starts one on this machine,
    "auto" joins the one this machine is part of. Nothing that this process started is left after `close`.

    EngineError where no worker finishes a task for `timeout` seconds.
    """

    def __init__(
        self,
        policy: LanguageModel,
        tokenizer: Tokenizer,
        *,
        address: str,
        workers: int,
        max_batch: int = 256,
        timeout: float = 600.0,
    ) -> None:
        if workers < 1:
            raise ValueError(f"engine.workers must be >= 1, got {workers}")
        self.policy, self.timeout = policy, timeout
        self.ray = _connected(address, workers)
        gpus = 1 if self.ray.cluster_resources().get("GPU", 0) >= workers + 1 else 0  # one is the learner's
        options = {"max_restarts": -1, "max_task_retries": -1, "num_cpus": 1, "num_gpus": gpus}
        made = self.ray.remote(RolloutWorker).options(**options)
        causal = policy.causal
        self.workers = [made.remote(causal.config, causal.dtype, tokenizer, max_batch) for _ in range(workers)]
        self.version: int | None = None
        self.weights: Any = None

    @property
    def exact(self) -> bool:
        return rounds_little(self.policy.causal.dtype)

    def sync(self, version: int) -> None:
        """Publish the policy's weights as they are now; a worker fetches them with the first task that names them."""
        self.weights = self.ray.put(weights_of(self.policy))
        self.version = version

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        samples: int = 1,
        seed: int,
        keys: Sequence[int] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Generated:
        if self.version is None:
            raise EngineError("the rollout workers do not have the policy's weights; call sync(version) first")
        keys = list(range(len(prompts)) if keys is None else keys)
        size = math.ceil(len(prompts) / (len(self.workers) * TASKS))
        asked = [
            self.workers[number % len(self.workers)].generate.remote(
                self.version, [self.weights], prompts[i : i + size], sampling, samples, seed, keys[i : i + size]
            )
            for number, i in enumerate(range(0, len(prompts), size))
        ]
        done = 0
        for number in self._finished(asked):
            done += len(prompts[number * size : (number + 1) * size]) * samples
            if on_progress is not None:
                on_progress(done, len(prompts) * samples)
        found = concatenated([self._result(task) for task in asked])
        if found.version != self.version:
            raise StaleError(f"weights {self.version} were asked for, but those of step {found.version} answered")
        return moved(found, self.policy.causal.device)

    def _finished(self, asked: Sequence[Any]) -> Iterator[int]:
        """The numbers of tasks as they end."""
        left = list(asked)
        while left:
            ready, left = self.ray.wait(left, timeout=self.timeout)
            if not ready:
                raise EngineError(
                    f"none of {len(self.workers)} rollout workers finished a task for {self.timeout:.0f} s"
                    " (--engine.timeout); `ray status` shows whether the cluster still has room for them"
                )
            yield from map(asked.index, ready)

    def _result(self, task: Any) -> Generated:
        """What the task returned, or its error as if it had been raised here."""
        try:
            found: Generated = self.ray.get(task)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self.ray.exceptions.RayError as error:
            raise EngineError(f"the rollout workers are lost: {str(error).splitlines()[0]}") from error
        return found

    def processes(self) -> list[int]:
        """Process ids of the workers, on whichever machine each is."""
        return list(self.ray.get([worker.process.remote() for worker in self.workers]))

    def close(self) -> None:
        for worker in self.workers:
            self.ray.kill(worker)
        self.ray.shutdown()


def weights_of(policy: LanguageModel) -> Mapping[str, Tensor]:
    """Copies on the processor, an adapter folded in."""
    weights = merged_weights(policy.causal) if policy.peft is not None else policy.causal.state_dict()
    return {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}


def _connected(address: str, workers: int) -> Any:
    try:
        import ray
    except ImportError:
        raise EngineError("rollout workers need Ray: pip install 'tercih[ray]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        cpus = max(os.cpu_count() or 1, workers + 1)
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        return ray
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host:  # Ray itself would knock for minutes
            socket.create_connection((host, int(port)), timeout=KNOCK).close()
        ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"there is no Ray cluster at {address} ({str(error).splitlines()[0]}); `ray start --head` starts one, and"
            " --engine.cluster local does without"
        ) from error
    return ray
