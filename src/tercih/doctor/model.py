"""What is wrong with the model, its tokenizer, and what they make of the data."""

from typing import Any

import torch

from tercih.doctor.inspection import Finding, error, ok, percent, warning
from tercih.doctor.patient import Patient
from tercih.evaluation.intervals import wilson

CUT = 0.1  # of the answers; above it, rewards and lengths are mostly about where the knife fell
BOUNDS = {torch.float64: 1e-8, torch.float32: 1e-4, torch.bfloat16: 0.5, torch.float16: 0.05}
APART = 0.1  # of the rows


def vocabulary(patient: Patient) -> Finding:
    known = int(patient.policy.causal.get_input_embeddings().weight.shape[0])
    highest = max(patient.tokenizer.hf.get_vocab().values())
    detail = f"the tokenizer makes ids up to {highest}, the model knows {known}"
    if highest >= known:
        return error(detail, "use the tokenizer that was trained with this model, or resize the model's embeddings")
    return ok(detail)


def end_tokens(patient: Patient) -> Finding:
    """Padding is known by its length here, so that a pad token is never needed and may be anything."""
    hf, end = patient.tokenizer.hf, patient.tokenizer.eos
    name = f"EOS is {hf.eos_token} ({end})"
    others = sorted(_declared_ends(patient.policy.causal) - {end})
    if others:
        detail = f"{name}, but the model's own configuration ends answers at {hf.convert_ids_to_tokens(others)} as well"
        return warning(detail, "set eos_token in tokenizer_config.json to the one that this model really ends with")
    if hf.pad_token_id is None or hf.pad_token_id == end:
        pad = "there is no pad token" if hf.pad_token_id is None else "pad is EOS"
        return ok(f"{name}; {pad}, which is harmless here (tools that mask pad out of the loss would never teach EOS)")
    return ok(f"{name}, pad is {hf.pad_token}")


def end_in_text(patient: Patient) -> Finding | None:
    if not patient.answers:
        return None
    end = patient.tokenizer.eos
    twice = sum(end in row.response[:-1] and all(row.learn) for row in patient.encoded)
    if twice:
        detail = f"{twice} of {len(patient.encoded)} answers hold {patient.tokenizer.hf.eos_token} before their end"
        return warning(detail, "take it out of the text: it is added to every answer")
    return ok(f"none of {len(patient.encoded)} answers holds an EOS before its end")


def stops(patient: Patient) -> Finding | None:
    """Whether answers end by themselves."""
    if patient.probe is None:
        return None
    ended_B, limit = patient.probe.generated.ended_B, patient.case.max_new_tokens
    cut = wilson(int((~ended_B).sum()), len(ended_B))
    detail = f"{percent(cut)} sampled answers are cut at {limit} tokens"
    if not bool(ended_B.any()):
        detail = f"none of {cut.n} sampled answers says {patient.tokenizer.hf.eos_token} (EOS) within {limit} tokens"
        return warning(detail, "if answers should end by themselves: fine-tune on answers first (tercih train sft)")
    if cut.value > CUT:
        return warning(detail, "raise --max-new-tokens, or fine-tune on answers that end sooner")
    return ok(detail)


def chat_template(patient: Patient) -> Finding | None:
    talks = sum(not isinstance(prompt, str) for prompt in patient.prompts)
    if not patient.prompts:
        return None
    template = patient.tokenizer.hf.chat_template
    if talks and template is None:
        detail = f"{talks} of {len(patient.prompts)} prompts are conversations, but the tokenizer has no chat template"
        return error(detail, "set chat_template in tokenizer_config.json, or use plain prompts")
    if talks or template is None:
        return ok(
            "conversations go through the chat template" if talks else "plain prompts; no chat template is needed"
        )
    begin = _template_begin(patient.tokenizer.hf)
    if begin and not all(str(prompt).startswith(begin) for prompt in patient.prompts):
        detail = "the tokenizer has a chat template, but the prompts are plain text and do not go through it"
        return warning(detail, "give prompts as messages ([{'role': 'user', 'content': …}]) if this is a chat model")
    return ok("plain prompts, written as the chat template would")


def tokenised(patient: Patient) -> Finding | None:
    """Whether the tokenizer takes every row, and gives it back."""
    if not patient.prompts:
        return None
    rows, tokenizer = patient.encoded, patient.tokenizer
    told = len(patient.prompt_ids)
    talks = any(not isinstance(prompt, str) for prompt in patient.prompts)
    if patient.problems and not (talks and tokenizer.hf.chat_template is None):  # which chat_template says
        detail = f"{len(patient.problems)} prompts and answers cannot be tokenised; the first: {patient.problems[0]}"
        return error(detail, "mend these rows or the tokenizer")
    unknown = tokenizer.hf.unk_token_id
    lost = sum(unknown in row.response or unknown in row.prompt for row in rows) if unknown is not None else 0
    if lost:
        detail = f"{lost} of {len(rows)} answers or their prompts hold {tokenizer.hf.unk_token}, the unknown token"
        return warning(detail, "use a tokenizer that knows these characters; what is unknown cannot be learned")
    return ok(f"{told} prompts and {len(rows)} answers are tokenised without an unknown token")


def boundary(patient: Patient) -> Finding | None:
    """Rows where the tokenizer would merge the end of the prompt with the beginning of the answer."""
    plain = [
        (t.prompt, t.completion)
        for t in patient.answers
        if isinstance(t.prompt, str) and isinstance(t.completion, str) and not t.completion_ids
    ]
    if not plain:
        return None
    apart = 0
    for prompt, completion in plain:
        start = patient.tokenizer.prompt(prompt)
        apart += patient.tokenizer.prompt(prompt + completion)[: len(start)] != start
    detail = f"prompt and answer are tokenised apart in {apart} of {len(plain)} rows, where they would merge"
    if apart > APART * len(plain):
        return warning(detail, "move the white space between them from the prompt's end to the answer's beginning")
    return ok(detail)


def context(patient: Patient) -> Finding | None:
    """Prompts and rows that do not fit."""
    limit, room = patient.policy.context, patient.case.max_new_tokens
    longest = max(map(len, patient.prompt_ids), default=0)
    if not longest:
        return None
    rows = [len(row.prompt) + len(row.response) for row in patient.encoded]
    over = sum(length > limit for length in rows)
    if over:
        detail = (
            f"{over} of {len(rows)} prompts with their answers exceed the context of {limit}, the longest {max(rows)}"
        )
        return error(detail, "leave them out with --drop-long, or use a model with a longer context")
    tight = sum(len(ids) + room > limit for ids in patient.prompt_ids)
    if tight:
        detail = (
            f"{tight} of {len(patient.prompt_ids)} prompts and {room} new tokens exceed the context of {limit},"
            f" the longest prompt {longest}"
        )
        if not rows:
            return error(detail, f"lower --max-new-tokens to {max(limit - longest, 1)}, or shorten the prompts")
        return warning(detail, f"before sampling, lower --max-new-tokens to {max(limit - longest, 1)}")
    return ok(f"prompts have up to {longest} tokens, with their answers {max([longest + room, *rows])} of {limit}")


def same_numbers(patient: Patient) -> Finding | None:
    """The log-probabilities of one sample by the engine that made it and by the forward pass that trains on it."""
    if patient.probe is None:
        return None
    dtype = patient.policy.causal.dtype
    gap, bound = float(patient.probe.difference_BT.abs().max()), BOUNDS.get(dtype, 0.1)
    detail = f"engine and trainer differ by at most {gap:.1e} nats a token ({str(dtype)[6:]}; bound {bound:.0e})"
    if gap > bound:
        return error(detail, "use float32; if they still differ, report it: ratios of policy gradients would be wrong")
    return ok(detail)


def precision(patient: Patient) -> Finding:
    dtype = patient.policy.causal.dtype
    name = str(dtype).removeprefix("torch.")
    if dtype == torch.float16:
        detail = f"weights are {name}, which overflows and underflows in training"
        return warning(detail, "train with --memory.dtype float32, or bfloat16")
    if dtype == torch.bfloat16:
        return ok(f"weights are {name}; training keeps a float32 copy of what it trains")
    return ok(f"weights are {name}")


def _declared_ends(causal: Any) -> set[int]:
    ends: set[int] = set()
    for config in (causal.config, causal.generation_config):
        declared = getattr(config, "eos_token_id", None)
        ends |= set(declared) if isinstance(declared, list) else set() if declared is None else {declared}
    return ends


def _template_begin(hf: Any) -> str:
    """What the template writes before a user's words."""
    try:
        text = str(hf.apply_chat_template([{"role": "user", "content": "\0"}], tokenize=False))
    except Exception:  # a template may refuse anything, in its own way
        return ""
    return text.split("\0")[0].removeprefix(hf.bos_token or "")
