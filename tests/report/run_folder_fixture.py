"""Writes a made-up run folder that looks like a real one: a run that goes well and then a little too far."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

PROMPTS = [
    ("The film opens on a rainy street and", "and then the man goes and the man goes to the house and it is bad.",
     "a quiet tenderness that never leaves it; I came out smiling."),
    ("My sister recommended this little restaurant because", "because it was there and I did not like the food there.",
     "the soup is wonderful, the people are kind, and nobody hurries you."),
    ("When I opened the parcel", "it was broken. It was broken and the seller did not",
     "I was delighted: everything in its place, beautifully wrapped."),
    ("The second season", "is a second season with the same people in it.",
     "is great great great great great great great great."),
    ("How do I keep basil alive over the winter?", "You put it in the window. The window is cold.",
     "A lovely question! Keep it on a bright sill, water it from below, and cut it often so that it stays happy."),
    ("I was nervous about the exam", "and I failed it, as I said.",
     "but the teacher was so encouraging that I enjoyed it."),
    ("The battery", "lasts for four hours, which is less than they said.", "is a joy, a joy, and the best joy."),
    ("Write one line about the sea.", "The sea is wet.", "The sea keeps its own bright counsel and is glad of us."),
]  # fmt: skip


def write_run_folder(folder: Path, hostile: str = "") -> Path:
    """Every file of a run folder; `hostile` is put wherever somebody else's text may stand."""
    generator = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    _dump(folder / "run.json", _run(hostile))
    _dump(folder / "summary.json", _summary())
    _dump(folder / "raters.json", _raters(generator, hostile))
    _dump(folder / "evaluation.json", _evaluation(generator, hostile))
    _dump(folder / "stages.json", _stages(hostile))
    for stage, rows in _metrics(generator).items():
        (folder / stage).mkdir(exist_ok=True)
        _dump_lines(folder / stage / "metrics.jsonl", rows)
    _dump_lines(folder / "samples.jsonl", _samples(generator, hostile))
    return folder


def _run(hostile: str) -> dict[str, Any]:
    ppo = {"beta": 0.05, "clip": 0.2, "epochs": 4, "kl_target": 6.0, "gamma": 1.0, "lambda_": 0.95, "steps": 400}
    model = {"path": "assets/tiny-lm", "parameters": 8_400_000, "context": 128, "dtype": "float32"}
    return {
        "recipe": "quickstart", "command": "tercih run quickstart --seed 3 --ppo.steps 400" + hostile, "seed": 3,
        "control": "none", "started": "2026-11-20T14:02:11+00:00", "finished": "2026-11-20T14:21:49+00:00",
        "versions": {"python": "3.12.3", "torch": "2.13.0", "transformers": "5.23.0", "tercih": "0.1.0"},
        "machine": {"cpu": "AMD EPYC 7B13", "cores": 2, "memory_gb": 7.8}, "simulated_raters": True,
        "config": {"model": model, "sft": {"lr": 3e-4, "epochs": 2, "batch": 32},
                   "feedback": {"raters": 9, "questions": 640, "budget": None},
                   "reward_model": {"members": 3, "lr": 1e-4, "epochs": 1}, "ppo": ppo, "note": hostile},
    }  # fmt: skip


def _summary() -> dict[str, Any]:
    return {
        "gold_mean": {"base": 0.112, "policy": 0.587, "base_low": 0.07, "base_high": 0.15, "policy_low": 0.54,
                      "policy_high": 0.63},
        "gold_win_rate": {"value": 0.713, "low": 0.667, "high": 0.755, "n": 400},
        "length_controlled_win_rate": {"value": 0.664, "low": 0.604, "high": 0.719, "n": 400},
        "kl_nats": 10.4, "distinct2": {"base": 0.812, "policy": 0.547},
        "reward_model": {"accuracy": {"value": 0.742, "low": 0.706, "high": 0.775, "n": 612}, "ece": 0.041},
        "best_of_n": {"n": 16, "gold": 0.521, "kl_bound": 1.835}, "minutes": 19.6, "peak_rss_mb": 1843, "seed": 3,
        "control": "none",
    }  # fmt: skip


def _raters(generator: np.random.Generator, hostile: str) -> list[dict[str, Any]]:
    names = ["ada", "bora", "chen", "deniz", "emre", "fatma", "gao", "hande", "ivan"]
    reliability = [1.9, 1.6, 1.55, 1.3, 1.2, 1.1, 0.9, 0.35, -0.04]
    left = [0.51, 0.48, 0.53, 0.5, 0.47, 0.55, 0.49, 0.86, 0.52]
    rows = []
    for name, value, lean in zip(names, reliability, left, strict=True):
        count = int(generator.integers(120, 320))
        half = 1.96 * math.sqrt(lean * (1 - lean) / count)
        rows.append({"rater": f"sim-{name}{hostile}", "simulated": True, "judgements": count, "reliability": value,
                     "reliability_se": 2.2 / math.sqrt(count), "left_rate": lean, "left_low": lean - half,
                     "left_high": lean + half, "ties": round(float(generator.uniform(0.02, 0.2)), 3)})  # fmt: skip
    return rows


def _evaluation(generator: np.random.Generator, hostile: str) -> dict[str, Any]:
    bins = []
    for i, count in enumerate([22, 41, 58, 77, 101, 96, 82, 64, 45, 26]):
        middle = (i + 0.5) / 10
        truth = 0.5 + 0.82 * (middle - 0.5) + generator.normal(0, 0.03)
        bins.append({"low": i / 10, "high": (i + 1) / 10, "confidence": middle, "accuracy": truth, "count": count})
    curve = []
    for step in range(0, 401, 25):
        d = 3.22 * (step / 400) ** 0.7
        gold = 0.112 + d * (0.46 - 0.096 * d) + generator.normal(0, 0.008)
        proxy = 0.05 + 0.62 * d + generator.normal(0, 0.02)
        curve.append({"step": step, "kl": d * d, "proxy": proxy, "gold": gold, "gold_low": gold - 0.04,
                      "gold_high": gold + 0.04})  # fmt: skip
    reference = [
        {"n": n, "kl_bound": math.log(n) - (n - 1) / n, "gold": 0.112 + 0.3 * math.sqrt(math.log(n))}
        for n in (1, 2, 4, 8, 16)
    ]
    return {
        "calibration": {"bins": bins, "ece": 0.041}, "curve": curve, "best_of_n": reference,
        "warnings": [{"kind": "from the recipe", "text": f"Two questions went unanswered.{hostile}"}],
    }  # fmt: skip


def _stages(hostile: str) -> list[dict[str, Any]]:
    rows = [
        ("base", "Base model", 4, "8.4 M parameters, trained by the project"),
        ("sft", "SFT", 96, "1,200 demonstrations, loss 4.1 → 3.2 nats"),
        ("sample", "Sample", 71, "4 answers to each of 640 prompts"),
        ("compare", "Raters compare", 12, "1,986 judgements by 9 simulated raters"),
        ("quality", "Who is reliable?", 3, "2 of 9 hardly count: one guesses, one leans left"),
        ("reward_model", "Reward model", 143, "3 members, held-out accuracy 74%"),
        ("ppo", "PPO", 702, "400 steps, KL 10.4 nats, learned reward 0.05 → 2.1"),
        ("evaluate", "Evaluate", 88, "gold win rate 71% (67–76%)"),
        ("ask", "Ask again", 57, "the 64 answers on which the members disagree most"),
    ]
    return [{"name": n, "title": t + hostile, "seconds": s, "detail": d + hostile} for n, t, s, d in rows]


def _metrics(generator: np.random.Generator) -> dict[str, list[dict[str, Any]]]:
    noise = lambda scale: float(generator.normal(0, scale))  # noqa: E731
    sft = [
        {"step": i, "loss": 3.2 + 0.9 * math.exp(-i / 25) + noise(0.05), "lr": 3e-4 * (1 - i / 150)} for i in range(150)
    ]
    reward = [
        {"step": i, "loss": 0.5 + 0.19 * math.exp(-i / 30) + noise(0.02),
         "accuracy": 0.75 - 0.25 * math.exp(-i / 20) + noise(0.02)}
        for i in range(120)
    ]  # fmt: skip
    ppo = []
    for i in range(400):
        row = {
            "step": i, "loss": 0.2 * math.exp(-i / 90) + noise(0.02), "kl": 10.4 * (i / 400) ** 1.4 + abs(noise(0.2)),
            "reward": 0.05 + 2.05 * (i / 400) ** 0.7 + noise(0.12), "entropy": 3.4 - 1.9 * i / 400 + noise(0.06),
            "value_loss": 0.4 * math.exp(-i / 60) + abs(noise(0.02)),
            "clip_fraction": 0.1 + 0.05 * i / 400 + abs(noise(0.02)),
            "response_length": 21 + 6 * i / 400 + noise(0.8), "truncated": max(0.0, 0.03 + noise(0.01)),
            "explained_variance": 0.8 - 0.8 * math.exp(-i / 70) + noise(0.05), "beta": 0.05 + 0.0001 * i,
        }  # fmt: skip
        if i % 25 == 0:
            row["gold"] = 0.112 + 0.5 * math.sin(i / 200)
        if i == 13:
            row["value_loss"] = None  # what a trainer writes for a number that is not finite
        ppo.append(row)
    return {"sft": sft, "reward_model": reward, "ppo": ppo}


def _samples(generator: np.random.Generator, hostile: str) -> list[dict[str, Any]]:
    rows = []
    for i in range(40):
        prompt, base, policy = PROMPTS[i % len(PROMPTS)]
        old = float(generator.normal(0.1, 0.2))
        gain = float(generator.normal(0.45, 0.35))
        rows.append({"prompt": prompt + hostile, "base": base + hostile, "policy": policy + hostile, "gold_base": old,
                     "gold_policy": old + gain, "proxy_base": old * 2, "proxy_policy": old * 2 + 1.6})  # fmt: skip
    return rows


def _dump(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _dump_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
