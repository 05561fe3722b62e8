"""What the report of a control run reads, `evaluation/control.json` and pictures beside it: how good the agent was
along its training and what the learned reward says of it, what was asked and answered, and a film.

Everything is made from what lies in the run folder, so that it can be made again.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tercih.agents.clip_steps import clip_steps
from tercih.agents.evaluate import Act, episodes
from tercih.agents.milestones import load_weights, milestones
from tercih.data.steps import Steps, StepsError, read_steps, write_steps
from tercih.environments.control import Array, ControlError
from tercih.environments.worlds import Worlds
from tercih.evaluation.intervals import correlation
from tercih.feedback.store import Store
from tercih.progress import Progress
from tercih.recipes.control_loop import ControlTask
from tercih.rewards.steps import StepReward
from tercih.worker.clip import film
from tercih.worker.stills import stills

EPISODES = 8  # at each milestone, beginning alike
CLIPS = 40  # of each milestone's episodes, for the scatter
ROWS, FRAMES = 5, 6  # milestones that are shown, pictures of each
ASKED, SIDES = 4, 3  # questions that are shown, pictures of each of their clips


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Episodes:
    """One milestone's unseen episodes: returns, true and predicted, those of clips, and a moment to show."""

    true_N: NDArray[np.float64]
    predicted_N: NDArray[np.float64]
    clips: list[dict[str, float]]
    moment: Steps


def evaluate_training(
    run: Path, stage: Path, task: ControlTask, agent: Any, reward: StepReward | None, *, rollouts: int, steps: int,
    clip: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """The agent of every milestone of `run`/policy on the same unseen episodes; the film goes to `stage`.

    `rollouts` and `steps` of the environment are what the whole training has; `reward` is what was learned in the end.
    `agent` is left as it was in the end.
    """
    rows: list[dict[str, Any]] = []
    scatter: list[dict[str, float]] = []
    moments = []
    kept = milestones(run / "policy")
    with Progress("looking back", total=len(kept)) as progress:
        for done, weights in kept:
            load_weights(weights, agent)
            found = _play(task, agent.likeliest, reward, clip, seed, done)
            share = done / rollouts
            rows.append({
                "share": share, "steps": round(share * steps), "true": found.true_N.tolist(),
                "predicted": found.predicted_N.tolist(),
            })  # fmt: skip
            scatter += [{"milestone": share, **each} for each in found.clips]
            moments.append((share, round(share * steps), found.moment))
            progress.advance()
    return {"milestones": rows, "clips": scatter, "clip": clip, "correlation": _correlations(rows, scatter, seed)} | (
        _film(stage, moments)
    )


def _play(task: ControlTask, act: Act, reward: StepReward | None, clip: int, seed: int, done: int) -> Episodes:
    with task.worlds(EPISODES, seed=20_000 + seed) as worlds:
        worlds.reset()
        began = worlds.state_dict()
        rollout, length_N = episodes(act, worlds)
        over_NT = np.arange(len(rollout["reward"]))[None] >= np.array(length_N)[:, None]
        true_TN = np.where(over_NT.T, 0.0, rollout["reward"])
        predicted_TN = None if reward is None else reward(*(rollout[n] for n in ("observation", "action", "following")))
        if predicted_TN is not None:
            predicted_TN = np.where(over_NT.T, 0.0, predicted_TN)
        clips = _clips(true_TN, predicted_TN, length_N, clip, np.random.default_rng((seed, done)))
        return Episodes(
            true_N=true_TN.sum(0),
            predicted_N=np.zeros(0) if predicted_TN is None else predicted_TN.sum(0),
            clips=clips,
            moment=_moment(worlds, began, rollout, length_N[0]),
        )


def _clips(
    true_TN: Array, predicted_TN: Array | None, length_N: Sequence[int], clip: int, dice: np.random.Generator
) -> list[dict[str, float]]:
    """Of clips that do not overlap, CLIPS at most, which episode they are of, and what they earn."""
    places = [(n, t) for n, length in enumerate(length_N) for t in range(0, length - clip + 1, clip)]
    if predicted_TN is None or not places:
        return []
    drawn = sorted(dice.choice(len(places), size=min(CLIPS, len(places)), replace=False).tolist())
    return [
        {
            "episode": float(n),
            "true": float(true_TN[t : t + clip, n].sum()),
            "predicted": float(predicted_TN[t : t + clip, n].sum()),
        }
        for n, t in (places[i] for i in drawn)
    ]


def _moment(worlds: Worlds, began: Mapping[str, Any], rollout: Mapping[str, Array], length: int) -> Steps:
    """The middle three seconds of the first episode: nobody chose them."""
    shown = min(length, max(1, round(3 * worlds.rate)))
    return clip_steps(worlds, began, rollout, 0, (length - shown) // 2, shown)


def _correlations(rows: list[dict[str, Any]], scatter: list[dict[str, float]], seed: int) -> dict[str, Any]:
    """Of true with predicted, over clips and over whole episodes; episodes that begin alike are drawn together."""
    points = [(*pair, n) for row in rows for n, pair in enumerate(zip(row["true"], row["predicted"], strict=False))]
    true, predicted, groups = zip(*points, strict=True) if points else ((), (), ())
    of = {
        "clips": correlation(
            [each["true"] for each in scatter], [each["predicted"] for each in scatter],
            [each["episode"] for each in scatter], seed,
        ),
        "episodes": correlation(true, predicted, groups, seed),
    }  # fmt: skip
    return {name: found.as_dict() for name, found in of.items() if found}


def _film(stage: Path, moments: Sequence[tuple[float, int, Steps]]) -> dict[str, Any]:
    """Pictures of a few milestones and a video of the last one, as far as the environment can be drawn."""
    drawn, strip = "", []
    chosen = sorted({round(i) for i in np.linspace(0, len(moments) - 1, ROWS)})
    try:
        with Progress("drawing", total=len(chosen) + 1) as progress:
            for share, steps, moment in (moments[i] for i in chosen):
                pictures, drawn = stills(moment, FRAMES)
                names = _write(stage, f"strip-{round(100 * share):03d}", pictures)
                strip.append({"share": share, "steps": steps, "frames": names})
                progress.advance()
            write_steps(stage / "last.npz", moments[-1][2])
            (stage / "last.mp4").unlink(missing_ok=True)  # of a session that was stopped
            film(stage, "last.npz", "last.mp4")
            progress.advance()
    except ControlError as error:
        return {"strip": strip, "not_drawn": str(error)}
    return {"strip": strip, "video": "last.mp4", "seconds": len(moments[-1][2]) / moments[-1][2].rate, "drawn": drawn}


def describe_feedback(
    stage: Path, store: Store, run: str, clips: Path, *, rollouts: int, due: Sequence[int], simulated: bool
) -> dict[str, Any]:
    """What was asked of whom and when, how long it took, and a few questions with their answers.

    `due` is how many questions the schedule wanted by each rollout.
    """
    questions, answers = store.questions(run), store.comparisons(run)
    said = {frozenset(answer.pair): answer for answer in answers}
    asked = Counter(question.sampler for question in questions)
    answered = Counter(answer.sampler for answer in answers)
    ties = Counter(answer.sampler for answer in answers if answer.answer == "tie")
    seconds = sorted(answer.seconds for answer in answers if answer.seconds is not None)
    by_step = Counter(question.step for question in questions)
    total, steps = 0, []
    for step in sorted(by_step):
        total += by_step[step]
        steps.append([step / max(1, rollouts - 1), total])
    told = [each for each in questions if frozenset(item.id for item in each.items) in said]
    shown = [told[i] for i in sorted({round(i) for i in np.linspace(0, len(told) - 1, ASKED)})] if told else []
    return {
        "simulated": simulated,
        "asked": [
            {"sampler": name, "asked": asked[name], "answered": answered[name], "ties": ties[name]}
            for name in sorted(asked)
        ],
        "seconds": _quartiles(seconds),
        "asked_by": steps,
        "due_by": [[at / max(1, rollouts - 1), count] for at, count in enumerate(due)],
        "questions": [
            _shown(stage, clips, at, question, said[frozenset(item.id for item in question.items)])
            for at, question in enumerate(shown)
        ],
    }  # fmt: skip


def _quartiles(seconds: Sequence[float]) -> dict[str, float] | None:
    if len(seconds) < 2:
        return None
    low, middle, high = statistics.quantiles(seconds, n=4)
    return {"median": middle, "low": low, "high": high, "n": len(seconds)}


def _shown(stage: Path, clips: Path, at: int, question: Any, answer: Any) -> dict[str, Any]:
    sides = []
    for name, item in zip("ab", question.items, strict=True):
        better = {"a": answer.a.id, "b": answer.b.id, "tie": ""}[answer.answer]
        side: dict[str, Any] = {"better": item.id == better}
        try:
            steps = read_steps(clips / item.steps)
            side["own"] = float(steps.rewards.sum())
            side["frames"] = _write(stage, f"asked-{at}-{name}", stills(steps, SIDES)[0])
        except (ControlError, StepsError) as error:
            side["not_drawn"] = str(error)
        sides.append(side)
    return {"sampler": question.sampler, "step": question.step, "tie": answer.answer == "tie", "sides": sides}


def _write(stage: Path, name: str, pictures: Sequence[bytes]) -> list[str]:
    names = [f"{name}-{i}.jpg" for i in range(len(pictures))]
    for each, content in zip(names, pictures, strict=True):
        (stage / each).write_bytes(content)
    return names
