"""What to ask next in a project: an ensemble of reward models scores its open pairs, and the chosen ones come first.

The active arm is kept only while the labels say that it saves any (`feedback/trial.py`); the row "savings" of the `fit`
table says how it stands, for the lead's page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from tercih.data.collate import collate, encode
from tercih.data.tokenize import Tokenizer
from tercih.feedback.acquisition import RANDOM, Floats, Ints, bald, choose, d_optimal, double_thompson, variance
from tercih.feedback.fits import last_change, write_fit
from tercih.feedback.jobs import Job
from tercih.feedback.linear import compress
from tercih.feedback.projects import Project, ProjectError, load_project
from tercih.feedback.trial import Trial, trial
from tercih.models.load import load_reward_model
from tercih.models.reward_model import RewardModel
from tercih.records import Text
from tercih.worker.bench import Bench, Refused, project_of
from tercih.worker.pool import Pool, count_waiting, read_pool, write_choice

ROWS = 64  # of one forward


def scores(bench: Bench, job: Job) -> dict[str, Any]:
    """Fill the front of the queue up to the `ahead` chosen questions of the project's settings, once half of them have
    been seen.

    Refused where its rule compares members and there is one model alone.
    """
    name = project_of(job)
    try:
        settings = load_project(bench.database, name)
    except ProjectError as error:
        raise Refused(str(error)) from None
    if settings.rule != "d_optimal" and len(bench.models) < 2:
        raise Refused(f"{settings.rule} compares independent reward models; give two or more with --model")
    version = last_change(bench.database, name)
    waiting = count_waiting(bench.database, name)
    if 2 * waiting > settings.ahead:
        return {"chosen": 0, "waiting": waiting}
    pool, wanted = read_pool(bench.database, name, settings.rule), settings.ahead - waiting
    if not pool.open_pairs:
        return {"chosen": 0, "waiting": waiting}
    items = {text.id: text for pair in (*pool.open_pairs.values(), *pool.answered.values()) for text in pair}
    feature_BD, score_MB = judge(bench.models, list(items.values()))
    place = {key: index for index, key in enumerate(items)}
    open_N2, known_N2 = (_places(pairs, place) for pairs in (pool.open_pairs, pool.answered))
    stands = _trial(feature_BD, known_N2, pool)
    pays = stands is None or stands.pays
    rng = np.random.default_rng((bench.seed, job.id))
    score_N = _score(settings, feature_BD, score_MB, open_N2, known_N2, wanted, rng)
    share = settings.random_share if pays else 1.0
    chosen = choose(score_N, wanted, share, rng, sampler=settings.rule)
    moved = write_choice(bench.database, list(pool.open_pairs), score_N, chosen, settings.rule, version)
    by_chance = sum(each.sampler == RANDOM for each in chosen)
    said = {"active": pays and share < 1, "rule": settings.rule, "random_share": share, "why": _why(settings, stands)}
    write_fit(bench.database, name, "savings", version, said | ({} if stands is None else asdict(stands)))
    return {"chosen": moved, "random": by_chance, "waiting": waiting + moved, **said}


def _score(
    settings: Project,
    feature_BD: Floats,
    score_MB: Floats,
    open_N2: Ints,
    known_N2: Ints,
    count: int,
    rng: np.random.Generator,
) -> Floats:
    """Scores [N] of the open pairs. D-optimal's are places: 0 the first, −∞ all beyond `count`."""
    difference_MN = score_MB[:, open_N2[:, 0]] - score_MB[:, open_N2[:, 1]]
    if settings.rule == "bald":
        return bald(expit(difference_MN))
    if settings.rule == "variance":
        return variance(difference_MN)
    if settings.rule == "double_thompson":
        return double_thompson(score_MB, open_N2, rng)
    both_N2 = np.concatenate([open_N2, known_N2])
    phi_ND = compress(feature_BD[both_N2[:, 0]] - feature_BD[both_N2[:, 1]], most=256)
    p_N = expit(score_MB[:, both_N2[:, 0]] - score_MB[:, both_N2[:, 1]]).mean(axis=0)
    open_ND, known_ND = phi_ND[: len(open_N2)], phi_ND[len(open_N2) :] * _spread(p_N)[len(open_N2) :, None]
    order = d_optimal(open_ND, p_N[: len(open_N2)], min(count, len(open_N2)), known_DD=known_ND.T @ known_ND)
    score_N = np.full(len(open_N2), -np.inf)
    score_N[order] = -np.arange(len(order), dtype=np.float64)
    return score_N


def _spread(p_N: Floats) -> Floats:
    return np.asarray(np.sqrt(p_N * (1 - p_N)))


def _trial(feature_BD: Floats, known_N2: Ints, pool: Pool) -> Trial | None:
    if not len(known_N2):
        return None
    return trial(feature_BD[known_N2[:, 0]] - feature_BD[known_N2[:, 1]], pool.target_N, pool.active_N)


def _why(settings: Project, stands: Trial | None) -> str:
    """A key of the page's words."""
    if settings.random_share == 1:
        return "random"
    if stands is None:
        return "early"
    if stands.final:
        return "saves" if stands.pays else "unsure"
    return "trial" if stands.pays else "behind"


def _places(pairs: Mapping[str, tuple[Text, Text]], place: Mapping[str, int]) -> Ints:
    return np.array([[place[a.id], place[b.id]] for a, b in pairs.values()], dtype=np.int64).reshape(-1, 2)


@torch.inference_mode()
def judge(folders: Sequence[Path], items: Sequence[Text]) -> tuple[Floats, Floats]:
    """Last-layer features [B, D] of the first model, and every model's scores [M, B]."""
    features: list[torch.Tensor] = []
    rows: list[list[float]] = []
    for member, folder in enumerate(folders):
        model, tokenizer = _loaded(folder)
        device = next(model.parameters()).device
        encoded = [encode(item, tokenizer, model.context) for item in items]
        order = sorted(range(len(items)), key=lambda i: len(encoded[i].prompt) + len(encoded[i].response))
        score_B = [0.0] * len(items)
        hidden: list[torch.Tensor] = [torch.empty(0)] * len(items)
        for start in range(0, len(order), ROWS):
            part = order[start : start + ROWS]
            hidden_BD = model.features(collate([encoded[i] for i in part]).to(device))
            for i, h_D, value in zip(part, hidden_BD, model.score(hidden_BD).tolist(), strict=True):
                hidden[i], score_B[i] = h_D.double().cpu(), value
        rows.append(score_B)
        if member == 0:
            features = hidden
    return torch.stack(features).numpy(), np.array(rows)


@lru_cache(maxsize=16)
def _loaded(folder: Path) -> tuple[RewardModel, Tokenizer]:
    return load_reward_model(folder).eval(), Tokenizer.load(folder)
