"""The same numbers without anything clever: a model's own forward over one row at a time, and all of its logits."""

import copy
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, Qwen2Config

from tercih.forward import Outputs, Want
from tercih.models.load import from_config
from tercih.tokens import Tokens

Errors = dict[str, tuple[float, float]]  # of a check: ours, and that of a plain forward in the same precision
TEMPERATURE = 0.7
VOCABULARY = 1031  # no multiple of anything that kernels like
_COMMON = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.1,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
CONFIGS = {"llama": LlamaConfig(**_COMMON), "qwen": Qwen2Config(**_COMMON, tie_word_embeddings=True)}


def weights(name: str, dtype: torch.dtype, seed: int = 0) -> Any:
    """A random model on the processor, its weights rounded to `dtype`; what is no weight (positions) stays float32."""
    return cast(from_config(CONFIGS[name], seed=seed), dtype, torch.device("cpu"))


def cast(causal: Any, dtype: torch.dtype, device: torch.device) -> Any:
    """A copy with weights of this dtype on this device."""
    twin = copy.deepcopy(causal).to(device)
    for parameter in twin.parameters():
        parameter.data = parameter.data.to(dtype)
    return twin


class Plain(nn.Module):
    """A policy like `LanguageModel`: log-probabilities and entropies of response tokens, in float32 or wider."""

    def __init__(self, causal: Any, temperature: float) -> None:
        super().__init__()
        self.causal, self.temperature = causal, temperature

    def forward(self, tokens: Tokens, want: Want | None = None) -> Outputs:
        T = tokens.response_ids_BT.shape[1]
        logp, entropy = [], []
        for row in range(tokens.rows):
            prompt = int(tokens.prompt_of_B[row])
            asked = tokens.prompt_ids_PS[prompt, : tokens.prompt_len_P[prompt]]
            answer = tokens.response_ids_BT[row, : tokens.response_len_B[row]]
            logp_TV = self.distributions(asked, answer)
            rest = (0, T - len(answer))
            logp.append(nn.functional.pad(logp_TV.gather(1, answer[:, None]).squeeze(1), rest))
            entropy.append(nn.functional.pad(-(logp_TV.exp() * logp_TV).sum(1), rest))
        mask_BT = tokens.loss_mask_BT
        return Outputs(
            logp_BT=torch.where(mask_BT, torch.stack(logp), 0.0),
            entropy_BT=torch.where(mask_BT, torch.stack(entropy), 0.0),
        )

    def distributions(self, asked: Tensor, answer: Tensor) -> Tensor:
        """log p of all tokens in place of each token of an answer, shape (T, V)."""
        logits_LV = self.causal(input_ids=torch.cat([asked, answer])[None], use_cache=False).logits[0]
        logits_LV = logits_LV.to(torch.promote_types(logits_LV.dtype, torch.float32)) / self.temperature
        return logits_LV.log_softmax(-1)[len(asked) - 1 : -1]


def some_tokens(seed: int = 0, prompts: Sequence[int] = (23, 7, 41), samples: int = 4, longest: int = 48) -> Tokens:
    """Several answers of unlike lengths to each prompt, on the processor; some tokens are not learned from."""
    dice = random.Random(seed)
    rows = [p for p in range(len(prompts)) for _ in range(samples)]
    lengths = [longest, *(dice.randint(1, longest) for _ in rows[1:])]
    ids = torch.Generator().manual_seed(seed)
    position_T = torch.arange(longest)
    real_BT = position_T < torch.tensor(lengths)[:, None]
    return Tokens(
        prompt_ids_PS=torch.randint(3, VOCABULARY, (len(prompts), max(prompts)), generator=ids),
        prompt_len_P=torch.tensor(prompts),
        response_ids_BT=torch.randint(3, VOCABULARY, (len(rows), longest), generator=ids),
        response_len_B=torch.tensor(lengths),
        prompt_of_B=torch.tensor(rows),
        loss_mask_BT=real_BT & (torch.rand(len(rows), longest, generator=ids) > 0.2),
    )


def gradient(module: nn.Module) -> Tensor:
    """Of all parameters in one, on the processor in float64."""
    return torch.cat([p.grad.flatten().double().cpu() for p in module.parameters() if p.grad is not None])


def far(found: Tensor, truth: Tensor) -> float:
    """‖found − truth‖ / ‖truth‖; NaN where anything is."""
    truth = truth.double().cpu()
    return float((found.double().cpu() - truth).norm() / truth.norm())


def furthest(found: Tensor, truth: Tensor) -> float:
    """The largest |found − truth|."""
    return float((found.double().cpu() - truth.double().cpu()).abs().max())
