"""`tercih quickstart` and `tercih run NAME|PATH`."""

import inspect
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from tercih.commands.files import module_at
from tercih.config import ConfigError, from_command_line
from tercih.recipes import RECIPES


def quickstart(arguments: Sequence[str]) -> None:
    run(["quickstart", *arguments])


def run(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        rows = "\n".join(f"  tercih run {name:<16} {_summary(module)}" for name, module in RECIPES.items())
        print(f"A recipe is a whole pipeline:\n{rows}\n  tercih run PATH.py        your own")
        return
    name, rest = arguments[0], arguments[1:]
    if name.startswith("-"):
        raise ConfigError(f"the recipe comes first: tercih run NAME {name} …; there are {', '.join(RECIPES)}")
    module = find(name)
    config = configure(module, name, rest, f"tercih run {name}")
    module.main(config)


def configure(module: ModuleType, name: str, arguments: Sequence[str], program: str) -> Any:
    """The configuration that a recipe's main asks for, filled in from the command line. Where the recipe has a function
    `defaults`, it says with what the given arguments begin."""
    main = getattr(module, "main", None)
    kinds = get_type_hints(main) if callable(main) else {}
    parameter = next(iter(inspect.signature(main).parameters), "") if callable(main) else ""
    if parameter not in kinds:
        raise ConfigError(f"{name} is no recipe: it has no function main(config: …) of a dataclass of options")
    begin = getattr(module, "defaults", None)
    return from_command_line(kinds[parameter], arguments, program=program, default=begin(arguments) if begin else None)


def find(name: str) -> ModuleType:
    """A recipe's module by its name, or from a Python file of the user's."""
    if name in RECIPES:
        return import_module(RECIPES[name])
    if not Path(name).exists():
        raise ConfigError(f"there is no recipe {name!r} (there are {', '.join(RECIPES)}), and no such file")
    return module_at(Path(name))


def _summary(module: str) -> str:
    """First line of a recipe's docstring, without importing it."""
    path = Path(__file__).parent.parent / "recipes" / f"{module.rsplit('.', 1)[-1]}.py"
    return path.read_text().split('"""')[1].splitlines()[0]
