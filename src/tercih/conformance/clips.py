"""Who answers about clips in proofs: an oracle of the environment's own reward, or a coin."""

from collections.abc import Sequence

import numpy as np

from tercih.agents.preferences import Heard, Query
from tercih.conformance.lab import Stateless
from tercih.feedback.teachers import FIRST, SECOND, TIE


class Oracle(Stateless):
    """Answers at once. `shuffled` is the negative control: a fair coin, whatever is compared."""

    votes = 1

    def __init__(self, *, shuffled: bool = False, seed: int = 0) -> None:
        self.shuffled, self.seed = shuffled, seed
        self.said: list[Heard] = []
        self.queries: list[Query] = []

    def put(self, queries: Sequence[Query]) -> None:
        self.queries += queries
        for query in queries:
            if self.shuffled:
                coin = np.random.default_rng((self.seed, *query.key)).random()
                said = FIRST if coin < 0.5 else SECOND
            else:
                lead = query.first.reward_L.sum() - query.second.reward_L.sum()
                said = FIRST if lead > 0 else SECOND if lead < 0 else TIE
            self.said.append(Heard(key=query.key, rater="oracle", target=said))

    def take(self) -> Sequence[Heard]:
        said, self.said = self.said, []
        return said
