"""Which judge: the options of `tercih judge`, and what a file JUDGE.json of `tercih train ppo --reward` holds."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from tercih.config import ConfigError
from tercih.data.tokenize import Tokenizer
from tercih.models.language_model import LanguageModel
from tercih.models.load import load_policy
from tercih.records import Content, Text
from tercih.rewards.answers import Answers
from tercih.rewards.endpoint import Endpoint
from tercih.rewards.judge import Judge
from tercih.rewards.local_voice import LocalVoice
from tercih.rewards.rubric import read_rubric
from tercih.rollout.sampler import sample_items
from tercih.rollout.sampling import Sampling

KEY = "TERCIH_JUDGE_KEY"  # in the environment: a key stands in no file and no command


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeOptions:
    """A language model that says which of two answers is better, or whether one is as a rule says."""

    model: str
    """Folder or Hub name of a model, or with --url the name by which the service knows it."""
    url: str = ""
    """An OpenAI-compatible service, such as https://api.example.org/v1; its key is taken from TERCIH_JUDGE_KEY."""
    rubric: Path | None = None
    """Principles: one a line, or JSON, a list of texts or an object of names and texts. Without: helpful, honest and
    harmless."""
    use: Literal["drawn", "all"] = "drawn"
    """One principle for every question, drawn from what is judged, or all of them."""
    think: bool = False
    """Let it think aloud before it answers."""
    thought_tokens: int = 512
    """How long it may think."""
    clamp: float = 0.0
    """Hold labels within [clamp, 1 - clamp]; Constitutional AI takes 0.4 where the judge thinks aloud."""
    letters: tuple[str, str] = ("A", "B")
    """What the two options are called."""
    both_orders: bool = True
    """Ask in both orders and take the mean, so that a liking for a position is gone; without it, half the price."""
    seed: int = 0
    """Of the principles that are drawn, and of a local model's thoughts."""
    unread_score: float | None = None
    """As a reward: what a response scores that was not judged. Without, that is an error."""
    logprobs: bool = True
    """Ask a service for log-probabilities. Some refuse: then the letter itself is the label."""
    answers: Path | None = None
    """File that keeps a service's answers, so that nothing is asked twice. `tercih judge` makes one beside --out."""
    parallel: int = 8
    """Questions under way at a service at once."""
    timeout: float = 60.0
    """Seconds for one try."""
    tries: int = 6
    """How often a question is put to a service that is busy, broken or slow; later each time."""
    price_read: float = 0.0
    """Of a million tokens that the service reads, to count what it cost."""
    price_written: float = 0.0
    """Of a million tokens that it writes."""


def judge_of(options: JudgeOptions, *, answers: Path | None = None) -> Judge:
    """`answers` is where a service's answers are kept if the options do not say."""
    return Judge(
        voice=_endpoint(options, options.answers or answers) if options.url else _local(options),
        principles=read_rubric(options.rubric) if options.rubric else None,
        use=options.use,
        think=options.think,
        clamp=options.clamp,
        letters=options.letters,
        both_orders=options.both_orders,
        seed=options.seed,
    )


def rules_of(options: JudgeOptions, place: str) -> Mapping[str, str]:
    """The rules that a model of `rule_model` is to read, by name. It scores all of them and is asked nothing, so that
    the other options of a judge have no effect: ConfigError."""
    if options.rubric is None or options.use != "all":
        raise ConfigError(
            f'{place}: {options.model} is a reward model that reads rules; name their file with "rubric", and set'
            ' "use": "all"'
        )
    for option in fields(options):
        if option.name not in ("model", "rubric", "use") and getattr(options, option.name) != option.default:
            raise ConfigError(
                f"{place}: {option.name} has no effect, because {options.model} is a reward model, which nobody asks;"
                " leave it out"
            )
    return read_rubric(options.rubric)


def _endpoint(options: JudgeOptions, answers: Path | None) -> Endpoint:
    return Endpoint(
        url=options.url,
        name=options.model,
        key=os.environ.get(KEY, ""),
        logprobs=options.logprobs,
        thought_tokens=options.thought_tokens,
        parallel=options.parallel,
        timeout=options.timeout,
        tries=options.tries,
        answers=Answers(answers),
    )


def _local(options: JudgeOptions) -> LocalVoice:
    for name in ("logprobs", "answers", "parallel", "timeout", "tries", "price_read", "price_written"):
        if getattr(options, name) != JudgeOptions.__dataclass_fields__[name].default:
            raise ConfigError(f"--{name.replace('_', '-')} has no effect, because there is no --url; leave it out")
    tokenizer, model = Tokenizer.load(options.model), load_policy(options.model)
    place = Path(options.model)
    return LocalVoice(
        model.eval(),
        tokenizer,
        (place.parent if place.name == "model" else place).name,
        write=lambda asked: _written(model, tokenizer, asked, options),
    )


def _written(model: LanguageModel, tokenizer: Tokenizer, asked: Sequence[Content], options: JudgeOptions) -> list[str]:
    longest = max(len(tokenizer.prompt(content)) for content in asked)
    room = min(options.thought_tokens, (model.context - longest) // 2)  # what follows the thoughts needs some, too
    if room < 1:
        raise ConfigError(
            f"{options.model} has a context of {model.context} tokens, and what it is asked has {longest}: there is no"
            " room to think; leave --think out, or take a model with a longer context"
        )
    prompts = [Text(prompt=content, completion="") for content in asked]
    sampling = Sampling(max_new_tokens=room)
    thought = sample_items(model, tokenizer, prompts, sampling, seed=options.seed, origin="thought")
    return [str(each.completion) for each in thought]
