"""Python files of the user's: recipes, methods and reward functions."""

import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from tercih.config import ConfigError


def module_at(path: Path) -> ModuleType:
    """The module that a Python file holds."""
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    name = f"tercih_user_{path.stem}"  # a user's datasets.py must not stand in for the library of that name
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        line = error.lineno if isinstance(error, SyntaxError) else traceback.extract_tb(error.__traceback__)[-1].lineno
        raise ConfigError(f"{path} cannot be imported: line {line}: {type(error).__name__}: {error}") from error
    return module


def named(place: str) -> Any:
    """What FILE.py:NAME names, or None where `place` is nothing of that form."""
    file, _, name = place.rpartition(":")
    path = Path(file)
    if path.suffix != ".py":
        return None
    module = module_at(path)
    if not hasattr(module, name):
        raise ConfigError(f"{path} has no {name!r}")
    return getattr(module, name)
