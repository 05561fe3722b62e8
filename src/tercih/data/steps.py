"""Steps of behaviour in one file: what reward learning reads, and all that is needed to act the same again.

A NumPy archive (.npz, no pickle) of

    about          JSON: {"format": "tercih-steps-1", "environment": Gymnasium's id, "options": of its constructor,
                   "rate": steps a second of the environment's own time, 0 where unknown, "versions": {package: version}
                   of what simulated}
    actions        (first + T, …)  every action since the first reset or since `state`, also those before the clip
    starts, seeds  (episodes,)     which action comes first after a reset, and the seed of that reset; seeds (0,) where
                                   nobody knows them, and so nobody can act the same again
    state          (bytes,)        in place of the first reset: the simulator's state in which the first action was
                                   taken, as `environments/states.py` keeps it: JSON, its bytes as {"base64": …}
    first          ()              which action is the clip's first; the clip is the last T steps
    observations   (T, …)          in which each of the clip's actions was chosen
    following      (T, …)          what each of them led to; the next row of `observations` but where an episode ended
    rewards        (T,)            the environment's own, for evaluation and simulated people; raters never see them;
                                   NaN where nobody knows them
    terminated, truncated  (T,)    whether the step ended its episode; both false before a reset: the end was hidden
                                   from the learner, and `following` is the new episode's first observation
    times          (T,)            seconds since the clip began at which people saw what the step led to; (0,) where
                                   nobody watched it live

NumPy alone is imported, so that whoever learns from steps needs no simulator.
"""

import base64
import hashlib
import json
import os
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercih.records import Clip

FORMAT = "tercih-steps-1"
MOST_BYTES = 1 << 30  # of a file once it is unpacked
MOST_SENT = 128 << 20  # ... that another machine sends
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
    state: Mapping[str, Any] | None = None
    rate: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)

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
        rises = sorted(set(begin)) == begin and all(0 <= start < len(self.actions) for start in begin)
        if not rises or (begin[:1] == [0]) == (self.state is not None):
            how = "must begin with 0" if self.state is None else "must not begin with 0, where the state is,"
            raise StepsError(f"steps.starts {how}, rise, and be among the actions, got {begin[:9]}")
        if len(self.seeds) not in (0, len(begin)) or np.any(self.seeds < 0):
            raise StepsError(
                "steps.seeds must hold one seed >= 0 for each of steps.starts, or none where none is known"
            )
        if self.actions.dtype.kind == "f" and not np.isfinite(self.actions).all():
            raise StepsError("steps.actions must be finite")
        if not 0 <= self.rate <= 1000:
            raise StepsError(f"steps.rate must be in [0, 1000] steps a second, got {self.rate}")

    def __len__(self) -> int:
        return len(self.actions) - self.first

    @property
    def digest(self) -> str:
        """A hash of all but what simulated them: equal steps are one clip, wherever they were made."""
        about = [self.environment, dict(self.options), self.rate]
        parts = hashlib.sha256(json.dumps(about, sort_keys=True).encode() + _packed_state(self.state))
        for name in ARRAYS:
            array = np.ascontiguousarray(getattr(self, name))
            parts.update(f"{name} {array.dtype.str} {array.shape}".encode())
            parts.update(array.tobytes())
        return parts.hexdigest()


def clip_of(steps: Steps, origin: str = "") -> Clip:
    """What people are asked about before there is a video: its name, and that of the steps, are the steps' digest.

    Raises StepsError where the steps do not say how long they last.
    """
    if not steps.rate > 0:
        raise StepsError("steps.rate must be > 0: without it nobody knows how long the clip is")
    digest = steps.digest
    return Clip(
        media=f"{digest}.mp4", digest=digest, seconds=round(len(steps) / steps.rate, 3), steps=f"{digest}.npz",
        origin=origin, columns={"environment": steps.environment, "rate": steps.rate},
    )  # fmt: skip


def keep_steps(folder: Path, steps: Steps, origin: str = "") -> Clip:
    """Write the steps into a folder of clips under their digest, unless they are there; what to ask about."""
    clip = clip_of(steps, origin)
    if not (folder / clip.steps).exists():
        write_steps(folder / clip.steps, steps)
    return clip


def read_steps(file: Path | BytesIO, most: int | None = None) -> Steps:
    """The steps of a file, or of what was sent. Raises StepsError where it holds none, or unpacks to more than `most`
    bytes (MOST_BYTES)."""
    path, most = file if isinstance(file, Path) else "what was sent", most or MOST_BYTES
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > most:
            raise StepsError(f"{path} unpacks to {unpacked} bytes, more than {most}")
        if isinstance(file, BytesIO):
            file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            about = json.loads(str(archive["about"]))
            found: dict[str, Any] = {name: archive[name] for name in ARRAYS}
            state = _unpacked_state(archive["state"].tobytes()) if "state" in archive else None
    except FileNotFoundError:
        raise StepsError(f"there is no file {path}") from None
    except KeyError as error:
        raise StepsError(f"{path} holds no steps: {error.args[0]}") from None
    except (OSError, ValueError, EOFError, MemoryError, RecursionError, zipfile.BadZipFile, zlib.error) as error:
        raise error if isinstance(error, StepsError) else StepsError(f"{path} holds no steps: {error}") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise StepsError(f"{path} is not of the format {FORMAT}")
    for name, kinds in (("starts", "iu"), ("seeds", "iu"), ("first", "iu"), ("actions", "iufb"), ("times", "f")):
        wanted = 0 if name == "first" else None if name == "actions" else 1
        if found[name].dtype.kind not in kinds or (wanted is not None and found[name].ndim != wanted):
            raise StepsError(f"{path}: {name} cannot be {found[name].dtype} of {found[name].ndim} dimensions")
    if any(found[name].ndim < 1 for name in (*PER_STEP, "actions")):
        raise StepsError(f"{path}: {', '.join(PER_STEP)} and actions must have a row a step")
    options, versions, rate = about.get("options", {}), about.get("versions", {}), about.get("rate", 0.0)
    for name, value in (("options", options), ("versions", versions)):
        if not isinstance(value, dict):
            raise StepsError(f"{path}: {name} must be an object")
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise StepsError(f"{path}: rate must be a number, got {rate!r}")
    try:
        return Steps(
            environment=about.get("environment", ""), options=options, versions=versions, rate=rate, state=state,
            **found | {"first": int(found["first"])},
        )  # fmt: skip
    except StepsError as error:
        raise StepsError(f"{path}: {error}") from None


def write_steps(path: Path, steps: Steps) -> None:
    """All of it or nothing, in the place of an older file."""
    about = {
        "format": FORMAT, "environment": steps.environment, "options": dict(steps.options), "rate": steps.rate,
        "versions": dict(steps.versions),
    }  # fmt: skip
    arrays: dict[str, Any] = {name: np.asarray(getattr(steps, name)) for name in ARRAYS}
    arrays["state"] = np.frombuffer(_packed_state(steps.state), np.uint8)
    packed = BytesIO()
    np.savez_compressed(packed, about=np.array(json.dumps(about)), **arrays)
    write_whole(path, packed.getvalue())


def _packed_state(state: Mapping[str, Any] | None) -> bytes:
    """What a simulator keeps is numbers, strings, bytes and containers of them; JSON holds floats to the last bit."""

    def told(value: Any) -> Any:
        if isinstance(value, bytes):
            return {"base64": base64.b64encode(value).decode()}
        raise StepsError(f"a simulator's state cannot hold a {type(value).__name__}")

    return b"" if state is None else json.dumps(state, default=told, sort_keys=True).encode()


def _unpacked_state(packed: bytes) -> Mapping[str, Any] | None:
    def heard(value: dict[str, Any]) -> Any:
        return base64.b64decode(value["base64"], validate=True) if value.keys() == {"base64"} else value

    found = json.loads(packed, object_hook=heard) if packed else None
    if found is not None and not isinstance(found, dict):
        raise StepsError("a simulator's state must be an object")
    return found


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
