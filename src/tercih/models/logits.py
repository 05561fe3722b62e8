"""From hidden states to what methods want to know, without ever holding all logits of a batch.

Hidden states go through the head a chunk at a time; with gradient, a chunk's logits are recomputed in the backward
pass instead of kept, so that memory does not grow with batch x time x vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK = 2**24  # logits held at a time: 64 MiB in float32

Head = Callable[[Tensor], Tensor]


def measure(
    hidden_MD: Tensor, target_M: Tensor, head: Head, *, vocabulary: int, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor]:
    """log p(target) and, where asked for, the entropy of the distribution at each of M positions: two (M,) tensors.

    Both are of the distribution sampled from: softmax(logits / temperature), in float32 or wider.
    """

    def piece(hidden_mD: Tensor, target_m: Tensor) -> tuple[Tensor, Tensor]:
        logits_mV = head(hidden_mD)
        logits_mV = (logits_mV if logits_mV.dtype == torch.float64 else logits_mV.float()) / temperature
        normaliser_m = logits_mV.logsumexp(-1)
        logp_m = logits_mV.gather(-1, target_m[:, None]).squeeze(-1) - normaliser_m
        if not entropy:
            return logp_m, torch.zeros_like(logp_m)
        probability_mV = (logits_mV - normaliser_m[:, None]).exp()
        return logp_m, normaliser_m - (probability_mV * logits_mV).sum(-1)

    size = max(1, CHUNK // vocabulary)
    if len(target_M) <= size:
        return piece(hidden_MD, target_M)
    chunks = []
    for hidden_mD, target_m in zip(torch.split(hidden_MD, size), torch.split(target_M, size), strict=True):
        chunks.append(checkpoint(piece, hidden_mD, target_m, use_reentrant=False))
    logp, entropies = zip(*chunks, strict=True)
    return torch.cat(logp), torch.cat(entropies)
