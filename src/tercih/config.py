"""Configuration is a dataclass; here it meets the command line and files. Unknown options are errors, never ignored."""

import argparse
import difflib
import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import tyro

C = TypeVar("C")
CONFIG_HELP = "--config FILE takes options from a JSON file, such as an earlier run's run.json; others override them."
NAMES: Mapping[type, str] = {
    str: "a string", int: "a whole number", float: "a number", bool: "true or false", Path: "a path",
}  # fmt: skip


class ConfigError(ValueError):
    """An option that does not exist or has a value it cannot have."""


def from_command_line(
    kind: type[C], arguments: Sequence[str], *, program: str, description: str = "", default: C | None = None
) -> C:
    """`--config FILE` gives the defaults (a JSON file, such as a run's run.json), or else `default` does; the other
    options override them."""
    parser = argparse.ArgumentParser(prog=program, add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path, metavar="FILE")
    first, rest = parser.parse_known_args(arguments)
    begun: Any = from_file(kind, first.config) if first.config else default or tyro.MISSING_NONPROP
    text = f"{description or (get_origin(kind) or kind).__doc__}\n\n{CONFIG_HELP}"
    config: C = tyro.cli(kind, prog=program, description=text, args=rest, default=begun)
    return config


def from_file(kind: type[C], path: Path) -> C:
    """A configuration from JSON: its fields, or a run.json that holds them under "config".

    A required option that the file lacks is left for the command line to give.
    """
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"there is no configuration file {path}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text, so it cannot be a configuration file") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold an object of options")
    return build(kind, content.get("config", content), f"{path}: ")


def build(kind: type[C], values: Mapping[str, Any], place: str, default: Any = None) -> C:
    """A dataclass from plain values, nested; what they do not name is as in `default`, an instance, or the class's own.

    Names the option that does not exist or cannot have its value, after `place`, such as "file: " or "file: method.".
    """
    origin: Any = get_origin(kind) or kind
    chosen = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=False))  # Train[DPO]: M is DPO
    hints = {name: chosen.get(hint, hint) for name, hint in get_type_hints(origin).items()}
    known = {f.name: getattr(default, f.name) if default else _default(f) for f in fields(origin) if f.init}
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
            raise ConfigError(f"{place}{name}: there is no such option{hint}")
    given = {name: _convert(hints[name], value, f"{place}{name}", known[name]) for name, value in values.items()}
    try:
        return cast(C, origin(**known | given))
    except ValueError as error:
        raise ConfigError(f"{place.split(': ')[0]}: {error}") from None


def _default(f: "Field[Any]") -> Any:
    if f.default_factory is not MISSING:
        return f.default_factory()
    return tyro.MISSING_NONPROP if f.default is MISSING else f.default


def _convert(hint: Any, value: Any, place: str, default: Any = None) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        options = [option for option in inner if option is not type(None)]
        return _convert(options[0], value, place) if len(options) == 1 else value
    if isinstance(hint, type) and is_dataclass(hint) and isinstance(value, Mapping):
        return build(hint, value, f"{place}.", default if isinstance(default, hint) else None)
    if origin is Literal and value not in inner:
        raise ConfigError(f"{place} must be one of {', '.join(map(repr, inner))}, got {value!r}")
    if hint is Path and isinstance(value, str):
        return Path(value)
    if origin is tuple:
        kinds = [inner[0]] * len(value) if inner[-1:] == (Ellipsis,) else inner
        if not isinstance(value, list) or len(value) != len(kinds):
            raise ConfigError(f"{place} must be a list{_count(inner)}, got {value!r}")
        return tuple(_convert(k, v, f"{place}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wrong = isinstance(hint, type) and not isinstance(value, hint)
    if wrong or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{place} must be {NAMES.get(hint, 'an object of options')}, got {value!r}")
    return value


def _count(inner: Sequence[Any]) -> str:
    return "" if inner[-1:] == (Ellipsis,) else f" of {len(inner)}"
