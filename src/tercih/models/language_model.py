"""The policy: a causal language model behind the one forward that every method uses."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tercih.forward import Against, Outputs, Want
from tercih.models.layout import Learned, Places, learned
from tercih.models.logits import divergence, measure, restrict
from tercih.models.nucleus import Nucleus
from tercih.models.trunk import read
from tercih.spans import count
from tercih.tokens import Tokens


class LanguageModel(nn.Module):
    """`model(tokens, want) -> Outputs`: log-probabilities, entropies and values of response tokens, in one pass.

    `causal` is any Hugging Face causal model (or an object with the same `base_model`, `get_output_embeddings()` and
    `config`). `temperature` divides the logits in everything: what is sampled is what is trained and penalised.
    `value` adds a value head, exactly 0 at the start (Ziegler et al. 2019): "shared" reads the policy's own trunk,
    "separate" a copy of it.
    """

    def __init__(self, causal: Any, *, temperature: float = 1.0, value: str | None = None) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be > 0, got {temperature}")
        if value not in (None, "shared", "separate"):
            raise ValueError(f"value must be None, 'shared' or 'separate', got {value!r}")
        self.causal = causal
        self.temperature = temperature
        self.peft: Any = None
        self.in_step = False  # with other processes that hold parts of the weights
        self.value_head: nn.Linear | None = None
        self.value_trunk: nn.Module | None = None
        self.nucleus: Nucleus | None = None  # what may be said where not everything may
        switch_dropout_off(self)
        if value is not None:
            weight = causal.get_output_embeddings().weight
            self.value_head = nn.Linear(
                weight.shape[1], 1, device=weight.device, dtype=torch.promote_types(weight.dtype, torch.float32)
            )
            nn.init.zeros_(self.value_head.weight)
            nn.init.zeros_(self.value_head.bias)
        if value == "separate":
            self.value_trunk = copy.deepcopy(causal.base_model)

    @property
    def config(self) -> Any:
        return self.causal.config

    @property
    def context(self) -> int:
        """How many tokens a prompt and its response may have together."""
        return context_length(self.config)

    @property
    def head(self) -> nn.Module | Callable[[Tensor], Tensor]:
        """Logits of hidden states: the output embedding, and whatever the architecture does after it."""
        embedding: nn.Module = self.causal.get_output_embeddings()
        cap = getattr(self.config, "final_logit_softcapping", None)  # Gemma 2 and 3
        scaling = getattr(self.config, "logits_scaling", None)  # Granite
        scale = getattr(self.config, "logit_scale", None)  # Cohere
        if not (cap or scaling or scale):
            return embedding

        def logits(hidden: Tensor) -> Tensor:
            found: Tensor = embedding(hidden)
            found = torch.tanh(found / cap) * cap if cap else found
            return found / (scaling or 1.0) * (scale or 1.0)

        return logits

    def forward(self, tokens: Tokens, want: Want | None = None) -> Outputs:
        """Zero outside `tokens.loss_mask_BT`."""
        want = want or Want()
        wanted = learned(tokens)
        shape = tokens.response_ids_BT.shape
        hidden_MD = read(self.causal.base_model, tokens, wanted.places, in_step=self.in_step)
        logp_BT = entropy_BT = value_BT = allowed_BTW = kept_BT = hidden_BTD = kl_BT = None
        if want.logp or want.entropy:
            count("predicted_learned" if torch.is_grad_enabled() else "predicted", len(wanted.target_M))
            logp_M, entropy_M = measure(
                hidden_MD,
                wanted.target_M,
                self.head,
                vocabulary=self.config.vocab_size,
                temperature=self.temperature,
                entropy=want.entropy,
                allowed_MW=None if tokens.allowed_BTW is None else tokens.allowed_BTW.flatten(0, 1)[wanted.token_M],
            )
            logp_BT = place(logp_M, wanted, shape)
            if tokens.correction_BT is not None:
                logp_BT = _Corrected.apply(logp_BT, tokens.correction_BT)  # type: ignore[no-untyped-call]
            entropy_BT = place(entropy_M, wanted, shape) if want.entropy else None
        if want.value:
            value_BT = place(self._value(hidden_MD, tokens, wanted.places), wanted, shape)
        if want.allowed:
            allowed_MW, kept_M = self._restricted(hidden_MD, tokens, wanted.places)
            allowed_BTW, kept_BT = place(allowed_MW, wanted, shape), place(kept_M, wanted, shape)
        if want.hidden:
            hidden_BTD = hidden_MD.new_zeros(*shape, hidden_MD.shape[1])
            hidden_BTD[tokens.loss_mask_BT] = hidden_MD
        if other := want.kl_to or want.kl_from:
            kl_M = divergence(
                hidden_MD, other.hidden_BTD[tokens.loss_mask_BT], self.head, other.head,
                vocabulary=self.config.vocab_size, temperature=self.temperature, to=want.kl_to is not None,
            )  # fmt: skip
            kl_BT = place(kl_M, wanted, shape)
        actions = self._actions(hidden_MD, wanted, shape, want) if want.actions else {}
        return Outputs(
            logp_BT=logp_BT, entropy_BT=entropy_BT, value_BT=value_BT, allowed_BTW=allowed_BTW, kept_BT=kept_BT,
            hidden_BTD=hidden_BTD, kl_BT=kl_BT, **actions,
        )  # fmt: skip

    def _restricted(self, hidden_MD: Tensor, tokens: Tokens, places: Places) -> tuple[Tensor, Tensor]:
        if self.nucleus is None:
            raise ValueError("this policy may say everything: `mask` it first")
        stale_MD = read(self.nucleus.stale.causal.base_model, tokens, places)
        return restrict(hidden_MD, self.head, stale_MD, self.nucleus, vocabulary=self.config.vocab_size)

    def mask(self, *, top_p: float, keep: int) -> None:
        """From now on only what this model, as it is now, finds likely is sampled (`models/nucleus.py`)."""
        self.nucleus = Nucleus(frozen_copy(self), top_p, keep)

    def weights(self) -> dict[str, Tensor]:
        """A copy of all weights that are trained, but for those of values; what `nucleus.load` takes."""
        return {name: p.detach().clone() for name, p in self.causal.named_parameters() if p.requires_grad}

    def _value(self, hidden_MD: Tensor, tokens: Tokens, places: Places) -> Tensor:
        if self.value_head is None:
            raise ValueError("this method needs values: build the policy with value='shared' or value='separate'")
        if self.value_trunk is not None:
            hidden_MD = read(self.value_trunk, tokens, places, in_step=self.in_step)
        value_M: Tensor = self.value_head(hidden_MD.to(self.value_head.weight.dtype)).squeeze(-1)
        return value_M

    def _actions(self, hidden_MD: Tensor, wanted: Learned, shape: torch.Size, want: Want) -> dict[str, Tensor]:
        raise ValueError("this method needs values of actions: build an ActionValueModel (models/action_values.py)")

    @contextmanager
    def adapter_off(self) -> Iterator[None]:
        """Within this context the model is what it was before its LoRA adapter: the reference, at no extra memory."""
        with self.peft.disable_adapter() if self.peft is not None else nullcontext():
            yield


class _Corrected(torch.autograd.Function):
    """log π as it is; its gradient times the correction."""

    @staticmethod
    def forward(ctx: Any, logp_BT: Tensor, correction_BT: Tensor) -> Tensor:
        ctx.save_for_backward(correction_BT)
        return logp_BT.view_as(logp_BT)

    @staticmethod
    def backward(ctx: Any, to_logp_BT: Tensor) -> tuple[Tensor, None]:
        (correction_BT,) = ctx.saved_tensors
        return to_logp_BT * correction_BT.to(to_logp_BT.dtype), None


class Reference:
    """log π0 of every response token, shape (B, T): a frozen copy, or the same weights with the adapter off."""

    def __init__(self, model: LanguageModel) -> None:
        """Takes a snapshot of `model` as it is now; with an adapter no copy is needed."""
        self.adapted = model if model.peft is not None else None
        self.frozen = None if self.adapted else frozen_copy(model)

    def __call__(self, tokens: Tokens) -> Tensor:
        logp_BT = self._asked(tokens, Want()).logp_BT
        assert logp_BT is not None
        return logp_BT

    def against(self, tokens: Tokens) -> Against:
        """What `Want.kl_to` and `Want.kl_from` compare with."""
        hidden_BTD = self._asked(tokens, Want(logp=False, hidden=True)).hidden_BTD
        assert hidden_BTD is not None
        return Against(hidden_BTD=hidden_BTD, head=self.head)

    @property
    def head(self) -> Callable[[Tensor], Tensor]:
        """Of the frozen copy; the adapted model's own, to which adapters are never added."""
        model = self.adapted or self.frozen
        assert model is not None
        return model.head

    @torch.no_grad()
    def _asked(self, tokens: Tokens, want: Want) -> Outputs:
        if self.adapted is not None:
            with self.adapted.adapter_off():
                outputs: Outputs = self.adapted(tokens, want)
        else:
            assert self.frozen is not None
            outputs = self.frozen(tokens, want)
        return outputs


def frozen_copy(model: LanguageModel) -> LanguageModel:
    """The same language model without its value head, no longer trained."""
    twin = LanguageModel(copy.deepcopy(model.causal), temperature=model.temperature)
    return twin.requires_grad_(False).eval()


def context_length(config: Any) -> int:
    for name in ("max_position_embeddings", "n_positions"):
        if length := getattr(config, name, None):
            return int(length)
    raise ValueError(f"the configuration of {config.model_type} names no context length")


def switch_dropout_off(model: nn.Module) -> None:
    """Policy-gradient ratios and reference KL need a deterministic forward (Ziegler et al. 2019)."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout") and isinstance(module.attention_dropout, float):
            setattr(module, "attention_dropout", 0.0)  # noqa: B010  a float on some architectures' modules


def place(x_M: Tensor, wanted: Learned, shape: torch.Size) -> Tensor:
    flat = x_M.new_zeros(shape.numel(), *x_M.shape[1:])
    return flat.index_put((wanted.token_M,), x_M).view(*shape, *x_M.shape[1:])
