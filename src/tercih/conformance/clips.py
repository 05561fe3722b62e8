"""Who answers about clips in proofs: an oracle of the environment's own reward, or a coin."""

from collections.abc import Mapping, Sequence

import numpy as np

from tercih.agents.preferences import Query
from tercih.conformance.lab import Stateless
from tercih.feedback.teachers import FIRST, SECOND, TIE, Target


class Oracle(Stateless):
    """Answers at once. `shuffled` is the negative control: a fair coin, whatever is compared."""

    def __init__(self, *, shuffled: bool = False, seed: int = 0) -> None:
        self.shuffled, self.seed = shuffled, seed
        self.said: dict[tuple[int, int], Target] = {}
        self.queries: list[Query] = []

    def put(self, queries: Sequence[Query]) -> None:
        self.queries += queries
        for query in queries:
            if self.shuffled:
                coin = np.random.default_rng((self.seed, *query.key)).random()
                self.said[query.key] = FIRST if coin < 0.5 else SECOND
            else:
                lead = query.first.reward_L.sum() - query.second.reward_L.sum()
                self.said[query.key] = FIRST if lead > 0 else SECOND if lead < 0 else TIE

    def take(self) -> Mapping[tuple[int, int], Sequence[float]]:
        said, self.said = self.said, {}
        return said
