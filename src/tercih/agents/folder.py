"""A trained agent or reward as a folder: weights, and which environment they belong to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file, save_file
from torch import nn

from tercih.environments.control import ControlError, World
from tercih.environments.worlds import Worlds
from tercih.models.control import ActorCritic
from tercih.models.ensemble import RewardEnsemble

ABOUT, WEIGHTS = "agent.json", "model.safetensors"
KINDS: Mapping[str, Any] = {"ActorCritic": ActorCritic, "RewardEnsemble": RewardEnsemble}
Of = TypeVar("Of", ActorCritic, RewardEnsemble)


def save(folder: Path, model: ActorCritic | RewardEnsemble, worlds: Worlds) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "kind": type(model).__name__, "environment": worlds.id, "options": worlds.options,
        "versions": worlds.versions, "settings": model.settings,
    }  # fmt: skip
    save_file({name: x.contiguous() for name, x in model.state_dict().items()}, folder / WEIGHTS)
    (folder / ABOUT).write_text(json.dumps(about, indent=2))


def load(folder: Path, kind: type[Of], world: World | Worlds | None = None) -> Of:
    """What was saved, for the environment that it was trained in. Raises ControlError where the folder holds none of
    this kind, or one whose observations or actions are not those of `world`."""
    about = read_about(folder)
    if about["kind"] != kind.__name__:
        raise ControlError(f"{folder} holds a {about['kind']}, not a {kind.__name__}; name another folder")
    own = world or World(about["environment"], about["options"])
    try:
        spaces = _spaces(own)
        model: nn.Module = KINDS[about["kind"]](*spaces, **about["settings"])
        model.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise ControlError(
            f"what {folder} holds was trained in {about['environment']} and does not fit {own.id}: {first}"
        ) from None
    finally:
        if world is None:
            own.close()
    return model.eval()  # type: ignore[return-value]


def read_about(folder: Path) -> dict[str, Any]:
    """Which environment, with which options and settings. Raises ControlError where there is no agent."""
    try:
        about = json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError) as error:
        raise ControlError(f"{folder} holds no agent: {error}") from None
    if not isinstance(about, dict) or about.get("kind") not in KINDS:
        raise ControlError(f"{folder / ABOUT} does not say which of {', '.join(KINDS)} it is about")
    return about


def _spaces(world: World | Worlds) -> tuple[Any, Any]:
    env: Any = world.env if isinstance(world, World) else world
    return env.observation_space, env.action_space
