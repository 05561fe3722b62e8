import errno
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tercih.checkpoint import CheckpointError, Checkpoints


def payload(step: int) -> dict[str, Any]:
    return {"model": {"w": torch.full((5,), float(step))}, "metrics": {"loss": 1 / step}, "method": {"updates": step}}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    made = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2, 3):
        made.save(step, payload(step))
    return made


def test_the_newest_comes_back(checkpoints: Checkpoints) -> None:
    saved = checkpoints.load()
    assert saved is not None
    step, content = saved
    assert step == 3
    assert torch.equal(content["model"]["w"], torch.full((5,), 3.0))
    assert content["metrics"] == {"loss": 1 / 3}


def test_there_may_be_none_yet(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "nowhere").load() is None


def test_the_newest_two_are_kept(checkpoints: Checkpoints) -> None:
    assert checkpoints.steps() == [2, 3]
    assert sorted(f.name for f in checkpoints.folder.iterdir()) == ["step-000000002.pt", "step-000000003.pt"]


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path)
    for step in (9, 10, 99, 100):
        made.save(step, payload(step))
    assert made.steps() == [99, 100]


def test_the_newest_is_never_the_only_one_while_another_is_written(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    fsync, replace, unlink = os.fsync, Path.replace, Path.unlink

    def look(do: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            seen.append(checkpoints.steps())
            return do(*args, **options)

        return call

    monkeypatch.setattr(os, "fsync", look(fsync))
    monkeypatch.setattr(Path, "replace", look(replace))
    monkeypatch.setattr(Path, "unlink", look(unlink))
    checkpoints.save(4, payload(4))
    assert seen == [[2, 3], [2, 3], [2, 3, 4], [2, 3, 4]]  # written, renamed, folder written, oldest removed
    assert checkpoints.steps() == [3, 4]


@pytest.mark.parametrize("where", [0, 40, -1])
def test_damage_is_found_and_the_one_before_serves(checkpoints: Checkpoints, where: int) -> None:
    path = checkpoints.path(3)
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    said = r"step-000000003.pt is damaged .*delete it and run the same command again. The one before it, step 2"
    with pytest.raises(CheckpointError, match=said):
        checkpoints.load()
    path.unlink()
    saved = checkpoints.load()
    assert saved is not None
    assert saved[0] == 2


@pytest.mark.parametrize("length", [0, 10, 500])
def test_a_cut_file_is_damage(checkpoints: Checkpoints, length: int) -> None:
    path = checkpoints.path(3)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"is damaged"):
        checkpoints.load()


def test_damage_to_the_only_one_promises_no_other(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path)
    made.save(1, payload(1))
    made.path(1).write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match=r"run the same command again\.$"):
        made.load()


def test_what_a_killed_write_left_is_ignored_and_removed(checkpoints: Checkpoints) -> None:
    partial = checkpoints.path(4).with_suffix(".partial")
    partial.write_bytes(checkpoints.path(3).read_bytes()[:100])
    assert checkpoints.steps() == [2, 3]
    saved = checkpoints.load()
    assert saved is not None
    assert saved[0] == 3
    assert not partial.exists()


def test_a_full_disk_says_so_and_keeps_what_is_good(checkpoints: Checkpoints) -> None:
    """A real ENOSPC: the file that would be written is /dev/full."""
    partial = checkpoints.path(4).with_suffix(".partial")
    partial.symlink_to("/dev/full")
    said = r"cannot write the checkpoint of step 4 to .*No space left on device.*last good checkpoint is step 3.*Free"
    with pytest.raises(CheckpointError, match=said) as caught:
        checkpoints.save(4, payload(4))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert checkpoints.steps() == [2, 3]
    assert not partial.is_symlink(), "nothing half-written stays behind"
    checkpoints.save(4, payload(4))
    assert checkpoints.steps() == [3, 4]


def test_a_disk_that_fills_while_writing(checkpoints: Checkpoints) -> None:
    """A limit on file sizes cuts the write in the middle, as a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        with pytest.raises(CheckpointError, match=r"cannot write the checkpoint of step 4 .*File too large"):
            checkpoints.save(4, payload(4) | {"big": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(f.name for f in checkpoints.folder.iterdir()) == ["step-000000002.pt", "step-000000003.pt"]


def test_a_first_checkpoint_that_cannot_be_written(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path)
    made.path(1).with_suffix(".partial").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"there is no earlier checkpoint"):
        made.save(1, payload(1))


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    """Checkpoints travel between people: what they hold is read as data, never as a program."""
    made = Checkpoints(tmp_path)
    made.save(1, {"model": Evil(tmp_path / "ran")})
    with pytest.raises(Exception, match=r"Weights only load failed"):
        made.load()
    assert not (tmp_path / "ran").exists()


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)
