"""TRL's side: its own trainers under `trainer.train()`, with a pause after every step.

Left out of a step are start-up, logging (once, after the first step) and saving (never). Settings are those that make
TRL quick here: no gradient checkpointing, no dropout to compute, the fused AdamW it chooses by itself, batches in one
piece. All else is its default.
"""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from harness.turns import Turns, read_case, turns_on
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RewardConfig,
    RewardTrainer,
    RLOOConfig,
    RLOOTrainer,
    SFTConfig,
    SFTTrainer,
)

Case = Mapping[str, Any]
STEPS = 100_000  # more than anybody waits for
COPIES = 64  # of the one batch: an epoch is that many steps


class Pause(TrainerCallback):
    """Comes after TRL's own callbacks. The first step is reported with its loss, which is logged after the step."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.trainer: Any = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step > 1:
            self.turns(self._lengths())

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if state.global_step == 1 and logs:
            known = {"loss": "loss", "grad_norm": "gradient_norm", "completions/mean_length": "response_length"}
            facts = {ours: float(logs[theirs]) for theirs, ours in known.items() if theirs in logs}
            self.turns(facts, lambda: self.trainer.model.zero_grad(set_to_none=True))

    def _lengths(self) -> dict[str, float]:
        metrics = self.trainer._metrics["train"].get("completions/mean_length")
        return {"response_length": metrics[-1]} if metrics else {}


def common(case: Case, rows: int) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(prefix="tercih-benchmark-trl-"),
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": 1,
        "max_steps": STEPS,
        "learning_rate": case["lr"],
        "lr_scheduler_type": "constant",
        "max_grad_norm": case["max_norm"],
        "weight_decay": 0.0,
        "gradient_checkpointing": False,
        "bf16": case["dtype"] == "bfloat16",
        "use_cpu": case["device"] == "cpu",
        "logging_steps": STEPS,
        "logging_first_step": True,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
    }


def rows_of(rows: Sequence[Mapping[str, str]]) -> Dataset:
    """The one batch over and over, read in order, so that every step sees the same rows."""
    return Dataset.from_list([dict(row) for row in rows] * COPIES)


def imitate(case: Case, **kwargs: Any) -> Any:
    args = SFTConfig(
        **common(case, len(case["rows"])), max_length=None, train_sampling_strategy="sequential",
        padding_free=case.get("padding_free", False),
    )  # fmt: skip
    return SFTTrainer(
        model=causal(case), args=args, train_dataset=rows_of(case["rows"]), processing_class=tokenizer(case), **kwargs
    )


def prefer(case: Case, **kwargs: Any) -> Any:
    args = DPOConfig(
        **common(case, len(case["pairs"])), max_length=None, train_sampling_strategy="sequential", beta=case["beta"]
    )
    return DPOTrainer(
        model=causal(case), ref_model=causal(case), args=args, train_dataset=rows_of(case["pairs"]),
        processing_class=tokenizer(case), **kwargs,
    )  # fmt: skip


def score(case: Case, **kwargs: Any) -> Any:
    args = RewardConfig(**common(case, len(case["pairs"])), max_length=None, train_sampling_strategy="sequential")
    scorer = AutoModelForSequenceClassification.from_pretrained(case["scorer"], dtype=case["dtype"])
    joined = [{side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in case["pairs"]]
    return RewardTrainer(
        model=scorer, args=args, train_dataset=rows_of(joined), processing_class=tokenizer(case), **kwargs
    )


def reinforce(case: Case, **kwargs: Any) -> Any:
    config, trainer = {"grpo": (GRPOConfig, GRPOTrainer), "rloo": (RLOOConfig, RLOOTrainer)}[case["peer_method"]]
    rows = len(case["prompts"]) * case["samples"]
    args = config(
        **common(case, rows), num_generations=case["samples"], max_completion_length=case["max_new_tokens"],
        temperature=1.0, beta=case["beta"], shuffle_dataset=False,
    )  # fmt: skip

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [text.count(case["letter"]) / max(1, len(text)) for text in completions]

    prompts = Dataset.from_list([{"prompt": p} for p in case["prompts"]] * COPIES)
    return trainer(
        model=causal(case), reward_funcs=reward, args=args, train_dataset=prompts, processing_class=tokenizer(case),
        **kwargs,
    )  # fmt: skip


def causal(case: Case) -> Any:
    return AutoModelForCausalLM.from_pretrained(case["model"], dtype=case["dtype"])


def tokenizer(case: Case) -> Any:
    return AutoTokenizer.from_pretrained(case["model"])


KINDS = {"sft": imitate, "dpo": prefer, "reward_model": score, "reinforce": reinforce}

if __name__ == "__main__":
    case = read_case()
    turns = turns_on(case["device"])
    torch.set_num_threads(case["threads"])
    pause = Pause(turns)
    trainer = KINDS[case["kind"]](case, callbacks=[pause])
    pause.trainer = trainer
    trainer.train()
