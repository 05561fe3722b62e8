from collections.abc import Iterator
from pathlib import Path

import pytest

from small import byte_pairs, causal
from tercih.feedback.projects import Project, make_project
from tercih.feedback.store import Question, Store
from tercih.models.language_model import LanguageModel
from tercih.models.load import save_model
from tercih.models.reward_model import RewardModel
from tercih.records import Text

WORDS = ["the", "cat", "sat", "on", "mat", "a", "dog", "ate", "hat", "that", "hello", "there", "how", "are", "you"]


@pytest.fixture
def store(anywhere: str) -> Iterator[Store]:
    """On SQLite, and on PostgreSQL."""
    with Store(anywhere) as made:
        make_project(made.database, Project(id="p", golds=0, repeats=0))
        for name in ("ann", "bob", "eve"):
            made.enrol(name)
        yield made


def ask(store: Store, count: int, step: int = 0, votes: int = 1) -> list[str]:
    """Pairs of answers that differ in their words."""

    def text(index: int, side: int) -> Text:
        said = [WORDS[(index * (3 + side) + side * word) % len(WORDS)] for word in range(1 + (index + side) % 5)]
        return Text(prompt=f"say {step} {index}", completion=" ".join(said) + "!" * side)

    pairs = [(text(index, 0), text(index, 1)) for index in range(count)]
    asked = [
        Question(items=pair, run="r", step=step, index=index, project="p", votes=votes)
        for index, pair in enumerate(pairs)
    ]
    return store.ask(asked)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Two reward models of different seeds, and a policy."""
    folder, hf = tmp_path_factory.mktemp("models"), byte_pairs()
    for seed in (0, 1):
        save_model(RewardModel(causal(vocabulary=len(hf), seed=seed), seed=seed), hf, folder / f"reward{seed}")
    save_model(LanguageModel(causal(vocabulary=len(hf))), hf, folder / "policy")
    return folder / "reward0", folder / "reward1", folder / "policy"
