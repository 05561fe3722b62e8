"""Rollout workers on Ray: a killed one is replaced and nothing is lost, repeated or made by other weights."""

import os
import signal
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from faults import victim
from faults.test_kill import assert_same
from small import byte_pairs
from tercih.checkpoint import Checkpoints
from tercih.data.tokenize import Tokenizer
from tercih.optimisation import Optimisation
from tercih.rollout import remote
from tercih.rollout.engine import Generated, StaleError
from tercih.rollout.engines import EngineSettings
from tercih.rollout.parts import concatenated
from tercih.rollout.sampler import Rollouts
from tercih.rollout.sampling import Sampling
from tercih.rollout.wire import EngineError
from tercih.train import fit

pytest.importorskip("ray")
STEPS = 3
ON_RAY = EngineSettings(cluster="local", workers=2)


def rollouts(engine: EngineSettings) -> tuple[Any, Any, Rollouts]:
    torch.manual_seed(0)
    method, models, data = victim.ppo(Tokenizer(byte_pairs()))
    return method, models, replace(data, steps=STEPS, sampling=Sampling(max_new_tokens=12), engine=engine)


def train(folder: Path, engine: EngineSettings, *, kill_at: int = -1) -> tuple[dict[str, Any], list[int]]:
    """The last checkpoint, and the workers' processes before and after; one is killed with a task in its hands."""
    method, models, data = rollouts(engine)
    seen: list[int] = []
    generate = data.sampler.generate

    def generating(*arguments: Any, **options: Any) -> Generated:
        if len(seen) == 0 and isinstance(data.sampler, remote.RayEngine):
            seen.extend(data.sampler.processes())
        if data.sampler.version == kill_at:  # type: ignore[attr-defined]
            os.kill(seen[0], signal.SIGSTOP)  # so that it surely has a task that it has not done
            threading.Timer(0.5, os.kill, (seen[0], signal.SIGKILL)).start()
        return generate(*arguments, **options)

    data.sampler.generate = generating  # type: ignore[method-assign]
    fit(method, models, data, Optimisation(lr=3e-3), folder)
    if isinstance(data.sampler, remote.RayEngine):
        seen += data.sampler.processes()
    data.close()
    saved = Checkpoints(folder / "checkpoints").load()
    assert saved is not None
    assert saved[0] == STEPS
    return saved[1], seen


@pytest.mark.learns
def test_a_killed_worker_changes_nothing(tmp_path: Path) -> None:
    undisturbed, before = train(tmp_path / "undisturbed", ON_RAY)
    assert before[:2] == before[2:]
    disturbed, after = train(tmp_path / "disturbed", ON_RAY, kill_at=1)
    assert after[0] != after[2], "another process took its place"
    assert after[1] == after[3]
    assert_same(disturbed, undisturbed)
    rows = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("disturbed", "undisturbed")]
    assert rows[0] == rows[1]
    here, _ = train(tmp_path / "here", EngineSettings())
    for name, tensor in here["model"].items():
        torch.testing.assert_close(undisturbed["model"][name], tensor, atol=1e-4, rtol=1e-4)


@pytest.mark.learns
def test_a_worker_without_the_weights_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the test above: the same worker, but that it starts with weights of its own and keeps them."""

    def moved_on(engine: EngineSettings) -> Rollouts:
        _, _, data = rollouts(engine)
        with torch.no_grad():
            data.policy.causal.lm_head.weight.mul_(1.5)
        return data

    expected = moved_on(EngineSettings())(0)

    class Forgetful(remote.RolloutWorker):
        def generate(self, version: int, *rest: Any) -> Generated:
            self.version = version
            self.engine.sync(version)
            return super().generate(version, *rest)

    for kind, alike in ((remote.RolloutWorker, True), (Forgetful, False)):
        monkeypatch.setattr(remote, "RolloutWorker", kind)
        data = moved_on(ON_RAY)
        found = data(0)
        data.close()
        same = found.logp_BT.shape == expected.logp_BT.shape and torch.allclose(
            found.logp_BT, expected.logp_BT, atol=1e-5
        )
        assert same == alike
        assert found.version == 0


@pytest.mark.learns
def test_workers_that_do_not_answer_and_errors_of_theirs_are_told() -> None:
    _, _, data = rollouts(replace(ON_RAY, workers=1))
    data(0)
    assert isinstance(data.sampler, remote.RayEngine)
    data.sampler.timeout = 3.0
    (process,) = data.sampler.processes()
    with torch.no_grad():
        data.policy.causal.lm_head.weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"^the model's logits are not finite for prompt"):
        data(1)
    os.kill(process, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(EngineError, match="none of 1 rollout workers finished a task for 3 s"):
        data(2)
    assert time.monotonic() - began < 30
    os.kill(process, signal.SIGKILL)
    data.close()


@dataclass
class Late:
    """An engine that samples from the weights before the last."""

    inner: Any
    exact: bool = True

    def sync(self, version: int) -> None:
        self.inner.sync(max(version - 1, 0))

    def generate(self, *arguments: Any, **options: Any) -> Generated:
        found: Generated = self.inner.generate(*arguments, **options)
        return found


def test_stale_rollouts_are_refused() -> None:
    _, _, data = rollouts(EngineSettings())
    data.sampler = Late(data.sampler)  # type: ignore[assignment]
    assert data(0).version == 0
    with pytest.raises(StaleError, match="step 1 was sampled by the weights of step 0"):
        data(1)


def test_a_rollout_of_two_sorts_of_weights_is_refused() -> None:
    _, _, data = rollouts(EngineSettings())
    one = data.sampler.generate([[1, 5]], data.sampling, seed=0)
    two = data.sampler.generate([[1, 6], [1, 7, 8]], data.sampling, samples=2, seed=0)
    both = concatenated([one, two])
    assert both.prompt_of_B.tolist() == [0, 1, 1, 2, 2]
    assert both.response_len_B.tolist() == one.response_len_B.tolist() + two.response_len_B.tolist()
    with pytest.raises(StaleError, match="weights of steps 0, 3"):
        concatenated([one, replace(two, version=3)])


def test_where_there_is_no_cluster_it_says_so() -> None:
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "head:x"):
        with pytest.raises(EngineError, match=rf"there is no Ray cluster at {address} "):
            rollouts(replace(ON_RAY, cluster=address))
    with pytest.raises(ValueError, match=r"engine\.url and engine\.cluster both"):
        EngineSettings(url="http://127.0.0.1:1", cluster="local")
