"""Where a model is: a folder, or a name on the Hub. What can be had nowhere is said at once, not after many retries."""

import re
from pathlib import Path

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import RepositoryNotFoundError

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def missing(name: str | Path) -> str | None:
    """Why there is no model of this name, or None where there is one."""
    if Path(name).is_dir():
        return None
    if Path(name).exists():
        return f"{name} is a file; name the model folder that holds it"
    if not HUB_NAME.fullmatch(str(name)):
        return f"there is no model folder {name}"
    if isinstance(try_to_load_from_cache(str(name), "config.json"), str):
        return None
    try:
        HfApi().model_info(str(name), timeout=10)
    except RepositoryNotFoundError:
        return f"there is no model folder {name}, and no model of that name on the Hub (a private one: hf auth login)"
    except Exception as error:  # whatever the HTTP library under the Hub's client raises
        return f"there is no model folder {name}, and the Hub cannot be asked for a model of that name ({error})"
    return None
