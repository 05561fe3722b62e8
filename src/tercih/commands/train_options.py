"""What `tercih train` can vary, the defaults that a preset gives, and the refusal of options without effect."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import tyro

from tercih.algorithms import METHODS
from tercih.config import ConfigError, from_command_line
from tercih.distributed.team import size_of_team
from tercih.method import Method
from tercih.models.memory import Memory
from tercih.optimisation import Optimisation
from tercih.rollout.engines import EngineSettings
from tercih.rollout.sampling import Sampling

M = TypeVar("M", bound=Method)
PRESET_HELP = (
    "--preset NAME takes the defaults from a paper: ziegler2019, stiennon2020, instructgpt (ppo), ahmadian2024 (rloo),"
    " shao2024 (grpo), liu2025 (dr_grpo), yu2025 (dapo), zheng2025 (gspo)."
)
GROUP = 8  # responses to every prompt, where methods compare them


@dataclass(frozen=True, kw_only=True, slots=True)
class Rewards:
    """How the scores of all `--reward` become one reward of a response."""

    weights: tuple[tuple[str, float], ...] = ()
    """Pairs of a reward's name and its weight, 1 where not named: --rewards.weights helpful 1 brief 0.5."""
    normalise: bool = False
    """Subtract the running mean of the weighted sum and divide by its standard deviation."""
    clip: float | None = None
    """Bound of the absolute value, after normalising."""
    missing_end_penalty: float = 0.0
    """What a response loses that was cut instead of ending."""
    overlong_buffer: int = 0
    """Over so many tokens, up to `--sampling.max-new-tokens`, a response loses more and more (DAPO); 0: nothing."""
    overlong_penalty: float = 1.0
    """How much it loses at the most."""
    truncate_at: str = ""
    """A token such as ".": reward models read up to the first one at `truncate_after` or later."""
    truncate_after: int = 16
    missing_score: float = -1.0
    """What a reward model says of a response without `truncate_at`."""
    steps: Literal["", "product", "min", "last"] = ""
    """Reward models are of steps (process_reward): how the chances of all steps become that of the whole answer."""
    ensemble: Literal["", "mean", "worst", "variance", "deviation"] = ""
    """Make one reward, called `ensemble`, of all reward models: their mean, the worst of them, or the mean less `doubt`
    times their variance or standard deviation. Each is first put on the scale of the starting policy's answers."""
    doubt: float = 0.0
    """How much less, for variance and deviation."""

    def __post_init__(self) -> None:
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"rewards.clip must be > 0, got {self.clip}")
        for name in ("missing_end_penalty", "overlong_buffer", "overlong_penalty", "truncate_after", "doubt"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"rewards.{name} must be >= 0, got {getattr(self, name)}")
        if self.steps and (self.ensemble or self.truncate_at):
            raise ValueError("rewards.steps reads every step alone; leave rewards.ensemble and rewards.truncate_at out")
        if self.ensemble in ("variance", "deviation") and not self.doubt:
            raise ValueError(f"rewards.doubt must be > 0 with rewards.ensemble {self.ensemble!r}; 0 is the mean")


@dataclass(frozen=True, kw_only=True, slots=True)
class Train(Generic[M]):
    """One stage of training, on data with the usual columns: prompt, completion, chosen, rejected, messages, label."""

    method: M
    model: str
    """Folder or Hub name of the model to start from."""
    data: tuple[str, ...]
    """Files or data sets: a .jsonl or .parquet path, or hh:PATH, hub:NAME, …"""
    out: Path
    """Run folder; the trained model lies in its `model`. The same command on it goes on where it was."""
    rows: int = 32
    """Records (for rollouts: prompts) in one step."""
    samples: int | None = None
    """For methods that sample: responses to every prompt. Without, 8 where they are compared with each other, or 1."""
    epochs: int = 1
    """For methods that learn from data as they are: how often to go through them."""
    steps: int = 100
    """For methods that sample: how many rollouts."""
    reward: tuple[str, ...] = ()
    """For methods that sample, one or several: the folder of a reward model, FILE.py:FUNCTION of (prompt, completion,
    **columns), metric:NAME of a text metric, or JUDGE.json with the options of `tercih judge`, whose model may also be
    one of `rule_model`. A function's reward has its name, a reward model's is called reward_model; where there are
    several of these, they are called like their folders; a judge's are called like its principles, or judge where one
    is drawn."""
    constraints: Path | None = None
    """In place of rewards, for methods whose optimum is the base model tilted by one: a JSONL file that says how often
    something should be so (docs/methods/f_dpg.md)."""
    constraint_samples: int = 2048
    """How many answers of the base model, 64 to a prompt or more, say what weight a constraint needs."""
    rewards: Rewards = Rewards()
    sampling: Sampling = Sampling()
    engine: EngineSettings = EngineSettings()
    pretraining: tuple[str, ...] = ()
    """For PPO-ptx (--method.pretraining-coef > 0): files or data sets of texts that are mixed into every step."""
    pretraining_rows: int = 32
    """How many of those texts are in one step."""
    value: Literal["shared", "separate"] = "shared"
    """For methods that need values: whether these are read from the policy's own trunk or from a copy of it."""
    readout: Literal["last", "mean"] = "last"
    """For reward models: where the score is read, at the last token or as the mean over the response."""
    weigh: bool = False
    """For pairs judged by several raters: weigh the raters first (Dawid & Skene 1979), and learn from soft labels."""
    columns: tuple[tuple[str, str], ...] = ()
    """Pairs of our column name and the data's, where they differ: --columns prompt question."""
    chat_template: Path | None = None
    """A Jinja file in place of the chat template of the model's tokenizer; it is saved with the model."""
    skip_bad: bool = False
    """Leave out rows that cannot be used, saying how many, instead of stopping at the first."""
    drop_long: bool = False
    """Leave out records longer than the model's context, saying how many, instead of stopping."""
    lora: int = 0
    """Rank of a low-rank adapter to train, its reference being the model with the adapter off; 0 trains all weights."""
    lora_alpha: float = 32.0
    """The adapter's scale, over its rank."""
    memory: Memory = Memory()
    seed: int = 0
    shard: bool = False
    """Under torchrun: each process holds a part of weights, gradients and optimiser state, and not a copy of all."""
    optimisation: Optimisation = Optimisation()

    def __post_init__(self) -> None:
        for name, least in {
            "rows": 1,
            "constraint_samples": 2,
            "pretraining_rows": 1,
            "epochs": 1,
            "steps": 1,
            "seed": 0,
            "lora": 0,
        }.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")
        if self.samples is not None and self.samples < 1:
            raise ValueError(f"samples must be >= 1, got {self.samples}")
        self.memory.check(lora=self.lora, shard=self.shard, value=self.value)

    @property
    def samples_each(self) -> int:
        """Responses to every prompt."""
        return self.samples or (GROUP if self.method.needs_groups else 1)


def kind_of(reward: str) -> Literal["model", "options", "function", "metric"]:
    """What a `--reward` names: the folder of a reward model, a file JUDGE.json or RULES.json, FILE.py:FUNCTION, or
    metric:NAME."""
    place, _, _ = reward.rpartition(":")
    if place == "metric":
        return "metric"
    if Path(place).suffix == ".py":
        return "function"
    return "options" if Path(reward).suffix == ".json" else "model"


def models_among(rewards: Sequence[str]) -> int:
    """How many of them are reward models."""
    return [kind_of(reward) for reward in rewards].count("model")


def configure(kind: type[Method], name: str, arguments: Sequence[str]) -> Train[Any]:
    """The options of the method `name`; a preset gives the defaults, and `--reward` adds to the one before it."""
    parser = argparse.ArgumentParser(prog=f"tercih train {name}", add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", metavar="NAME")
    parser.add_argument("--reward", nargs="+", action="extend", metavar="REWARD")
    given, rest = parser.parse_known_args(arguments)
    rest += ["--reward", *given.reward] if given.reward else []
    options, text = Train[kind], f"{Train.__doc__}\n\n{PRESET_HELP}"  # type: ignore[valid-type]
    if given.preset is None:
        return from_command_line(options, rest, program=parser.prog, description=text)
    if any(word.split("=")[0] == "--config" for word in rest):
        raise ConfigError("--preset and --config both give the defaults; leave one of them out")
    default = preset_defaults(kind, name, given.preset)
    config: Train[Any] = tyro.cli(options, prog=parser.prog, description=text, args=rest, default=default)
    if not models_among(config.reward):  # only reward models read a response in part
        whole = Rewards()
        untruncated = replace(
            config.rewards,
            truncate_at=whole.truncate_at,
            truncate_after=whole.truncate_after,
            missing_score=whole.missing_score,
        )
        config = replace(config, rewards=untruncated)
    return config


def preset_defaults(kind: type[Method], name: str, preset_name: str) -> Train[Any]:
    """What a paper did, with its required options still to be given."""
    from tercih.recipes.presets import PRESETS

    if preset_name not in PRESETS:
        raise ConfigError(f"there is no preset {preset_name!r}; there are {', '.join(PRESETS)}")
    paper = PRESETS[preset_name]
    policy = paper.policy
    if kind is not type(policy.method):
        of = next(known for known, method in METHODS.items() if method is type(policy.method))
        raise ConfigError(f"the preset {preset_name} is of {of}, not of {name}")
    missing: Any = tyro.MISSING_NONPROP
    return Train(
        method=policy.method,
        model=missing,
        data=missing,
        out=missing,
        rows=policy.prompts_per_step,
        samples=policy.samples,
        steps=policy.steps,
        rewards=Rewards(
            missing_end_penalty=policy.missing_end_penalty,
            overlong_buffer=paper.overlong_buffer,
            truncate_at=policy.truncate_at,
            truncate_after=policy.truncate_after,
            missing_score=policy.missing_score,
        ),
        sampling=paper.sampling,
        value=policy.value,  # type: ignore[arg-type]
        optimisation=policy.optimisation,
    )


def refuse_ignored(config: Train[Any], name: str) -> None:
    """An option that would be ignored is an error."""
    for place, why in _ignored(config, name):
        owner_name, _, field_name = place.rpartition(".")
        owner = getattr(config, owner_name) if owner_name else config
        default = next(f.default for f in fields(owner) if f.name == field_name)
        if getattr(owner, field_name) != default:
            raise ConfigError(f"--{place.replace('_', '-')} has no effect, because {why}; leave it out")


def _ignored(config: Train[Any], name: str) -> Iterator[tuple[str, str]]:
    """(option, why it has no effect)"""
    if config.method.learns_from == "rollouts":
        yield "epochs", f"{name} samples"
        if not config.constraints and not models_among(config.reward):
            yield "rewards.truncate_at", "only reward models read up to it, and --reward names none"
    else:
        for option in ("steps", "samples", "reward", "constraints", "rewards", "sampling", "engine"):
            yield option, f"{name} does not sample"
    if not getattr(config.method, "pretraining_coef", 0):
        yield "pretraining", "there is no --method.pretraining-coef"
    if config.constraints:
        for option in ("reward", "rewards"):
            yield option, "--constraints stand in the place of rewards"
    else:
        yield "constraint_samples", "there are no --constraints"
    if not config.pretraining:
        yield "pretraining_rows", "there is no --pretraining"
    if config.method.learns_from != "pairs":
        yield "weigh", f"{name} does not learn from pairs"
    if config.method.trains != "reward_model":
        yield "readout", f"{name} does not train a reward model"
    if not config.method.needs_values:
        yield "value", f"{name} needs no values"
    if not models_among(config.reward):
        yield "rewards.steps", "--reward names no reward model"
    if models_among(config.reward) < 2:
        yield "rewards.ensemble", "--reward names fewer than two reward models"
    if config.rewards.ensemble not in ("variance", "deviation"):
        yield "rewards.doubt", "--rewards.ensemble is neither variance nor deviation"
    if not config.rewards.truncate_at:
        yield "rewards.truncate_after", "there is no --rewards.truncate-at"
        yield "rewards.missing_score", "there is no --rewards.truncate-at"
    if not config.engine.url:
        for option in ("model", "weights"):
            yield f"engine.{option}", "there is no --engine.url"
        if config.memory.dtype != "bfloat16":  # in which the built-in engine rounds otherwise than the learner
            yield "engine.correction", "there is neither --engine.url nor --memory.dtype bfloat16"
    if not config.rewards.overlong_buffer:
        yield "rewards.overlong_penalty", "there is no --rewards.overlong-buffer"
    if not config.engine.cluster:
        yield "engine.workers", "there is no --engine.cluster"
    if not (config.engine.url or config.engine.cluster):
        yield "engine.timeout", "there is neither --engine.url nor --engine.cluster"
    if not config.lora:
        yield "lora_alpha", "there is no --lora"
    if size_of_team() == 1:
        yield "shard", "there is one process (torchrun --nproc-per-node N -m tercih train … starts N)"
