"""`tercih train METHOD --model … --data …`: one stage, by any method on the shelf or in a file of the user's."""

from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from tercih.algorithms import METHODS
from tercih.commands.files import named
from tercih.commands.one_stage import build_data, build_models, words_of
from tercih.commands.train_options import Train, configure, refuse_ignored
from tercih.config import ConfigError
from tercih.data.tokenize import Tokenizer
from tercih.distributed.team import ALONE, Team, joined
from tercih.method import Method
from tercih.models.load import is_reward_model, reads_rules, save_model
from tercih.progress import console
from tercih.rollout.sampler import Rollouts
from tercih.run import Run, check_folder
from tercih.sources import load
from tercih.train import fit


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
    with joined() as team:
        console.quiet = not team.leads
        with nullcontext() if team.leads else redirect_stderr(StringIO()):  # the leader says what is wrong
            config = configure(method_called(name), name, arguments[1:])
        main(config, name, replace(team, sharded=config.shard))


def main(config: Train[Any], name: str, team: Team = ALONE) -> dict[str, float]:
    """Everything that can be refused is refused before the run folder is made, by the leader alone."""
    refuse_ignored(config, name)
    if team.leads:
        check_folder(config.out, f"train {name}", config)
    tokenizer = Tokenizer.load(config.model, config.chat_template)
    records = {spec: load(spec, dict(config.columns), config.skip_bad) for spec in config.data}
    model, models = build_models(config)
    models = replace(models, words=words_of(config.method, tokenizer))
    data, size = build_data(config, records, tokenizer, model, team, models)
    if not team.leads:
        if not team.tell(True):
            fit(config.method, models, data, config.optimisation, team=team, title=name)
        return {}
    run = Run(config.out, f"train {name}", config, seed=config.seed)
    team.tell(run.is_done("model"))
    metrics: dict[str, float] = {}

    def work(folder: Path) -> str:
        metrics.update(fit(config.method, models, data, config.optimisation, folder, team=team, title=name))
        if isinstance(data, Rollouts):
            data.close()
        reads = "rules" if config.method.learns_from == "rules" else None
        save_model(model, tokenizer.hf, folder, reads=reads)
        return "  ".join(f"{key} {value:.3g}" for key, value in metrics.items() if "/" not in key)

    folder = run.stage("model", f"{name} on {size} records", work)
    run.finish()
    use = f"chat {folder}"
    if config.method.trains == "reward_model":
        start = "MODEL" if is_reward_model(config.model) else config.model
        reward = "RULES.json" if reads_rules(folder) else folder  # a file that says which rules it is to read
        use = f"train ppo --model {start} --reward {reward} --data PROMPTS --out OUT"
    if config.method.learns_from == "turns":
        use = f"pick {folder} --data offered:OFFERS --out PICKS.jsonl"
    console.print(f"The model is in {folder}\nNext:\n  tercih {use}\n  tercih report {config.out}")
    return metrics


def method_called(name: str) -> type[Method]:
    """A method by its name on the shelf, or FILE.py:CLASS."""
    if name in METHODS:
        return METHODS[name]
    found = named(name)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ConfigError(f"there is no method {name!r}: there are {', '.join(METHODS)}, or FILE.py:CLASS of a Method")
    return found


__all__ = ["Train", "main", "method_called", "train"]
