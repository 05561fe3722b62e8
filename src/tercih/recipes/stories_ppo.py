"""The loop on real text: a small pre-trained story teller learns from simulated raters to tell cheerful stories.

Prompts are openings of TinyStories. The raters' hidden taste is VADER's compound score of the completion; they answer
with Bradley-Terry noise, one of them guesses and one leans to the left. The policy sees a reward model, never the gold.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tercih.data.tokenize import Tokenizer
from tercih.doctor.inspection import Inspection
from tercih.environments import stories
from tercih.environments.text import Split, TextTask
from tercih.feedback.simulated import PREFIX, Control, SimulatedRater
from tercih.recipes.evaluate import EvaluationSettings
from tercih.recipes.loop import LoopSettings, check_ask, close_the_loop, inspect_loop, panel_of, settings_of
from tercih.recipes.stages import FeedbackSettings, PolicySettings, RewardSettings
from tercih.run import Run

RATERS: tuple[SimulatedRater, ...] = (
    SimulatedRater(name=PREFIX + "expert", temperature=0.1),
    SimulatedRater(name=PREFIX + "careful", temperature=0.15),
    SimulatedRater(name=PREFIX + "steady", temperature=0.2),
    SimulatedRater(name=PREFIX + "hasty", temperature=0.4, lapse=0.05),
    SimulatedRater(name=PREFIX + "leans-left", temperature=0.2, left_bias=1.5),
    SimulatedRater(name=PREFIX + "spammer", lapse=1.0),
)
"""Temperatures in units of the compound score, whose standard deviation over the base's stories is about 0.43."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoriesPPO:
    """Cheerful stories by PPO on a reward model of simulated raters."""

    model: str
    """Folder or Hub name of a story model, such as karpathy/tinyllamas' stories260K in Hugging Face format."""
    out: Path = Path("runs/stories_ppo")
    """Run folder; the same command on the same folder goes on where it was."""
    seed: int = 0
    control: Control = "none"
    """"shuffled-labels" is the negative control: nothing can then be learned from the raters."""
    ask: str = ""
    """Address of a labelling server whose raters are asked in place of simulated ones: --ask http://127.0.0.1:8000. Its
    API key is read from the environment variable TERCIH_API_KEY."""
    ask_enough: float = 1.0
    """The share of the answers wanted from people after which the run goes on."""
    spammers: float | None = None
    """Share of ten raters who guess, 0 for none, to see what weighing is worth; without, the usual six are asked, of
    whom one guesses."""
    data: Path = Path(os.environ.get("TERCIH_DATA", "../shared/data")) / "text" / "tinystories"
    """A TinyStories file or a folder of them."""
    cluster: str = ""
    """A Ray cluster whose workers sample while the policy learns here: "local" starts one on this machine, "auto" joins
    the one it is part of."""
    workers: int = 2
    """How many rollout workers there are on the cluster."""
    tiny: bool = False
    """A minute's version of everything, to see that it runs."""
    loop: LoopSettings = LoopSettings(
        feedback=FeedbackSettings(pairs=3000, votes=3, heldout_pairs=400),
        reward=RewardSettings(),
        policy=PolicySettings(),
        evaluation=EvaluationSettings(),
    )


def raters_of(config: StoriesPPO) -> Sequence[SimulatedRater]:
    """The usual six, or ten of whom a share guesses and the others are the usual five in turn."""
    if config.spammers is None:
        return RATERS
    if not 0 <= config.spammers < 1:
        raise ValueError(f"--spammers is a share in [0, 1), got {config.spammers}")
    guessing = round(10 * config.spammers)
    honest = [replace(RATERS[i % 5], name=f"{RATERS[i % 5].name}-{i // 5 + 1}") for i in range(10 - guessing)]
    return [*honest, *(SimulatedRater(name=f"{PREFIX}spammer-{i + 1}", lapse=1.0) for i in range(guessing))]


def task_of(config: StoriesPPO) -> TextTask:
    split = Split(seed=config.seed, heldout=500)
    return stories.task(config.data, split, max_new_tokens=16 if config.tiny else 64)


def sampled_on(config: StoriesPPO, settings: LoopSettings) -> LoopSettings:
    """The same loop, whose policy's rollouts come from the cluster where one is named."""
    if not config.cluster:
        if config.workers != 2:
            raise ValueError("--workers has no effect without --cluster; leave it out")
        return settings
    engine = replace(settings.policy.engine, cluster=config.cluster, workers=config.workers)
    return replace(settings, policy=replace(settings.policy, engine=engine))


def inspect(config: StoriesPPO) -> Inspection:
    """What the run is going to use, for `tercih doctor`."""
    return inspect_loop(config.model, task_of(config), settings_of(config))


def main(config: StoriesPPO) -> dict[str, object]:
    check_ask(config)
    settings, simulated = sampled_on(config, settings_of(config)), raters_of(config)
    Tokenizer.load(config.model)  # a model that cannot be used is said before anything is written
    task = task_of(config)
    run = Run(
        config.out, "stories_ppo", config, seed=config.seed, control=config.control, simulated_raters=not config.ask
    )
    raters = panel_of(config, run, simulated, settings.feedback.votes)
    return close_the_loop(run, config.model, task, raters, settings, seed=config.seed, control=config.control)
