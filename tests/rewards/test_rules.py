"""Labels of single rules: read, put beside prompts, trained on, and what they come to as a reward."""

import json
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch

from commands.workshop import DATA, tercih, write_model, write_rows
from feedback.exchange.shop import question, text
from small import byte_pairs, causal, random_thumbs
from tercih.algorithms.rule_model import RuleModel, chance_broken
from tercih.commands.judges import JudgeOptions, rules_of
from tercih.config import ConfigError
from tercih.data import collate
from tercih.data.tokenize import ContextError, Tokenizer
from tercih.feedback.database import Database
from tercih.feedback.exchange import formats
from tercih.feedback.exchange.export import rows
from tercih.feedback.exchange.load import load as take_in
from tercih.feedback.exchange.put import Asked, Given, put
from tercih.feedback.projects import Project, make_project
from tercih.models.reward_model import RewardModel
from tercih.records import RuleLabel, Text
from tercih.rewards import LearnedReward, RuleReward, Scores
from tercih.sources import SourceError, load

ROW = {"prompt": "what is a", "completion": " bad", "rule": "No bad words.", "broken": True}
RULES = {"no_bad": "no bad", "no_good": "no good"}


def test_a_loss_by_hand() -> None:
    """Scores of 0 cost log 2 each, whatever was said; a score of log 3 says that a rule is kept three times in four."""
    batch = random_thumbs([2, 1])
    scorer = RewardModel(causal())
    torch.nn.init.zeros_(scorer.score_head.weight)
    term = RuleModel().loss(scorer, batch).terms["cross_entropy"]
    assert float(term.sum.detach()) == pytest.approx(float(batch.weight_B.sum()) * log(2))
    assert chance_broken(torch.tensor([0.0, log(3.0)])).tolist() == pytest.approx([0.5, 0.25])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (True, (True, True)),
        (0, (False, True)),
        ("yes", (True, True)),
        ("no", (False, True)),
        ("unsure", (False, False)),
    ],
)
def test_rows_with_a_rule_are_labels_of_it(tmp_path: Path, said: Any, expected: tuple[bool, bool]) -> None:
    (record,) = load(str(write_rows(tmp_path / "r.jsonl", [ROW | {"broken": said, "rater": "ann", "topic": "x"}])))
    assert isinstance(record, RuleLabel)
    assert (record.rule, record.rater, record.item.columns) == ("No bad words.", "ann", {"topic": "x"})
    assert (record.broken, record.certain) == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"broken": "perhaps"}, r"row 1: broken must be true \(or yes\), false \(or no\) or unsure, got 'perhaps'"),
        ({"broken": 0.5}, "broken must be true"),
        ({"broken": [True]}, "broken must be true"),
        ({"rule": " "}, "rule must be the text of a rule"),
        ({"rule": None}, "column 'rule' is missing or null"),
        ({"completion": None}, "neither a completion"),
    ],
)
def test_labels_that_cannot_be(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        load(str(write_rows(tmp_path / "r.jsonl", [ROW | change])))


def labels(*rules: str, broken: bool = True, certain: bool = True) -> list[RuleLabel]:
    item = Text(prompt="what is a", completion=" bad")
    return [RuleLabel(item=item, rule=rule, broken=broken, certain=certain, rater="ann") for rule in rules]


def test_a_rule_stands_before_the_prompt_and_the_answer_stays_as_it_was() -> None:
    tokenizer = Tokenizer(byte_pairs())
    batch = collate.rule_labels(labels("Be kind.", "Be brief."), tokenizer, 200)
    alone = collate.encode(labels("")[0].item, tokenizer, 200)
    tokens = batch.tokens
    prompts = [ids[:n] for ids, n in zip(tokens.prompt_ids_PS.tolist(), tokens.prompt_len_P.tolist(), strict=True)]
    assert [tokenizer.decode(each) for each in prompts] == ["Be kind.\nwhat is a", "Be brief.\nwhat is a"]
    assert tokens.response_ids_BT.tolist() == [list(alone.response)] * 2
    assert batch.good_B.tolist() == [0, 0]
    unsure = collate.rule_labels(labels("Be kind.", certain=False, broken=False), tokenizer, 200)
    assert unsure.good_B.tolist() == [0.5]


def test_what_begins_every_text_stays_in_front(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_model(tmp_path / "m"))
    assert tokenizer.bos is not None
    row = collate.encode(labels("")[0].item, tokenizer, 64, rule="no bad")
    assert row.prompt == (tokenizer.bos, *tokenizer.words("no bad"), *tokenizer.prompt("what is a")[1:])


def test_a_rule_counts_where_the_context_ends() -> None:
    tokenizer = Tokenizer(byte_pairs())
    alone = collate.encode(labels("")[0].item, tokenizer, 200)
    length = len(alone.prompt) + len(alone.response)
    assert collate.encode(labels("")[0].item, tokenizer, length)
    with pytest.raises(ContextError, match="exceed the model's context"):
        collate.rule_labels(labels("Be kind."), tokenizer, length)


class Fixed(LearnedReward):
    """Scores by its rule alone."""

    def __init__(self, rule: str, score: float) -> None:
        self.name, self.value = rule, score

    def score(self, items: Sequence[Text]) -> Scores:
        return Scores(names=(self.name,), reward_BC=torch.full((len(items), 1), self.value))


def test_each_rule_is_a_component_between_0_and_1() -> None:
    scores = RuleReward([Fixed("kind", 0.0), Fixed("brief", log(3.0))]).score([Text(prompt="p", completion="c")] * 2)
    assert scores.names == ("kind", "brief")
    assert scores.reward_BC.tolist() == [pytest.approx([0.5, 0.75])] * 2


def test_a_reward_reads_what_was_trained_on() -> None:
    tokenizer, model = Tokenizer(byte_pairs()), RewardModel(causal(dtype=torch.float32, vocabulary=len(byte_pairs())))
    reward = RuleReward([LearnedReward(model, tokenizer, name=name, rule=rule) for name, rule in RULES.items()])
    item = Text(prompt="what is a", completion=" bad")
    batch = collate.rule_labels(
        [RuleLabel(item=item, rule=r, broken=True, rater="") for r in RULES.values()], tokenizer, 64
    )
    expected = model(batch.tokens).sigmoid().tolist()
    assert reward.score([item]).reward_BC[0].tolist() == pytest.approx(expected, abs=1e-6)
    assert expected[0] != pytest.approx(expected[1], abs=1e-6)
    ended = reward.score([Text(prompt="what is a", completion="")])
    assert ended.reward_BC.shape == (1, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, 'is a reward model that reads rules; name their file with "rubric", and set "use": "all"'),
        ({"rubric": Path("r.txt")}, 'set "use": "all"'),
        ({"rubric": Path("r.txt"), "use": "all", "think": True}, "rules.json: think has no effect"),
        ({"rubric": Path("r.txt"), "use": "all", "seed": 3}, "rules.json: seed has no effect"),
    ],
)
def test_options_that_only_a_judge_has(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        rules_of(JudgeOptions(model="rm", **options), "rules.json")


def test_what_people_said_of_rules_is_exported_as_it_is_read(tmp_path: Path) -> None:
    """And comes back as the same answers, from the export and from plain columns."""
    with Database(tmp_path / "shop.db") as database:
        make_project(database, Project(id="shop", title="Shop"))
        asked = [
            Asked(
                place="here",
                question=question(index, text(f"a{index}"), kind="rule", spec={"rule": "be kind"}),
                answers=(Given(rater="ann", answer={"broken": said}, time=2e9),),
            )
            for index, said in enumerate(["yes", "no", "unsure"])
        ]
        put(database, "shop", asked)
        formats.write(rows(database, "shop", kind="rule"), tmp_path / "x.jsonl")
    records = load(str(tmp_path / "x.jsonl"))
    found = [(r.rule, r.broken, r.certain) for r in records if isinstance(r, RuleLabel)]
    assert found == [("be kind", True, True), ("be kind", False, True), ("be kind", False, False)]
    plain = [ROW | {"broken": said, "rater": "ann", "completion": said} for said in ("yes", "no", "unsure")]
    with Database(tmp_path / "new.db") as fresh:
        make_project(fresh, Project(id="shop", title="Shop", kind="rule"))
        take_in(fresh, "shop", str(write_rows(tmp_path / "plain.jsonl", plain)))
        again = [(row["rule"], row["broken"]) for row in rows(fresh, "shop")]
        assert sorted(again) == [("No bad words.", said) for said in ("no", "unsure", "yes")]


@pytest.mark.learns
def test_rules_are_learned_and_each_pays_under_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(Path("m"))
    write_rows(Path("rules.jsonl"), DATA["rules"])
    options = ["--epochs", 40, "--rows", 16, "--optimisation.lr", 0.01]
    outcome = tercih("train", "rule_model", "--model", "m", "--data", "rules.jsonl", "--out", "rm", *options)
    assert outcome.status == 0, outcome.err
    assert json.loads(Path("rm/model/metrics.jsonl").read_text().splitlines()[-1])["accuracy"] == 1
    Path("rules.json").write_text(json.dumps(RULES))
    Path("judge.json").write_text(json.dumps({"model": "rm/model", "rubric": "rules.json", "use": "all"}))
    Path("liking.py").write_text("def liking(prompt, completion, **columns):\n    return float(len(completion))\n")
    write_rows(Path("prompts.jsonl"), DATA["prompts"])
    start = ["--model", "m", "--data", "prompts.jsonl", "--out", "no", "--reward"]
    outcome = tercih("train", "rloo", *start, "rm/model")
    assert (outcome.status, "rm/model reads rules: name in its place a file" in outcome.err) == (2, True)
    outcome = tercih(
        "train", "rloo", "--model", "m", "--data", "prompts.jsonl", "--out", "out", "--steps", 1, "--rows", 2,
        "--samples", 2, "--sampling.max-new-tokens", 3, "--reward", "liking.py:liking", "judge.json",
        "--rewards.weights", "liking", 0.5, "no_bad", 2,
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    row = json.loads(Path("out/model/metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < row["no_bad"] < 1
    assert 0 < row["no_good"] < 1
    assert row["reward"] == pytest.approx(0.5 * row["liking"] + 2 * row["no_bad"] + row["no_good"], rel=1e-4)
