"""What somebody did, checked and as the networks read it; and doing it: an expert's episodes become steps.

Shape suffixes here: B steps without order, N copies of an environment.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from tercih.agents.evaluate import Act
from tercih.agents.experience import Acts
from tercih.data.steps import Steps
from tercih.data.trajectories import Trajectory, steps_of
from tercih.environments.control import Array, ControlError
from tercih.environments.copies import episode_seed
from tercih.environments.worlds import Worlds, bounds
from tercih.models.control import ActorCritic


@dataclass(frozen=True, kw_only=True, slots=True)
class Demonstrated(Acts):
    """Steps that are imitated, or compared with those that are. `action_B` as the policy draws them."""

    following_B: Tensor


def demonstrated(steps: Steps, worlds: Worlds, policy: ActorCritic) -> Demonstrated:
    """Steps of these worlds, as this policy reads them. Raises ControlError for those of another environment, and for
    observations and actions that cannot be."""
    checked(steps, worlds)
    action_B = steps.actions[steps.first :]
    return Demonstrated(
        observation_B=policy.numbers(steps.observations),
        action_B=policy.as_drawn(action_B),
        following_B=policy.numbers(steps.following),
    )


def checked(steps: Steps, worlds: Worlds) -> None:
    """Raises ControlError for steps of another environment, and for observations and actions that cannot be."""
    if steps.environment != worlds.id:
        raise ControlError(
            f"these are demonstrations of {steps.environment}, but the agent acts in {worlds.id}: make Worlds of that"
            " environment, or read others"
        )
    for name, of_steps, space in (
        ("observations", steps.observations, worlds.observation_space),
        ("following", steps.following, worlds.observation_space),
        ("actions", steps.actions[steps.first :], worlds.action_space),
    ):
        _check(name, of_steps, space, worlds.id)


def record(act: Act, worlds: Worlds, episodes: int) -> Steps:
    """Whole episodes that begin now, as many of every copy as `returns` plays; they can be acted again."""
    if episodes < 1:
        raise ControlError(f"demonstrations need episodes >= 1, got {episodes}")
    if worlds.hide_ends:
        raise ControlError("demonstrations are whole episodes: make Worlds without hide_ends to record them")
    observation_N, copies = worlds.reset(), range(len(worlds))
    begun_N = [copy["episode"] - 1 for copy in worlds.state_dict()["copies"]]
    found: list[list[Trajectory]] = [[] for _ in copies]
    seen: list[list[Array]] = [[observation_N[n]] for n in copies]
    done: list[list[Array]] = [[] for _ in copies]
    paid: list[list[float]] = [[] for _ in copies]
    share = -(-episodes // len(worlds))
    while min(map(len, found)) < share:
        action_N = act(observation_N)
        made = worlds.step(action_N)
        for n in copies:
            seen[n].append(made.following_N[n])
            done[n].append(action_N[n])
            paid[n].append(float(made.reward_N[n]))
        for n in np.flatnonzero(made.ended_N).tolist():
            found[n].append(
                Trajectory(
                    observations=np.stack(seen[n]),
                    actions=np.stack(done[n]),
                    rewards=np.array(paid[n]),
                    terminated=bool(made.terminated_N[n]),
                    truncated=bool(made.truncated_N[n]),
                    seed=episode_seed(worlds.seed, n, begun_N[n] + len(found[n])),
                )
            )
            seen[n], done[n], paid[n] = [made.observation_N[n]], [], []
        observation_N = made.observation_N
    by_round = [of_copy[at] for at in range(share) for of_copy in found]
    return steps_of(by_round[:episodes], worlds.id, worlds.options)


def _check(name: str, given_B: Array, space: object, environment: str) -> None:
    """ControlError for the first step whose observation or action this space does not have."""
    shape: tuple[int, ...] = space.shape  # type: ignore[attr-defined]
    if given_B.shape[1:] != shape:
        raise ControlError(
            f"{name} of the demonstrations have the shape {given_B.shape[1:]}, those of {environment} {shape}: they are"
            " of another version or of a wrapped environment"
        )
    if given_B.dtype.kind == "f" and not np.isfinite(given_B).all():
        at = int(np.isfinite(given_B).reshape(len(given_B), -1).all(1).argmin())
        raise ControlError(f"{name} of the demonstrations are not finite at step {at}: leave that episode out")
    if name == "actions":
        low, high = bounds(space)
        inside_B = ((given_B >= low) & (given_B <= high)).reshape(len(given_B), -1).all(1)
        if not inside_B.all() or (type(space).__name__ == "Discrete" and given_B.dtype.kind not in "iu"):
            at = int(inside_B.argmin())
            raise ControlError(
                f"step {at} of the demonstrations acts {given_B[at]!r}, which is no action of {environment}: it takes"
                f" {space}; keep actions as the environment got them"
            )
