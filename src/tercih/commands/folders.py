"""`tercih report`, `tercih merge` and `tercih push`: what to do with folders of runs and models."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tercih.config import ConfigError, from_command_line
from tercih.progress import console
from tercih.report import write_report

LAST_STAGES = ("ppo", "dpo", "model", "sft")  # the latest one of a run is what one wants to use


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Write report.html of a run again, from what lies in its folder."""

    run: Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """Fold a PEFT adapter, of ours or anybody's, into its base model; the result is an ordinary model folder."""

    adapter: Annotated[Path, tyro.conf.Positional]
    """Folder with adapter_config.json."""
    model: str
    """The base model that it was trained on."""
    out: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Push:
    """Send a trained model to the Hugging Face Hub; needs `hf auth login` first."""

    model: Annotated[Path, tyro.conf.Positional]
    """A run folder or a model folder."""
    name: str
    """Name on the Hub, such as me/cheerful-stories."""
    private: bool = True


def report(arguments: Sequence[str]) -> None:
    config = from_command_line(Report, arguments, program="tercih report")
    if not (config.run / "run.json").exists():
        raise ConfigError(f"{config.run} is no run folder (run.json is missing)")
    console.print(f"wrote {write_report(config.run)}; open it in a browser")


def merge(arguments: Sequence[str]) -> None:
    config = from_command_line(Merge, arguments, program="tercih merge")
    if not (config.adapter / "adapter_config.json").exists():
        raise ConfigError(f"{config.adapter} holds no adapter (adapter_config.json is missing)")
    if config.out.exists() and not (config.out.is_dir() and not any(config.out.iterdir())):
        raise ConfigError(f"{config.out} is not an empty folder; name another one with --out")
    from peft import PeftModel  # heavy, and only needed here

    from tercih.data.tokenize import Tokenizer
    from tercih.models.load import load_causal

    tokenizer, base = Tokenizer.load(config.model), load_causal(config.model)
    try:
        merged = PeftModel.from_pretrained(base, str(config.adapter)).merge_and_unload()
    except RuntimeError as error:
        raise ConfigError(f"{config.adapter} is no adapter of {config.model}: {error}") from error
    merged.save_pretrained(config.out)
    tokenizer.hf.save_pretrained(config.out)
    console.print(f"wrote {config.out}\nNext:\n  tercih chat {config.out}")


def push(arguments: Sequence[str]) -> None:
    config = from_command_line(Push, arguments, program="tercih push")
    folder = model_folder(config.model)
    from huggingface_hub import HfApi  # heavy, and only needed here

    hub = HfApi()
    hub.create_repo(config.name, private=config.private, exist_ok=True)
    hub.upload_folder(repo_id=config.name, folder_path=str(folder), ignore_patterns=["checkpoints/*", "tensorboard/*"])
    console.print(f"{folder} is on the Hub as {config.name}")


def model_folder(place: Path) -> Path:
    """The model that a run ended with, or the model folder itself."""
    if not place.is_dir():
        raise ConfigError(f"there is no folder {place}; name a run folder or a model folder")
    if (place / "config.json").exists():
        return place
    from tercih.models.load import ABOUT  # heavy, and a report does not need it

    for stage in LAST_STAGES:
        if (place / stage / ABOUT).exists():
            return place / stage
    raise ConfigError(f"{place} holds no trained model yet: it is no model folder, and no run that got that far")
