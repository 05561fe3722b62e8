"""What a command does not need it does not import: seconds differ from machine to machine, modules do not."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch", "numpy", "scipy", "transformers", "peft", "datasets", "pyarrow", "pandas", "matplotlib", "rich",
}  # fmt: skip
SERVING = {"sqlalchemy", "fastapi", "starlette", "uvicorn", "jinja2", "tyro", "pydantic", "alembic"}
LIST = "print('modules:', *sorted({m.split('.')[0] for m in sys.modules}))"


def modules_after(code: str, *arguments: str) -> set[str]:
    """The top-level modules that a Python process has imported when `code` is done."""
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}", *arguments], capture_output=True, text=True, check=True
    )
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("modules:")]
    return set(line.split()[1:])


@pytest.mark.parametrize("words", [["--help"], [], ["help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    found = modules_after(f"from tercih.cli import main\nmain()\n{LIST}", *words)
    assert "tercih" in found
    assert not found & (HEAVY | SERVING)


def test_a_server_is_ready_without_what_only_some_pages_need(tmp_path: Path) -> None:
    code = (
        "import uvicorn\n"
        f"def run(app, **_): {LIST}\n"
        "uvicorn.run = run\n"
        "from tercih.commands.serve import serve\n"
        "serve(sys.argv[1:])"
    )
    found = modules_after(code, "--database", str(tmp_path / "t.db"))
    assert found > {"uvicorn", "sqlalchemy", "fastapi"}
    assert not found & HEAVY


def test_what_is_imported_would_be_seen() -> None:
    assert "numpy" in modules_after(f"import tercih.feedback.acquisition\n{LIST}")
