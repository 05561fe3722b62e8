"""How well a rule model knows rules on text: of answers it never saw, in wordings it knows of this rule, in one that it
knows of other rules alone, and in one that it never read.

    python benchmarks/rules.py --out FOLDER --json rules.json [--labels 6000] [--shuffled]

The base model that comes with the project is trained by `tercih train rule_model` on labels of the grammar task's
answers: whether they name a thing that a rule forbids. A program labels, and no person. Half of all answers break their
rule, and half of the others name another thing that is forbidden.
"""

import argparse
import json
import random
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from tercih.commands.train import train
from tercih.data.tokenize import Tokenizer
from tercih.environments.grammar import sample_texts
from tercih.models.load import load_reward_model
from tercih.records import Text
from tercih.rewards import LearnedReward, RuleReward

THINGS = ("clock", "piano", "fireplace", "fountain", "bookcase", "statue", "shelf", "desk", "bench", "gate")
NEVER, AVOID, LEAVE = "Never speak of the {}.", "Do not mention the {}.", "Leave the {} out of it."
ONLY_NEVER = THINGS[-3:]  # whose rule no label words otherwise
POOL, UNSEEN = 40_000, 8000  # texts; the last ones are for the measurement


def answers(seed: int) -> list[Text]:
    cut = [text.partition("\nHelper:") for text in sample_texts(seed, POOL)]
    return [Text(prompt=asked + mark, completion=said) for asked, mark, said in cut if said.strip()]


class Pool:
    """Answers by the things that they name."""

    def __init__(self, items: Sequence[Text], dice: random.Random) -> None:
        self.items, self.dice = items, dice
        self.naming = {thing: [item for item in items if breaks(item, thing)] for thing in THINGS}

    def drawn(self, thing: str, *, broken: bool) -> Text:
        """One that names the thing, or one that does not, of which half name another."""
        if broken:
            return self.dice.choice(self.naming[thing])
        others = [each for each in THINGS if each != thing]
        while True:
            item = self.dice.choice(self.dice.choice([self.items, self.naming[self.dice.choice(others)]]))
            if not breaks(item, thing):
                return item


def breaks(item: Text, thing: str) -> bool:
    return thing in str(item.completion)


def labels(pool: Pool, count: int, *, shuffled: bool) -> list[dict[str, Any]]:
    rows = []
    for number in range(count):
        thing, broken = pool.dice.choice(THINGS), number % 2 == 0
        item = pool.drawn(thing, broken=broken)
        rule = (NEVER if thing in ONLY_NEVER else pool.dice.choice([NEVER, AVOID])).format(thing)
        rows.append({"prompt": item.prompt, "completion": item.completion, "rule": rule, "broken": broken})
    if shuffled:
        said = [row["broken"] for row in rows]
        pool.dice.shuffle(said)
        rows = [row | {"broken": broken} for row, broken in zip(rows, said, strict=True)]
    return rows


def area(folder: Path, wording: str, thing: str, pool: Pool, each: int = 100) -> float:
    """The area under the ROC curve of one rule, from so many answers of either sort."""
    model, tokenizer = load_reward_model(folder), Tokenizer.load(folder)
    rule = RuleReward([LearnedReward(model, tokenizer, name="rule", rule=wording.format(thing))])
    broken, kept = (
        rule.score([pool.drawn(thing, broken=so) for _ in range(each)]).reward_BC[:, 0] for so in (True, False)
    )
    apart = kept[:, None] - broken[None, :]
    return float((torch.sign(apart) / 2 + 0.5).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--labels", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shuffled", action="store_true", help="the negative control: labels change places")
    given = parser.parse_args()
    items, dice = answers(given.seed), random.Random(given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    rows = labels(Pool(items[:-UNSEEN], dice), given.labels, shuffled=given.shuffled)
    data = given.out / "labels.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = resources.files("tercih") / "assets" / "base"
    train(
        ["rule_model", "--model", str(base), "--data", str(data), "--out", str(given.out / "rules"), "--rows", "32",
         "--epochs", str(given.epochs), "--optimisation.lr", "1e-3", "--seed", str(given.seed)]
    )  # fmt: skip
    unseen, folder = Pool(items[-UNSEEN:], dice), given.out / "rules" / "model"
    known = [thing for thing in THINGS if thing not in ONLY_NEVER]
    asked: dict[str, tuple[str, Sequence[str]]] = {
        "known wording": (NEVER, THINGS),
        "second wording, known of this rule": (AVOID, known),
        "second wording, known of other rules": (AVOID, ONLY_NEVER),
        "a wording never read": (LEAVE, THINGS),
    }
    found = {
        name: {thing: area(folder, wording, thing, unseen) for thing in things}
        for name, (wording, things) in asked.items()
    }
    print("| AUC on unseen answers | mean over rules | worst rule |\n|---|---|---|")
    for name, areas in found.items():
        print(f"| {name} | {mean(areas.values()):.3f} | {min(areas.values()):.3f} |")
    if given.json:
        about = {"labels": given.labels, "epochs": given.epochs, "seed": given.seed, "shuffled": given.shuffled}
        given.json.write_text(json.dumps(about | {"auc": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
