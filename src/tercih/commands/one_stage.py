"""The models and data of one stage, as `tercih train` builds them; what cannot be used is said here."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from tercih.batches import Batch
from tercih.commands.train_options import Train
from tercih.commands.train_rewards import asked_constraints, combiner, tilt
from tercih.config import ConfigError
from tercih.data import collate
from tercih.data.offline import Offline
from tercih.data.tokenize import ContextError, Tokenizer
from tercih.distributed.team import ALONE, Team
from tercih.feedback.quality import dawid_skene
from tercih.forward import Models
from tercih.method import Method
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.load import LoRA, add_lora, is_reward_model, load_causal, load_policy, load_reward_model
from tercih.models.mixture import geometric
from tercih.models.reward_model import RewardModel
from tercih.progress import console
from tercih.records import (
    Comparison,
    Consensus,
    Demonstration,
    Dialogue,
    Ranking,
    Rating,
    RuleLabel,
    StepLabels,
    Text,
    Thumb,
)
from tercih.rewards import EnsembleReward
from tercih.rollout.sampler import Rollouts, sample_items
from tercih.sources import Record, load
from tercih.sources.columns import UNKNOWN
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
    asked_for = asked_constraints(config, config.constraints) if config.constraints else []
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
    reward = reward or tilt(config, asked_for, policy, tokenizer, prompts)
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


def _prompt(record: Record, spec: str) -> Text:
    """The prompt alone, with the data's further columns for the reward."""
    if isinstance(record, Dialogue):
        raise ConfigError(f"{spec} holds dialogues with what was offered, no prompts to be answered; name other data")
    if isinstance(record, Comparison):
        record = record.a
    item = record.items[0] if isinstance(record, Ranking) else record if isinstance(record, Text) else record.item
    return Text(prompt=item.prompt, completion="", columns=item.columns)
