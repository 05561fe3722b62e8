"""Some copies of an environment in a process of their own.

The process ends when the pipe to it does, so that none is left behind when the one that started it is killed. Numbers
go through shared memory; the pipe carries only what is to be done, and errors.
"""

import multiprocessing
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from tercih.environments.control import ControlError
from tercih.environments.copies import Copies, Layout, Rows


def context() -> Any:
    """A fresh process from which others are forked: a fork of the learner would inherit its threads and locks."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["gymnasium", __name__])
    return made


class Away:
    """`ask` for something that `Copies` does, then wait for its `answer`; a ControlError where it failed or died."""

    def __init__(
        self, environment: str, options: Mapping[str, Any], seed: int, first: int, count: int, layout: Layout
    ) -> None:
        import cloudpickle
        import gymnasium

        self.id, self.first, self.count = environment, first, count
        # The other process knows only the environments that Gymnasium brings along; this one may know others.
        setting = cloudpickle.dumps((gymnasium.spec(environment), (environment, options, seed, first, count)))
        self.pipe, far = context().Pipe()
        self.process = context().Process(target=_serve, args=(far, setting, layout), daemon=True)
        self.process.start()
        far.close()

    def ask(self, what: str, *about: Any) -> None:
        try:
            self.pipe.send((what, about))
        except OSError:
            raise self._died() from None

    def answer(self) -> Any:
        try:
            failed, value = self.pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if failed:
            raise ControlError(value)
        return value

    def close(self) -> None:
        """It ends of itself when the pipe is closed; one that is stuck is ended."""
        self.pipe.close()
        self.process.join(2)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _died(self) -> ControlError:
        self.process.join(2)
        code = self.process.exitcode
        if code is None:
            how = "closed its pipe"
        else:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return ControlError(
            f"a process that stepped copies of {self.id} {how} (out of memory? the simulator crashed?); start the run"
            " again, it goes on from its last checkpoint"
        )


def _serve(pipe: "Connection[Any, Any]", setting: bytes, layout: Layout) -> None:
    import cloudpickle
    import gymnasium

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who pressed Ctrl-C closes the pipe
    spec, (environment, options, seed, first, count) = cloudpickle.loads(setting)
    if not spec.id.startswith("ALE/"):  # which ale-py registers itself
        gymnasium.registry.setdefault(spec.id, spec)
    rows = Rows(layout, slice(first, first + count))
    copies = None
    while True:
        try:
            what, about = pipe.recv()
            try:
                if copies is None:
                    copies = Copies(environment, options, seed, first, count)
                answer = False, getattr(copies, what)(rows, *about)
            except ControlError as error:
                answer = True, str(error)
            pipe.send(answer)
        except (EOFError, OSError):
            return
