import time
from typing import Any

import pytest
import torch

from small import byte_pairs, causal
from tercih import spans
from tercih.algorithms.ppo import PPO
from tercih.algorithms.sft import SFT
from tercih.data import collate
from tercih.data.offline import Offline
from tercih.data.tokenize import Tokenizer
from tercih.forward import Models
from tercih.models.language_model import LanguageModel, Reference
from tercih.optimisation import Optimisation
from tercih.profiling.advice import advise
from tercih.profiling.limits import Limits, measure
from tercih.profiling.recorder import IDLE, NAMES, Recorder, Stage
from tercih.records import Demonstration, Text
from tercih.rewards import Combiner, FunctionReward
from tercih.rollout.sampler import Rollouts
from tercih.rollout.sampling import Sampling
from tercih.train import fit

LIMITS = Limits(operations=1e9, bandwidth=1e9, dtype="float32")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def step_by_hand(recorder: Recorder, clock: Clock) -> bool:
    """2 s of data of which sampling takes 1.5, 1 s between, 4 s forward."""
    recorder.enter("data")
    clock.now += 0.25
    recorder.enter("generate")
    recorder.count("sampled", 30)
    clock.now += 1.5
    recorder.leave()
    clock.now += 0.25
    recorder.leave()
    clock.now += 1.0
    recorder.enter("forward")
    recorder.count("tokens_learned", 60)
    recorder.count("positions_learned", 80)
    recorder.count("predicted_learned", 40)
    clock.now += 4.0
    recorder.leave()
    return recorder.enough()


def test_time_belongs_to_the_innermost_span_and_shares_sum_to_one() -> None:
    clock = Clock()
    recorder = Recorder(seconds=10.0, clock=clock)
    recorder.begin("by hand", LanguageModel(causal()))
    clock.now += 100.0  # the first step is not measured, nor what comes before it
    assert not step_by_hand(recorder, clock)
    assert not step_by_hand(recorder, clock)
    assert step_by_hand(recorder, clock)  # 14 s
    recorder.end()
    (stage,) = recorder.stages
    assert (stage.steps, stage.wall) == (2, 14.0)
    assert stage.shares() == pytest.approx({"generate": 3 / 14, "forward": 8 / 14, "data": 1 / 14, IDLE: 2 / 14})
    assert sum(stage.shares().values()) == pytest.approx(1)
    assert stage.padding == pytest.approx(1 - 60 / 80)
    assert stage.sum_of("sampled") == 60
    work = 6 * (stage.weights * 160 + stage.head * 80)  # 2 operations forward and 4 backward
    assert stage.of_matrix_peak(LIMITS) == pytest.approx(work / 8 / 1e9)


@pytest.mark.parametrize("kind", ["llama", "llama_tied"])
def test_weights_are_counted_once_and_embeddings_not_at_all(kind: str) -> None:
    model = causal(kind)
    recorder = Recorder(1.0)
    recorder.begin("", LanguageModel(model))
    assert recorder.stage is not None
    inside = sum(p.numel() for name, p in model.named_parameters() if "layers" in name and p.ndim > 1)
    assert recorder.stage.weights == inside
    assert recorder.stage.head == model.lm_head.weight.numel()


def trained(**slow: float) -> Stage:
    """PPO on a tiny model for half a second, with sleeps where they are planted."""
    tokenizer = Tokenizer(byte_pairs())
    policy = LanguageModel(causal(dtype=torch.float32, vocabulary=len(tokenizer.hf)), value="shared")

    def long(prompt: str, completion: str) -> float:
        time.sleep(slow.get("score", 0.0))
        return float(len(completion))

    def reference(tokens: Any) -> Any:
        time.sleep(slow.get("reference", 0.0))
        return Reference(policy)(tokens)

    class Slow(Rollouts):
        def _chosen(self, step: int) -> list[int]:
            time.sleep(slow.get("data", 0.0))
            return super()._chosen(step)

    rollouts = Slow(
        policy=policy,
        tokenizer=tokenizer,
        prompts=[Text(prompt="the cat", completion=""), Text(prompt="a dog", completion="")],
        reward=Combiner(sources=[FunctionReward(long, "long")]),
        sampling=Sampling(max_new_tokens=4),
        steps=200,
        prompts_per_step=2,
    )
    recorder = Recorder(seconds=1.0)
    with spans.listen(recorder):
        fit(PPO(epochs=1), Models(policy=policy, reference=reference), rollouts, Optimisation(lr=1e-4))
    (stage,) = recorder.stages
    assert stage.steps < 200  # it ended when there was enough
    return stage


@pytest.mark.parametrize(
    ("slow", "option"), [("score", "reward"), ("reference", "method.epochs"), ("data", "data"), ("", None)]
)
def test_planted_slowness_is_found_where_it_is_and_the_advice_follows(slow: str, option: str | None) -> None:
    stage = trained(**{slow: 0.4}) if slow else trained()
    shares = stage.shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) <= {*NAMES, IDLE}
    if not slow:  # the control
        assert max(shares.get(name, 0.0) for name in ("score", "data")) < 0.4
        assert advise(stage, LIMITS, gpu=False).option not in ("reward", "data")
        return
    assert max(shares, key=lambda name: shares[name]) == slow
    assert advise(stage, LIMITS, gpu=False).option == option


def test_a_run_without_a_listener_ends_the_same() -> None:
    def run(recorder: Recorder | None) -> dict[str, torch.Tensor]:
        tokenizer = Tokenizer(byte_pairs())
        policy = LanguageModel(causal(dtype=torch.float32, vocabulary=len(tokenizer.hf)))
        records = [Demonstration(item=Text(prompt="the", completion=f" {word}")) for word in ("cat", "dog", "mat")]
        data = Offline(
            records=records, collate=lambda rows: collate.demonstrations(rows, tokenizer, 64), size=2, epochs=2, seed=0
        )
        if recorder is None:
            fit(SFT(), Models(policy=policy), data, Optimisation(lr=1e-2))
        else:
            with spans.listen(recorder):
                fit(SFT(), Models(policy=policy), data, Optimisation(lr=1e-2))
        return policy.state_dict()

    recorder = Recorder(seconds=1e9)
    plain, heard = run(None), run(recorder)
    assert all(torch.equal(plain[name], heard[name]) for name in plain)
    assert recorder.stages[0].padding >= 0
    assert recorder.stages[0].of_matrix_peak(LIMITS) is not None


def stage_of(**seconds: float) -> Stage:
    made = Stage(title="", weights=10**6, head=10**5, total_bytes=4 * 10**6, trained=1.0, steps=1)
    made.wall = sum(seconds.values())
    made.seconds.update(seconds)
    return made


def test_advice_by_what_takes_the_most() -> None:
    def option(stage: Stage, *, gpu: bool = False) -> str:
        return advise(stage, LIMITS, gpu=gpu).option

    assert option(stage_of(generate=5, forward=2), gpu=True) == "engine.url"
    assert option(stage_of(generate=5, forward=2)) == "method.epochs"
    reading = stage_of(generate=5, forward=2)
    reading.counts["generate", "passes"] = 500  # of 4 MB each in 5 s: 0.4 GB/s
    assert option(reading) == "prompts_per_step"
    assert option(stage_of(optimiser=5, forward=2)) == "lora"
    assert option(stage_of(checkpoint=5, forward=2)) == "out"
    learning = stage_of(generate=3, forward=2, backward=2)
    assert option(learning) == "lora"
    learning.counts["forward", "positions_learned"] = 10
    assert option(learning) == "optimisation.micro_rows"  # nothing but padding
    learning.counts["forward", "tokens_learned"] = 10
    assert option(learning) == "prompts_per_step"  # far from the peak
    learning.counts["forward", "positions_learned"] = learning.counts["forward", "tokens_learned"] = 500
    assert option(learning) == "lora"


def test_limits_are_those_of_a_machine() -> None:
    found = measure(torch.device("cpu"), torch.float32)
    assert 1e8 < found.operations < 1e16
    assert 1e7 < found.bandwidth < 1e14
