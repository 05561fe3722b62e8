"""One turn of a conversation with the policy, for questions that are asked in a chat."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tercih.data.tokenize import TokenError, Tokenizer
from tercih.feedback.jobs import Job
from tercih.models.language_model import LanguageModel
from tercih.models.load import ModelError, load_policy, read_about
from tercih.records import Content, Message, Text
from tercih.rollout.sampler import sample_items
from tercih.rollout.sampling import Sampling
from tercih.worker.bench import Bench, Refused

ROLES = ("system", "user", "assistant")


def chat(bench: Bench, job: Job) -> dict[str, Any]:
    """An answer to {prompt or messages, seed, model (default: the worker's policy), max_new_tokens, temperature}.

    The result is its text, the model, and the token ids that were read and sampled with the tokenizer's fingerprint.
    Refused for a payload that cannot be one, a conversation that leaves no room in the model's context, or an answer
    without a word. Only the worker's own policy is loaded: a payload cannot name any folder it likes. Raters read the
    refusals, so these do not say which policy it is.
    """
    payload = job.payload
    if bench.policy is None:
        raise Refused("this worker has no policy; start it with --policy RUN")
    if payload.get("model", str(bench.policy)) != str(bench.policy):
        raise Refused(f"this worker talks for {bench.policy}, not for {payload['model']}")
    prompt = prompt_of(payload)
    try:
        tokenizer, policy = _loaded(bench.policy)
        room = policy.context - len(tokenizer.prompt(prompt))
    except (ModelError, TokenError) as error:
        raise Refused(str(error).replace(str(bench.policy), "the model")) from error
    if room < 1:
        raise Refused(f"the conversation is longer than the model's context of {policy.context} tokens")
    try:
        sampling = Sampling(
            max_new_tokens=min(int(payload.get("max_new_tokens", 256)), room),
            temperature=float(payload.get("temperature", policy.temperature)),
        )
    except (TypeError, ValueError) as error:
        raise Refused(str(error)) from error
    asked = [Text(prompt=prompt, completion="")]
    answer = sample_items(
        policy, tokenizer, asked, sampling, seed=int(payload.get("seed", 0)), origin=str(bench.policy)
    )[0]
    if not str(answer.completion).strip():
        raise Refused("the model said nothing")
    return {
        "text": str(answer.completion), "model": answer.origin, "tokenizer": answer.tokenizer,
        "prompt_ids": list(answer.prompt_ids), "completion_ids": list(answer.completion_ids),
    }  # fmt: skip


def prompt_of(payload: Mapping[str, Any]) -> Content:
    """What the model is to answer. Raises Refused where the payload holds neither a prompt nor messages."""
    prompt, messages = payload.get("prompt"), payload.get("messages")
    if isinstance(prompt, str) and prompt and messages is None:
        return prompt
    if prompt is None and isinstance(messages, Sequence) and messages and all(map(_is_message, messages)):
        return tuple(Message(role=each["role"], content=each["content"]) for each in messages)
    raise Refused("a chat needs either a prompt or messages of {role, content}")


def _is_message(each: Any) -> bool:
    return isinstance(each, Mapping) and each.get("role") in ROLES and isinstance(each.get("content"), str)


@lru_cache(maxsize=1)
def _loaded(folder: Path) -> tuple[Tokenizer, LanguageModel]:
    """Kept for the next turn; a policy that is trained on is a new folder."""
    if read_about(folder).get("kind") == "RewardModel":
        raise ModelError(f"{folder} is a reward model; it scores and does not talk")
    return Tokenizer.load(folder), load_policy(folder)
