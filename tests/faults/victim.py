"""Small training runs in processes of their own, to be killed.

Run as a program it imports what training needs, once, and then forks a run for every line "kind folder die_at" on its
input: it says "began PID" when that trains and, asked by one more line, "ended STATUS" when it is gone.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from small import byte_pairs, causal
from tercih.algorithms.ppo import PPO
from tercih.algorithms.sft import SFT
from tercih.data import collate
from tercih.data.offline import Offline
from tercih.data.tokenize import Tokenizer
from tercih.forward import Models
from tercih.models.language_model import LanguageModel, Reference
from tercih.optimisation import Optimisation
from tercih.records import Demonstration, Text
from tercih.rewards import Combiner, FunctionReward
from tercih.rollout.sampler import Rollouts
from tercih.rollout.sampling import Sampling
from tercih.train import fit

STEPS = 8


def sft(tokenizer: Tokenizer) -> tuple[Any, Models, Any]:
    policy = LanguageModel(causal(dtype=torch.float32, vocabulary=len(tokenizer.hf)))
    shown = [Demonstration(item=Text(prompt=f"the cat {n}", completion=" sat" * (1 + n % 4))) for n in range(16)]
    data = Offline(
        records=shown, collate=lambda rows: collate.demonstrations(rows, tokenizer, 64), size=4, epochs=STEPS // 4
    )
    return SFT(), Models(policy=policy), data


def ppo(tokenizer: Tokenizer) -> tuple[Any, Models, Any]:
    """Everything that has state: an adaptive KL, running moments, values, several epochs of shuffled minibatches."""
    policy = LanguageModel(causal(dtype=torch.float32, vocabulary=len(tokenizer.hf)), value="shared")
    length = FunctionReward(lambda prompt, completion: len(completion), "length")
    rollouts = Rollouts(
        policy=policy,
        tokenizer=tokenizer,
        prompts=[Text(prompt=p, completion="") for p in ("the cat", "a dog", "hello", "user", "that hat")],
        reward=Combiner(sources=[length], normalise=True),
        sampling=Sampling(max_new_tokens=4),
        steps=STEPS,
        prompts_per_step=4,
    )
    return (
        PPO(epochs=2, minibatches=2, kl_target=0.5, kl_horizon=20),
        Models(policy=policy, reference=Reference(policy)),
        rollouts,
    )


def train(kind: str, folder: Path, die_at: int) -> None:
    """Train to the end, or until killed; before the `die_at`-th time that the disk is touched it kills itself."""
    torch.manual_seed(0)
    method, models, data = {"sft": sft, "ppo": ppo}[kind](Tokenizer(byte_pairs()))
    if die_at:
        _die_before(die_at)
    print("began", os.getpid(), flush=True)

    def began(step: int, _: object) -> None:
        nonlocal first
        if first:
            first = False
            with (folder / "began.txt").open("a") as file:
                file.write(f"{step}\n")

    first = True
    folder.mkdir(exist_ok=True)
    fit(method, models, data, Optimisation(lr=3e-3, warmup=0.3), folder, title=kind, save_every=0.0, on_step=began)


def _die_before(count: int) -> None:
    left = count

    def counted(do: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return do(*args, **options)

        return call

    os.fsync = counted(os.fsync)
    Path.replace = counted(Path.replace)  # type: ignore[method-assign]
    Path.unlink = counted(Path.unlink)  # type: ignore[method-assign]


def serve() -> None:
    torch.set_num_threads(1)
    while line := sys.stdin.readline():
        kind, folder, die_at = line.split()
        child = os.fork()
        if child == 0:
            train(kind, Path(folder), int(die_at))
            os._exit(0)
        sys.stdin.readline()  # until then even a dead run keeps its PID
        print("ended", os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
