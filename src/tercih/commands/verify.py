"""`tercih verify [METHOD…]`: prove that methods do what their papers say."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tercih.config import from_command_line
from tercih.conformance.verify import verify as prove


@dataclass(frozen=True, kw_only=True, slots=True)
class Verify:
    """Identity, ordering, negative control and ablation of every method, against optima that are computed exactly."""

    methods: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Methods by name; all of them if none is named."""
    json: Path | None = None
    """Also write the rows to this file; where methods are named, rows of others that it holds stay."""
    full: bool = False
    """More seeds and a larger language: up to a minute a row instead of seconds."""
    seed: int = 0


def verify(arguments: Sequence[str]) -> int:
    config = from_command_line(Verify, arguments, program="tercih verify")
    return prove(config.methods, json_file=config.json, full=config.full, seed=config.seed)
