"""Episodes of other programs become steps; what cannot be is refused with one sentence."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import h5py
import numpy as np
import pytest

from tercih.data import imitation, minari
from tercih.data.steps import PER_STEP, Steps, StepsError, read_steps, write_steps
from tercih.data.trajectories import Trajectory, joined, steps_of


def episode(length: int = 3, begin: float = 0.0, **rest: Any) -> Trajectory:
    values: dict[str, Any] = {
        "observations": begin + np.arange(2.0 * (length + 1), dtype=np.float32).reshape(-1, 2),
        "actions": np.arange(length) % 2,
        "rewards": np.arange(length) + 0.5,
        "terminated": True,
    }
    return Trajectory(**values | rest)


def same(left: Steps, right: Steps) -> None:
    for name in ("actions", "starts", "observations", "following", "rewards", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


def test_episodes_stand_one_after_the_other() -> None:
    steps = steps_of([episode(3), episode(2, begin=100, terminated=False, truncated=True)], "CartPole-v1")
    assert steps.starts.tolist() == [0, 3]
    assert steps.seeds.tolist() == []
    assert steps.actions.tolist() == [0, 1, 0, 0, 1]
    assert steps.observations[:, 0].tolist() == [0, 2, 4, 100, 102]
    assert steps.following[:, 0].tolist() == [2, 4, 6, 102, 104]
    assert steps.terminated.tolist() == [False, False, True, False, False]
    assert steps.truncated.tolist() == [False, False, False, False, True]
    assert steps.observations.dtype == np.float32


def test_seeds_are_kept_where_each_episode_has_one(tmp_path: Path) -> None:
    assert steps_of([episode(seed=3), episode(seed=4)], "CartPole-v1").seeds.tolist() == [3, 4]
    unknown = steps_of([episode(seed=3), episode()], "CartPole-v1")
    assert unknown.seeds.tolist() == []
    write_steps(tmp_path / "a.npz", unknown)
    same(read_steps(tmp_path / "a.npz"), unknown)


def test_unknown_rewards_are_said_to_be() -> None:
    steps = steps_of([episode(2, rewards=None), episode(1)], "CartPole-v1")
    np.testing.assert_array_equal(steps.rewards, [np.nan, np.nan, 0.5])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: episode(0), "an episode without a step"),
        (lambda: episode(3, observations=np.zeros((3, 2))), "3 actions must have 4 observations"),
        (lambda: episode(3, rewards=np.zeros(2)), "as many rewards"),
        (lambda: steps_of([], "CartPole-v1"), "there are no episodes of CartPole-v1"),
        (lambda: steps_of([episode(), episode(2, actions=np.zeros((2, 1)))], "X-v0"), "episode 1 has actions of shape"),
        (lambda: joined([]), "no steps to join"),
        (lambda: joined([steps_of([episode()], "A-v0"), steps_of([episode()], "B-v0")]), "cannot be joined"),
    ],
)
def test_what_cannot_be_is_refused(made: Any, said: str) -> None:
    with pytest.raises(StepsError, match=said):
        made()


def test_joined_clips_keep_their_steps_and_episodes() -> None:
    whole = steps_of([episode(3, seed=1), episode(2, begin=100, seed=2)], "CartPole-v1")
    clip = Steps(
        environment="CartPole-v1", actions=whole.actions, starts=whole.starts, seeds=whole.seeds, first=2,
        **{name: getattr(whole, name)[2:] for name in PER_STEP},
    )  # fmt: skip
    both = joined([clip, whole])
    assert both.starts.tolist() == [0, 1, 3, 6]
    assert both.observations[:, 0].tolist() == [4, 100, 102, 0, 2, 4, 100, 102]
    assert both.actions.tolist() == [0, 0, 1, 0, 1, 0, 0, 1]


# Minari


def minari_folder(folder: Path, *episodes: dict[str, Any], **about: Any) -> Path:
    data = folder / "data"
    data.mkdir(parents=True)
    spec = json.dumps({"id": "CartPole-v1", "kwargs": {"sutton_barto_reward": True}})
    (data / "metadata.json").write_text(json.dumps({"data_format": "hdf5", "env_spec": spec} | about))
    with h5py.File(data / "main_data.hdf5", "w") as file:
        for at, columns in enumerate(episodes):
            group = file.create_group(f"episode_{at}")
            for name, value in columns.items():
                if name == "seed":
                    group.attrs[name] = value
                elif isinstance(value, dict):
                    inner = group.create_group(name)
                    for key, array in value.items():
                        inner[key] = array
                else:
                    group[name] = value
    return folder


def row(length: int = 3, begin: float = 0.0, **rest: Any) -> dict[str, Any]:
    one = episode(length, begin)
    over = np.arange(length) == length - 1
    return {
        "observations": one.observations, "actions": one.actions, "rewards": one.rewards,
        "terminations": over, "truncations": ~over & over, "infos": {},
    } | rest  # fmt: skip


def test_a_dataset_of_minari_is_read(tmp_path: Path) -> None:
    rows = [row(2, begin=at, seed=at) for at in range(11)]  # episode_10 comes after episode_9, not after episode_1
    steps = minari.read(minari_folder(tmp_path / "expert-v0", *rows))
    assert (steps.environment, dict(steps.options)) == ("CartPole-v1", {"sutton_barto_reward": True})
    assert steps.seeds.tolist() == list(range(11))
    same(steps, steps_of([episode(2, begin=at) for at in range(11)], "CartPole-v1"))
    same(minari.read(tmp_path / "expert-v0" / "data"), steps)


@pytest.mark.parametrize(
    ("rows", "about", "said"),
    [
        ([], {}, "there are no episodes"),
        ([row()], {"data_format": "arrow"}, "format 'arrow'; only hdf5"),
        ([row()], {"env_spec": None}, "does not say of which environment"),
        ([row(observations={"position": np.zeros(4)})], {}, "observations of episode_0 are several arrays"),
        ([row(), row(observations=np.zeros((3, 2)))], {}, "episode_1: an episode of 3 actions must have 4 obs"),
        ([row(3, terminations=np.zeros(0, bool))], {}, "episode_0 has no step"),
    ],
)
def test_a_dataset_that_cannot_be_read_says_why(tmp_path: Path, rows: Any, about: Any, said: str) -> None:
    with pytest.raises(StepsError, match=said):
        minari.read(minari_folder(tmp_path / "x", *rows, **about))


def test_a_folder_or_file_that_is_none_of_minaris_says_so(tmp_path: Path) -> None:
    with pytest.raises(StepsError, match="holds no dataset of Minari"):
        minari.read(tmp_path)
    folder = minari_folder(tmp_path / "x", row())
    (folder / "data" / "main_data.hdf5").write_bytes(b"nothing")
    with pytest.raises(StepsError, match="cannot be read as HDF5"):
        minari.read(folder)
    columns = row()
    del columns["actions"]
    with pytest.raises(StepsError, match="episode_0 has no actions"):
        minari.read(minari_folder(tmp_path / "y", columns))


# imitation

FIRST = {"obs": episode(3).observations, "acts": episode(3).actions, "rews": episode(3).rewards, "terminal": True}
SECOND = {
    "obs": episode(2, 100).observations, "acts": episode(2).actions, "rews": episode(2).rewards, "terminal": True,
}  # fmt: skip
CUT = '{"TimeLimit.truncated": true}'
EXPECTED = [episode(3), episode(2, 100, terminated=False, truncated=True)]


def test_its_objects_are_read() -> None:
    infos = np.array([{}, {"TimeLimit.truncated": True}])
    objects = [SimpleNamespace(**FIRST, infos=None), SimpleNamespace(**SECOND, infos=infos)]
    same(imitation.of(objects, "CartPole-v1"), steps_of(EXPECTED, "CartPole-v1"))


def test_its_folders_are_read(tmp_path: Path) -> None:
    rows = [FIRST | {"infos": ["{}"] * 3}, SECOND | {"infos": ["{}", CUT]}]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "a"))
    steps = imitation.read(tmp_path / "a", "CartPole-v1")
    same(steps, steps_of(EXPECTED, "CartPole-v1"))
    assert steps.observations.dtype == np.float32


def archive(path: Path, **rest: Any) -> Path:
    columns = {name: np.concatenate([FIRST[name], SECOND[name]]) for name in ("obs", "acts", "rews")}
    values: dict[str, Any] = {"indices": np.array([3]), "terminal": np.array([True, False])} | columns | rest
    np.savez(path, **{name: value for name, value in values.items() if value is not None})
    return path


def test_its_older_archives_are_read_without_their_pickles(tmp_path: Path) -> None:
    file = archive(tmp_path / "a.npz", infos=np.array([{}] * 5, dtype=object))
    same(imitation.read(file, "X-v0"), steps_of([episode(3), episode(2, 100, terminated=False)], "X-v0"))
    bare = imitation.read(archive(tmp_path / "b.npz", rews=None), "X-v0")
    assert np.isnan(bare.rewards).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"acts": None}, "there is no acts"),
        ({"indices": np.array([1, 2])}, "2 trajectories need 1 indices"),
        ({"obs": np.zeros((6, 2))}, "trajectory 1: an episode of 2 actions must have 3"),
    ],
)
def test_archives_that_hold_none_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(StepsError, match=said):
        imitation.read(archive(tmp_path / "a.npz", **change), "X-v0")


def test_files_that_are_none_of_imitations_say_so(tmp_path: Path) -> None:
    with pytest.raises(StepsError, match="there is no file or folder"):
        imitation.read(tmp_path / "none", "X-v0")
    with pytest.raises(StepsError, match="cannot be read as a folder of datasets"):
        imitation.read(tmp_path, "X-v0")
    datasets.Dataset.from_list([{"prompt": "a"}]).save_to_disk(str(tmp_path / "a"))
    with pytest.raises(StepsError, match="must have the columns obs, acts and terminal"):
        imitation.read(tmp_path / "a", "X-v0")
    (tmp_path / "b.npz").write_bytes(b"nothing")
    with pytest.raises(StepsError, match=r"cannot be read as a .npz"):
        imitation.read(tmp_path / "b.npz", "X-v0")
