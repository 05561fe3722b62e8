"""Steps of behaviour in one file: what reward learning reads, and all that is needed to act the same again.

A NumPy archive (.npz, no pickle) of

    about          JSON: {"format": "tercih-steps-1", "environment": Gymnasium's id, "options": of its constructor}
    actions        (first + T, …)  every action since the first reset, also those before the clip
    starts, seeds  (episodes,)     which action comes first after a reset, and the seed of that reset; seeds (0,) where
                                   nobody knows them, and so nobody can act the same again
    first          ()              which action is the clip's first; the clip is the last T steps
    observations   (T, …)          in which each of the clip's actions was chosen
    following      (T, …)          what each of them led to; the next row of `observations` but where an episode ended
    rewards        (T,)            the environment's own, for evaluation and simulated people; raters never see them;
                                   NaN where nobody knows them
    terminated, truncated  (T,)    whether the step ended its episode
    times          (T,)            seconds since the clip began at which people saw what the step led to; (0,) where
                                   nobody watched it live

NumPy alone is imported, so that whoever learns from steps needs no simulator.
"""

import json
import os
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = "tercih-steps-1"
MOST_BYTES = 1 << 30  # of a file once it is unpacked
ARRAYS = (
    "actions", "starts", "seeds", "first", "observations", "following", "rewards", "terminated", "truncated", "times",
)  # fmt: skip
PER_STEP = ("observations", "following", "rewards", "terminated", "truncated")
Array = NDArray[Any]


class StepsError(ValueError):
    """A file that holds no steps, or steps that cannot be; the message says what is wrong with it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Steps:
    """One clip's steps; fields as in the file. Raises StepsError for steps that contradict each other."""

    environment: str
    actions: Array
    starts: Array
    seeds: Array
    observations: Array
    following: Array
    rewards: Array
    terminated: Array
    truncated: Array
    first: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    times: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        count = len(self.actions) - self.first
        if not self.environment or not isinstance(self.environment, str):
            raise StepsError("steps.environment must be Gymnasium's id of an environment")
        if self.first < 0 or count < 1:
            raise StepsError(f"steps.first must be one of the {len(self.actions)} actions, got {self.first}")
        for name in PER_STEP:
            if len(getattr(self, name)) != count:
                raise StepsError(f"steps.{name} must have {count} rows, one a step, got {len(getattr(self, name))}")
        if len(self.times) not in (0, count) or np.any(np.diff(self.times) < 0):
            raise StepsError(f"steps.times must be {count} seconds that never go back, or none")
        begin = self.starts.tolist()
        if begin[:1] != [0] or sorted(set(begin)) != begin or begin[-1] >= len(self.actions):
            raise StepsError(f"steps.starts must begin with 0, rise, and be among the actions, got {begin[:9]}")
        if len(self.seeds) not in (0, len(begin)) or np.any(self.seeds < 0):
            raise StepsError(
                "steps.seeds must hold one seed >= 0 for each of steps.starts, or none where none is known"
            )
        if self.actions.dtype.kind == "f" and not np.isfinite(self.actions).all():
            raise StepsError("steps.actions must be finite")

    def __len__(self) -> int:
        return len(self.actions) - self.first


def read_steps(path: Path) -> Steps:
    """The steps of a file. Raises StepsError where it holds none."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MOST_BYTES:
            raise StepsError(f"{path} unpacks to {unpacked} bytes, more than {MOST_BYTES}")
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(str(archive["about"]))
            found: dict[str, Any] = {name: archive[name] for name in ARRAYS}
    except FileNotFoundError:
        raise StepsError(f"there is no file {path}") from None
    except KeyError as error:
        raise StepsError(f"{path} holds no steps: {error.args[0]}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise error if isinstance(error, StepsError) else StepsError(f"{path} holds no steps: {error}") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise StepsError(f"{path} is not of the format {FORMAT}")
    for name, kinds in (("starts", "iu"), ("seeds", "iu"), ("first", "iu"), ("actions", "iufb"), ("times", "f")):
        wanted = 0 if name == "first" else None if name == "actions" else 1
        if found[name].dtype.kind not in kinds or (wanted is not None and found[name].ndim != wanted):
            raise StepsError(f"{path}: {name} cannot be {found[name].dtype} of {found[name].ndim} dimensions")
    if any(found[name].ndim < 1 for name in (*PER_STEP, "actions")):
        raise StepsError(f"{path}: {', '.join(PER_STEP)} and actions must have a row a step")
    options = about.get("options", {})
    if not isinstance(options, dict):
        raise StepsError(f"{path}: options must be an object")
    try:
        return Steps(
            environment=about.get("environment", ""), options=options, **found | {"first": int(found["first"])}
        )
    except StepsError as error:
        raise StepsError(f"{path}: {error}") from None


def write_steps(path: Path, steps: Steps) -> None:
    """All of it or nothing, in the place of an older file."""
    about = {"format": FORMAT, "environment": steps.environment, "options": dict(steps.options)}
    arrays: dict[str, Any] = {name: np.asarray(getattr(steps, name)) for name in ARRAYS}
    packed = BytesIO()
    np.savez_compressed(packed, about=np.array(json.dumps(about)), **arrays)
    write_whole(path, packed.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """A file that is there whole, on the disk, or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
