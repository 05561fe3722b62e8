"""Optimisers and learning-rate schedules: everything about a step that is not the method's."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimisation:
    """`lr` is the peak learning rate; `schedule` runs from it to 0 over the data ("constant" stays).

    `micro_rows` bounds how many responses are in one forward and backward pass (0: all); the gradient is the same
    whatever it is. `optimiser` "tf_adam" puts epsilon where TensorFlow 1 had it, which lm-human-preferences' early KL
    depends on. `max_norm` bounds the gradient's norm (None: nothing does).
    """

    lr: float = 1e-5
    schedule: str = "linear"
    warmup: float = 0.0
    optimiser: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_norm: float | None = 1.0
    micro_rows: int = 0

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"optimisation.lr must be > 0, got {self.lr}")
        if self.schedule not in ("constant", "linear", "cosine"):
            raise ValueError(f"optimisation.schedule must be constant, linear or cosine, got {self.schedule!r}")
        if self.optimiser not in ("adamw", "tf_adam"):
            raise ValueError(f"optimisation.optimiser must be adamw or tf_adam, got {self.optimiser!r}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"optimisation.warmup is a share of the steps, in [0, 1), got {self.warmup}")
        for name in ("eps", "weight_decay", "micro_rows"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"optimisation.{name} must be >= 0, got {getattr(self, name)}")
        if self.max_norm is not None and not 0 < self.max_norm < math.inf:
            raise ValueError(f"optimisation.max_norm must be > 0 and finite, or None for no bound, got {self.max_norm}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"optimisation.betas must be in [0, 1), got {self.betas}")
        if self.optimiser == "tf_adam" and self.weight_decay:
            raise ValueError("optimisation.weight_decay needs optimiser adamw; tf_adam has none")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        trained = [p for p in parameters if p.requires_grad]
        if self.optimiser == "tf_adam":
            return TFAdam(trained, lr=self.lr, betas=self.betas, eps=self.eps)
        return torch.optim.AdamW(
            trained, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=True
        )

    def clip(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Scale the gradient down to `max_norm` where it is longer; returns its norm before that."""
        bound = math.inf if self.max_norm is None else self.max_norm
        return nn.utils.clip_grad_norm_(parameters, bound)

    def lr_at(self, step: int, steps: int) -> float:
        warm = int(self.warmup * steps)
        if step < warm:
            return self.lr * (step + 1) / (warm + 1)
        done = (step - warm) / max(steps - warm, 1)
        scale = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
        return self.lr * scale[self.schedule]


class TFAdam(torch.optim.Optimizer):
    """Adam as TensorFlow 1 computes it (Kingma & Ba 2015, end of section 2): p -= lr_t · m / (sqrt(v) + eps), with
    lr_t = lr · sqrt(1 - β2^t) / (1 - β1^t). Relative to PyTorch's, epsilon is larger by 1/sqrt(1 - β2^t): 31.6 times at
    the first step."""

    def __init__(self, parameters: Iterable[Tensor], *, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state.update(step=torch.zeros(()), m=torch.zeros_like(p), v=torch.zeros_like(p))
                state["step"] += 1
                t = float(state["step"])
                state["m"].lerp_(p.grad, 1 - beta1)
                state["v"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
                lr_t = group["lr"] * math.sqrt(1 - beta2**t) / (1 - beta1**t)
                p.addcdiv_(state["m"], state["v"].sqrt().add_(group["eps"]), value=-lr_t)
