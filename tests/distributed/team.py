"""The environment that torchrun gives a process."""

import os
import socket
from pathlib import Path

TESTS = Path(__file__).parents[1]


def environment(rank: int, size: int, port: int, **more: str) -> dict[str, str]:
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    team = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", **{k: str(v) for k, v in team.items()}, **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
