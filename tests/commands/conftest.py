from pathlib import Path

import pytest

from commands import workshop


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and data that tests read and never write."""
    folder = tmp_path_factory.mktemp("shelf")
    model = workshop.write_model(folder / "model")
    workshop.write_model(folder / "chat_model", chat=True)
    workshop.write_model(folder / "no_eos", eos_token=None)
    (folder / "no_weights").mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / "no_weights" / name).write_text((model / name).read_text())
    for name, rows in workshop.DATA.items():
        workshop.write_rows(folder / f"{name}.jsonl", rows)
    return folder


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
