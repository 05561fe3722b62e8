"""`tercih clips`: from the name of an environment to questions about clips, before there is any agent."""

import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tercih.config import ConfigError, from_command_line
from tercih.data.steps import write_steps, write_whole
from tercih.environments.control import World
from tercih.progress import Progress, console
from tercih.records import content_hash
from tercih.worker.clip import render
from tercih.worker.record import Record

QUESTIONS = "questions.jsonl"
LONGEST = 10_000  # steps of an episode that does not end by itself


@dataclass(frozen=True, kw_only=True, slots=True)
class Clips:
    """Act at random in an environment of Gymnasium's, film a moment of every episode, and write questions about them.

    --out becomes a folder of clips: steps, videos, and questions.jsonl for `tercih import` or a project's page.
    """

    environment: str
    """Gymnasium's id, such as CartPole-v1."""
    out: Path
    """The folder of clips; it must not hold questions yet."""
    episodes: int = 20
    """Episodes, each of which gives one clip."""
    seconds: float = 1.5
    """Of a clip, in the environment's own time; an episode that ends sooner gives a shorter one."""
    kind: Literal["pair", "rating", "thumb", "live"] = "pair"
    """What is asked: about pairs of clips, or about one at a time."""
    pairs: int = 20
    """Pairs that are asked about, drawn at random; the other kinds ask about every clip."""
    options: tuple[tuple[str, str], ...] = ()
    """Options of the environment with their values as JSON: --options terminate_when_unhealthy false."""
    seed: int = 0
    """With the settings, it decides everything."""


def clips(arguments: Sequence[str]) -> None:
    main(from_command_line(Clips, arguments, program="tercih clips"))


def main(config: Clips) -> None:
    most = config.episodes * (config.episodes - 1) // 2
    for name in ("episodes", "pairs"):
        if getattr(config, name) < 1:
            raise ConfigError(f"--{name} must be >= 1, got {getattr(config, name)}")
    if not 0 < config.seconds <= 600:
        raise ConfigError(f"--seconds must be in (0, 600], got {config.seconds:g}")
    if config.kind == "pair" and config.pairs > most:
        raise ConfigError(f"{config.episodes} clips make {most} pairs, not {config.pairs}; make more --episodes")
    if config.seed < 0:
        raise ConfigError(f"--seed must be >= 0, got {config.seed}")
    questions = config.out / QUESTIONS
    if questions.exists():
        raise ConfigError(f"{questions} is there already; name another folder")
    options = {name: _value(name, text) for name, text in config.options}
    made = []
    with World(config.environment, options) as world, Progress("clips", config.episodes) as progress:
        for episode in range(config.episodes):
            made.append(_clip(world, config, options, config.seed + episode))
            progress.advance()
    asked = _asked(made, config)
    lines = "".join(json.dumps(each) + "\n" for each in asked)
    write_whole(questions, lines.encode())
    console.print(f"{len({each['digest'] for each in made})} clips and {len(asked)} questions are in {config.out}")
    console.print(f"ask them: tercih import {questions} --project NAME --database tercih.db", soft_wrap=True)
    console.print(f"          tercih serve --database tercih.db --clips {config.out}", soft_wrap=True)


def _clip(world: World, config: Clips, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """An episode of random actions, and the clip of a random moment of it."""
    record = Record(environment=config.environment, options=options, rate=world.rate, versions=world.versions)
    record.reset(seed)
    world.reset(seed)
    world.env.action_space.seed(seed)
    for _ in range(LONGEST):
        record.add(step := world.step(world.env.action_space.sample()))
        if step.terminated or step.truncated:
            break
    length = min(max(1, round(config.seconds * world.rate)), len(record.done))
    first = random.Random(seed).randint(0, len(record.done) - length)
    name = content_hash([config.environment, options, seed, first, length])
    write_steps(config.out / f"{name}.npz", record.steps(first, first + length))
    return render(config.out, f"{name}.npz", f"{name}.mp4") | {"origin": "random", "rate": world.rate}


def _asked(made: Sequence[dict[str, Any]], config: Clips) -> list[dict[str, Any]]:
    """Clips that look the same are one; nobody is asked to tell a clip from itself."""
    different = list({each["digest"]: each for each in made}.values())
    if config.kind != "pair":
        return [{"kind": config.kind, "clips": [each]} for each in different]
    every = list(itertools.combinations(different, 2))
    if not every:
        raise ConfigError("all clips look the same; there is nothing to compare")
    drawn = random.Random(config.seed).sample(every, min(config.pairs, len(every)))
    return [{"kind": "pair", "clips": list(pair)} for pair in drawn]


def _value(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ConfigError(f"--options {name} must be JSON, such as false or 0.5, got {text!r}") from None
