"""How much memory training takes, roughly, against what there is now."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tercih.doctor.inspection import Finding, error, ok, warning
from tercih.doctor.patient import Patient
from tercih.models.logits import chunk

TIGHT = 0.8


def memory(patient: Patient) -> Finding | None:
    """The worst case, PPO with all weights trained: a smaller estimate for everything else would only comfort."""
    there = available(next(patient.policy.parameters()).device)
    if there is None:
        return None
    parts = estimate(patient)
    needed = sum(parts.values())
    shares = ", ".join(f"{name} {_bytes(size)}" for name, size in parts.items() if size > needed / 100)
    detail = f"training all weights takes about {_bytes(needed)} of {_bytes(there)} free ({shares})"
    mend = "train an adapter (--lora 16), fewer rows at a time (--optimisation.micro-rows 4), or a smaller model"
    if needed > there:
        return error(detail, mend)
    return warning(detail, mend) if needed > TIGHT * there else ok(detail)


def estimate(patient: Patient) -> dict[str, int]:
    """Bytes, with `rows` of the longest row in one forward and backward pass."""
    policy, case = patient.policy, patient.case
    weights = sum(p.numel() * p.element_size() for p in policy.parameters())
    width, vocabulary = policy.causal.get_output_embeddings().weight.shape[::-1]
    longest = max([len(row.prompt) + len(row.response) for row in patient.encoded], default=0)
    length = max(longest, max(map(len, patient.prompt_ids), default=1) + case.max_new_tokens)
    length = min(length, policy.context)
    logits = 4 * min(chunk(policy.causal.device), case.rows * length * vocabulary)
    return {
        "weights": weights,
        "gradients": weights,
        "Adam": 2 * weights,
        "reference": weights,
        "value head": 4 * 4 * (width + 1),
        "activations": case.rows * activations(policy.causal, length),
        "logits": 3 * logits,
    }


def activations(causal: Any, length: int) -> int:
    """Bytes that a forward pass over one row keeps for the backward pass, counted as it keeps them."""
    own = {p.untyped_storage().data_ptr() for p in causal.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    row = torch.zeros(1, length, dtype=torch.long, device=causal.device)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        hidden = causal.base_model(input_ids=row, use_cache=False).last_hidden_state
    del hidden  # only now: a freed tensor's address could be given to another one
    return sum(kept.values())


def available(device: torch.device) -> int | None:
    """Bytes that could be taken now, the model's own included; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) + int(torch.cuda.memory_allocated(device))
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) * 1024


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size > 1e9 else f"{size / 1e6:.1f} MB"
