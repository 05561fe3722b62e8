"""Save and resume. The newest whole checkpoint is never touched while the next one is being written."""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

KEEP = 2
DIGEST = 32  # bytes of SHA-256 in front of the payload


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or read, and what to do about it."""


class Checkpoints:
    """`folder/step-N.pt`, the newest two. A file appears under its name only when all of it is on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        return sorted(int(f.stem.removeprefix("step-")) for f in self.folder.glob("step-*.pt"))

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.pt"

    def save(self, step: int, payload: dict[str, Any]) -> None:
        """`payload`: tensors, numbers, strings and containers of them; `step` is how many steps are done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(payload, buffer)
        body = buffer.getbuffer()
        partial = self.path(step).with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                file.write(hashlib.sha256(body).digest())
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path(step))
            _sync_folder(self.folder)
        except OSError as error:
            partial.unlink(missing_ok=True)
            whole = self.steps()
            kept = f"the last good checkpoint is step {whole[-1]}" if whole else "there is no earlier checkpoint"
            raise CheckpointError(
                f"cannot write the checkpoint of step {step} to {self.folder} ({error.strerror}); {kept}."
                " Free some space and run the same command again: it goes on from there"
            ) from error
        for old in self.steps()[:-KEEP]:
            self.path(old).unlink()

    def load(self) -> tuple[int, dict[str, Any]] | None:
        """The newest checkpoint as (steps done, payload), or None where there is none yet."""
        for leftover in self.folder.glob("*.partial"):  # a write that was killed; it never counted
            leftover.unlink()
        steps = self.steps()
        if not steps:
            return None
        path = self.path(steps[-1])
        content = path.read_bytes()
        digest, body = content[:DIGEST], content[DIGEST:]
        if hashlib.sha256(body).digest() != digest:
            earlier = f" The one before it, step {steps[-2]}, will then be used" if len(steps) > 1 else ""
            raise CheckpointError(
                f"{path} is damaged (its checksum is wrong); delete it and run the same command again.{earlier}"
            )
        return steps[-1], torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
