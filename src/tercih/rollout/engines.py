"""Which engine samples, by its settings."""

from dataclasses import dataclass
from pathlib import Path

from tercih.data.tokenize import Tokenizer
from tercih.models.language_model import LanguageModel
from tercih.rollout.engine import Engine, RolloutEngine
from tercih.rollout.mismatch import Correction
from tercih.rollout.vllm import VLLMEngine
from tercih.rollout.wire import Wire


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """Where answers for training are sampled: here, or by a vLLM server (docs/vllm.md)."""

    url: str = ""
    """Address of a vLLM server such as http://127.0.0.1:8001; without one, the built-in engine samples."""
    model: str = ""
    """The name under which the server serves the model, where it serves several."""
    timeout: float = 600.0
    """Seconds within which an answer of the server, or its having read new weights, must have come."""
    weights: Path | None = None
    """A folder that the server sees under the same path, for new weights: a temporary one where not named."""
    correction: Correction = Correction()
    """What gradients do about a server that samples from almost the policy."""


def make_engine(
    policy: LanguageModel, tokenizer: Tokenizer, max_batch: int = 256, settings: EngineSettings | None = None
) -> RolloutEngine:
    """The built-in engine on the policy's own weights, where what is sampled follows every update with nothing to copy;
    or a vLLM server."""
    if settings is None or not settings.url:
        return Engine(policy.causal, eos_ids={tokenizer.eos}, decode=tokenizer.decode, max_batch=max_batch)
    wire = Wire(url=settings.url, timeout=settings.timeout)
    return VLLMEngine(
        policy, wire, eos_ids={tokenizer.eos}, weights=settings.weights, model=settings.model, at_once=max_batch
    )
