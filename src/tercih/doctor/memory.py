"""How much memory training takes, roughly, against what there is now."""

from pathlib import Path

import torch

from tercih.doctor.inspection import Finding, error, ok, warning
from tercih.doctor.patient import Patient
from tercih.models.logits import CHUNK

TIGHT = 0.8


def memory(patient: Patient) -> Finding | None:
    """The worst case, PPO with all weights trained: a smaller estimate for everything else would only comfort."""
    there = available(next(patient.policy.parameters()).device)
    if there is None:
        return None
    parts = estimate(patient)
    needed = sum(parts.values())
    shares = ", ".join(f"{name} {_gigabytes(size)}" for name, size in parts.items())
    detail = f"training all weights takes about {_gigabytes(needed)} GB of {_gigabytes(there)} ({shares})"
    mend = "train an adapter (--lora 16), fewer rows at a time (--optimisation.micro-rows 4), or a smaller model"
    if needed > there:
        return error(detail, mend)
    return warning(detail, mend) if needed > TIGHT * there else ok(detail)


def estimate(patient: Patient) -> dict[str, int]:
    """Bytes. Activations after Korthikanti et al. 2022 (arXiv:2205.05198, eq. 2), without recomputation."""
    policy, case = patient.policy, patient.case
    config = policy.config.get_text_config(decoder=True)
    weights = sum(p.numel() * p.element_size() for p in policy.parameters())
    size = policy.causal.get_output_embeddings().weight.element_size()
    width, layers, heads = config.hidden_size, config.num_hidden_layers, config.num_attention_heads
    longest = max([len(row.prompt) + len(row.response) for row in patient.encoded], default=0)
    length = max(longest, max(map(len, patient.prompt_ids), default=1) + case.max_new_tokens)
    length = min(length, policy.context)
    per_layer = case.rows * length * size * (17 * width + 5 * heads * length // 2)
    logits = min(CHUNK, case.rows * length * config.vocab_size) * 4
    return {
        "weights": weights,
        "gradients": weights,
        "Adam": 2 * weights,
        "reference": weights,
        "value head": 4 * 4 * (width + 1),
        "activations": layers * per_layer,
        "logits": 3 * logits,
    }


def available(device: torch.device) -> int | None:
    """Bytes that could be taken now, the model's own included; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) + int(torch.cuda.memory_allocated(device))
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) * 1024


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2g}"
