"""A reward model of steps as a reward source: what the chances of all steps come to."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tercih.records import Text, prefixes
from tercih.rewards.learned import LearnedReward
from tercih.rewards.source import Scores

STEP_RULES: dict[str, Callable[[Tensor], Tensor]] = {
    # that no step is wrong, where each chance is that of a step given right ones before it (Lightman et al. 2023, §2.6)
    "product": lambda chance_S: chance_S.prod(),
    "min": lambda chance_S: chance_S.min(),  # the weakest step
    "last": lambda chance_S: chance_S[-1],  # of the whole answer, as an outcome reward model
}


class StepwiseReward:
    """The chance that an answer is right, from a model trained by `process_reward`. Steps are lines, read as text: the
    sampled tokens need not end where a step does."""

    def __init__(self, model: LearnedReward, *, rule: str = "product") -> None:
        if rule not in STEP_RULES:
            raise ValueError(f"stepwise.rule must be one of {', '.join(STEP_RULES)}, got {rule!r}")
        self.model, self.rule = model, rule

    def steps(self, items: Sequence[Text]) -> list[Tensor]:
        """The chance of every step, one tensor an item."""
        chains = [prefixes(str(item.completion)) for item in items]
        read = [
            Text(prompt=item.prompt, completion=part)
            for item, chain in zip(items, chains, strict=True)
            for part in chain
        ]
        chance_E = self.model.score(read).reward_BC[:, 0].sigmoid()
        return list(torch.split(chance_E, [len(chain) for chain in chains]))

    def score(self, items: Sequence[Text]) -> Scores:
        reward_B = torch.stack([STEP_RULES[self.rule](chance_S) for chance_S in self.steps(items)])
        return Scores(names=(self.model.name,), reward_BC=reward_B[:, None])
