"""`tercih train METHOD --model … --data …`: one stage, by any method on the shelf or in a file of the user's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from tercih.algorithms import METHODS
from tercih.batches import Batch, Models
from tercih.commands.files import named
from tercih.config import ConfigError, from_command_line
from tercih.data import collate
from tercih.data.offline import Offline
from tercih.data.tokenize import ContextError, Tokenizer
from tercih.method import Method
from tercih.models.language_model import LanguageModel, Reference
from tercih.models.load import LoRA, add_lora, load_causal, load_policy, load_reward_model, save_model
from tercih.models.reward_model import RewardModel
from tercih.optimisation import Optimisation
from tercih.progress import console
from tercih.records import Comparison, Demonstration, Ranking, Text
from tercih.rewards import Combiner, FunctionReward, LearnedReward, RewardSource
from tercih.rollout.sampler import Rollouts, sample_items
from tercih.rollout.sampling import Sampling
from tercih.run import Run, check_folder
from tercih.sources import Record, load
from tercih.train import Data, fit

M = TypeVar("M", bound=Method)
KINDS: dict[str, tuple[type, Callable[..., Batch], str]] = {
    "demonstrations": (Demonstration, collate.demonstrations, "prompt and completion, or messages"),
    "pairs": (Comparison, collate.pairs, "prompt, chosen and rejected"),
    "rankings": (Ranking, collate.rankings, "prompt, completions and order"),
}
ONLY_SAMPLING, NEVER_SAMPLING = ("steps", "reward", "sampling"), ("epochs",)
TRIED = 4  # prompts answered and scored before a run begins, so that a reward that cannot be used is said at once


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
    epochs: int = 1
    """For methods that learn from data as they are: how often to go through them."""
    steps: int = 100
    """For methods that sample: how many rollouts."""
    reward: str = ""
    """For methods that sample: the folder of a reward model, or FILE.py:FUNCTION of (prompt, completion, **columns)."""
    sampling: Sampling = Sampling()
    columns: tuple[tuple[str, str], ...] = ()
    """Pairs of our column name and the data's, where they differ: --columns prompt question."""
    skip_bad: bool = False
    """Leave out rows that cannot be used, saying how many, instead of stopping at the first."""
    drop_long: bool = False
    """Leave out records longer than the model's context, saying how many, instead of stopping."""
    lora: int = 0
    """Rank of a low-rank adapter to train, its reference being the model with the adapter off; 0 trains all weights."""
    lora_alpha: float = 32.0
    """The adapter's scale, over its rank."""
    seed: int = 0
    optimisation: Optimisation = Optimisation()

    def __post_init__(self) -> None:
        for name, least in {"rows": 1, "epochs": 1, "steps": 1, "seed": 0, "lora": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")


def train(arguments: Sequence[str]) -> None:
    usage = (
        "usage: tercih train METHOD --model … --data … --out …\n\n"
        f"METHOD is one of {', '.join(METHODS)}, or FILE.py:CLASS; `tercih train METHOD --help` tells its options"
    )
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage)
        return
    name = arguments[0]
    if name.startswith("-"):
        raise ConfigError(f"the method comes first\n{usage}")
    kind = method_called(name)
    config: Train[Any] = from_command_line(Train[kind], arguments[1:], program=f"tercih train {name}")  # type: ignore[valid-type]
    main(config, name)


def main(config: Train[Any], name: str) -> dict[str, float]:
    """Everything that can be refused is refused before the run folder is made."""
    refuse_ignored(config, name)
    check_folder(config.out, f"train {name}", config)
    tokenizer = Tokenizer.load(config.model)
    records = {spec: load(spec, dict(config.columns), config.skip_bad) for spec in config.data}
    model, models = build_models(config)
    data, size = build_data(config, records, tokenizer, model)
    run = Run(config.out, f"train {name}", config, seed=config.seed)
    metrics: dict[str, float] = {}

    def work(folder: Path) -> str:
        metrics.update(fit(config.method, models, data, config.optimisation, folder, title=name))
        save_model(model, tokenizer.hf, folder)
        return "  ".join(f"{key} {value:.3g}" for key, value in metrics.items() if "/" not in key)

    folder = run.stage("model", f"{name} on {size} records", work)
    run.finish()
    use = f"chat {folder}"
    if config.method.trains == "reward_model":
        use = f"train ppo --model {config.model} --reward {folder} --data PROMPTS --out OUT"
    console.print(f"The model is in {folder}\nNext:\n  tercih {use}\n  tercih report {config.out}")
    return metrics


def refuse_ignored(config: Train[Any], name: str) -> None:
    """An option that would be ignored is an error."""
    if config.method.learns_from == "rollouts":
        ignored = dict.fromkeys(NEVER_SAMPLING, f"{name} samples")
    else:
        ignored = dict.fromkeys(ONLY_SAMPLING, f"{name} does not sample")
    if not config.lora:
        ignored["lora_alpha"] = "there is no --lora"
    for f in fields(config):
        if f.name in ignored and getattr(config, f.name) != f.default:
            raise ConfigError(f"--{f.name.replace('_', '-')} has no effect, because {ignored[f.name]}; leave it out")


def method_called(name: str) -> type[Method]:
    """A method by its name on the shelf, or FILE.py:CLASS."""
    if name in METHODS:
        return METHODS[name]
    found = named(name)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ConfigError(f"there is no method {name!r}: there are {', '.join(METHODS)}, or FILE.py:CLASS of a Method")
    return found


def build_models(config: Train[Any]) -> tuple[LanguageModel | RewardModel, Models]:
    lora = LoRA(rank=config.lora, alpha=config.lora_alpha) if config.lora else None
    if config.method.trains == "reward_model":
        scorer = RewardModel(load_causal(config.model), seed=config.seed)
        if lora:
            add_lora(scorer, lora)
        return scorer, Models(policy=scorer)
    policy = load_policy(config.model, value="shared" if config.method.needs_values else None)
    if lora:
        add_lora(policy, lora)
    return policy, Models(policy=policy, reference=Reference(policy) if config.method.needs_reference else None)


def build_data(
    config: Train[Any], records: dict[str, list[Record]], tokenizer: Tokenizer, model: Any
) -> tuple[Data, int]:
    """The data and how many records they have; everything is tokenised once here, so that errors come first."""
    if config.method.learns_from == "rollouts":
        return _rollouts(config, records, tokenizer, model)
    wanted, make, columns = KINDS[config.method.learns_from]
    kept: list[Record] = []
    for spec, rows in records.items():
        for index, record in enumerate(rows):
            if not isinstance(record, wanted):
                raise ConfigError(
                    f"{type(config.method).__name__} learns from {config.method.learns_from} ({columns}), but record"
                    f" {index + 1} of {spec} is a {type(record).__name__}; name other data with --data"
                )
        kept += collate.fitting(rows, make, tokenizer, model.context, drop=config.drop_long, where=spec)
    if not kept:
        raise ConfigError(f"no record of {', '.join(records)} is left to train on")
    data = Offline(
        records=kept,
        collate=lambda rows: make(rows, tokenizer, model.context),
        size=config.rows,
        epochs=config.epochs,
        seed=config.seed,
    )
    return data, len(kept)


def _rollouts(
    config: Train[Any], records: dict[str, list[Record]], tokenizer: Tokenizer, policy: LanguageModel
) -> tuple[Rollouts, int]:
    reward = _reward(config)

    def answerable(rows: list[Text], tokenizer: Tokenizer, context: int) -> None:
        length, room = len(tokenizer.prompt(rows[0].prompt)), config.sampling.max_new_tokens
        if length + room > context:
            raise ContextError(
                f"{length} prompt tokens and --sampling.max-new-tokens {room} exceed the model's context of {context}:"
                f" {collate.shorten(rows[0].prompt)!r}; lower it, or leave such prompts out with --drop-long"
            )

    prompts: list[Text] = []
    for spec, rows in records.items():
        asked = [_prompt(record) for record in rows]
        prompts += collate.fitting(asked, answerable, tokenizer, policy.context, drop=config.drop_long, where=spec)
    if not prompts:
        raise ConfigError(f"no prompt of {', '.join(records)} is left to answer")
    reward.score(sample_items(policy, tokenizer, prompts[:TRIED], config.sampling, seed=config.seed, origin="trial"))
    data = Rollouts(
        policy=policy,
        tokenizer=tokenizer,
        prompts=prompts,
        reward=Combiner(sources=[reward]),
        sampling=config.sampling,
        steps=config.steps,
        prompts_per_step=config.rows,
        seed=config.seed,
    )
    return data, len(prompts)


def _reward(config: Train[Any]) -> RewardSource:
    if not config.reward:
        raise ConfigError("this method needs --reward: the folder of a reward model, or FILE.py:FUNCTION")
    function = named(config.reward)
    if function is None:
        return LearnedReward(load_reward_model(config.reward), Tokenizer.load(config.reward))
    if not callable(function):
        raise ConfigError(f"{config.reward} is no function, but {function!r}")
    return FunctionReward(function)


def _prompt(record: Record) -> Text:
    """The prompt alone, with the data's further columns for the reward."""
    if isinstance(record, Comparison):
        record = record.a
    item = record.items[0] if isinstance(record, Ranking) else record if isinstance(record, Text) else record.item
    return Text(prompt=item.prompt, completion="", columns=item.columns)
