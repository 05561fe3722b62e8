"""What spammers cost the reward and a policy chosen by it, with every voice counted alike and with raters weighed.

    python benchmarks/spammers.py --model MODEL --data FOLDER --json spammers.json [--pairs 600]

The story recipe's own stages: pairs are sampled and labelled by ten simulated raters, of whom none or a share guesses,
and a reward model is learned. It is judged on answers to held-out prompts: its correlation with the hidden taste
(gold), and the gold score of the best of 16 by it, a policy as far from the base whatever was learned. All arms of a
seed see the same pairs and are judged on the same answers; intervals are over seeds (t).
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from tercih.data.tokenize import Tokenizer
from tercih.evaluation.best_of_n import best_of_n_estimate
from tercih.feedback.store import Store
from tercih.models.load import load_policy, load_reward_model
from tercih.recipes import stages, stories_ppo
from tercih.rewards import LearnedReward
from tercih.rollout.sampler import sample_items
from tercih.rollout.sampling import Sampling

BEST_OF, PROMPTS = 16, 250
ARMS = {"clean": (0.0, "majority"), "majority": (None, "majority"), "weighed": (None, "dawid_skene")}


def measure(given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """What came of every arm's labels."""
    recipe = stories_ppo.StoriesPPO(model=given.model, data=given.data, seed=seed)
    task, tokenizer, base = stories_ppo.task_of(recipe), Tokenizer.load(given.model), load_policy(given.model)
    feedback = replace(recipe.loop.feedback, pairs=given.pairs, heldout_pairs=1)
    sampling = Sampling(max_new_tokens=task.max_new_tokens, stop=task.stop, temperature=base.temperature)
    prompts = task.heldout[:PROMPTS]
    items = sample_items(base, tokenizer, prompts, sampling, samples=BEST_OF, seed=seed + 10**6, origin="base")
    gold_N = np.array([task.gold(item.prompt, str(item.completion)) for item in items])
    gold_PN = gold_N.reshape(len(prompts), -1)
    found: dict[str, Any] = {"seed": seed, "base": float(gold_N.mean())}
    found["gold itself"] = float(best_of_n_estimate(gold_PN, gold_PN, BEST_OF).mean())
    for name, (share, pool) in ARMS.items():
        raters = stories_ppo.raters_of(replace(recipe, spammers=given.spammers if share is None else share))
        settings = replace(feedback, pool=pool)
        with tempfile.TemporaryDirectory() as place, Store(Path(place) / "feedback.sqlite") as store:
            stages.ask(store, given.model, tokenizer, task, settings, seed)
            stages.label(store, task.gold, raters, settings, seed)
            folder = Path(place) / "reward"
            folder.mkdir()
            stages.learn_reward(folder, store, given.model, tokenizer, settings, recipe.loop.reward, seed)
            reward = LearnedReward(load_reward_model(folder), tokenizer)
            score_N = reward.score(items).reward_BC[:, 0].double().numpy()
        best = best_of_n_estimate(score_N.reshape(gold_PN.shape), gold_PN, BEST_OF).mean()
        found[name] = {"correlation": float(np.corrcoef(score_N, gold_N)[0, 1]), "gold": float(best)}
    return found


def interval(value_S: np.ndarray) -> str:
    mean, half = value_S.mean(), stats.sem(value_S) * stats.t.ppf(0.975, len(value_S) - 1)
    return f"{mean:.3f} [{mean - half:.3f}, {mean + half:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--spammers", type=float, default=0.3, help="the share of raters that guess")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(6)))
    given = parser.parse_args()
    rows = []
    for seed in given.seeds:
        rows.append(measure(given, seed))
        print(json.dumps(rows[-1]), flush=True)
        if given.json:
            given.json.write_text(
                json.dumps({"pairs": given.pairs, "spammers": given.spammers, "rows": rows}, indent=1)
            )
    print(f"\n| {given.pairs} pairs, {len(rows)} seeds | correlation with gold | gold of the best of {BEST_OF} |")
    print("|---|---|---|")
    for name in ARMS:
        told = (np.array([row[name][what] for row in rows]) for what in ("correlation", "gold"))
        print(f"| {name} | {' | '.join(map(interval, told))} |")
    for what, (a, b) in {"lost by majority": ("clean", "majority"), "won back": ("weighed", "majority")}.items():
        told = (np.array([row[a][x] - row[b][x] for row in rows]) for x in ("correlation", "gold"))
        print(f"| {what} | {' | '.join(map(interval, told))} |")


if __name__ == "__main__":
    main()
