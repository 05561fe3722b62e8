"""What `--reward` and `--constraints` name, as one reward; what cannot be used is said here."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tercih.commands.files import named
from tercih.commands.judges import JudgeOptions, judge_of, rules_of
from tercih.commands.train_options import Train, kind_of
from tercih.config import ConfigError, from_file
from tercih.data.tokenize import Tokenizer
from tercih.environments import stories
from tercih.evaluation import text_metrics
from tercih.models.language_model import LanguageModel
from tercih.models.load import is_reward_model, load_reward_model, reads_rules
from tercih.progress import console
from tercih.records import Content, Text
from tercih.rewards import Combiner, EnsembleReward, FunctionReward, LearnedReward, Overlong, RewardSource, RuleReward
from tercih.rewards.constraints import Constraint, constraints, fitted
from tercih.rewards.judge import JudgeReward
from tercih.rewards.rubric import plain as shown
from tercih.rewards.stepwise import StepwiseReward
from tercih.rollout.sampler import sample_items
from tercih.sources.rows import json_rows

ANSWERS = 64  # to a prompt, of the base model: what a constraint weighs is told by what it does to each prompt


def combiner(config: Train[Any]) -> Combiner:
    """All rewards that were named, as one."""
    if not config.reward or not all(config.reward):
        raise ConfigError(
            "this method needs --reward: the folder of a reward model, FILE.py:FUNCTION, metric:NAME, or JUDGE.json"
        )
    learned = [place for place in config.reward if kind_of(place) == "model"]
    named_twice = {name for name, _ in config.rewards.weights if [n for n, _ in config.rewards.weights].count(name) > 1}
    if named_twice:
        raise ConfigError(f"--rewards.weights names {', '.join(sorted(named_twice))} twice")
    sources = [MAKE[kind_of(place)](place) for place in config.reward if place not in learned]
    models = [_learned(place, config, several=len(learned) > 1) for place in learned]
    if config.rewards.steps:
        sources += [StepwiseReward(model, rule=config.rewards.steps) for model in models]
    elif config.rewards.ensemble:
        sources.append(EnsembleReward(models, rule=config.rewards.ensemble, doubt=config.rewards.doubt))
    else:
        sources += models
    return Combiner(
        sources=sources,
        weights=dict(config.rewards.weights),
        normalise=config.rewards.normalise,
        clip=config.rewards.clip,
        missing_end_penalty=config.rewards.missing_end_penalty,
        overlong=_overlong(config),
    )


def _overlong(config: Train[Any]) -> Overlong | None:
    buffer, penalty, longest = (
        config.rewards.overlong_buffer, config.rewards.overlong_penalty, config.sampling.max_new_tokens,
    )  # fmt: skip
    if buffer > longest:
        raise ConfigError(f"--rewards.overlong-buffer is {buffer}, more than --sampling.max-new-tokens {longest}")
    return Overlong(longest=longest, buffer=buffer, penalty=penalty) if buffer else None


def _metric(place: str) -> RewardSource:
    """Of overlap with a column `reference`, but for sentiment."""
    name = place.partition(":")[2]
    return FunctionReward(sentiment if name == "sentiment" else text_metrics.as_reward(name), name)


def _options(place: str) -> RewardSource:
    """A judge, or a reward model that reads rules."""
    options = from_file(JudgeOptions, Path(place))
    if not isinstance(options.model, str):
        raise ConfigError(f"{place} names no judge; it needs at least an option model")
    if options.url or not is_reward_model(options.model):
        return JudgeReward(judge_of(options), unread_score=options.unread_score)
    if not reads_rules(options.model):
        raise ConfigError(
            f"{place}: {options.model} is a reward model that reads no rules, and no judge; name it itself as"
            " --reward, or one that `tercih train rule_model` made"
        )
    model, tokenizer = load_reward_model(options.model), Tokenizer.load(options.model)
    rules = rules_of(options, place)
    return RuleReward([LearnedReward(model, tokenizer, name=name, rule=rule) for name, rule in rules.items()])


def _function(place: str) -> RewardSource:
    function = named(place)
    if not callable(function):
        raise ConfigError(f"{place} is no function, but {function!r}")
    return FunctionReward(function)


MAKE: Mapping[str, Callable[[str], RewardSource]] = {"metric": _metric, "options": _options, "function": _function}
"""Of every kind of `--reward` but reward models, which may be one together."""


def sentiment(prompt: Content, completion: Content, **columns: Any) -> float:
    """How cheerful the words of a completion are, from −1 to 1 (VADER)."""
    return stories.gold(prompt, shown(completion))


def _learned(place: str, config: Train[Any], *, several: bool) -> LearnedReward:
    if reads_rules(place):
        raise ConfigError(
            f'{place} reads rules: name in its place a file RULES.json, {{"model": "{place}", "rubric": "rules.txt",'
            ' "use": "all"}'
        )
    model, tokenizer, options = load_reward_model(place), Tokenizer.load(place), config.rewards
    path = Path(place)
    return LearnedReward(
        model,
        tokenizer,
        name=(path.parent if path.name == "model" else path).name if several else "reward_model",
        truncate_at=tokenizer.one_token(options.truncate_at, "--rewards.truncate-at") if options.truncate_at else None,
        truncate_after=options.truncate_after,
        missing_score=options.missing_score,
    )


def asked_constraints(config: Train[Any], file: Path) -> list[Constraint]:
    """What the file says. Its λ make the target that a β of 1 has, and no other."""
    tempered = next((name for name in ("beta", "kl_coef") if hasattr(config.method, name)), None)
    if tempered is None or getattr(config.method, tempered) != 1:
        mend = f"set --method.{tempered.replace('_', '-')} 1" if tempered else "take f_dpg"
        raise ConfigError(f"--constraints need a method whose optimum is the base model tilted by the reward: {mend}")
    rows = [row for _, row in json_rows(file)]
    return constraints(rows, file, named)


def tilt(
    config: Train[Any],
    asked_for: Sequence[Constraint],
    policy: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Text],
) -> Combiner:
    """λ·φ in the place of a reward, λ from answers of the model as it is: several to each of some prompts."""
    shuffled = np.random.default_rng(config.seed).permutation(len(prompts))
    asked = min(len(prompts), max(1, config.constraint_samples // ANSWERS))
    prompt_of_N = torch.arange(config.constraint_samples) % asked
    chosen = [prompts[shuffled[prompt]] for prompt in prompt_of_N.tolist()]
    items = sample_items(policy, tokenizer, chosen, config.sampling, seed=config.seed, origin="base")
    sources, names = [FunctionReward(one.feature, one.name) for one in asked_for], [one.name for one in asked_for]
    feature_NC = torch.cat([source.score(items).reward_BC for source in sources], 1)
    weight_C, effective = fitted(feature_NC, torch.tensor([one.moment for one in asked_for]), names, prompt_of_N)
    for one, weight, before in zip(asked_for, weight_C.tolist(), feature_NC.mean(0).tolist(), strict=True):
        console.print(f"{one.name}: {before:.3f} on average now, {one.moment:g} wanted: λ = {weight:.3f}")
    console.print(f"λ from {len(items)} answers to {asked} prompts, as good as {effective:.0f} of the target's own")
    return Combiner(sources=sources, weights=dict(zip(names, weight_C.tolist(), strict=True)))
