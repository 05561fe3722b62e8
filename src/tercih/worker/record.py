"""What an agent did, step by step, until some of it becomes a clip's steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tercih.data.steps import Steps
from tercih.environments.control import Step


@dataclass(kw_only=True)
class Record:
    """`reset` and `add` as it happens, then `steps`."""

    environment: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rate: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    done: list[Step] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def reset(self, seed: int) -> None:
        """From here on it is another episode; one without a step is forgotten."""
        if self.starts and self.starts[-1] == len(self.done):
            self.starts.pop()
            self.seeds.pop()
        self.starts.append(len(self.done))
        self.seeds.append(seed)

    def add(self, step: Step, time: float | None = None) -> None:
        """`time` in seconds, where somebody watched: for all steps or for none."""
        self.done.append(step)
        if time is not None:
            self.times.append(time)

    def steps(self, first: int = 0, end: int | None = None) -> Steps:
        """Those from `first` to before `end` as a clip, with what came before them in their episode."""
        end = len(self.done) if end is None else end
        since = max(start for start in self.starts if start <= first)
        episodes = [(start - since, seed) for start, seed in zip(self.starts, self.seeds, strict=True)
                    if since <= start < end]  # fmt: skip
        shown = self.done[first:end]
        return Steps(
            environment=self.environment,
            options=self.options,
            rate=self.rate,
            versions=self.versions,
            actions=np.array([step.action for step in self.done[since:end]]),
            starts=np.array([start for start, _ in episodes], dtype=np.int64),
            seeds=np.array([seed for _, seed in episodes], dtype=np.int64),
            first=first - since,
            observations=np.array([step.observation for step in shown]),
            following=np.array([step.following for step in shown]),
            rewards=np.array([step.reward for step in shown], dtype=np.float64),
            terminated=np.array([step.terminated for step in shown], dtype=bool),
            truncated=np.array([step.truncated for step in shown], dtype=bool),
            times=np.array(self.times[first:end], dtype=np.float64),
        )
