"""`tercih train cql` and `tercih pick`, end to end: dialogues that can all be enumerated, logged to a file by lot."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from commands.test_bad_input import refused
from commands.workshop import LETTERS, tercih, write_rows
from tercih.conformance.cql import GAMMA, OPENINGS, Dialogues
from tercih.data.tokenize import Tokenizer
from tercih.models.load import load_causal, load_reward_model, save_model
from tercih.models.reward_model import RewardModel
from tercih.records import Text
from tercih.rewards import LearnedReward

Said = tuple[int, ...]
SETTINGS = ["--readout", "mean", "--optimisation.lr", 1e-2, "--method.alpha", 0.05]


@dataclass(frozen=True)
class Talk:
    """What is said after some of a world's openings, in words of the tiny model."""

    world: Dialogues
    openings: Sequence[Said]

    @property
    def contexts(self) -> list[Said]:
        return [context for context in self.world.offers if context[:1] in self.openings]

    def offer(self, context: Said) -> dict[str, Any]:
        said = " ".join(LETTERS[utterance] for utterance in context)
        return {"context": said, "offered": [f" {LETTERS[u]}" for u in self.world.offers[context]]}

    def logged(self, count: int, *, shuffled: bool = False) -> list[dict[str, Any]]:
        """Dialogues in which everything was said by lot; `shuffled` is the negative control: rewards change places."""
        paths = [path for path in self.world.logged(count * 5 // len(self.openings)) if path[:1] in self.openings]
        reward = [self.world.reward[path] for path in paths]
        if shuffled:
            order = torch.randperm(len(reward), generator=torch.Generator().manual_seed(0)).tolist()
            reward = [reward[place] for place in order]
        turns = [
            self.offer(path[:-1]) | {"said": self.world.offers[path[:-1]].index(path[-1]), "reward": each}
            for path, each in zip(paths, reward, strict=True)
        ]
        length = len(turns) // count
        return [{"turns": turns[start : start + length]} for start in range(0, len(turns), length)]

    def earned(self, share: Callable[[Said], Sequence[float]]) -> float:
        """Mean discounted return of who says each of what is offered with these shares."""

        def worth(context: Said) -> float:
            if context not in self.world.offers:
                return 0.0
            after = [(*context, utterance) for utterance in self.world.offers[context]]
            values = [self.world.reward[path] + GAMMA * worth(path) for path in after]
            return sum(p * value for p, value in zip(share(context), values, strict=True))

        return sum(map(worth, self.openings)) / len(self.openings)

    @property
    def chance(self) -> float:
        return self.earned(lambda _: [1 / 3] * 3)

    @property
    def best(self) -> float:
        """By dynamic programming."""
        values = [[self.world.q[*context, u] for u in self.world.offers[context]] for context in self.openings]
        return sum(map(max, values)) / len(values)

    def picked(
        self, shelf: Path, rows: list[dict[str, Any]], out: str, *options: object, gamma: float = GAMMA
    ) -> float:
        """What the picks earn of a model that `tercih train` made of these rows."""
        log, offers, picks = (Path(f"{out}_{name}.jsonl") for name in ("log", "offers", "picks"))
        write_rows(log, rows)
        write_rows(offers, [self.offer(context) for context in self.contexts])
        done = tercih(
            "train", "cql", "--model", shelf / "model", "--data", f"offered:{log}", "--out", out,
            "--method.gamma", gamma, *options,
        )  # fmt: skip
        assert done.status == 0, done.err
        done = tercih("pick", out, "--data", f"offered:{offers}", "--out", picks)
        assert done.status == 0, done.err
        found = [json.loads(line)["pick"] for line in picks.read_text().splitlines()]
        best = dict(zip(self.contexts, found, strict=True))
        return self.earned(lambda context: [float(place == best[context]) for place in range(3)])


LOG = [
    {
        "turns": [
            {"context": f"what is {x}", "offered": [" good", " bad"], "said": said, "reward": 0},
            {"context": f"what is {x} it", "offered": [" no", " yes", f" it {x}"], "said": said + 1, "reward": said},
        ]
    }
    for x in LETTERS
    for said in (0, 1)
]
OFFER = {"context": "what is a", "offered": [" bad", " good", " no"]}


def run(shelf: Path, data: str, *options: object, method: str = "cql") -> Sequence[object]:
    return "train", method, "--model", shelf / "model", "--data", data, "--out", "out", *options


def test_from_a_log_to_picks(shelf: Path) -> None:
    write_rows(Path("log.jsonl"), LOG)
    command = run(shelf, "offered:log.jsonl", "--rows", 6)
    done = tercih(*command)
    assert "cql on 16 records" in done.out, done.err
    assert "Next:\n  tercih pick out/model --data offered:OFFERS --out PICKS.jsonl" in done.out
    assert len(Path("out/model/metrics.jsonl").read_text().splitlines()) == 3
    before = Path("out/model/model.safetensors").stat().st_mtime_ns
    assert tercih(*command).status == 0
    assert Path("out/model/model.safetensors").stat().st_mtime_ns == before, "what is done is not done again"
    write_rows(Path("offers.jsonl"), [OFFER, *LOG])
    done = tercih("pick", "out", "--data", "offered:offers.jsonl", "--out", "picks.jsonl")
    assert "wrote 33 picks to picks.jsonl" in done.out, done.err
    assert "of 32" in done.out, "of what was said"
    rows = [json.loads(line) for line in Path("picks.jsonl").read_text().splitlines()]
    assert all(row["scores"][row["pick"]] == max(row["scores"]) for row in rows)
    assert {name: rows[0][name] for name in ("dialogue", "turn", *OFFER)} == {"dialogue": 1, "turn": 1, **OFFER}
    assert "said" not in rows[0]
    assert (rows[2]["dialogue"], rows[2]["turn"], rows[2]["said"], rows[2]["reward"]) == (2, 2, 1, 0)
    reward = LearnedReward(load_reward_model("out/model"), Tokenizer.load("out/model"))
    items = [Text(prompt=OFFER["context"], completion=x) for x in OFFER["offered"]]  # type: ignore[arg-type]
    assert rows[0]["scores"] == pytest.approx(reward.score(items).reward_BC[:, 0].tolist(), abs=1e-5)


LONG = {"turns": [LOG[0]["turns"][0], OFFER | {"context": "a " * 70, "said": 0, "reward": 0}]}


@pytest.mark.parametrize(
    ("rows", "method", "options", "error"),
    [
        ([*LOG, OFFER], "cql", (), r"offered:log\.jsonl, record 17: turn 1 does not say what was said of what was"),
        ([*LOG, LONG], "cql", (), r"offered:log\.jsonl, record 17: 71 prompt .*context of 64.*--drop-long"),
        (LOG, "dpo", (), r"DPO learns from pairs .* but record 1 of offered:log\.jsonl is a Dialogue"),
        (LOG, "ppo", ("--reward", "metric:bleu"), r"offered:log\.jsonl holds dialogues .*no prompts to be answered"),
        (LOG, "cql", ("--method.gamma", 2), r"cql\.gamma must be in \[0, 1\], got 2"),
    ],
)
def test_what_cannot_be_trained_on(
    shelf: Path, rows: list[dict[str, Any]], method: str, options: Sequence[object], error: str
) -> None:
    write_rows(Path("log.jsonl"), rows)
    refused(error, *run(shelf, "offered:log.jsonl", *options, method=method))


def test_pairs_say_nothing_of_what_was_offered(shelf: Path) -> None:
    error = r"CQL learns from turns \(dialogues with what was offered, read as offered:FILE\), but record 1 of"
    refused(error, *run(shelf, str(shelf / "pairs.jsonl")))


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory, shelf: Path) -> Path:
    folder = tmp_path_factory.mktemp("scorer")
    save_model(RewardModel(load_causal(shelf / "model")), Tokenizer.load(shelf / "model").hf, folder)
    return folder


def test_what_cannot_be_picked_from(shelf: Path, scorer: Path) -> None:
    write_rows(Path("offers.jsonl"), [OFFER])
    write_rows(Path("long.jsonl"), [OFFER, LONG])
    for model, data, out, error in [
        (scorer, "offered:offers.jsonl", "offers.jsonl", r"offers\.jsonl is there already; name another file"),
        (scorer, "offered:offers.jsonl", "no/picks.jsonl", r"there is no folder no to write picks\.jsonl in"),
        (scorer, shelf / "pairs.jsonl", "picks.jsonl", r"is a Comparison, and says nothing of what is offered"),
        (scorer, "offered:long.jsonl", "picks.jsonl", r"offered:long\.jsonl, record 2: 71 prompt .*context of 64"),
        (scorer, "offered:nowhere.jsonl", "picks.jsonl", r"nowhere\.jsonl: there is no such file"),
        (shelf / "model", "offered:offers.jsonl", "picks.jsonl", r"is not a reward model"),
        ("nowhere", "offered:offers.jsonl", "picks.jsonl", r"there is no folder nowhere"),
    ]:
        refused(error, "pick", model, "--data", data, "--out", out)


@pytest.mark.learns
def test_picks_earn_more_than_chance(shelf: Path) -> None:
    talk = Talk(Dialogues(key=(0, 60)), OPENINGS[:1])
    options = ["--rows", 20, "--epochs", 6, *SETTINGS]
    assert talk.picked(shelf, talk.logged(60), "out", *options) > (talk.chance + talk.best) / 2


@pytest.mark.full
@pytest.mark.learns
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_looking_ahead_earns_more_than_rewards_by_lot(shelf: Path, seed: int) -> None:
    talk = Talk(Dialogues(key=(seed, 60)), OPENINGS)
    options = ["--rows", 50, "--epochs", 12, *SETTINGS]
    ahead = talk.picked(shelf, talk.logged(300), "ahead", *options)
    at_once = talk.picked(shelf, talk.logged(300), "at_once", *options, gamma=0.0)
    by_lot = talk.picked(shelf, talk.logged(300, shuffled=True), "by_lot", *options)
    print(f"{talk.chance=:.2f} {talk.best=:.2f} {ahead=:.2f} {at_once=:.2f} {by_lot=:.2f}")
    assert ahead > max(at_once, by_lot, (talk.chance + talk.best) / 2)
