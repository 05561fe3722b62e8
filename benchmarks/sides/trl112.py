"""TRL 1.12's experimental PPO, with a pause after every step; settings as in `trl116.py`.

Its rewards come from a module: here one that costs nothing. Of a step it logs and decodes nothing but its own metrics.
"""

import tempfile
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset
from harness.turns import Turns, read_case
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer

STEPS = 100_000  # more than anybody waits for


class Share(nn.Module):
    """The share of tokens with an even number, in the form of a reward model."""

    base_model_prefix = "trunk"

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _Evens()
        self.score = nn.Identity()


class _Evens(nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Any:
        even = ((input_ids % 2 == 0) & attention_mask).cumsum(1) / attention_mask.cumsum(1).clamp(min=1)
        return SimpleNamespace(hidden_states=[even[..., None]])


class Pause(TrainerCallback):
    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.trainer: Any = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.turns({}, lambda: self.trainer.model.zero_grad(set_to_none=True))


if __name__ == "__main__":
    turns, case = Turns(), read_case()
    torch.set_num_threads(case["threads"])
    tokenizer = AutoTokenizer.from_pretrained(case["model"])
    rows = len(case["prompts"]) * case["samples"]
    args = PPOConfig(
        output_dir=tempfile.mkdtemp(prefix="tercih-benchmark-trl-"),
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=1,
        local_rollout_forward_batch_size=rows,
        total_episodes=STEPS * rows,
        num_ppo_epochs=case["settings"]["epochs"],
        num_mini_batches=1,
        response_length=case["max_new_tokens"],
        stop_token="eos",
        temperature=1.0,
        kl_coef=case["settings"]["kl_coef"],
        learning_rate=case["lr"],
        lr_scheduler_type="constant",
        weight_decay=0.0,
        num_sample_generations=0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_steps=STEPS,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )
    prompts = [tokenizer(p)["input_ids"] for p in case["prompts"] for _ in range(case["samples"])]
    pause = Pause(turns)
    pause.trainer = trainer = PPOTrainer(
        args=args,
        processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(case["model"], dtype=torch.float32),
        ref_model=AutoModelForCausalLM.from_pretrained(case["model"], dtype=torch.float32),
        reward_model=Share(),
        value_model=AutoModelForSequenceClassification.from_pretrained(case["scorer"], dtype=torch.float32),
        train_dataset=Dataset.from_dict({"input_ids": prompts}),
        callbacks=[pause],
    )
    trainer.train()
