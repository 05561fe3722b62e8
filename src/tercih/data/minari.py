"""Datasets of Minari (https://minari.farama.org/content/dataset_standards): a folder NAME/data with `metadata.json` and
`main_data.hdf5`, in which the group episode_N holds episode N."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tercih.data.steps import Steps, StepsError
from tercih.data.trajectories import Trajectory, steps_of

MISSING = 'datasets of Minari are HDF5 files; pip install "tercih[minari]"'


def read(folder: str | Path) -> Steps:
    """All episodes of the dataset in `folder` (…/datasets/NAME/expert-v0, or its `data`). Raises StepsError."""
    folder = Path(folder)
    data = folder if (folder / "metadata.json").is_file() else folder / "data"
    try:
        about = json.loads((data / "metadata.json").read_text())
    except FileNotFoundError:
        raise StepsError(
            f"{folder} holds no dataset of Minari: there is no data/metadata.json; name the folder that"
            " `minari download` wrote"
        ) from None
    except ValueError as error:
        raise StepsError(f"{data / 'metadata.json'} is not JSON: {error}") from None
    if about.get("data_format", "hdf5") != "hdf5":
        raise StepsError(
            f"{folder} is in Minari's format {about['data_format']!r}; only hdf5 is read: write it as that"
        )
    spec = json.loads(about.get("env_spec") or "{}")
    if not spec.get("id"):
        raise StepsError(f"{folder} does not say of which environment it is (env_spec in metadata.json)")
    file = data / "main_data.hdf5"
    try:
        return steps_of(_episodes(file), spec["id"], spec.get("kwargs"))
    except StepsError as error:
        raise StepsError(f"{file}: {error}") from None


def _episodes(file: Path) -> list[Trajectory]:
    try:
        import h5py  # heavy, and needed by those alone who read this format
    except ModuleNotFoundError:
        raise StepsError(MISSING) from None
    try:
        with h5py.File(file) as found:
            names = sorted((name for name in found if name.startswith("episode_")), key=lambda name: int(name[8:]))
            return [_episode(name, found[name]) for name in names]
    except (OSError, ValueError) as error:
        raise error if isinstance(error, StepsError) else StepsError(f"cannot be read as HDF5 ({error})") from None


def _episode(name: str, group: Any) -> Trajectory:
    arrays: dict[str, Any] = {}
    for column in ("observations", "actions", "rewards", "terminations", "truncations"):
        if column not in group:
            raise StepsError(f"{name} has no {column}")
        if not hasattr(group[column], "shape"):
            raise StepsError(f"{column} of {name} are several arrays (a Dict or a Tuple space); only one array is read")
        arrays[column] = np.asarray(group[column])
    if len(arrays["terminations"]) < 1:
        raise StepsError(f"{name} has no step")
    seed = group.attrs.get("seed")
    try:
        return Trajectory(
            observations=arrays["observations"],
            actions=arrays["actions"],
            rewards=arrays["rewards"],
            terminated=bool(arrays["terminations"][-1]),
            truncated=bool(arrays["truncations"][-1]),
            seed=int(seed) if isinstance(seed, int | np.integer) else None,
        )
    except StepsError as error:
        raise StepsError(f"{name}: {error}") from None
