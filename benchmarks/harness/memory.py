"""Memory of this process as the operating system counts it, in bytes. `device.py` says the same of a GPU."""

import ctypes
import gc
import resource
from contextlib import suppress
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def wait() -> None:
    """What was begun is over: on a processor it always is."""


def now() -> int:
    """What is resident once everything that can be given back has been."""
    gc.collect()
    with suppress(OSError):  # another libc trims by itself or not at all
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return _status("VmRSS") or _maximum()


def forget_peak() -> None:
    """Let `peak` begin anew, where the system can."""
    with suppress(OSError):  # `peak` is then the highest since the process began
        CLEAR.write_text("5")


def peak() -> int:
    """The highest since `forget_peak`."""
    return _status("VmHWM") or _maximum()


def _status(name: str) -> int:
    if not STATUS.exists():
        return 0
    lines = [line.split() for line in STATUS.read_text().splitlines() if line.startswith(name + ":")]
    return int(lines[0][1]) * 1024 if lines else 0


def _maximum() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
