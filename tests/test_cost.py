"""What a step costs, counted and not timed: multiplications, calls, scores and bytes, beside a plain implementation.

A guard against slow code that works: each bound is a ratio, or a number of calls that does not depend on the machine.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from small import causal, tokens
from tercih.models.language_model import LanguageModel
from tercih.models.layout import join
from tercih.rollout.engine import Engine
from tercih.rollout.sampling import Sampling
from tercih.tokens import Tokens


class Calls(TorchDispatchMode):
    """Counts what reaches torch's kernels."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += 1
        return function(*args, **(kwargs or {}))


def calls(work: Callable[[], object]) -> int:
    with Calls() as counted:
        work()
    return counted.count


def multiplications(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counted:
        work()
    return counted.get_total_flops()


def batch(prompts: list[int], answers: list[int], per_prompt: int) -> Tokens:
    prompt_of = [row // per_prompt for row in range(len(answers))]
    return tokens([[5] * n for n in prompts], [[6] * n for n in answers], prompt_of)


def plainly(model: LanguageModel, made: Tokens) -> Tensor:
    """Every row padded to the longest, all logits at once: the sum of the answers' log-probabilities."""
    row_B = torch.arange(made.rows)
    ids_BL = join(made, row_B, int(made.lengths_B.max()))
    logp_BLV = log_softmax(model.causal(ids_BL[:, :-1]).logits, dim=-1)
    logp_BL = logp_BLV.gather(2, ids_BL[:, 1:, None]).squeeze(2)
    at_L, prompt_B1 = torch.arange(1, ids_BL.shape[1]), made.prompt_len_P[made.prompt_of_B, None]
    return logp_BL[(at_L >= prompt_B1) & (at_L < made.lengths_B[:, None])].sum()


def learned(model: LanguageModel, made: Tokens) -> Callable[[], object]:
    return lambda: model(made).logp_BT.sum().backward()


@pytest.mark.parametrize(
    ("made", "share"),
    [
        (batch([8] * 8, [*range(4, 32, 4), 55], 1), 0.5),  # half is padding
        (batch([40] * 2, [10] * 16, 8), 0.35),  # eight answers share a prompt of four times their length
        (batch([8] * 4, [24] * 4, 1), 1.0),  # nothing to leave out
    ],
    ids=["padding", "groups", "equal"],
)
def test_multiplications_beside_padding_everything(made: Tokens, share: float) -> None:
    model = LanguageModel(causal(dtype=torch.float32))
    assert float(model(made).logp_BT.sum()) == pytest.approx(float(plainly(model, made)), rel=1e-5)
    ours, plain = multiplications(learned(model, made)), multiplications(lambda: plainly(model, made).backward())
    assert ours <= share * plain


def test_a_new_length_costs_few_calls() -> None:
    """Rows of eight lengths are not eight passes: a layer's matrices are called once for all of them."""
    model = LanguageModel(causal(dtype=torch.float32))
    one = calls(learned(model, batch([8] * 8, [50] * 8, 1)))
    eight = calls(learned(model, batch([8] * 8, [2, 4, 8, 12, 16, 24, 32, 50], 1)))
    assert eight < 2 * one


def test_a_sampled_token_costs_few_calls() -> None:
    engine = Engine(causal(dtype=torch.float32), eos_ids=[], max_batch=8)

    def sample(tokens: int) -> int:
        sampling = Sampling(max_new_tokens=tokens)
        return calls(lambda: engine.generate([[5] * 8] * 8, sampling, samples=1, seed=0))

    a_token = (sample(40) - sample(8)) / 32
    assert a_token < 175  # of two layers


def test_what_has_ended_costs_nothing() -> None:
    """Multiplications of a rollout are in proportion to the tokens that come out of it."""
    model = causal(dtype=torch.float32)

    def work(ends: list[int]) -> tuple[int, int]:
        engine, found = Engine(model, eos_ids=ends, max_batch=64), []
        spent = multiplications(
            lambda: found.append(engine.generate([[5] * 8], Sampling(max_new_tokens=48), samples=64, seed=0).stats)
        )
        return spent, found[0].tokens

    (spent, drawn), (spent_all, drawn_all) = work([2, 3, 4]), work([])
    assert drawn < 0.5 * drawn_all
    assert spent / drawn < 1.35 * spent_all / drawn_all


MEMORY = """
import sys, torch
from transformers import LlamaConfig
from harness import memory
from test_cost import batch, plainly
from tercih.models.language_model import LanguageModel
from tercih.models.load import from_config
torch.set_num_threads(1)
config = LlamaConfig(vocab_size=50_000, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                     num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512)
model = LanguageModel(from_config(config, seed=0, dtype=torch.float32))
made = batch([16] * 8, [112] * 8, 1)
step = (lambda: model(made).logp_BT.sum()) if sys.argv[1] == "ours" else (lambda: plainly(model, made))
step().backward()
held = memory.now()
memory.forget_peak()
step().backward()
print(memory.peak() - held)
"""


def test_memory_does_not_grow_with_the_vocabulary() -> None:
    """The operating system's peak above weights and gradients, of a step at a vocabulary of 50,000."""

    def peak(side: str) -> int:
        done = subprocess.run([sys.executable, "-c", MEMORY, side], env=_environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert peak("ours") < 0.35 * peak("plain")


def _environment() -> dict[str, str]:
    here = Path(__file__).parent
    places = [here, here.parent / "benchmarks", here.parent / "src"]
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places)), "OMP_NUM_THREADS": "1"}
