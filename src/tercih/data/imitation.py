"""Trajectories of the package imitation (1.0): a folder of Hugging Face `datasets`, its older .npz, or its objects.

Rollouts of Stable-Baselines3's policies are kept in them, too. None of them says of which environment it is.
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tercih.data.steps import Steps, StepsError
from tercih.data.trajectories import Trajectory, steps_of

CUT = "TimeLimit.truncated"  # in the last step's info, as Stable-Baselines3 says that a time limit ended the episode


def read(path: str | Path, environment: str) -> Steps:
    """All trajectories of a folder or a .npz. Raises StepsError."""
    path = Path(path)
    if not path.exists():
        raise StepsError(f"there is no file or folder {path}")
    try:
        return steps_of(_folder(path) if path.is_dir() else _archive(path), environment)
    except StepsError as error:
        raise StepsError(f"{path}: {error}") from None


def of(trajectories: Sequence[Any], environment: str) -> Steps:
    """Of objects with `obs`, `acts` and `terminal`, and perhaps `rews` and `infos`: imitation's own in memory."""
    found = []
    for at, each in enumerate(trajectories):
        infos = getattr(each, "infos", None)
        last = infos[-1] if infos is not None and len(infos) else {}
        rewards = getattr(each, "rews", None)
        found.append(_one(at, each.obs, each.acts, rewards, bool(each.terminal), bool(last.get(CUT))))
    return steps_of(found, environment)


def _folder(path: Path) -> list[Trajectory]:
    import datasets  # heavy, and needed by those alone who read this format

    try:
        rows = datasets.load_from_disk(str(path))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise StepsError(f"cannot be read as a folder of datasets ({error})") from None
    if not isinstance(rows, datasets.Dataset) or not {"obs", "acts", "terminal"} <= set(rows.features):
        raise StepsError("holds no trajectories: it must have the columns obs, acts and terminal")
    kind = np.float32 if "float32" in str(rows.features["obs"]) else None  # lists would make it 64 bits
    found = []
    for at, row in enumerate(rows):
        try:
            last = json.loads(row["infos"][-1]) if row.get("infos") else {}
        except ValueError:
            last = {}
        cut = isinstance(last, dict) and bool(last.get(CUT))
        found.append(_one(at, np.array(row["obs"], kind), np.array(row["acts"]), row.get("rews"), row["terminal"], cut))
    return found


def _archive(path: Path) -> list[Trajectory]:
    """Observations, actions and rewards of all trajectories end to end, and where each but the first begins. Infos are
    pickled objects, which are never read: what ended an episode is not known, and taken for an end of its own."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            columns = {
                name: archive[name] for name in ("obs", "acts", "rews", "indices", "terminal") if name in archive
            }
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise StepsError(f"cannot be read as a .npz of arrays ({error})") from None
    lacking = {"obs", "acts", "indices", "terminal"} - set(columns)
    if lacking:
        raise StepsError(f"holds no trajectories: there is no {', '.join(sorted(lacking))}")
    begin, count = columns["indices"], len(columns["terminal"])
    if len(begin) != count - 1:
        raise StepsError(f"{count} trajectories need {count - 1} indices, where all but the first begin: {len(begin)}")
    observations = np.split(columns["obs"], begin + np.arange(len(begin)) + 1)
    actions = np.split(columns["acts"], begin)
    rewards = np.split(columns["rews"], begin) if "rews" in columns else [None] * count
    return [
        _one(at, *each, False)
        for at, each in enumerate(zip(observations, actions, rewards, columns["terminal"].tolist(), strict=True))
    ]


def _one(at: int, observations: Any, actions: Any, rewards: Any, ended: bool, cut: bool) -> Trajectory:
    try:
        if not isinstance(observations, np.ndarray) or observations.dtype == object:
            raise StepsError("its observations are not one array, but of a Dict space")
        return Trajectory(
            observations=observations,
            actions=np.asarray(actions),
            rewards=None if rewards is None else np.asarray(rewards, dtype=np.float64),
            terminated=bool(ended) and not cut,
            truncated=bool(ended) and cut,
        )
    except StepsError as error:
        raise StepsError(f"trajectory {at}: {error}") from None
