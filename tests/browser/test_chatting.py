"""A whole conversation with a small policy, from the keyboard alone: the worker's own handler answers."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from small import CHAT, CONFIGS, byte_pairs
from tercih.feedback import chats
from tercih.feedback.exchange import export
from tercih.feedback.store import Store
from tercih.models.language_model import LanguageModel
from tercih.models.load import from_config, save_model
from tercih.worker.bench import Bench, work

from .conftest import Site, fits, violations

pytestmark = pytest.mark.browser
SIZES = {"telephone": (360, 740), "desk": (1280, 800)}


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """An older and a newer policy with a chat template and room for a few turns."""
    folder, hf = tmp_path_factory.mktemp("policies"), byte_pairs(chat=CHAT)
    config = copy.deepcopy(CONFIGS["gpt2"])
    config.vocab_size, config.n_positions = len(hf), 1024
    for seed in (0, 1):
        save_model(LanguageModel(from_config(config, seed=seed, dtype=torch.float32)), hf, folder / f"ppo{seed}")
    return folder / "ppo0", folder / "ppo1"


def look(page: Any, site: Site, name: str) -> None:
    page.wait_for_timeout(150)
    page.screenshot(path=site.shots / f"chat-{name}.png", full_page=True)
    assert violations(page) == [], name
    assert fits(page), name


@pytest.mark.parametrize("size", SIZES)
def test_a_conversation_from_the_keyboard(
    site: Site, visitor: Callable[..., Any], policies: tuple[Path, ...], size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (Bench(database=site.database, policy=policy) for policy in policies)
    site.project("poems", title="Poems of the sea", chat=True)
    page = visitor(*SIZES[size], color_scheme="dark" if size == "telephone" else "light")
    page.get_by_role("link", name="Talk to the model").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Talk to the model").wait_for()
    look(page, site, f"start-{size}")
    page.keyboard.press("m")
    page.keyboard.type("hello")
    page.keyboard.press("Control+Enter")
    page.get_by_text("The model is writing").wait_for()
    look(page, site, f"writing-{size}")
    monkeypatch.setattr(chats, "PATIENCE", 0.0)
    page.get_by_text("no worker with a policy is running").wait_for()
    look(page, site, f"no-worker-{size}")
    monkeypatch.setattr(chats, "PATIENCE", 60.0)

    work(old)
    page.get_by_role("button", name="Good").wait_for()
    page.wait_for_timeout(600)  # the answer is read
    page.keyboard.press("1")
    page.wait_for_selector("button[value=yes][aria-pressed=true]")
    look(page, site, f"answered-{size}")
    page.keyboard.press("m")
    page.keyboard.type("half a thou")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("r")
    page.get_by_text("The model is writing").wait_for()
    work(new)
    page.wait_for_selector("form.judge")
    look(page, site, f"compare-{size}")
    page.keyboard.press("2")
    page.wait_for_selector("#latest")
    assert re.search(r"/chats/\w+$", page.url)
    assert page.input_value("#text") == "half a thou"
    page.keyboard.press("m")
    page.keyboard.type("ght")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("The model is writing").wait_for()
    page.reload()
    work(new)
    page.get_by_role("button", name="Bad").wait_for()
    page.wait_for_timeout(600)
    page.keyboard.press("2")
    page.wait_for_selector("button[value=no][aria-pressed=true]")
    look(page, site, f"second-{size}")
    page.keyboard.press("u")
    page.get_by_role("heading", name="Is this good?").wait_for()
    page.wait_for_timeout(600)
    page.keyboard.press("1")
    page.wait_for_selector("button[value=yes][aria-pressed=true]")
    assert page.troubles == []

    (pair,) = Store(site.database).comparisons(project="poems")
    assert (pair.a.origin, pair.b.origin) == tuple(map(str, policies))
    assert pair.answer != pair.left
    assert pair.seconds is not None
    assert pair.a.completion_ids
    thumbs = list(export.rows(site.database, "poems", kind="thumb"))
    assert [(row["step"], row["label"]) for row in thumbs] == [(0, True), (1, True)]
    assert [turn["content"] for turn in thumbs[1]["prompt"] if turn["role"] == "user"] == ["hello", "half a thought"]
    preferred = pair.a if pair.answer == "a" else pair.b
    assert thumbs[1]["prompt"][1]["content"] == preferred.completion
    assert all(row["seconds"] for row in thumbs)


def test_without_a_script(site: Site, visitor: Callable[..., Any], policies: tuple[Path, ...]) -> None:
    site.project("poems", chat=True)
    page = visitor(*SIZES["telephone"], java_script_enabled=False)
    page.goto(f"{site.address}/projects/poems/chat")
    page.fill("#text", "hello")
    page.get_by_role("button", name="Send").click()
    bench = Bench(database=site.database, policy=policies[0])
    work(bench)
    page.get_by_role("link", name="Look again").click()
    page.get_by_role("button", name="Good").click()
    page.get_by_role("button", name="Another answer").click()
    work(bench)
    page.get_by_role("link", name="Look again").click()
    page.screenshot(path=site.shots / "chat-without-script.png", full_page=True)
    page.get_by_role("button", name="Equally good").click()
    page.get_by_label("Your message").wait_for()
    assert len(Store(site.database).comparisons(project="poems")) == 1


def test_a_network_that_goes_away_loses_no_message(site: Site, visitor: Callable[..., Any]) -> None:
    site.project("poems", chat=True)
    page = visitor()
    page.goto(f"{site.address}/projects/poems/chat")
    page.fill("#text", "hello")
    page.context.set_offline(True)
    page.keyboard.press("Control+Enter")
    page.get_by_text("No connection; try again once the network is back.").wait_for()
    assert page.input_value("#text") == "hello"
    page.context.set_offline(False)
    page.keyboard.press("Control+Enter")
    page.get_by_text("The model is writing").wait_for()
    assert page.inner_text("#status") == ""
