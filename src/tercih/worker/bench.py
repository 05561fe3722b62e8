"""The worker's loop: take a job, hold its lease while it is done, say what came of it; ask for what is due."""

import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tercih.feedback import acts, footage, jobs
from tercih.feedback.database import Database
from tercih.feedback.fits import CHANGES
from tercih.feedback.jobs import Job
from tercih.feedback.tables import event, project, question
from tercih.feedback.tables import fit as fits
from tercih.records import content_hash
from tercih.worker import HANDLERS
from tercih.worker.agents import AGENTS, Maker

DRAWN = {
    "egl": "drawn by EGL",
    "osmesa": "drawn by OSMesa, for EGL does not work here",
    "schematic": "drawn as a schematic, for neither EGL nor OSMesa works here (apt-get install libegl1 libgl1)",
    "own": "drawn by the environment itself",
}


class Refused(ValueError):
    """A job that nobody could do as it was asked; it is not tried again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What a worker has at hand: the database, and the models it may use (an ensemble of reward models, a policy)."""

    database: Database
    models: tuple[Path, ...] = ()
    policy: Path | None = None
    clips: Path | None = None
    """The folder of clips, the server's own: videos are rendered into it."""
    agents: Mapping[str, Maker] = field(default_factory=lambda: AGENTS)
    """What may act before raters, by name."""
    agent: str = "random"
    """The one that acts where a job names none."""
    seed: int = 0
    lease_seconds: float = jobs.LEASE_SECONDS

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of job it can do: without a model no scores, without a policy no chat, and so on."""
        has = {"scores": self.models, "chat": self.policy, "clip": self.clips, "act": self.clips}
        return ("fit", "without", *(kind for kind, needs in has.items() if needs))


Handler = Callable[[Bench, Job], Any]


def work(bench: Bench, say: Callable[[str], None] = lambda _: None) -> int:
    """Ask for what is due, then do every job that waits; returns how many were taken."""
    due(bench)
    done = 0
    while (job := _next(bench)) is not None:
        say(f"{job.kind} {job.id}{f' of {job.project}' if job.project else ''}: {do(bench, job)}")
        done += 1
    return done


def _next(bench: Bench) -> Job | None:
    """A job that waits; while none does, clips are drawn that somebody is going to look at."""
    job = jobs.take(bench.database, bench.kinds, bench.lease_seconds)
    if job is None and bench.clips is not None and footage.ask_ahead(bench.database, bench.clips):
        job = jobs.take(bench.database, bench.kinds, bench.lease_seconds)
    return job


def do(bench: Bench, job: Job) -> str:
    """One job; what came of it, in words. Whatever it raises is its outcome and leaves the worker at work."""
    module, name = HANDLERS[job.kind].split(":")
    try:
        with _held(bench, job):
            handler: Handler = getattr(import_module(module), name)
            result = handler(bench, job)
        kept = jobs.finish(bench.database, job, result)
        if not kept:
            return "done too late: its lease had run out, so others have it"
        drawn = DRAWN.get(str(result.get("drawn"))) if isinstance(result, dict) else None
        return f"done, {drawn}" if drawn else "done"
    except Refused as error:
        jobs.fail(bench.database, job, str(error), again=False)
        return f"refused: {error}"
    except Exception as error:  # a handler runs models and reads people's data; one bad job must not stop the others
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
        jobs.fail(bench.database, job, reason)
        return f"went wrong (try {job.tries} of {jobs.MOST_TRIES}): {reason}"


def due(bench: Bench) -> None:
    """Ask for a fit of every project that has new answers, and of those for people for scores and for what each rater
    does to the reward; one key an event, whoever asks. Acts whose worker died are settled."""
    acts.sweep(bench.database)
    newest = (
        sa.select(event.c.project, sa.func.max(event.c.id).label("newest"))
        .where(event.c.kind.in_(CHANGES))
        .group_by(event.c.project)
        .subquery()
    )
    asked = (
        sa.select(question.c.project, sa.func.count().label("asked"))
        .where(question.c.kind == "pair", question.c.repeats.is_(None))
        .group_by(question.c.project)
        .subquery()
    )
    query = (
        sa.select(project.c.id, project.c.config, sa.func.coalesce(newest.c.newest, 0), fits.c.events, asked.c.asked)
        .outerjoin(newest, newest.c.project == project.c.id)
        .outerjoin(asked, asked.c.project == project.c.id)
        .outerjoin(fits, (fits.c.project == project.c.id) & (fits.c.kind == "raters"))
    )
    with bench.database.transaction() as connection:
        rows = connection.execute(query).all()
    for name, config, last, seen, pairs in rows:
        if last > (seen or 0):
            _ask(bench.database, "fit", name, [last])
        if not config:
            continue
        if last and pairs:
            _ask(bench.database, "without", name, [last])
        if bench.models and pairs:
            _ask(bench.database, "scores", name, [last, pairs])


def _ask(database: Database, kind: str, name: str, seen: list[int]) -> None:
    jobs.put(database, kind, {}, content_hash([kind, name, *seen]), project=name)


@contextmanager
def _held(bench: Bench, job: Job) -> Iterator[None]:
    """The lease is prolonged while the job lasts; it runs out soon after the process dies."""
    over = threading.Event()

    def prolong() -> None:
        while not over.wait(bench.lease_seconds / 3):
            if not jobs.extend(bench.database, job, bench.lease_seconds):
                return

    thread = threading.Thread(target=prolong, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def project_of(job: Job) -> str:
    """The project that a job is about. Raises Refused where it names none."""
    if not job.project:
        raise Refused(f"a job of kind {job.kind!r} needs a project")
    return job.project


def needed(job: Job, names: Sequence[str]) -> list[Any]:
    """These fields of a job's payload. Raises Refused for those it lacks."""
    missing = [name for name in names if name not in job.payload]
    if missing:
        raise Refused(f"a job of kind {job.kind!r} needs {', '.join(missing)} in its payload")
    return [job.payload[name] for name in names]
