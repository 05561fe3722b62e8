"""`tercih train` on small files with TRL's columns: what it leaves, resuming, and a user's own method and reward."""

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from commands.workshop import DATA, tercih, write_rows

REWARD = """
def wanted_word(prompt, completion, wanted, **columns):
    return float(wanted in completion.split())
"""
METHOD = '''
"""Imitates, and likes itself less than it might."""

from dataclasses import dataclass

from tercih.forward import Loss, Term
from tercih.method import Method
from tercih.ops import mean_of, total


@dataclass(frozen=True, kw_only=True, slots=True)
class Half(Method):
    scale: float = 0.5

    def loss(self, policy, batch):
        logp_BT = policy(batch.tokens).logp_BT
        mask_BT = batch.tokens.loss_mask_BT
        terms = {"half": Term(-total(logp_BT, mask_BT), per="tokens", weight=self.scale)}
        return Loss(terms=terms, metrics={"nats_per_token": mean_of(-logp_BT, mask_BT)})
'''


def train(shelf: Path, method: str, data: str, *options: object, model: str = "model", out: str = "out") -> str:
    """Succeeds, and returns what it said."""
    outcome = tercih(
        "train", method, "--model", shelf / model, "--data", shelf / f"{data}.jsonl", "--out", out, "--rows", 4,
        "--optimisation.lr", "1e-2", *options,
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    return outcome.out


def metrics(out: str = "out") -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(out, "model", "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("method", "data", "model"),
    [
        ("sft", "demonstrations", "model"),
        ("sft", "messages", "chat_model"),
        ("dpo", "pairs", "model"),
        ("bradley_terry", "pairs", "model"),
        ("plackett_luce", "rankings", "model"),
        ("ilql", "scored", "model"),
        ("awac", "scored", "model"),
        *(
            (method, "pairs", "model")
            for method in ("conservative_dpo", "robust_dpo", "dpop", "ipo", "cpo", "simpo", "orpo", "slic")
        ),
        *((method, "rankings", "model") for method in ("kwise_dpo", "rrhf")),
        ("kto", "thumbs", "model"),
        ("kto", "pairs", "model"),
        ("sft", "scored", "model"),
        ("conditional", "thumbs", "model"),
        *((method, "scored", "model") for method in ("filtered_sft", "rwr", "awr", "conditional", "unlikelihood")),
    ],
)
def test_offline_methods(shelf: Path, method: str, data: str, model: str) -> None:
    said = train(shelf, method, data, "--epochs", 6, model=model)
    rows = metrics()
    assert f"{method} on {len(DATA[data])} records" in said
    assert "Next:\n  tercih " in said
    assert len(rows) == 6 * len(DATA[data]) // 4
    assert rows[-1]["loss"] < rows[0]["loss"]
    AutoModelForCausalLM.from_pretrained("out/model")
    AutoTokenizer.from_pretrained("out/model")
    assert json.loads(Path("out/run.json").read_text())["finished"]
    assert [stage["name"] for stage in json.loads(Path("out/stages.json").read_text())] == ["model"]


def test_ppo_with_a_plain_function(shelf: Path) -> None:
    Path("rewards.py").write_text(REWARD)
    options = ["--reward", "rewards.py:wanted_word", "--steps", 2, "--sampling.max-new-tokens", 6]
    train(shelf, "ppo", "prompts", *options)
    assert all(0 <= row["wanted_word"] <= 1 for row in metrics())


GROUPS = ["--reward", "rewards.py:wanted_word", "--steps", 3, "--samples", 4, "--sampling.max-new-tokens", 6]


@pytest.mark.parametrize("method", ["rloo", "grpo", "dr_grpo", "dapo", "gspo", "online_dpo", "raft"])
def test_methods_that_compare_the_responses_to_a_prompt(shelf: Path, method: str) -> None:
    Path("rewards.py").write_text(REWARD)
    said = train(shelf, method, "prompts", *GROUPS, "--optimisation.micro-rows", 3)
    assert f"{method} on 8 records" in said
    rows = metrics()
    assert len(rows) == 3
    assert all(0 <= row["wanted_word"] <= 1 and 0 <= row["spread"] <= 1 for row in rows)
    assert all(("kl" in row) == (method in ("rloo", "grpo")) for row in rows if "loss" in row)
    AutoModelForCausalLM.from_pretrained("out/model")


@pytest.mark.learns
@pytest.mark.parametrize("method", ["rloo", "grpo", "dr_grpo", "dapo", "gspo", "online_dpo", "raft"])
def test_they_learn_what_is_rewarded_from_the_command_line(shelf: Path, method: str) -> None:
    Path("rewards.py").write_text(REWARD.replace("float(wanted in completion.split())", "-float(len(completion))"))
    options = ["--reward", "rewards.py:wanted_word", "--steps", 25, "--sampling.max-new-tokens", 6]
    clip = {"gspo": ["--method.clip-low", 0.2, "--method.clip-high", 0.2]}
    train(shelf, method, "prompts", *options, *clip.get(method, []))
    rows = metrics()
    assert rows[-1]["reward"] > rows[0]["reward"] + 1
    assert rows[-1]["response_length"] < rows[0]["response_length"]


def test_a_context_is_put_into_the_weights(shelf: Path) -> None:
    """A model this small hardly hears it: what is to be learned is little, and so are the steps."""
    options = ["--epochs", 12, "--optimisation.lr", "3e-4", "--method.context", "it is good no no no"]
    train(shelf, "context_distillation", "demonstrations", *options)
    rows = metrics()
    assert rows[0]["kl_per_token"] > 1e-5
    assert sum(row["kl_per_token"] for row in rows[-2:]) < sum(row["kl_per_token"] for row in rows[:2])


def test_quark_asks_with_its_best_word(shelf: Path) -> None:
    Path("rewards.py").write_text(REWARD)
    options = ["--reward", "rewards.py:wanted_word", "--steps", 3, "--sampling.max-new-tokens", 6]
    train(shelf, "quark", "prompts", *options, "--method.word", "{} good", "--method.quantiles", 2)
    rows = metrics()
    assert len(rows) == 3
    assert rows[0]["kl_per_token"] > 0, "behind a word, where the reference reads none"
    assert all(0 <= row["wanted_word"] <= 1 for row in rows)


def test_groups_of_8_unless_said_otherwise(shelf: Path) -> None:
    Path("rewards.py").write_text(REWARD)
    options = ["--reward", "rewards.py:wanted_word", "--steps", 1, "--sampling.max-new-tokens", 2]
    train(shelf, "rloo", "prompts", *options, "--method.kl-coef", 0)
    assert json.loads(Path("out/run.json").read_text())["config"]["samples"] is None


def test_dapo_asks_further_prompts_and_shortens_long_responses(shelf: Path) -> None:
    Path("rewards.py").write_text(REWARD.replace("float(wanted in completion.split())", "0.0"))
    train(shelf, "dapo", "prompts", *GROUPS, "--method.refills", 0)
    assert all(row["spread"] == 0 and "loss" not in row for row in metrics())
    train(shelf, "dapo", "prompts", *GROUPS, "--rewards.overlong-buffer", 6, out="shaped")
    assert all(row["spread"] > 0 and -1 <= row["reward"] < 0 and row["wanted_word"] == 0 for row in metrics("shaped"))


def test_ppo_with_a_reward_model(shelf: Path) -> None:
    said = train(shelf, "bradley_terry", "pairs", out="reward")
    assert f"tercih train ppo --model {shelf / 'model'} --reward reward/model" in said
    train(shelf, "ppo", "prompts", "--reward", "reward/model", "--steps", 2, "--sampling.max-new-tokens", 6)
    assert len({row["reward"] for row in metrics()}) == 2


def test_a_reward_model_goes_on_with_its_head(shelf: Path) -> None:
    train(shelf, "bradley_terry", "pairs", "--epochs", 6, "--readout", "mean", out="first")
    said = train(shelf, "bradley_terry", "pairs", model=str(Path("first/model").absolute()))
    assert "tercih train ppo --model MODEL --reward out/model" in said, "a reward model is no start for a policy"
    assert metrics()[0]["loss"] < 1.5 * metrics("first")[-1]["loss"] < 0.5 * metrics("first")[0]["loss"]
    train(shelf, "bradley_terry", "pairs", out="last")
    words = ["--model", "last/model", "--data", shelf / "pairs.jsonl", "--out", "other", "--readout", "mean"]
    refused = tercih("train", "bradley_terry", *words)
    assert refused.status == 2
    assert "--readout mean: last/model was trained with last" in refused.err
    policy = tercih("train", "sft", "--model", "first/model", "--data", shelf / "demonstrations.jsonl", "--out", "p")
    assert policy.status == 0, "its trunk may be"


def test_pretraining_text_is_mixed_into_ppo(shelf: Path) -> None:
    Path("rewards.py").write_text(REWARD)
    options = ["--reward", "rewards.py:wanted_word", "--steps", 4, "--sampling.max-new-tokens", 6]
    text = ["--method.pretraining-coef", 5, "--pretraining", shelf / "demonstrations.jsonl", "--pretraining-rows", 3]
    train(shelf, "ppo", "prompts", *options, *text)
    rows = metrics()
    assert rows[-1]["pretraining_nats_per_token"] < rows[0]["pretraining_nats_per_token"]


def test_a_method_of_ones_own_takes_one_file(shelf: Path) -> None:
    Path("half.py").write_text(METHOD)
    train(shelf, "half.py:Half", "demonstrations", "--method.scale", 0.25, out="quarter")
    train(shelf, "sft", "demonstrations", out="whole")
    assert metrics("quarter")[0]["loss"] == pytest.approx(metrics("whole")[0]["loss"] / 4)


def test_several_files_and_other_column_names(shelf: Path) -> None:
    renamed = [{"question": r["prompt"], "chosen": r["chosen"], "rejected": r["rejected"]} for r in DATA["pairs"]]
    write_rows(Path("one.jsonl"), renamed[:4])
    write_rows(Path("two.jsonl"), renamed[4:])
    outcome = tercih(
        "train", "dpo", "--model", shelf / "model", "--data", "one.jsonl", "two.jsonl", "--columns", "prompt",
        "question", "--out", "out",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert "dpo on 8 records" in outcome.out


def test_bad_and_long_rows_are_left_out_on_request_and_counted(shelf: Path) -> None:
    bad = [{"prompt": "a", "chosen": "", "rejected": " b"}, {"prompt": "a " * 70, "chosen": " b", "rejected": " c"}]
    write_rows(Path("some.jsonl"), [*DATA["pairs"], *bad])
    options = ["--model", shelf / "model", "--data", "some.jsonl", "--out", "out"]
    outcome = tercih("train", "dpo", *options, "--skip-bad", "--drop-long")
    assert outcome.status == 0, outcome.err
    assert "some.jsonl: left out 1 of 9 records, longer than 64 tokens" in outcome.out
    assert "dpo on 8 records" in outcome.out


def test_an_adapter_and_merging_it(shelf: Path) -> None:
    train(shelf, "dpo", "pairs", "--lora", 2, "--epochs", 3)
    assert metrics()[-1]["loss"] < metrics()[0]["loss"]
    outcome = tercih("merge", "out/model/adapter", "--model", shelf / "model", "--out", "merged")
    assert outcome.status == 0, outcome.err
    mine, theirs = (AutoModelForCausalLM.from_pretrained(f).state_dict() for f in ("out/model", "merged"))
    assert all((mine[name] - theirs[name]).abs().max() < 1e-6 for name in theirs)
    again = tercih("merge", "out/model/adapter", "--model", shelf / "model", "--out", "merged")
    assert again.status == 2
    assert "merged is not an empty folder" in again.err


def test_the_same_command_again_says_that_all_is_done(shelf: Path) -> None:
    train(shelf, "sft", "demonstrations")
    before = Path("out/model/metrics.jsonl").read_bytes()
    assert "done before" in train(shelf, "sft", "demonstrations")
    assert Path("out/model/metrics.jsonl").read_bytes() == before


def test_the_options_of_an_earlier_run(shelf: Path) -> None:
    train(shelf, "dpo", "pairs", "--method.beta", 0.3)
    for config in (["--config", "out/run.json"], ["--config=out/run.json"]):
        outcome = tercih("train", "dpo", *config, "--out", f"again{len(config)}", "--epochs", 2)
        assert outcome.status == 0, outcome.err
    first, second = (json.loads(Path(f, "run.json").read_text())["config"] for f in ("out", "again1"))
    assert second == first | {"epochs": 2}
    assert second["method"]["beta"] == 0.3


def test_a_config_file_changes_only_what_it_names(shelf: Path) -> None:
    content = {"model": str(shelf / "model"), "optimisation": {"lr": 1e-3}, "data": [str(shelf / "pairs.jsonl")]}
    Path("c.json").write_text(json.dumps(content))
    outcome = tercih("train", "dpo", "--config", "c.json", "--out", "out", "--optimisation.warmup", 0.5)
    assert outcome.status == 0, outcome.err
    optimisation = json.loads(Path("out/run.json").read_text())["config"]["optimisation"]
    assert (optimisation["lr"], optimisation["warmup"], optimisation["schedule"]) == (1e-3, 0.5, "linear")
