"""Small worlds whose every number is known, and plans in them that are exact.

Shape suffixes: S states, A actions, T steps, K features of a state. The policy of a task of T steps is one a step,
policy_TSA.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from tercih.environments.control import ControlError, World

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tabular:
    """P(s' | s, a) and the distribution of first states. Raises ControlError where they are none."""

    transition_SAS: Floats
    start_S: Floats

    def __post_init__(self) -> None:
        states = len(self.start_S)
        if self.transition_SAS.ndim != 3 or self.transition_SAS.shape[::2] != (states, states):
            raise ControlError(
                f"transitions of {states} states are an array (S, A, S), got one of shape {self.transition_SAS.shape}"
            )
        for name, chance in (("transition_SAS", self.transition_SAS), ("start_S", self.start_S)):
            if not np.all(chance >= 0) or not np.allclose(chance.sum(-1), 1):
                raise ControlError(f"{name} must hold probabilities that add up to 1 over its last axis")

    @property
    def states(self) -> int:
        return len(self.start_S)

    @classmethod
    def of(cls, world: World) -> "Tabular":
        """Of an environment with a table `P[state][action] = [(probability, following, reward, terminated), …]`, as
        Gymnasium's FrozenLake, CliffWalking and Taxi have one. A terminal state goes on to itself for ever."""
        env: Any = world.env.unwrapped
        if not hasattr(env, "P") or not hasattr(env, "initial_state_distrib"):
            raise ControlError(f"{world.id} has no table of transitions; tabular methods need one, or a Tabular(…)")
        states, actions = int(env.observation_space.n), int(env.action_space.n)
        transition_SAS = np.zeros((states, actions, states))
        for state, of_actions in env.P.items():
            for action, outcomes in of_actions.items():
                for chance, following, *_ in outcomes:
                    transition_SAS[state, action, following] += chance
        start_S = np.asarray(env.initial_state_distrib, dtype=np.float64)
        return cls(transition_SAS=transition_SAS, start_S=start_S)

    def soft_policy(self, reward_S: Floats, horizon: int) -> Floats:
        """The policy of the highest E[Σ r(s_t) + entropy] over `horizon` states, by soft value iteration backwards from
        the last (Ziebart, Bagnell & Dey 2010). Shape (T, S, A)."""
        policy_TSA = np.zeros((horizon, *self.transition_SAS.shape[:2]))
        value_S = np.zeros(self.states)
        for t in reversed(range(horizon)):
            q_SA = reward_S[:, None] + self.transition_SAS @ value_S
            value_S = logsumexp(q_SA, axis=1)
            policy_TSA[t] = np.exp(q_SA - value_S[:, None])
        return policy_TSA

    def best_policy(self, reward_S: Floats, gamma: float) -> Floats:
        """The best of the discounted task, by policy iteration (Howard 1960). Shape (S, A), each row one-hot."""
        states, actions = self.transition_SAS.shape[:2]
        best_S = np.zeros(states, dtype=np.int64)
        while True:
            moved_SS = self.transition_SAS[np.arange(states), best_S]
            value_S = np.linalg.solve(np.eye(states) - gamma * moved_SS, reward_S)
            q_SA = reward_S[:, None] + gamma * self.transition_SAS @ value_S
            # A change that gains nothing but rounding would go round for ever.
            better_S = q_SA.max(1) > q_SA[np.arange(states), best_S] + 1e-9
            if not better_S.any():
                return np.asarray(np.eye(actions)[best_S])
            best_S = np.where(better_S, q_SA.argmax(1), best_S)

    def visits(self, policy_TSA: Floats) -> Floats:
        """How often each state is expected in so many steps; they add up to T. Shape (S,)."""
        at_S, total_S = self.start_S, np.zeros(self.states)
        for policy_SA in policy_TSA:
            total_S = total_S + at_S
            at_S = np.einsum("s,sa,sax->x", at_S, policy_SA, self.transition_SAS)
        return total_S

    def discounted_visits(self, policy_SA: Floats, gamma: float) -> Floats:
        """Σ γ^t P(s_t = s); they add up to 1/(1 − γ). Shape (S,)."""
        moved_SS = np.einsum("sa,sax->sx", policy_SA, self.transition_SAS)
        return np.linalg.solve(np.eye(self.states) - gamma * moved_SS.T, self.start_S)
