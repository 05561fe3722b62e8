"""Rendering a clip of behaviour: its steps are acted again, checked against what was observed, and filmed."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercih.data.steps import Steps, StepsError, read_steps, write_whole
from tercih.environments.control import ControlError, Step, World, replay
from tercih.environments.states import bring_back
from tercih.environments.video import Video
from tercih.feedback.jobs import Job
from tercih.worker.bench import Bench, Refused, needed


def clip(bench: Bench, job: Job) -> dict[str, Any]:
    """Payload {steps, media (default: beside the steps, .mp4)} within the folder of clips -> what makes a `Clip`:
    {media, digest, seconds, steps}, and how it was `drawn`.

    With a `digest` in the payload, of the steps or of the video, a video that is there is left as it is. Refused for
    steps that cannot be read or acted again, for those of another digest, and for a video that would replace another.
    """
    if bench.clips is None:
        raise Refused("this worker has no folder of clips; start it with --clips FOLDER")
    (steps,) = needed(job, ["steps"])
    media = str(job.payload.get("media", str(steps).removesuffix(".npz") + ".mp4"))
    wanted = job.payload.get("digest")
    try:
        if wanted and within(bench.clips, media).is_file():
            return {"media": media, "digest": wanted, "steps": steps}
        told, drawn = film(bench.clips, str(steps), media, wanted)
        return told | {"drawn": drawn}
    except (ControlError, StepsError) as error:
        raise Refused(str(error)) from error


def render(folder: Path, steps: str, media: str) -> dict[str, Any]:
    """The video `media` of the file `steps`, both relative to `folder`. Raises ControlError or StepsError."""
    return film(folder, steps, media)[0]


def film(folder: Path, steps: str, media: str, wanted: str | None = None) -> tuple[dict[str, Any], str]:
    """The same, and how it was drawn: "own", "egl", "osmesa" or "schematic" (`environments/picture.py`).

    `wanted` is the digest of what was asked about: of the steps, or of a video that was there and is gone.
    """
    source, out = within(folder, steps), within(folder, media)
    if out.suffix != ".mp4":
        raise ControlError(f"a video's name ends in .mp4, got {media!r}")
    told = read_steps(source)
    described = wanted is not None and wanted == told.digest
    with World(told.environment, told.options, render=True) as world:
        video = Video(world.rate)
        try:
            for frame in frames(world, told):
                video.add(frame)
            content = video.close()
        finally:
            video.drop()
    digest = hashlib.sha256(content).hexdigest()
    if wanted is not None and not described and wanted != digest:
        raise ControlError(f"{steps} is not what was asked about: neither it nor its video has the digest {wanted}")
    if out.exists() and hashlib.sha256(out.read_bytes()).hexdigest() != digest:
        raise ControlError(f"{media} is another video already; give this one another name, or delete that one")
    write_whole(out, content)
    about = {"media": media, "digest": digest, "seconds": round(len(told) / world.rate, 3), "steps": steps}
    return about | ({"digest": wanted} if described else {}), world.drawn or "own"


def frames(world: World, told: Steps) -> Iterator[NDArray[np.uint8]]:
    """What each of the clip's steps led to. Raises ControlError where that is not what was observed."""
    return (world.frame() for _ in acted(world, told))


def acted(world: World, told: Steps) -> Iterator[int]:
    """The clip's steps by number, each when the world stands where it led to. Raises as `frames` does."""
    try:
        yield from _checked(world, told)
    except ControlError as error:
        raise ControlError(f"{error}{_otherwise(told.versions, world.versions)}") from error


def _checked(world: World, told: Steps) -> Iterator[int]:
    if told.state is not None:
        bring_back(world, dict(told.state))
    starts = set(told.starts.tolist())
    for at, step in enumerate(replay(world, told.actions, told.starts, told.seeds)):
        place = at - told.first
        if place < 0:
            continue
        if not _same(step, told, place, hidden=at + 1 in starts):
            raise ControlError(
                f"the environment is not the same one: step {at} of {told.environment} leads elsewhere than when it"
                " was saved"
            )
        yield place


def _otherwise(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What simulated the steps that is of another version here; empty where nothing is, or nobody knows."""
    other = [
        f"{name} {then[name]} (here {now.get(name, 'none')})" for name in sorted(then) if then[name] != now.get(name)
    ]
    if not other:
        return ""
    return f"; it was saved with {', '.join(other)}: install those versions, or ask about clips made with these"


def _same(step: Step, told: Steps, place: int, *, hidden: bool) -> bool:
    """`hidden`: the environment begins anew after this step, of which the learner may not have been told."""
    pairs = [(step.observation, told.observations[place])]
    if hidden and not told.terminated[place] and not told.truncated[place]:
        if not (step.terminated or step.truncated):
            return False
    else:
        pairs.append((step.following, told.following[place]))
        if step.terminated != told.terminated[place]:
            return False
    for now, saved in pairs:
        if now.shape != saved.shape:
            return False
        floats = saved.dtype.kind == "f"  # whose last bits may differ on another machine
        if not (np.allclose(now, saved, rtol=1e-4, atol=1e-5) if floats else np.array_equal(now, saved)):
            return False
    return True


def within(folder: Path, name: str) -> Path:
    """A file of the folder of clips. Raises ControlError for a name that leads out of it."""
    place = folder.resolve() if "\0" in name else (folder / name).resolve()
    if place == folder.resolve() or not place.is_relative_to(folder.resolve()):
        raise ControlError(f"{name!r} is not within the folder of clips")
    return place
