"""`transformers.generate`, batch after batch; it gives no log-probabilities, ours does."""

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from harness.turns import read_case, turns_on
from transformers import AutoModelForCausalLM


def generate(model: Any, case: Mapping[str, Any]) -> int:
    """How many tokens it made; those after a response's end are not counted."""
    total, size = 0, max(1, case["batch"] // case["samples"])
    ends = torch.tensor(case["ends"], device=model.device)
    for i in range(0, len(case["ids"]), size):
        part = case["ids"][i : i + size]
        width = max(map(len, part))
        out = model.generate(
            input_ids=torch.tensor([[0] * (width - len(p)) + p for p in part], device=model.device),
            attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in part], device=model.device),
            do_sample=True, top_k=0, top_p=1.0, temperature=1.0, pad_token_id=0, eos_token_id=case["ends"],
            max_new_tokens=case["max_new_tokens"], num_return_sequences=case["samples"],
        )[:, width:]  # fmt: skip
        over = torch.isin(out, ends)
        total += int(torch.where(over.any(1), over.int().argmax(1) + 1, out.shape[1]).sum())
    return total


if __name__ == "__main__":
    case = read_case()
    turns = turns_on(case["device"])
    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    model = AutoModelForCausalLM.from_pretrained(case["model"], dtype=case["dtype"]).to(case["device"]).eval()
    while True:
        tokens = generate(model, case)
        turns({"tokens": tokens, "response_length": tokens / (len(case["ids"]) * case["samples"])})
