"""The state of a simulator, kept and put back so that all that follows has the same bits.

Every environment can be brought back by its episode's seed and actions. Those that are known to us have a shorter way:

- classic control and toy texts: their attributes and their random generator;
- MuJoCo: the whole integration state before the last step, and that step once more. What a step leaves in MuJoCo's data
  (positions of bodies, forces) belongs to the state before it, and some rewards read it;
- Atari: ALE's own copy of the machine.

What was acted again must lead to the observation that was kept; an environment that leads elsewhere is refused. What is
kept consists of numbers, strings, bytes and containers of them, as checkpoints want it.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from tercih.environments.control import Array, ControlError, World, own

Kept = dict[str, Any]

# What says how an environment is drawn: a state that was kept without a picture may be filmed.
DRAWING = ("render_mode", "screen", "clock", "isopen", "window_surface")

# Wrappers whose whole state is their attributes; under any other one, an episode is acted again.
SIMPLE = {
    "PassiveEnvChecker", "OrderEnforcing", "TimeLimit", "AtariPreprocessing", "FrameStackObservation", "StickyAction",
    "BlankScore",
}  # fmt: skip


class Keeper:
    """By the episode's seed and actions. It is told of every reset (`began`) and of every action before it (`acts`)."""

    again = True  # an observation comes of bringing the state back, and is to be the one that was kept

    def __init__(self, world: World) -> None:
        self.world = world
        self.seed = 0
        self.actions: list[Array] = []

    def began(self, seed: int) -> None:
        self.seed = seed
        self.actions = []

    def acts(self, action: Any) -> None:
        self.actions.append(np.array(action))

    def save(self) -> Kept:
        return {
            "kind": type(self).__name__,
            "seed": self.seed,
            "observation": pack(self.world.observation),
            "state": self._state(),
        }

    def load(self, kept: Kept, *, exact: bool = True) -> None:
        """Raises ControlError where the environment is not the one that was saved, or does not repeat itself.

        `exact` False: the observation may be another one, for whoever compares it himself; another machine's last bits
        differ.
        """
        observation, kind = unpack(kept["observation"]), type(self).__name__
        if kept["kind"] != kind:
            raise ControlError(
                f"the saved state of {self.world.id} is of the kind {kept['kind']}, but this environment's is {kind};"
                " use the version of the environment that saved it"
            )
        self.world.reset(kept["seed"])
        self.began(kept["seed"])
        try:
            self._restore(kept["state"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._other() from error
        if exact and self.again and not _same(self.world.observation, observation):
            raise self._other()
        self.world.observation = observation

    def _other(self) -> ControlError:
        return ControlError(
            f"{self.world.id} is not reproducible: acted again from its seed, it does not come to the state that was"
            " saved. Either it is another version of the environment, or its randomness does not follow its seed"
        )

    def _state(self) -> Kept:
        return {"actions": [pack(action) for action in self.actions]}

    def _restore(self, state: Kept) -> None:
        for packed in state["actions"]:
            action = own(self.world, unpack(packed))
            self.acts(action)
            self.world.act(action)


class Attributes(Keeper):
    """By the attributes of the environment and its wrappers, and its random generator."""

    again = False

    def acts(self, action: Any) -> None:
        pass

    def _state(self) -> Kept:
        layers = [
            {name: pack(value) for name, value in vars(layer).items() if _plain(value)} for layer in self._remembering()
        ]
        return {"layers": layers, "random": self.world.env.unwrapped.np_random.bit_generator.state}

    def _restore(self, state: Kept) -> None:
        for layer, attributes in zip(self._remembering(), state["layers"], strict=True):
            vars(layer).update({name: unpack(value) for name, value in attributes.items() if name not in DRAWING})
        self.world.env.unwrapped.np_random.bit_generator.state = state["random"]

    def _remembering(self) -> list[Any]:
        """The checker only knows which of its checks it has made, on objects that are this process's own."""
        return [each for each in _layers(self.world.env) if type(each).__name__ != "PassiveEnvChecker"]


class Mujoco(Attributes):
    """By MuJoCo's integration state before the last step, which is then made once more."""

    again = True

    def __init__(self, world: World) -> None:
        import mujoco

        super().__init__(world)
        env: Any = world.env.unwrapped
        self.model, self.data = env.model, env.data
        self.what = int(mujoco.mjtState.mjSTATE_INTEGRATION)
        self.before = np.zeros(mujoco.mj_stateSize(self.model, self.what))
        self.action: Any = None
        self.get, self.set = mujoco.mj_getState, mujoco.mj_setState

    def began(self, seed: int) -> None:
        super().began(seed)
        self.action = None

    def acts(self, action: Any) -> None:
        self.get(self.model, self.data, self.before, self.what)
        self.action = action

    def _state(self) -> Kept:
        step = None if self.action is None else {"before": pack(self.before), "action": pack(self.action)}
        return super()._state() | {"step": step}

    def _restore(self, state: Kept) -> None:
        if state["step"] is not None:
            self.set(self.model, self.data, unpack(state["step"]["before"]), self.what)
            action = own(self.world, unpack(state["step"]["action"]))
            self.acts(action)
            self.world.act(action)
        super()._restore(state)


class Atari(Attributes):
    """By ALE's copy of the machine, its random generator included."""

    def _state(self) -> Kept:
        env: Any = self.world.env.unwrapped
        return super()._state() | {"machine": env.ale.cloneState(include_rng=True).__getstate__()}

    def _restore(self, state: Kept) -> None:
        import ale_py

        env: Any = self.world.env.unwrapped
        machine = ale_py.ALEState.__new__(ale_py.ALEState)
        machine.__setstate__(state["machine"])
        env.ale.restoreState(machine)
        super()._restore(state)


def bring_back(world: World, kept: Kept) -> None:
    """A world that nobody acted in yet comes to a state that may be a stranger's; what follows is to be compared.

    Raises ControlError for a state that is none of this environment's.
    """
    try:
        keeper(world).load(kept, exact=False)
    except ControlError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ControlError(f"the saved state cannot be one of {world.id}: {error}") from error


def keeper(world: World) -> Keeper:
    """The one for this environment."""
    *wrappers, env = _layers(world.env)
    home = type(env).__module__
    if all(type(each).__name__ in SIMPLE for each in wrappers):
        if home.startswith(("gymnasium.envs.classic_control.", "gymnasium.envs.toy_text.")):
            return Attributes(world)
        if home.startswith("gymnasium.envs.mujoco."):
            return Mujoco(world)
        # ALE's own sticky actions remember the last action outside of what it copies.
        if home.startswith("ale_py.") and env.ale.getFloat("repeat_action_probability") == 0:
            return Atari(world)
    return Keeper(world)


def pack(value: Any) -> Any:
    """Arrays, tuples and deques as containers of numbers and bytes."""
    if isinstance(value, np.ndarray | np.generic):
        scalar = isinstance(value, np.generic)
        return {"array": value.tobytes(), "dtype": value.dtype.str, "shape": list(value.shape), "scalar": scalar}
    if isinstance(value, deque):
        return {"deque": [pack(each) for each in value], "most": value.maxlen}
    if isinstance(value, tuple):
        return {"tuple": [pack(each) for each in value]}
    return [pack(each) for each in value] if isinstance(value, list) else value


def unpack(value: Any) -> Any:
    """What `pack` was given."""
    if isinstance(value, list):
        return [unpack(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        array = np.frombuffer(value["array"], value["dtype"]).reshape(value["shape"]).copy()
        return array[()] if value["scalar"] else array
    if "deque" in value:
        return deque((unpack(each) for each in value["deque"]), value["most"])
    return tuple(unpack(each) for each in value["tuple"])


def _plain(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biufSU"
    if isinstance(value, list | tuple | deque):
        return all(_plain(each) for each in value)
    return value is None or type(value) in (bool, int, float, str)


def _layers(env: Any) -> Iterator[Any]:
    """The outermost wrapper first, the environment itself last."""
    while env is not env.unwrapped:
        yield env
        env = env.env
    yield env


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
