"""The contract with a vLLM server, held by a stand-in that is a real process on a real port (`standin.py`)."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import torch
from tests.rollout.tiny import full_logp, responses

from small import byte_pairs, causal
from tercih.algorithms.ppo import PPO
from tercih.data.tokenize import Tokenizer
from tercih.forward import Models
from tercih.metrics import read_metrics
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.load import LoRA, add_lora, merged_weights, save_weights
from tercih.optimisation import Optimisation
from tercih.records import Text
from tercih.rewards import Combiner, FunctionReward
from tercih.rollout.engines import EngineSettings
from tercih.rollout.mismatch import Correction
from tercih.rollout.sampler import Rollouts
from tercih.rollout.sampling import Sampling
from tercih.rollout.vllm import StaleAnswer, VLLMEngine
from tercih.rollout.wire import EngineError, Wire
from tercih.train import fit

STANDIN = Path(__file__).parent / "standin.py"
PROMPTS = [[1, 5, 9], [1, 7], [1, 4, 4, 8, 12]]
SHORT = Sampling(max_new_tokens=6, temperature=0.8)
EOS = 2


def policy(seed: int = 0, vocabulary: int = 31) -> LanguageModel:
    return LanguageModel(causal(dtype=torch.float32, seed=seed, vocabulary=vocabulary), temperature=0.8)


class Running:
    """A stand-in, and how to spoil it."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port
        self.url = f"http://127.0.0.1:{port}"

    def misbehave(self, kind: str, times: int = 1000) -> None:
        request = Request(f"{self.url}/misbehave", json.dumps({"kind": kind, "times": times}).encode())
        urlopen(request, timeout=10).close()

    def engine(self, of: LanguageModel, timeout: float = 20.0, **further: Any) -> VLLMEngine:
        wire = Wire(url=self.url, timeout=timeout, wait=0.05)
        return VLLMEngine(of, wire, eos_ids={EOS}, **further)


@contextmanager
def standin(folder: Path, *options: str) -> Iterator[Running]:
    save_weights(policy(), folder)
    process = subprocess.Popen([sys.executable, str(STANDIN), str(folder), *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Running(process, int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with standin(tmp_path_factory.mktemp("standin")) as found:
        yield found


@pytest.fixture
def server(running: Running) -> Running:
    running.misbehave("", 0)
    return running


def test_answers_come_as_the_built_in_engine_gives_them(server: Running) -> None:
    model, told = policy(), []
    engine = server.engine(model)
    engine.sync(7)
    made = engine.generate(PROMPTS, SHORT, samples=2, seed=3, on_progress=lambda done, of: told.append((done, of)))
    assert made.version == 7
    assert made.prompt_of_B.tolist() == [0, 0, 1, 1, 2, 2]
    for row, response in enumerate(responses(made)):
        expected = full_logp(model.causal, PROMPTS[row // 2], response, 0.8)
        torch.testing.assert_close(made.logp_BT[row, : len(response)], expected, atol=1e-4, rtol=0)
        assert not made.logp_BT[row, len(response) :].any()
        assert bool(made.ended_B[row]) == (response[-1] == EOS)
    assert sorted(told) == [(2, 6), (4, 6), (6, 6)]
    again = engine.generate(PROMPTS, SHORT, samples=2, seed=3)
    assert torch.equal(again.response_ids_BT, made.response_ids_BT)
    other = engine.generate(PROMPTS, SHORT, samples=2, seed=4)
    assert responses(other) != responses(made)
    alike = engine.generate([PROMPTS[0]] * 4, Sampling(max_new_tokens=6), seed=3)
    assert len({tuple(response) for response in responses(alike)}) > 1  # each prompt has a stream of its own


def prefer(model: LanguageModel, token: int) -> None:
    """Make a token all but certain, by turning the last norm off and giving the head one direction."""
    with torch.no_grad():
        model.causal.lm_head.weight.zero_()
        hidden = model.causal.base_model.norm.weight
        hidden.zero_()
        hidden[0] = 1.0
        model.causal.base_model.embed_tokens.weight[:, 0] = 40.0
        model.causal.lm_head.weight[token, 0] = 20.0


def test_after_a_sync_samples_come_from_the_new_weights_and_say_so(server: Running) -> None:
    model = policy()
    engine = server.engine(model)
    engine.sync(0)
    prefer(model, 9)
    before = engine.generate(PROMPTS, SHORT, seed=0)
    assert before.version == 0
    assert {token for response in responses(before) for token in response} != {9}  # the server has the old ones
    engine.sync(1)
    after = engine.generate(PROMPTS, SHORT, seed=0)
    assert after.version == 1
    assert {token for response in responses(after) for token in response} == {9}
    assert [folder.name for folder in engine.folder.iterdir()] == ["1"]


def test_an_adapter_is_folded_into_what_the_server_gets(server: Running) -> None:
    model = policy()
    add_lora(model, LoRA(rank=2))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    assert any(".lora_" in name for name in model.causal.state_dict())
    engine = server.engine(model)
    engine.sync(0)
    made = engine.generate(PROMPTS, SHORT, seed=0)
    merged = policy()
    merged.causal.load_state_dict(merged_weights(model.causal))
    for row, response in enumerate(responses(made)):
        expected = full_logp(merged.causal, PROMPTS[row], response, 0.8)
        torch.testing.assert_close(made.logp_BT[row, : len(response)], expected, atol=1e-4, rtol=0)
        apart = full_logp(policy().causal, PROMPTS[row], response, 0.8)
        assert (made.logp_BT[row, : len(response)] - apart).abs().max() > 1e-3


def test_answers_by_other_weights_are_refused(server: Running) -> None:
    engine, other = server.engine(policy()), server.engine(policy(1))
    with pytest.raises(EngineError, match="call sync"):
        engine.generate(PROMPTS, SHORT, seed=0)
    engine.sync(3)
    other.sync(3)  # of another run: the same number, not the same weights
    with pytest.raises(StaleAnswer, match=f"weights {other.run}:3, not {engine.run}:3"):
        engine.generate(PROMPTS, SHORT, seed=0)
    engine.sync(4)
    engine.generate(PROMPTS, SHORT, seed=0)
    for kind in ("two weights", "no weights"):
        server.misbehave(kind, 1)
        with pytest.raises(StaleAnswer):
            engine.generate(PROMPTS[:1], SHORT, seed=0)


@pytest.mark.parametrize("kind", ["mute", "trickle"])
def test_a_server_that_is_mute_or_slow_is_an_error_in_time(server: Running, kind: str) -> None:
    engine = server.engine(policy())
    engine.sync(0)
    engine.wire.timeout = 1.0
    server.misbehave(kind)
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"/v1/completions has not answered within 1 s.*engine\.timeout"):
        engine.generate(PROMPTS, SHORT, seed=0)
    assert time.monotonic() - began < 8


def test_a_failure_calls_the_other_requests_back(server: Running) -> None:
    """One answer is bad and the rest would come in half a minute: nobody waits for them."""
    engine, calls = server.engine(policy(), timeout=25.0), []
    engine.sync(0)
    server.misbehave("mute")
    began = time.monotonic()

    def give_up() -> None:
        with engine._workers(3) as pool:
            calls.extend(pool.submit(engine._ask, 0, PROMPTS[0], 0, SHORT, 1, 0) for _ in range(3))
            time.sleep(0.5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        give_up()
    assert all("called back" in str(call.exception(timeout=10)) for call in calls)
    assert time.monotonic() - began < 12


def test_what_breaks_now_and_then_is_tried_again(server: Running) -> None:
    engine = server.engine(policy())
    engine.sync(0)
    expected = responses(engine.generate(PROMPTS, SHORT, seed=0))
    for kind in ("busy", "break off"):
        server.misbehave(kind, 2)
        assert responses(engine.generate(PROMPTS, SHORT, seed=0)) == expected
        server.misbehave(kind)
        with pytest.raises(EngineError, match="could not be reached in 4 tries"):
            engine.generate(PROMPTS, SHORT, seed=0)


@pytest.mark.parametrize("kind", ["no ids", "one less", "nan", "aborted"])
def test_answers_that_cannot_be_right_are_errors(server: Running, kind: str) -> None:
    engine = server.engine(policy())
    engine.sync(0)
    server.misbehave(kind, 1)
    with pytest.raises(EngineError, match="prompt 0"):
        engine.generate(PROMPTS[:1], SHORT, samples=2, seed=0)


def test_a_server_that_dies_is_an_error_and_one_started_again_is_stale(tmp_path: Path) -> None:
    with standin(tmp_path / "first") as running:
        engine = running.engine(policy())
        engine.sync(0)
        running.misbehave("die")
        with pytest.raises(EngineError, match="Is the engine running there"):
            engine.generate(PROMPTS, SHORT, seed=0)
        with standin(tmp_path / "second", "--port", str(running.port)):
            with pytest.raises(StaleAnswer, match="weights default"):
                engine.generate(PROMPTS, SHORT, seed=0)
            engine.sync(1)
            assert engine.generate(PROMPTS, SHORT, seed=0).version == 1
    with pytest.raises(EngineError, match="Is the engine running there"):
        engine.sync(2)


def test_servers_that_cannot_be_used_say_why_at_once(server: Running, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not serve 'llama', but tiny"):
        server.engine(policy(), model="llama")
    with standin(tmp_path / "a", "--mode", "raw_logprobs") as raw, pytest.raises(EngineError, match="--logprobs-mode"):
        raw.engine(policy())
    with standin(tmp_path / "b", "--no-dev") as closed, pytest.raises(EngineError, match="VLLM_SERVER_DEV_MODE=1"):
        closed.engine(policy())
    with pytest.raises(ValueError, match="http://127"):
        Wire(url="localhost:8001", timeout=1.0)
    engine = server.engine(policy())
    with pytest.raises(ValueError, match="context of 64"):
        engine.generate(PROMPTS, Sampling(max_new_tokens=60), seed=0)
    with pytest.raises(ValueError, match="temperature"):
        engine.generate(PROMPTS, Sampling(max_new_tokens=6, temperature=0), seed=0)


@pytest.mark.learns
@pytest.mark.parametrize("by", [0.0, 0.05])
def test_a_run_measures_the_mismatch_and_numbers_its_weights(tmp_path: Path, by: float) -> None:
    tokenizer = Tokenizer(byte_pairs())
    model = LanguageModel(causal(dtype=torch.float32, vocabulary=len(tokenizer.hf)), value="shared")
    save_weights(model, tmp_path / "base")
    process = subprocess.Popen(
        [sys.executable, str(STANDIN), str(tmp_path / "base"), "--perturb", str(by)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        rollouts = Rollouts(
            policy=model,
            tokenizer=tokenizer,
            prompts=[Text(prompt="the cat", completion=""), Text(prompt="a dog", completion="")],
            reward=Combiner(sources=[FunctionReward(lambda prompt, completion: float(len(completion)), "long")]),
            sampling=Sampling(max_new_tokens=8),
            steps=2,
            prompts_per_step=2,
            samples=4,
            engine=EngineSettings(url=url, timeout=30, correction=Correction(cap=1.02)),
        )
        rollout = rollouts(1)
        assert rollout.version == 1
        torch.testing.assert_close(rollout.logp_BT, model(rollout.tokens).logp_BT.detach())
        models = Models(policy=model, reference=Reference(model))
        fit(PPO(epochs=1), models, rollouts, Optimisation(lr=1e-3), tmp_path / "run")
    finally:
        process.kill()
        process.wait()
    rows = read_metrics(tmp_path / "run")
    weight_BT = rollout.tokens.correction_BT
    assert weight_BT is not None
    assert weight_BT.max() <= 1.02 + 1e-6
    for row in rows:
        if by:
            assert row["engine/largest_gap"] > row["engine/gap"] > 1e-3
            assert row["engine/kl"] > 0
            assert row["engine/cut_off"] > 0
        else:
            assert row["engine/largest_gap"] < 1e-4
            assert row["engine/weight"] == pytest.approx(1, abs=1e-4)
            assert row["engine/cut_off"] == 0
