"""The models, data and rewards of one stage, as `tercih train` builds them; what cannot be used is said here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tercih.batches import Batch
from tercih.commands.files import named
from tercih.commands.judges import JudgeOptions, judge_of, rules_of
from tercih.commands.train_options import METRIC, Train, is_learned
from tercih.config import ConfigError, from_file
from tercih.data import collate
from tercih.data.offline import Offline
from tercih.data.tokenize import ContextError, Tokenizer
from tercih.distributed.team import ALONE, Team
from tercih.environments import stories
from tercih.evaluation import text_metrics
from tercih.feedback.quality import dawid_skene
from tercih.forward import Models
from tercih.method import Method
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.load import (
    LoRA,
    add_lora,
    is_reward_model,
    load_causal,
    load_policy,
    load_reward_model,
    reads_rules,
)
from tercih.models.mixture import geometric
from tercih.models.reward_model import RewardModel
from tercih.progress import console
from tercih.records import (
    Comparison,
    Consensus,
    Content,
    Demonstration,
    Dialogue,
    Ranking,
    Rating,
    RuleLabel,
    StepLabels,
    Text,
    Thumb,
)
from tercih.rewards import Combiner, EnsembleReward, FunctionReward, LearnedReward, Overlong, RewardSource, RuleReward
from tercih.rewards.constraints import Constraint, constraints, fitted
from tercih.rewards.judge import JudgeReward
from tercih.rewards.rubric import plain as shown
from tercih.rewards.stepwise import StepwiseReward
from tercih.rollout.sampler import Rollouts, sample_items
from tercih.sources import Record, load
from tercih.sources.columns import UNKNOWN
from tercih.sources.rows import json_rows
from tercih.train import Data

KINDS: dict[str, tuple[type | tuple[type, ...], Callable[..., Batch], str]] = {
    "demonstrations": ((Demonstration, Rating), collate.demonstrations, "prompt and completion, or messages"),
    "pairs": (Comparison, collate.pairs, "prompt, chosen and rejected"),
    "rankings": (Ranking, collate.rankings, "prompt, completions and order"),
    "thumbs": ((Thumb, StepLabels, Comparison), collate.thumbs, "prompt, completion and label, steps, or pairs"),
    "rules": (RuleLabel, collate.rule_labels, "prompt, completion, rule and broken"),
    "scored": ((Rating, Thumb), collate.scored, "prompt, completion and score, or label"),
    "turns": (Dialogue, collate.turns, "dialogues with what was offered, read as offered:FILE"),
}
SCALED = 128  # answers of the starting policy by which the members of an ensemble are put on one scale
TRIED = 4  # prompts answered and scored before a run begins, so that a reward that cannot be used is said at once


def build_models(config: Train[Any]) -> tuple[LanguageModel | RewardModel, Models]:
    lora = LoRA(rank=config.lora, alpha=config.lora_alpha) if config.lora else None
    if config.method.trains == "reward_model":
        centres = getattr(config.method, "centres", ())
        if is_reward_model(config.model):  # a further stage, which goes on with its head
            scorer = load_reward_model(config.model, memory=config.memory)
            if config.readout not in ("last", scorer.readout):
                raise ConfigError(f"--readout {config.readout}: {config.model} was trained with {scorer.readout}")
            if scorer.centres != tuple(centres):
                raise ConfigError(
                    f"{config.model} was trained with other bins of scores ({len(scorer.centres)}, this method has"
                    f" {len(centres)}): go on with the method and the bins that it was trained with"
                )
        else:
            causal = load_causal(config.model, memory=config.memory)
            scorer = RewardModel(causal, readout=config.readout, seed=config.seed, bins=centres)
        if lora:
            add_lora(scorer, lora)
        return scorer, Models(policy=scorer)
    value = config.value if config.method.needs_values else None
    policy = load_policy(config.model, value=value, actions=config.method.needs_action_values, memory=config.memory)
    if config.method.learns_from == "rollouts":
        set_temperature(policy, config.sampling.temperature)
    if lora:
        add_lora(policy, lora)
    return policy, Models(policy=policy, reference=Reference(policy) if config.method.needs_reference else None)


def words_of(method: Method, tokenizer: Tokenizer) -> dict[str, tuple[int, ...]]:
    """The tokens of what the method puts beside prompts, and of what every plain prompt begins with."""
    if not method.words:
        return {}
    begin = {"": () if tokenizer.bos is None else (tokenizer.bos,)}
    return {text: tokenizer.words(text) for text in method.words} | begin


def set_temperature(policy: LanguageModel, temperature: float) -> None:
    """One temperature governs what is sampled, trained and penalised, so it is set before the reference is made."""
    if not temperature > 0:
        raise ConfigError(
            f"--sampling.temperature must be > 0 to train, got {temperature}: the likeliest answer alone"
            " teaches nothing"
        )
    if policy.temperature not in (1.0, temperature):
        console.print(f"the model was saved with temperature {policy.temperature}; here it is {temperature}")
    policy.temperature = temperature


def build_data(
    config: Train[Any],
    records: dict[str, list[Record]],
    tokenizer: Tokenizer,
    model: Any,
    team: Team = ALONE,
    models: Models | None = None,
) -> tuple[Data, int]:
    """The data and how many records they have; everything is tokenised once here, so that errors come first. `models`
    are asked for a rival by methods that have one."""
    if config.method.learns_from == "rollouts":
        return _rollouts(config, records, tokenizer, model, team, models)
    wanted, make, columns = KINDS[config.method.learns_from]
    kept: list[Any] = []
    words = words_of(config.method, tokenizer).values()
    context = model.context - max(map(len, words), default=0)
    for spec, rows in records.items():
        for index, record in enumerate(rows):
            if not isinstance(record, wanted):
                raise ConfigError(
                    f"{type(config.method).__name__} learns from {config.method.learns_from} ({columns}), but record"
                    f" {index + 1} of {spec} is a {type(record).__name__}; name other data with --data"
                )
        kept += collate.fitting(rows, make, tokenizer, context, drop=config.drop_long, where=spec)
    if not kept:
        raise ConfigError(f"no record of {', '.join(records)} is left to train on")
    if config.weigh:
        kept = weighed(kept)
    data = Offline(
        records=kept,
        collate=lambda rows: make(rows, tokenizer, context),
        size=config.rows,
        epochs=config.epochs,
        seed=config.seed,
    )
    return data, len(kept)


def weighed(judgements: Sequence[Comparison]) -> list[Consensus]:
    """One soft label a pair, from raters weighed by how far they can be trusted."""
    raters = {judgement.rater for judgement in judgements}
    if len(raters) < 2:
        why = "name no rater (column `rater`)" if raters == {UNKNOWN} else f"are all by one rater, {min(raters)}"
        raise ConfigError(f"--weigh needs several raters, but the pairs {why}; leave it out")
    result = dawid_skene(judgements)
    ordered = sorted(result.raters, key=lambda row: row.reliability)
    (worst, best), pairs = (ordered[0], ordered[-1]), len(result.consensus)
    console.print(
        f"weighed {len(judgements)} judgements of {pairs} pairs by {len(raters)} raters: most reliable {best.rater}"
        f" ({best.reliability:.2f}), least {worst.rater} ({worst.reliability:.2f})"
    )
    return result.consensus


def _rollouts(
    config: Train[Any],
    records: dict[str, list[Record]],
    tokenizer: Tokenizer,
    policy: LanguageModel,
    team: Team,
    models: Models | None,
) -> tuple[Rollouts, int]:
    if getattr(config.method, "pretraining_coef", 0) and not config.pretraining:
        raise ConfigError("--method.pretraining-coef mixes in texts; name them with --pretraining, or set it to 0")
    if config.method.needs_groups and config.samples_each < 2:
        raise ConfigError("--samples must be >= 2, because this method compares the responses to a prompt; got 1")
    asked_for = _constraints(config, config.constraints) if config.constraints else []
    reward = None if asked_for else combiner(config)
    mixed_in = _pretraining(config, tokenizer, policy.context)

    asking = words_of(config.method, tokenizer).get(config.method.asks_with, ())

    def answerable(rows: list[Text], tokenizer: Tokenizer, context: int) -> None:
        length, room = len(tokenizer.prompt(rows[0].prompt)) + len(asking), config.sampling.max_new_tokens
        if length + room > context:
            raise ContextError(
                f"{length} prompt tokens and --sampling.max-new-tokens {room} exceed the model's context of {context}:"
                f" {collate.shorten(rows[0].prompt)!r}; lower it, or leave such prompts out with --drop-long"
            )

    prompts: list[Text] = []
    for spec, rows in records.items():
        asked = [_prompt(record, spec) for record in rows]
        prompts += collate.fitting(asked, answerable, tokenizer, policy.context, drop=config.drop_long, where=spec)
    if not prompts:
        raise ConfigError(f"no prompt of {', '.join(records)} is left to answer")
    reward = reward or _tilt(config, asked_for, policy, tokenizer, prompts)
    for source in reward.sources:
        if isinstance(source, EnsembleReward):
            some = [prompts[i % len(prompts)] for i in range(SCALED)]
            source.normalise(sample_items(policy, tokenizer, some, config.sampling, seed=config.seed, origin="scale"))
    trial = sample_items(policy, tokenizer, prompts[:TRIED], config.sampling, seed=config.seed, origin="trial")
    replace(reward)(trial, torch.ones(len(trial), dtype=torch.bool))  # a copy, whose running moments are forgotten
    data = Rollouts(
        policy=policy,
        tokenizer=tokenizer,
        prompts=prompts,
        reward=reward,
        sampling=config.sampling,
        steps=config.steps,
        prompts_per_step=config.rows,
        samples=config.samples_each,
        asking=asking,
        refill=getattr(config.method, "refills", 0),
        seed=config.seed,
        pretraining=mixed_in,
        team=team,
        engine=config.engine,
        rival=_rival(config.method, policy, models),
    )
    return data, len(prompts)


def _rival(method: Any, policy: LanguageModel, models: Models | None) -> LanguageModel | None:
    """Whom the policy's answers are compared with, where the method says that they are."""
    if models is None or not method.needs_rival:
        return None
    assert isinstance(models.reference, Reference)
    return geometric(policy, models.reference, method.mixture)


def _pretraining(config: Train[Any], tokenizer: Tokenizer, context: int) -> Offline[Any] | None:
    """The texts of PPO-ptx: walked through again and again, for as many steps as there are."""
    texts: list[Any] = []
    for spec in config.pretraining:
        rows = load(spec, {}, config.skip_bad)
        if not all(isinstance(row, Demonstration | Rating) for row in rows):
            raise ConfigError(f"--pretraining needs texts, or prompts with completions; {spec} holds other records")
        texts += collate.fitting(rows, collate.demonstrations, tokenizer, context, drop=config.drop_long, where=spec)
    if not config.pretraining:
        return None
    return Offline(
        records=texts,
        collate=lambda rows: collate.demonstrations(rows, tokenizer, context),
        size=config.pretraining_rows,
        epochs=config.steps,
        seed=config.seed,
    )


def _constraints(config: Train[Any], file: Path) -> list[Constraint]:
    """What the file says. Its λ make the target that a β of 1 has, and no other."""
    tempered = next((name for name in ("beta", "kl_coef") if hasattr(config.method, name)), None)
    if tempered is None or getattr(config.method, tempered) != 1:
        mend = f"set --method.{tempered.replace('_', '-')} 1" if tempered else "take f_dpg"
        raise ConfigError(f"--constraints need a method whose optimum is the base model tilted by the reward: {mend}")
    rows = [row for _, row in json_rows(file)]
    return constraints(rows, file, named)


def _tilt(
    config: Train[Any],
    asked_for: Sequence[Constraint],
    policy: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[Text],
) -> Combiner:
    """λ·φ in the place of a reward, λ from answers of the model as it is."""
    shuffled = np.random.default_rng(config.seed).permutation(len(prompts))
    chosen = [prompts[shuffled[i % len(prompts)]] for i in range(config.constraint_samples)]
    items = sample_items(policy, tokenizer, chosen, config.sampling, seed=config.seed, origin="base")
    sources, names = [FunctionReward(one.feature, one.name) for one in asked_for], [one.name for one in asked_for]
    feature_NC = torch.cat([source.score(items).reward_BC for source in sources], 1)
    weight_C, effective = fitted(feature_NC, torch.tensor([one.moment for one in asked_for]), names)
    for one, weight, before in zip(asked_for, weight_C.tolist(), feature_NC.mean(0).tolist(), strict=True):
        console.print(f"{one.name}: {before:.3f} on average now, {one.moment:g} wanted: λ = {weight:.3f}")
    console.print(f"λ from {len(items)} answers, as good as {effective:.0f} of the target's own")
    return Combiner(sources=sources, weights=dict(zip(names, weight_C.tolist(), strict=True)))


def combiner(config: Train[Any]) -> Combiner:
    """All rewards that were named, as one."""
    if not config.reward or not all(config.reward):
        raise ConfigError(
            "this method needs --reward: the folder of a reward model, FILE.py:FUNCTION, metric:NAME, or JUDGE.json"
        )
    learned = [place for place in config.reward if is_learned(place)]
    named_twice = {name for name, _ in config.rewards.weights if [n for n, _ in config.rewards.weights].count(name) > 1}
    if named_twice:
        raise ConfigError(f"--rewards.weights names {', '.join(sorted(named_twice))} twice")
    sources: list[RewardSource] = [_plain_source(place) for place in config.reward if place not in learned]
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


def _plain_source(place: str) -> RewardSource:
    """FILE.py:FUNCTION, JUDGE.json, or metric:NAME, which is of overlap with a column `reference` but for sentiment."""
    if place.startswith(f"{METRIC}:"):
        name = place.removeprefix(f"{METRIC}:")
        return FunctionReward(sentiment if name == "sentiment" else text_metrics.as_reward(name), name)
    if Path(place).suffix == ".json":
        options = from_file(JudgeOptions, Path(place))
        if not isinstance(options.model, str):
            raise ConfigError(f"{place} names no judge; it needs at least an option model")
        if not options.url and is_reward_model(options.model):
            if not reads_rules(options.model):
                raise ConfigError(
                    f"{place}: {options.model} is a reward model that reads no rules, and no judge; name it itself as"
                    " --reward, or one that `tercih train rule_model` made"
                )
            return RuleReward(_read_with(options.model, rules_of(options, place)))
        return JudgeReward(judge_of(options), unread_score=options.unread_score)
    function = named(place)
    if not callable(function):
        raise ConfigError(f"{place} is no function, but {function!r}")
    return FunctionReward(function)


def _read_with(folder: str, rules: Mapping[str, str]) -> list[LearnedReward]:
    """One reward model, once for every rule that it reads."""
    model, tokenizer = load_reward_model(folder), Tokenizer.load(folder)
    return [LearnedReward(model, tokenizer, name=name, rule=rule) for name, rule in rules.items()]


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


def _prompt(record: Record, spec: str) -> Text:
    """The prompt alone, with the data's further columns for the reward."""
    if isinstance(record, Dialogue):
        raise ConfigError(f"{spec} holds dialogues with what was offered, no prompts to be answered; name other data")
    if isinstance(record, Comparison):
        record = record.a
    item = record.items[0] if isinstance(record, Ranking) else record if isinstance(record, Text) else record.item
    return Text(prompt=item.prompt, completion="", columns=item.columns)
