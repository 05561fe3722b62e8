"""TRL's trainers without their constructors: they hold what the one method reads that is called. For the peers'
Pythons, which have nothing of ours."""

import tempfile
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from harness.frozen import PROMPTS, SAMPLES, Frozen, S

FOLDER = tempfile.mkdtemp(prefix="tercih-parity-")


def config(kind: Any, **options: Any) -> Any:
    return kind(output_dir=FOLDER, use_cpu=True, report_to="none", bf16=False, **options)


def without_constructor(kind: Any, args: Any, **held: Any) -> Any:
    trainer = kind.__new__(kind)
    trainer.__dict__.update({"args": args, "accelerator": Accelerator(cpu=True)} | held)
    return trainer


def found(model: Any, loss: Tensor) -> tuple[float, Tensor]:
    """The loss, and its gradient at the table."""
    (gradient,) = torch.autograd.grad(loss, model.head.weight)
    return float(loss.detach()), gradient


def sequences(data: Frozen, rows: Any = slice(PROMPTS * SAMPLES)) -> dict[str, Tensor]:
    """Prompt and response in one, padded on the right."""
    mask_BT = data.mask_BT[rows].long()
    prompt_mask_BS = torch.ones(len(mask_BT), S, dtype=torch.long)
    return {
        "input_ids": torch.cat([data.prompt_ids_BS[rows], data.response_ids_BT[rows]], 1),
        "attention_mask": torch.cat([prompt_mask_BS, mask_BT], 1),
        "completion_mask": torch.cat([torch.zeros_like(prompt_mask_BS), mask_BT], 1),
    }
