"""The agent along its training: kept at even shares, and the same ones after a stop."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from tercih.agents.milestones import COUNT, Milestones, load_weights, milestones


class Counting:
    """Data whose every item adds 1 to the agent, as if it had learned from it."""

    steps = 100

    def __init__(self, agent: nn.Linear) -> None:
        self.agent = agent

    def __call__(self, step: int) -> int:
        with torch.no_grad():
            self.agent.bias.fill_(step + 1.0)
        return step

    def state_dict(self) -> dict[str, Any]:
        return {"some": 1}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state == {"some": 1}


def run(folder: Path, start: int = 0, stop: int = 100) -> None:
    agent = nn.Linear(1, 1)
    torch.nn.init.constant_(agent.bias, float(start))
    kept = Milestones(Counting(agent), agent, folder)
    kept.load_state_dict(kept.state_dict())
    assert [kept(step) for step in range(start, stop)] == list(range(start, stop))
    if stop == kept.steps:
        kept.keep(stop)


def kept(folder: Path) -> list[tuple[int, float]]:
    agent, found = nn.Linear(1, 1), []
    for step, path in milestones(folder):
        load_weights(path, agent)
        found.append((step, agent.bias.item()))
    return found


def test_weights_are_those_before_the_item(tmp_path: Path) -> None:
    run(tmp_path)
    found = kept(tmp_path)
    assert [step for step, _ in found] == [0, 12, 25, 38, 50, 62, 75, 88, 100]
    assert len(found) == COUNT
    assert all(step == said for step, said in found)


def test_a_stop_loses_none_and_changes_none(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    run(tmp_path / "parts", stop=51)  # the checkpoint of step 38 is the newest
    run(tmp_path / "parts", start=38)
    assert kept(tmp_path / "parts") == kept(tmp_path / "whole")
