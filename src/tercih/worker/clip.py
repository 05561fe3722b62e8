"""Rendering a clip of behaviour: its steps are acted again, checked against what was observed, and filmed."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercih.data.steps import Steps, StepsError, read_steps, write_whole
from tercih.environments.control import ControlError, Step, World, replay
from tercih.environments.video import Video
from tercih.feedback.jobs import Job
from tercih.worker.bench import Bench, Refused, needed


def clip(bench: Bench, job: Job) -> dict[str, Any]:
    """Payload {steps, media (default: beside the steps, .mp4)} within the folder of clips -> what makes a `Clip`:
    {media, digest, seconds, steps}.

    Refused for steps that cannot be read or acted again, and for a video that would replace another one.
    """
    if bench.clips is None:
        raise Refused("this worker has no folder of clips; start it with --clips FOLDER")
    (steps,) = needed(job, ["steps"])
    media = job.payload.get("media", str(steps).removesuffix(".npz") + ".mp4")
    try:
        return render(bench.clips, str(steps), str(media))
    except (ControlError, StepsError) as error:
        raise Refused(str(error)) from error


def render(folder: Path, steps: str, media: str) -> dict[str, Any]:
    """The video `media` of the file `steps`, both relative to `folder`. Raises ControlError or StepsError."""
    source, out = within(folder, steps), within(folder, media)
    if out.suffix != ".mp4":
        raise ControlError(f"a video's name ends in .mp4, got {media!r}")
    told = read_steps(source)
    with World(told.environment, told.options, render=True) as world:
        video = Video(world.rate)
        try:
            for frame in frames(world, told):
                video.add(frame)
            content = video.close()
        finally:
            video.drop()
    digest = hashlib.sha256(content).hexdigest()
    if out.exists() and hashlib.sha256(out.read_bytes()).hexdigest() != digest:
        raise ControlError(f"{media} is another video already; give this one another name, or delete that one")
    write_whole(out, content)
    return {"media": media, "digest": digest, "seconds": round(len(told) / world.rate, 3), "steps": steps}


def frames(world: World, told: Steps) -> Iterator[NDArray[np.uint8]]:
    """What each of the clip's steps led to. Raises ControlError where that is not what was observed."""
    for at, step in enumerate(replay(world, told.actions, told.starts, told.seeds)):
        place = at - told.first
        if place < 0:
            continue
        if not _same(step, told, place):
            raise ControlError(
                f"the environment is not the same one: step {at} of {told.environment} leads elsewhere than when it"
                " was saved"
            )
        yield world.frame()


def _same(step: Step, told: Steps, place: int) -> bool:
    for now, saved in ((step.observation, told.observations[place]), (step.following, told.following[place])):
        if now.shape != saved.shape:
            return False
        floats = saved.dtype.kind == "f"  # whose last bits may differ on another machine
        if not (np.allclose(now, saved, rtol=1e-4, atol=1e-5) if floats else np.array_equal(now, saved)):
            return False
    return bool(step.terminated == told.terminated[place])


def within(folder: Path, name: str) -> Path:
    """A file of the folder of clips. Raises ControlError for a name that leads out of it."""
    place = folder.resolve() if "\0" in name else (folder / name).resolve()
    if place == folder.resolve() or not place.is_relative_to(folder.resolve()):
        raise ControlError(f"{name!r} is not within the folder of clips")
    return place
