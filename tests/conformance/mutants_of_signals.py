"""Wrong versions of what learns from what people say in other ways than whole answers; see test_mutations."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tercih.agents.beyond import beyond_loss
from tercih.agents.coach import Coach, CoachLearner
from tercih.agents.live import Heard, Press, Shown
from tercih.agents.tamer import Tamer, TamerLearner
from tercih.conformance import beyond, coach, mil, overrides, pessimistic_mle, shaping, tamer
from tercih.environments.override import Guarded
from tercih.models.remembering import Kept, Remembered, RememberingReward
from tercih.rewards.pessimism import Ellipsoid, PessimisticMLE
from tercih.rewards.shaping import Shaping


class Hopeful(PessimisticMLE):
    """The highest value that is possible, not the lowest."""

    def fit(self, feature_NKD: Tensor) -> Ellipsoid:
        known = PessimisticMLE.fit(self, feature_NKD)
        return replace(known, radius=-known.radius)


class Flat(PessimisticMLE):
    """The same doubt in all directions."""

    def fit(self, feature_NKD: Tensor) -> Ellipsoid:
        known = PessimisticMLE.fit(self, feature_NKD)
        return replace(known, precision_DD=torch.eye(3, dtype=torch.float64))


class Trusting(PessimisticMLE):
    def fit(self, feature_NKD: Tensor) -> Ellipsoid:
        return replace(PessimisticMLE.fit(self, feature_NKD), radius=0.0)


class WorstFirst(PessimisticMLE):
    def fit(self, feature_NKD: Tensor) -> Ellipsoid:
        return PessimisticMLE.fit(self, feature_NKD.flip(1))


class Impolite(TamerLearner):
    """Ends in a ReLU, so that it cannot say −1."""

    def __init__(self, *about: Any, **more: Any) -> None:
        super().__init__(*about, **more)
        self.network.append(nn.ReLU())


class FirstStep(TamerLearner):
    """A press is all about the oldest step that it may be about."""

    def credited(self, pressed: float) -> list[tuple[Shown, float]]:
        return [(shown, 1.0) for shown, _ in super().credited(pressed)[-1:]]


class BlamesInstead(TamerLearner):
    def learn(self, signal: Heard) -> None:
        super().learn(Press(id=signal.id, value=-signal.value, seconds=signal.seconds))


class NoTrace(CoachLearner):
    def learn(self, signal: Heard) -> None:
        self.trace_KP.zero_()
        super().learn(signal)


class Turned(CoachLearner):
    def learn(self, signal: Heard) -> None:
        super().learn(Press(id=signal.id, value=-signal.value, seconds=signal.seconds))


class Keeps(CoachLearner):
    """What is taken back is only forgotten."""

    def forget(self, key: int) -> None:
        self.changes.clear()


class Sooner(CoachLearner):
    """Half the delay."""

    def learn(self, signal: Heard) -> None:
        super().learn(Press(id=signal.id, value=signal.value, seconds=signal.seconds + self.settings.delay / 2))


def learning(settings: type[Any], learner: type[Any]) -> type[Any]:
    """These settings, with another learner."""

    class Replaced(settings):  # type: ignore[misc]
        def learner(self, *spaces: Any, **more: Any) -> Any:
            return learner(self, *spaces, **more)

    return Replaced


class Undiscounted(Shaping):
    """Φ(s') − Φ(s), whatever the discount."""

    def __call__(self, observation: Any, action: Any, following: Any) -> Any:
        return Shaping(self.potential, 1.0, self.ends)(observation, action, following)


class Backwards(Shaping):
    def __call__(self, observation: Any, action: Any, following: Any) -> Any:
        return -Shaping.__call__(self, observation, action, following)


class Onlooker(Guarded):
    """Writes down what should have been done, and lets it pass."""

    def step(self, action_N: Any) -> Any:
        self.log.add(self.observation_N, action_N, self.instead(self.observation_N, np.asarray(action_N)))
        return super(Guarded, self).step(action_N)


class Lenient(Guarded):
    """Without the penalty."""

    def __init__(self, *about: Any, **more: Any) -> None:
        super().__init__(*about, **more | {"penalty": 0.0})


def other_way(learned_N2T: Tensor, measured_N2T: Tensor, target_N3: Tensor) -> Tensor:
    """The offset with its sign turned round."""
    return beyond_loss(learned_N2T, -measured_N2T, target_N3)


def first_step(learned_N2T: Tensor, measured_N2T: Tensor, target_N3: Tensor) -> Tensor:
    """Only the first step of what is measured."""
    return beyond_loss(learned_N2T, measured_N2T[..., :1], target_N3)


class Forgetful(RememberingReward):
    """Its memory is reset before every step."""

    def forward(self, step_BTO: Tensor) -> Remembered:
        rows, steps = step_BTO.shape[:2]
        alone = RememberingReward.forward(self, step_BTO.flatten(0, 1)[:, None])
        return Remembered(reward_BT=alone.reward_BT.view(rows, steps), hidden_BTH=None)


class Unskipped(RememberingReward):
    """Reads what is remembered alone."""

    def forward(self, step_BTO: Tensor) -> Remembered:
        found = RememberingReward.forward(self, step_BTO)
        if self.kind != "csc_lstm" or found.hidden_BTH is None:
            return found
        nothing_BTE = torch.zeros(*step_BTO.shape[:2], 32)
        return replace(found, reward_BT=self.head(torch.cat([found.hidden_BTH, nothing_BTE], 2)).squeeze(2))


class Foresees(RememberingReward):
    """Reads episodes from their ends."""

    def forward(self, step_BTO: Tensor) -> Remembered:
        found = RememberingReward.forward(self, step_BTO.flip(1))
        return replace(found, reward_BT=found.reward_BT.flip(1))


class ForgetsInAction(RememberingReward):
    """Remembers while it learns, but not step by step."""

    def advance(self, step_BO: Tensor, kept: Kept | None) -> tuple[Tensor, Tensor, Kept]:
        return RememberingReward.advance(self, step_BO, None)


SIGNALS: dict[str, tuple[Any, dict[str, Any]]] = {
    "pessimistic_mle": (
        pessimistic_mle.prove,
        {"optimist": Hopeful, "flat doubt": Flat, "no doubt": Trusting, "worst first": WorstFirst},
    ),
    "tamer": (
        tamer.prove,
        {
            "w = 1 on what is on the screen": tamer.Unshared,
            "w = 1 on the oldest step": learning(Tamer, FirstStep),
            "cannot blame": learning(Tamer, Impolite),
            "sign": learning(Tamer, BlamesInstead),
        },
    ),
    "coach": (
        coach.prove,
        {
            "no trace": learning(Coach, NoTrace),
            "sign": learning(Coach, Turned),
            "takes nothing back": learning(Coach, Keeps),
            "half the delay": learning(Coach, Sooner),
        },
    ),
    "shaping": (
        shaping.prove,
        {"not a difference": shaping.bonus_alone, "undiscounted": Undiscounted, "sign": Backwards},
    ),
    "mil": (
        mil.prove,
        {
            "forgets": Forgetful,
            "no skip connection": Unskipped,
            "reads backwards": Foresees,
            "forgets in action": ForgetsInAction,
        },
    ),
    "overrides": (overrides.prove, {"only watches": Onlooker, "no penalty": Lenient}),
    "beyond": (
        beyond.prove,
        {"no offset": beyond.without_offset, "offset turned round": other_way, "one step of it": first_step},
    ),
}
