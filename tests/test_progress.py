from io import StringIO

import pytest
from rich.console import Console

from tercih import progress
from tercih.progress import Progress


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """What is printed where there is no terminal, a line for every advance."""
    text = StringIO()
    monkeypatch.setattr(progress, "console", Console(file=text, force_terminal=False, soft_wrap=True, highlight=False))
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
    return text


def test_without_a_terminal_a_line_now_and_then(said: StringIO) -> None:
    with Progress("sampling", total=4) as bar:
        bar.advance({"loss": 1.23456, "unheard_of": 9.0})
        bar.advance(by=2)
    first, second = said.getvalue().splitlines()
    assert first.startswith("sampling: 1/4, ")
    assert first.endswith("loss 1.23")
    assert " s left" in first
    assert second.startswith("sampling: 3/4, ")


def test_what_was_done_before_is_said_and_not_counted_as_speed(said: StringIO) -> None:
    with Progress("training", total=100, done=90) as bar:
        assert "going on from step 90 of 100" in said.getvalue()
        bar.began -= 10  # ten seconds ago
        bar.advance()
    assert "training: 91/100, 0.1/s, 90 s left" in said.getvalue()


def test_nothing_new_has_no_rate(said: StringIO) -> None:
    with Progress("sampling", total=4) as bar:
        bar.advance(by=0)
    assert "sampling: 0/4" in said.getvalue()


def test_most_of_the_time_it_is_quiet(said: StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 15.0)
    with Progress("sampling", total=4) as bar:
        bar.advance()
    assert said.getvalue() == ""


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    text = StringIO()
    monkeypatch.setattr(progress, "console", Console(file=text, force_terminal=True, width=120))
    with Progress("sampling", total=4) as bar:
        bar.advance({"loss": 0.5}, by=4)
    assert "4/4" in text.getvalue()
    assert "loss 0.5" in text.getvalue()
