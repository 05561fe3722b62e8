"""Every method that trains a policy on the stories task, from the same simulated judgements of the same answers.

The raters, pairs, consensus and reward model are those of `stories_ppo`. Methods that learn from pairs, orders (of two)
or thumbs, or imitate good answers, read the consensus; those that sample learn from the reward model. Settings are the
methods' defaults and were not tuned, except that a `kl_coef` is 0.25, as in `stories_ppo`.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from tercih.algorithms import METHODS
from tercih.data import collate
from tercih.data.offline import Offline
from tercih.data.tokenize import Tokenizer
from tercih.environments import stories
from tercih.environments.text import Split, TextTask
from tercih.evaluation.intervals import bootstrap_mean
from tercih.evaluation.win_rate import win_rate
from tercih.feedback.simulated import Control
from tercih.feedback.store import Store
from tercih.forward import Models
from tercih.method import Method, stands_alone
from tercih.models.language_model import Reference
from tercih.models.load import load_policy, save_model
from tercih.optimisation import Optimisation
from tercih.progress import console
from tercih.recipes import stages
from tercih.recipes.evaluate import gold_of, kl_per_response
from tercih.recipes.loop import TINY
from tercih.recipes.stories_ppo import RATERS
from tercih.records import Consensus, Demonstration, Ranking, Rating, Text
from tercih.rollout.sampler import sample_items
from tercih.rollout.sampling import Sampling
from tercih.run import Run, read_json, write_json
from tercih.train import fit

KL_COEF = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class StoriesMethods:
    """All methods side by side on cheerful stories."""

    model: str
    """Folder or Hub name of a story model, such as karpathy/tinyllamas' stories260K in Hugging Face format."""
    out: Path = Path("runs/stories_methods")
    """Run folder; the same command on the same folder goes on where it was."""
    methods: tuple[str, ...] = ()
    """Which of them; all that need nothing beside a policy and these data if none is named."""
    seed: int = 0
    control: Control = "none"
    """"shuffled-labels" is the negative control: nothing can then be learned from the raters."""
    data: Path = Path(os.environ.get("TERCIH_DATA", "../shared/data")) / "text" / "tinystories"
    """A TinyStories file or a folder of them."""
    tiny: bool = False
    """A minute's version of everything, to see that it runs."""
    pairs: int = 3000
    """Pairs of answers that three raters each compare."""
    rows: int = 64
    """Records in a step of the methods that read them; one epoch."""
    steps: int = 30
    """Rollouts of the methods that sample."""
    responses: int = 256
    """Responses in a rollout."""
    prompts: int = 300
    """Unseen prompts of the evaluation."""
    lr: float = 2e-4


def configured(name: str) -> Method:
    method = METHODS[name]
    known = {field.name for field in fields(method)}  # type: ignore[arg-type]
    return method(**({"kl_coef": KL_COEF} if "kl_coef" in known else {}))


def sized(config: StoriesMethods) -> StoriesMethods:
    able = [name for name, method in METHODS.items() if method.trains == "policy" and stands_alone(configured(name))]
    if unknown := set(config.methods) - set(able):
        raise ValueError(f"--methods: {', '.join(sorted(unknown))} is none of them; there are {', '.join(able)}")
    config = replace(config, methods=config.methods or tuple(able))
    return replace(config, pairs=96, rows=32, steps=2, responses=16, prompts=24) if config.tiny else config


def said(beliefs: Sequence[Consensus], learns_from: str) -> list[Any]:
    """What a method reads of the consensus; collate makes thumbs of the pairs themselves. A score is how much better
    than even the chance of the answer was."""
    if learns_from in ("pairs", "thumbs"):
        return list(beliefs)
    if learns_from == "scored":
        return [
            Rating(item=item, score=chance - 0.5, rater="consensus", low=-0.5, high=0.5)
            for b in beliefs
            for item, chance in ((b.a, b.p_a), (b.b, b.p_b))
        ]
    ordered = [(b.a, b.b) if b.p_a >= b.p_b else (b.b, b.a) for b in beliefs]
    if learns_from == "rankings":
        return [Ranking(items=items, order=(0, 1), rater="consensus") for items in ordered]
    return [Demonstration(item=best) for best, _ in ordered if isinstance(best, Text)]


def train(folder: Path, name: str, config: StoriesMethods, task: TextTask, tokenizer: Tokenizer, reward: Path,
          beliefs: Sequence[Consensus]) -> str:  # fmt: skip
    method, optimisation = configured(name), Optimisation(lr=config.lr, eps=1e-5, warmup=0.1)
    began = time.monotonic()
    if method.learns_from == "rollouts":
        samples = 4 if method.needs_groups else 1
        settings = stages.RolloutSettings(
            method=method, steps=config.steps, prompts_per_step=config.responses // samples, samples=samples,
            optimisation=optimisation,
        )  # fmt: skip
        stages.optimise_policy(folder, config.model, reward, tokenizer, task, settings, config.seed)
    else:
        policy = load_policy(config.model, value="shared" if method.needs_values else None)
        make = getattr(collate, method.learns_from)
        data = Offline(
            records=said(beliefs, method.learns_from), collate=lambda rows: make(rows, tokenizer, policy.context),
            size=config.rows, seed=config.seed,
        )  # fmt: skip
        models = Models(policy=policy, reference=Reference(policy))
        fit(method, models, data, optimisation, folder, title=name)
        save_model(policy, tokenizer.hf, folder)
    seconds = time.monotonic() - began
    measured = evaluate(folder, config, task, tokenizer)
    about = {"method": name, "learns_from": method.learns_from, "seconds": seconds}
    write_json(folder / "measured.json", about | measured)
    return f"gold {measured['gold']['value']:.3f} at {measured['kl']['value']:.2f} nats"


def evaluate(folder: Path, config: StoriesMethods, task: TextTask, tokenizer: Tokenizer) -> dict[str, Any]:
    """Gold of unseen prompts, how often it is above the base's, and the distance from it."""
    base, policy = load_policy(config.model), load_policy(folder)
    prompts = task.heldout[: config.prompts]
    sampling = Sampling(max_new_tokens=task.max_new_tokens, stop=task.stop, temperature=policy.temperature)
    theirs = sample_items(base, tokenizer, prompts, sampling, seed=config.seed + 1_000_001, origin="base")
    ours = sample_items(policy, tokenizer, prompts, sampling, seed=config.seed + 1_000_002, origin="policy")
    gold, before = gold_of(task.gold, ours), gold_of(task.gold, theirs)
    return {
        "gold": bootstrap_mean(gold, seed=0).as_dict(),
        "base": bootstrap_mean(before, seed=0).as_dict(),
        "wins": win_rate(gold, before).as_dict(),
        "kl": kl_per_response(policy, base, ours, tokenizer).as_dict(),
    }


def main(config: StoriesMethods) -> dict[str, Any]:
    config = sized(config)
    tokenizer = Tokenizer.load(config.model)
    task = stories.task(config.data, Split(seed=config.seed, heldout=500), max_new_tokens=16 if config.tiny else 64)
    run = Run(config.out, "stories_methods", config, seed=config.seed, control=config.control, simulated_raters=True)
    feedback = stages.FeedbackSettings(pairs=config.pairs, heldout_pairs=min(400, config.pairs // 4))
    learning = TINY.reward if config.tiny else stages.RewardSettings()
    with Store(run.folder / "feedback.sqlite") as store:
        run.stage("pairs", "Sample pairs", lambda _: stages.ask(
            store, config.model, tokenizer, task, feedback, config.seed
        ))  # fmt: skip
        run.stage("labels", "Ask the raters (simulated)", lambda _: stages.label(
            store, task.gold, RATERS, feedback, config.seed, config.control
        ))  # fmt: skip
        reward = run.stage("reward_model", "Learn the reward", lambda folder: stages.learn_reward(
            folder, store, config.model, tokenizer, feedback, learning, config.seed
        ))  # fmt: skip
        beliefs, _ = stages.consensus(store, feedback, config.seed)
    rows = []
    for name in config.methods:
        work = partial(train, name=name, config=config, task=task, tokenizer=tokenizer, reward=reward, beliefs=beliefs)
        rows.append(read_json(run.stage(name, name, work) / "measured.json"))
    rows.sort(key=lambda row: -row["gold"]["value"])
    summary = {"rows": rows, "seed": config.seed, "control": config.control, "minutes": round(run.minutes, 2)}
    write_json(run.folder / "summary.json", summary)
    run.finish()
    console.rule("[bold]What came out", align="left")
    for row in rows:
        gold, wins, far = (row[name] for name in ("gold", "wins", "kl"))
        console.print(
            f"{row['method']:16} gold {gold['value']:.3f} [{gold['low']:.3f}, {gold['high']:.3f}], preferred to the"
            f" base on {100 * wins['value']:.0f} %, {far['value']:.2f} nats, {row['seconds']:.0f} s"
        )
    return summary
