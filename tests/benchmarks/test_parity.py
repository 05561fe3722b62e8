"""Parity with TRL, as far as it can be told without TRL: our side runs, the page holds its table, and both sorts of
surprise are seen. The comparison itself is `python benchmarks/parity.py`; its test runs where TRL is installed."""

import os
import re
from pathlib import Path

import parity
import pytest
import torch
from harness.cases import CASES
from harness.frozen import Found, Frozen, frozen, load

from tercih.algorithms import METHODS

PAGE = Path(__file__).parents[2] / "docs" / "parity.md"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    path = tmp_path_factory.mktemp("parity") / "frozen.npz"
    frozen(parity.SEED).save(path)
    return load(path)


@pytest.fixture(scope="module")
def ours(data: Frozen) -> Found:
    return parity.all_of_ours(data)


def rows_of(text: str) -> dict[str, list[str]]:
    """By their names."""
    rows = [row.strip("| ").split(" | ") for row in text.splitlines() if row.startswith("| ") and " | " in row]
    return {row[0]: row for row in rows}


def test_the_page_has_our_numbers_of_every_case(ours: Found) -> None:
    written = rows_of(PAGE.read_text())
    for name, case in CASES.items():
        loss, gradient = ours[name]
        assert torch.isfinite(gradient).all()
        if case.value:
            assert float(written[name][2]) == pytest.approx(loss, abs=2e-5), name
        assert written[name][-1].startswith("differs" if case.differs else "agrees"), name
    assert set(written) - set(CASES) == {"ours"}


def test_surprises_are_told(data: Frozen, ours: Found) -> None:
    as_theirs = parity.all_as_theirs(data)
    assert set(as_theirs) == {name for name, case in CASES.items() if case.differs}
    theirs = ours | as_theirs

    def told(name: str, side: Found, explained: Found = as_theirs) -> bool:
        return {row.name: row.as_said for row in parity.compared(side, explained, theirs)}[name]

    assert all(told(name, ours) for name in ("dpo", *as_theirs)), "each of them moves something"
    off = {**ours, "dpo": (ours["dpo"][0], ours["dpo"][1] + 1e-4)}
    assert not told("dpo", off)
    assert not told("ppo", ours | as_theirs), "a difference that was written down is gone"
    assert not told("ppo", ours, as_theirs | {"ppo": ours["ppo"]}), "a reason explains nothing"
    assert not parity.Gap(1e-4, 0.0).closed
    assert parity.Gap(None, 1e-6).closed


def test_every_method_is_compared_or_named_among_those_that_are_not() -> None:
    """CASES say by their first word whose loss they are."""
    compared = {re.split(",| ", name)[0] for name in CASES}
    named = set(re.findall("`([a-z_0-9]+)`", PAGE.read_text().split("**Not compared.**")[1].split("TRL's alone")[0]))
    assert set(METHODS) - compared == named - {"dpo"}


@pytest.mark.full
@pytest.mark.peers
def test_what_trl_says_is_the_table_on_the_page(tmp_path: Path) -> None:
    peers = os.environ.get("TERCIH_PEERS")
    if not peers:
        pytest.skip("TERCIH_PEERS names no folder that benchmarks/peers.sh made")
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    assert parity.main(["--peers", peers, "--write", str(page)]) == 0
    found, written = rows_of(page.read_text()), rows_of(PAGE.read_text())
    assert set(found) == set(written)
    for name, row in found.items():
        assert [rounded(cell) for cell in row] == [rounded(cell) for cell in written[name]]


def rounded(cell: str) -> str:
    """What agrees may do so by other small numbers on another machine, and losses end in another digit."""
    cell = re.sub(r"\d\.\de[+-]\d\d", lambda found: found[0] if float(found[0]) > parity.AGREE else "0", cell)
    return re.sub(r"^(-?\d+\.\d{4})\d\d$", r"\1", cell)


def test_the_table_is_put_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n{}\nold\n{}\nafter\n".format(*map(parity.STARTS_AND_ENDS.format, ("start", "end"))))
    parity.put("new", page)
    assert page.read_text().split("\n")[0::2] == ["before", "new", "after"]
