"""A project: what people are asked, how often, and how carefully they are watched. One file or one form makes one."""

import math
import re
import time as clock
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import sqlalchemy as sa

from tercih.feedback.database import Database
from tercih.feedback.kinds import KINDS
from tercih.feedback.samplers import LEAST_RANDOM, RULES
from tercih.feedback.tables import guideline, quota
from tercih.feedback.tables import project as projects

MOST_STEPS = 10_000  # that an agent acts before one rater
MOST_ACTIONS = 9  # as many keys as there are digits
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


class ProjectError(ValueError):
    """A project that cannot be as it was described."""


def check_name(name: str) -> None:
    """Raises ProjectError for what cannot be a project's `id`."""
    if not NAME.fullmatch(name):
        raise ProjectError(f"project.id must be small letters, digits, dots and dashes, got {name!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """The settings of one project; a JSON file of these fields makes one."""

    id: str
    """A short name for addresses and files: small letters, digits, dots, dashes."""
    title: str = ""
    kind: str = "pair"
    """What is asked, where a question does not say: a name of `kinds.KINDS`."""
    instruction: str = ""
    """The sentence above every question; empty: the kind's own, in the rater's language."""
    votes: int = 3
    """Raters per question; with `most_votes` above it, the number after which agreement is looked at."""
    most_votes: int = 0
    """Where raters disagree, up to so many are asked; what is still unsure then goes to the lead. 0: as `votes`."""
    sure: float = 0.9
    """The probability of one answer at which no more raters are asked."""
    lease_minutes: float = 15.0
    """How long a question is kept for one rater before another one gets it."""
    repeats: float = 0.05
    """The share of pairs that a rater is asked a second time, the other way round."""
    golds: float = 0.05
    """The share of questions whose answer is known."""
    pass_mark: float = 0.7
    """The share of exam questions that must be right."""
    deep_first: bool = False
    """Whether questions that somebody has answered come before fresh ones."""
    ties: bool = True
    all_bad: bool = True
    confidence: bool = False
    """Ask how sure the rater is, from 1 to 5."""
    notes_first: bool = False
    """Ask what a good answer would be before the answers are shown (Stiennon et al. 2020)."""
    suggestions: float = 0.0
    """The share of questions on which a model's suggestion is shown, where there is one; the others are the comparison
    that tells how far suggestions sway people."""
    chat: bool = False
    """Whether raters may talk to the current policy, and judge what it says."""
    quotas: Mapping[str, int] = field(default_factory=dict)
    """At most so many answers by raters of each stratum; strata not named are not bounded."""
    population: Mapping[str, float] = field(default_factory=dict)
    """What share of the population each stratum is, in any unit: the page on quality says how far answers weighted to
    it would differ. Empty: unknown."""
    cost_per_hour: float = 0.0
    """What an hour of a rater costs, in any currency."""
    rule: str = "d_optimal"
    """How a worker with a reward model chooses what is asked next: a name of `samplers.RULES`."""
    random_share: float = 0.5
    """The share of questions that are asked at random beside it, at least 0.2; 1: all."""
    ahead: int = 50
    """How many chosen questions wait for raters; when half of them have been seen, more are chosen."""
    webhook: str = ""
    """An address that is told of every answer."""
    environment: str = ""
    """Gymnasium's id of an environment: raters may watch a worker's agent act in it, and say good or bad as it does."""
    act_steps: int = 300
    """Steps after which such an act is over."""
    act_rate: float = 10.0
    """Steps that are shown in a second, at most 30."""
    actions: str = ""
    """Names of the environment's actions in their order, with commas between: raters may then act in the agent's place.
    Empty: they may not."""

    def __post_init__(self) -> None:
        check_name(self.id)
        if self.kind not in KINDS:
            raise ProjectError(f"project.kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.votes < 1:
            raise ProjectError(f"project.votes must be >= 1, got {self.votes}")
        if self.most_votes and self.most_votes < self.votes:
            raise ProjectError(f"project.most_votes must be 0 or >= votes ({self.votes}), got {self.most_votes}")
        if not self.lease_minutes > 0:
            raise ProjectError(f"project.lease_minutes must be > 0, got {self.lease_minutes}")
        if not 0.5 < self.sure <= 1:
            raise ProjectError(f"project.sure must be in (0.5, 1], got {self.sure}")
        for name in ("repeats", "golds", "pass_mark", "suggestions"):
            if not 0 <= getattr(self, name) <= 1:
                raise ProjectError(f"project.{name} must be in [0, 1], got {getattr(self, name)}")
        if ":" in self.environment:
            raise ProjectError(f"project.environment must be an id alone, without a module, got {self.environment!r}")
        if not 1 <= self.act_steps <= MOST_STEPS:
            raise ProjectError(f"project.act_steps must be in [1, {MOST_STEPS}], got {self.act_steps}")
        if not 0 < self.act_rate <= 30:
            raise ProjectError(f"project.act_rate must be in (0, 30], got {self.act_rate}")
        if self.actions and not (all(self.action_names) and 2 <= len(self.action_names) <= MOST_ACTIONS):
            raise ProjectError(
                f"project.actions must name from 2 to {MOST_ACTIONS} actions with commas between, got {self.actions!r}"
            )
        if self.rule not in RULES:
            raise ProjectError(f"project.rule must be one of {', '.join(RULES)}, got {self.rule!r}")
        if not LEAST_RANDOM <= self.random_share <= 1:
            raise ProjectError(
                f"project.random_share must be in [{LEAST_RANDOM}, 1], got {self.random_share}: without questions asked"
                " at random nothing can be evaluated without bias"
            )
        if self.ahead < 1:
            raise ProjectError(f"project.ahead must be >= 1, got {self.ahead}")
        if not isinstance(self.population, Mapping):
            raise ProjectError(f"project.population must map strata to numbers, got {self.population!r}")
        for stratum, size in self.population.items():
            if not 0 < size < math.inf:
                raise ProjectError(f"project.population of {stratum!r} must be > 0, got {size}")
        if self.repeats + self.golds > 0.5:
            raise ProjectError(
                f"project.repeats and golds must leave half for questions, got {self.repeats} and {self.golds}"
            )

    @property
    def action_names(self) -> tuple[str, ...]:
        return tuple(each.strip() for each in self.actions.split(",")) if self.actions else ()

    @property
    def adaptive(self) -> bool:
        return self.most_votes > self.votes

    @classmethod
    def of(cls, name: str, values: Mapping[str, Any]) -> "Project":
        """From JSON. Raises ProjectError for a field that does not exist."""
        known = {f.name for f in fields(cls)}
        for field_name in values:
            if field_name not in known:
                raise ProjectError(
                    f"project {name}: there is no setting {field_name!r}; there are {', '.join(sorted(known))}"
                )
        try:
            return cls(**{"id": name, **values})
        except TypeError as error:
            raise ProjectError(f"project {name}: {error}") from None


def load_project(database: Database, name: str) -> Project:
    """Raises ProjectError where there is none, and for a run's own that cannot be shown to people."""
    with database.transaction() as connection:
        config = connection.scalar(sa.select(projects.c.config).where(projects.c.id == name))
    if config is None:
        raise ProjectError(f"there is no project {name!r}")
    return Project.of(name, config)


def make_project(database: Database, settings: Project, guidelines: str = "") -> None:
    """Add a project, or change the settings of one that exists; guidelines that differ become a new version."""
    config = {k: v for k, v in asdict(settings).items() if k != "id"}
    config |= {"quotas": dict(settings.quotas), "population": dict(settings.population)}
    now = clock.time()
    with database.transaction(write=True) as connection:
        here = projects.c.id == settings.id
        if connection.scalar(sa.select(projects.c.id).where(here)):
            connection.execute(sa.update(projects).where(here).values(config=config))
        else:
            connection.execute(projects.insert().values(id=settings.id, config=config, created=now))
        rows = connection.execute(sa.select(quota.c.stratum, quota.c.taken).where(quota.c.project == settings.id))
        known = {row.stratum: row.taken for row in rows}
        for stratum, most in settings.quotas.items():
            where = (quota.c.project == settings.id) & (quota.c.stratum == stratum)
            if stratum in known:
                connection.execute(sa.update(quota).where(where).values(most=max(most, known[stratum])))
            else:
                connection.execute(quota.insert().values(project=settings.id, stratum=stratum, most=most, taken=0))
        newest = (
            sa.select(guideline.c.version, guideline.c.text)
            .where(guideline.c.project == settings.id)
            .order_by(guideline.c.version.desc())
            .limit(1)
        )
        last = connection.execute(newest).first()
        if guidelines and (last is None or last.text != guidelines):
            version = 1 if last is None else last.version + 1
            connection.execute(
                guideline.insert().values(project=settings.id, version=version, text=guidelines, created=now)
            )
