"""vLLM as the rollout engine: a server in a process of its own, asked by token ids (docs/vllm.md says how to start it).

New weights go through a folder both processes see, in Hugging Face format: the server stops, reads them in place,
forgets what it had cached, and calls itself by their version. Every answer carries the version of the weights that made
it, and one of other weights is refused.
"""

import math
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tercih.models.language_model import LanguageModel
from tercih.models.load import save_weights
from tercih.rollout.engine import Generated, check_asked, collect
from tercih.rollout.sampling import Sampling
from tercih.rollout.slots import Response, Stats
from tercih.rollout.wire import EngineError, Wire

ROUNDING = 1e-3  # by which a log-probability may exceed 0


class StaleAnswer(EngineError):
    """An answer by other weights than the policy's."""


class VLLMEngine:
    """Samples from `policy` through the server at `wire`, once its weights are there (`sync`).

    `model` is the name under which the server serves it, or empty for its only one. `weights` is a folder that the
    server sees under the same path. `eos_ids` end a response and nothing else does, whatever the server's own settings.
    A seed gives the same answers only as far as the server's arithmetic does not depend on what else it computes.
    """

    exact = False

    def __init__(
        self,
        policy: LanguageModel,
        wire: Wire,
        *,
        eos_ids: Collection[int],
        weights: Path | None = None,
        model: str = "",
        at_once: int = 256,
    ) -> None:
        self.policy, self.wire, self.eos_ids, self.at_once = policy, wire, sorted(eos_ids), at_once
        self.vocabulary: int = policy.causal.get_input_embeddings().weight.shape[0]
        self.version: int | None = None
        self.run = secrets.token_hex(4)  # the server may know the versions of another run
        self.model, context = self._served(model)
        self.context = min(context, policy.context)
        self._own = tempfile.TemporaryDirectory(prefix="tercih-weights-") if weights is None else None
        self.folder = Path(self._own.name if self._own else weights or "").absolute() / self.run

    def close(self) -> None:
        if self._own is not None:
            self._own.cleanup()

    def sync(self, version: int) -> None:
        """Give the server the policy's weights as they are now; nothing is sampled until it has them."""
        folder = self.folder / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(self.policy, folder)
        self.version = None
        self.wire.call("POST", "/pause?mode=abort")
        self.wire.call("POST", "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}})
        if not self.wire.call("POST", "/reset_prefix_cache")["success"]:
            raise EngineError(f"{self.wire.url} could not forget what it had computed with the old weights")
        self.wire.call("POST", "/update_weight_version", {"new_version": self._label(version)})
        self.wire.call("POST", "/resume")
        self.version = version
        for old in self.folder.iterdir():
            if old != folder:
                shutil.rmtree(old)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        samples: int = 1,
        seed: int,
        keys: Sequence[int] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Generated:
        """`samples` responses to every prompt, in the built-in engine's form; EngineError where the server gives no
        proper answer in time, and StaleAnswer where other weights gave it."""
        keys = range(len(prompts)) if keys is None else keys
        check_asked(prompts, samples, seed, keys, sampling, vocabulary=self.vocabulary, context=self.context)
        if sampling.temperature == 0:
            raise ValueError("the vLLM engine samples; sampling.temperature must be > 0")
        if self.version is None:
            raise EngineError(f"{self.wire.url} does not have the policy's weights; call sync(version) first")
        found: list[list[Response]] = [[] for _ in prompts]
        with self._workers(max(1, self.at_once // samples)) as pool:
            asked = {
                pool.submit(self._ask, p, prompt, key, sampling, samples, seed): p
                for p, (prompt, key) in enumerate(zip(prompts, keys, strict=True))
            }
            for done, future in enumerate(as_completed(asked), start=1):
                found[asked[future]] = future.result()
                if on_progress is not None:
                    on_progress(done * samples, len(prompts) * samples)
        responses = [response for group in found for response in group]
        stats = Stats(tokens=sum(len(r.ids) for r in responses), steps=0, prefills=len(prompts), mean_rows=0.0)
        wide = torch.promote_types(self.policy.causal.dtype, torch.float32)
        return collect(responses, stats, self.version, device=self.policy.causal.device, dtype=wide)

    def _ask(
        self, p: int, prompt: Sequence[int], key: int, sampling: Sampling, samples: int, seed: int
    ) -> list[Response]:
        body = {
            "model": self.model,
            "prompt": list(prompt),
            "n": samples,
            "seed": int(np.random.SeedSequence((seed, key)).generate_state(1, np.uint64)[0] >> np.uint64(2)),
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "stop": list(sampling.stop),
            "include_stop_str_in_output": True,
            "ignore_eos": True,  # of the server's own list
            "stop_token_ids": [] if sampling.ignore_eos else self.eos_ids,
            # What a model's generation_config.json would set otherwise
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "add_special_tokens": False,
            "skip_special_tokens": False,
            "logprobs": 0,  # of the sampled token alone
            "return_token_ids": True,
            "return_weight_versions": True,
        }
        answer = self.wire.call("POST", "/v1/completions", body)
        try:
            choices = sorted(answer["choices"], key=lambda choice: choice["index"])
            if len(choices) != samples:
                raise ValueError(f"{len(choices)} responses in place of {samples}")
            return [self._response(p, s, key, choice, sampling) for s, choice in enumerate(choices)]
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(
                f"{self.wire.url} answered prompt {p} in another form than vLLM 0.33 ({type(error).__name__}: {error});"
                " docs/vllm.md says how to start it"
            ) from error

    def _response(self, p: int, s: int, key: int, choice: Mapping[str, Any], sampling: Sampling) -> Response:
        ids, logp, reason = choice["token_ids"], choice["logprobs"]["token_logprobs"], choice["finish_reason"]
        spans = choice["weight_versions"]
        label = self._label(self.version)
        if not spans or any(span["version"] != label for span in spans):
            made = sorted({str(span["version"]) for span in spans or ()}) or ["unknown"]
            raise StaleAnswer(
                f"{self.wire.url} answered with weights {', '.join(made)}, not {label}: it was started again, or"
                " another run uses it too. Give every run a server of its own; the same command then goes on where it"
                " was"
            )
        if reason not in ("stop", "length"):
            raise EngineError(f"{self.wire.url} broke off a response to prompt {p} ({reason}); see its log")
        if not ids or len(ids) > sampling.max_new_tokens or len(logp) != len(ids):
            raise ValueError(f"{len(ids)} tokens with {len(logp)} log-probabilities, at most {sampling.max_new_tokens}")
        if not all(0 <= token < self.vocabulary for token in ids):
            raise ValueError(f"a token id beyond the vocabulary of {self.vocabulary}")
        if not all(math.isfinite(x) and x <= ROUNDING for x in logp):
            raise ValueError("a log-probability that is not finite, or above 0")
        return Response(prompt=p, key=key, sample=s, ids=ids, logp=logp, ended=reason == "stop")

    def _label(self, version: int | None) -> str:
        return f"{self.run}:{version}"

    def _served(self, model: str) -> tuple[str, int]:
        """The name and the context of the model there is; EngineError for a server that cannot be used."""
        cards = {card["id"]: card for card in self.wire.call("GET", "/v1/models")["data"]}
        if not model and len(cards) > 1:
            raise EngineError(f"{self.wire.url} serves {', '.join(cards)}; choose one with engine.model")
        name = model or next(iter(cards), "")
        if name not in cards:
            raise EngineError(f"{self.wire.url} does not serve {name!r}, but {', '.join(cards) or 'nothing'}")
        try:
            self.wire.call("GET", "/weight_info")
            told = self.wire.call("GET", "/server_info?config_format=json")["vllm_config"]["model_config"]
        except (EngineError, KeyError, TypeError) as error:
            raise EngineError(
                f"{self.wire.url} does not let itself be given weights ({error}); it must be vLLM 0.33 or later,"
                " started with VLLM_SERVER_DEV_MODE=1"
            ) from error
        if told.get("logprobs_mode") != "processed_logprobs":
            raise EngineError(
                f"{self.wire.url} gives log-probabilities before temperature; start it with"
                " --logprobs-mode processed_logprobs"
            )
        return name, int(cards[name].get("max_model_len") or self.policy.context)

    @contextmanager
    def _workers(self, count: int) -> Iterator[ThreadPoolExecutor]:
        """Threads that wait for answers; where one fails, the others are called back at once."""
        pool = ThreadPoolExecutor(count, thread_name_prefix="vllm")
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            self.wire.interrupt()
            raise
        pool.shutdown()
