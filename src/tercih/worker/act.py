"""An agent acts before a rater: frame by frame at an even pace, hearing what the rater says as it is said."""

import hashlib
import time as clock
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tercih.agents.live import Taught
from tercih.data.steps import write_steps, write_whole
from tercih.environments.control import ControlError, World
from tercih.environments.video import Video
from tercih.feedback import acts
from tercih.feedback.acts import Frame
from tercih.feedback.jobs import Job
from tercih.feedback.projects import MOST_STEPS
from tercih.records import Clip
from tercih.worker.bench import Bench, Refused, needed
from tercih.worker.clip import within
from tercih.worker.hands import Hands
from tercih.worker.learned import Learned
from tercih.worker.record import Record

WIDEST = 480  # pixels of a frame on its way to a rater
SAVE_EVERY = 2.0  # seconds of acting that a killed worker may lose


def act(bench: Bench, job: Job) -> dict[str, Any]:
    """Payload {act, environment, seed, steps, frames_per_second, actions (how many raters may do in the agent's place;
    default: 0), agent (default: the worker's)} -> {acted, steps}.

    The clip of it lies in the folder of clips. Refused for what cannot be acted; the rater is told that it stopped.
    """
    key, *_ = needed(job, ["act", "environment", "seed", "steps", "frames_per_second"])
    try:
        if bench.clips is None:
            raise Refused("this worker has no folder of clips; start it with --clips FOLDER")
        if not acts.begin(bench.database, key):
            return {"acted": False, "steps": 0}
        return {"acted": True, "steps": _act(bench, job, key)}
    except ControlError as error:
        acts.finish(bench.database, key, stopped=True)
        raise Refused(str(error)) from error
    except Exception:
        acts.finish(bench.database, key, stopped=True)
        raise


def _act(bench: Bench, job: Job, key: int) -> int:
    """From the first frame to the settled answer; how many steps were acted."""
    assert bench.clips is not None
    payload, name = job.payload, str(job.payload.get("agent", bench.agent))
    rate, most, seed = _number(payload, "frames_per_second", 30), _number(payload, "steps", MOST_STEPS), payload["seed"]
    if name not in bench.agents:
        raise Refused(f"this worker's agents are {', '.join(bench.agents)}, not {name!r}; name others with --agent")
    name_of_act = acts.key_of(bench.database, key)
    steps_file, video_file = acts.files_of(name_of_act)
    overrides = within(bench.clips, acts.overrides_of(name_of_act))
    record = Record(environment=str(payload["environment"]))
    film = Video(rate)
    try:
        with World(record.environment, render=True) as world:
            record.rate, record.versions = world.rate, world.versions
            agent = bench.agents[name](world, int(seed))
            learned = None
            if isinstance(agent, Taught):
                learned = Learned(bench.clips, job.project, name, record.environment, agent)
            hands = Hands(world.env.action_space, int(payload.get("actions", 0)), who=f"act {name_of_act}")
            record.reset(int(seed))
            observation = world.reset(int(seed))
            began = saved = clock.monotonic()
            heard, goes_on = 0, acts.show(bench.database, key, Frame(step=0, seconds=0.0, jpeg=_jpeg(world.frame())))
            while goes_on and len(record.done) < most:
                wanted = agent.act(observation)
                clock.sleep(max(0.0, began + (len(record.done) + 1) / rate - clock.monotonic()))
                if new := acts.signals_since(bench.database, key, heard):  # as late as can be: the hand is then quick
                    heard = new[-1].id
                    agent.hear(hands.hear(new))
                action = hands.instead(observation, wanted)
                if action is not wanted and isinstance(agent, Taught):
                    agent.replaced(action)
                step = world.step(action)
                picture = world.frame()
                seconds = round(clock.monotonic() - began, 3)
                record.add(step, seconds)
                film.add(picture)
                shown = Frame(step=len(record.done), seconds=seconds, jpeg=_jpeg(picture))
                goes_on = acts.show(bench.database, key, shown)
                observation = step.following
                if step.terminated or step.truncated:
                    record.reset(int(seed) + len(record.done))
                    observation = world.reset(record.seeds[-1])
                if clock.monotonic() - saved > SAVE_EVERY:
                    write_steps(within(bench.clips, steps_file), record.steps())
                    hands.save(overrides)
                    if learned:
                        learned.save()
                    saved = clock.monotonic()
            if last := hands.hear(acts.signals_since(bench.database, key, heard)):
                agent.hear(last)
            hands.save(overrides)
            if learned:
                learned.save()
        clip = None
        if record.done:
            write_steps(within(bench.clips, steps_file), record.steps())
            content = film.close()
            write_whole(within(bench.clips, video_file), content)
            columns = {"environment": record.environment, "seed": int(seed)}
            if hands.replaced:
                columns["replaced"] = hands.replaced  # steps that the rater did in the agent's place
            clip = Clip(
                media=video_file, digest=hashlib.sha256(content).hexdigest(), seconds=record.times[-1],
                steps=steps_file, origin=name, columns=columns,
            )  # fmt: skip
        acts.finish(bench.database, key, clip)
        return len(record.done)
    finally:
        film.drop()


def _number(payload: Any, name: str, most: float) -> float:
    value = payload[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise Refused(f"{name} must be in (0, {most:g}], got {value!r}")
    return float(value)


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    picture = Image.fromarray(frame)
    picture.thumbnail((WIDEST, WIDEST))
    packed = BytesIO()
    picture.save(packed, "JPEG", quality=75)
    return packed.getvalue()
