"""`tercih worker`: do what the labelling server leaves to it, beside it or on another machine."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tercih.commands.files import named
from tercih.config import ConfigError, from_command_line
from tercih.feedback import jobs
from tercih.feedback.database import Database
from tercih.feedback.webhooks import Webhooks
from tercih.progress import console
from tercih.worker.agents import AGENTS, Maker
from tercih.worker.bench import Bench, work

SECRET = "TERCIH_WEBHOOK_SECRET"


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """Weigh the raters, score what may be asked next, talk as the policy, film: jobs from the server's own database.

    How questions are chosen is said in each project's settings. Any number of workers may run; one that is killed loses
    nothing, for another one takes its job when the lease has run out. What to ask next needs --model, chat needs
    --policy; without them a worker needs no torch. Filming clips and acting before raters need --clips. With a secret
    in TERCIH_WEBHOOK_SECRET it also tells every answer to the webhook of its project, signed with that secret.
    """

    database: str
    """An SQLite file or a PostgreSQL URL: the labelling server's."""
    model: tuple[Path, ...] = ()
    """Reward models for what to ask next: folders, of several models trained apart for the rules that compare them."""
    policy: Path | None = None
    """A model or run folder that talks to raters."""
    clips: Path | None = None
    """The folder of clips: the one that `tercih serve --clips` names."""
    agent: str = "random"
    """What acts before raters: random; coach or tamer, which learn from what raters press; or MODULE:FUNCTION or
    FILE.py:FUNCTION of yours, called with (world, seed)."""
    lease_seconds: float = jobs.LEASE_SECONDS
    """After how long without a sign of life another worker takes a job."""
    every: float = 2.0
    """Seconds between two looks for jobs."""
    private_webhooks: bool = False
    """Let webhooks go to addresses of your own network."""
    once: bool = False
    """Do what there is to do, and end."""
    seed: int = 0


def worker(arguments: Sequence[str]) -> None:
    main(from_command_line(Worker, arguments, program="tercih worker"))


def main(config: Worker) -> None:
    if not config.every > 0 or not config.lease_seconds > 0:
        raise ConfigError("--every and --lease-seconds must be > 0")
    if config.clips is not None and not config.clips.is_dir():
        raise ConfigError(f"there is no folder of clips {config.clips}")
    with Database(config.database) as database:
        bench = Bench(
            database=database,
            models=tuple(map(_reward_model, config.model)),
            policy=None if config.policy is None else _policy(config.policy),
            clips=config.clips,
            agents=AGENTS if config.agent in AGENTS else {**AGENTS, config.agent: _agent(config.agent)},
            agent=config.agent,
            seed=config.seed,
            lease_seconds=config.lease_seconds,
        )
        secret = os.environ.get(SECRET)
        webhooks = Webhooks(database=database, secret=secret, private=config.private_webhooks) if secret else None
        tells = " and webhooks" if webhooks else f" (webhooks need a secret in {SECRET})"
        console.print(f"a worker of {database.place} for {', '.join(bench.kinds)}{tells}; Ctrl-C ends it")
        while True:
            done = work(bench, lambda line: console.print(line, markup=False))
            told = webhooks.round() if webhooks else 0
            if told:
                console.print(f"{told} answers told to webhooks")
            if config.once:
                console.print(f"{done} jobs; nothing more to do")
                return
            if not told:
                time.sleep(config.every)


def _reward_model(place: Path) -> Path:
    from tercih.models.load import read_about  # torch, which a worker without models does not need

    for folder in (place, place / "reward_model", place / "model"):
        if read_about(folder).get("kind") == "RewardModel":
            return folder
    raise ConfigError(f"{place} holds no reward model; train one with `tercih train bradley_terry`")


def _agent(place: str) -> Maker:
    found = named(place)
    if found is None:
        module, _, name = place.partition(":")
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"--agent {place} names no function: {error}") from None
    if not callable(found):
        raise ConfigError(f"--agent {place} is no function of (world, seed)")
    maker: Maker = found
    return maker


def _policy(place: Path) -> Path:
    from tercih.commands.folders import model_folder

    return model_folder(place)
