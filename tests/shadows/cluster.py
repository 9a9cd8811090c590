"""A Dask cluster of real processes on this machine, that tests may kill.

Run as a script, it loads what workers need and then forks one for each line it reads, which takes no time.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import distributed


def wait_for(what: Callable[[], object], *, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


class Host:
    """Starts schedulers and workers; they know nothing of the tests' own modules."""

    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, **what: str) -> int:
        """Return the process id of a worker of a scheduler's address, or of a scheduler that writes it to a file."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


class Cluster:
    """A scheduler and workers, by their process ids."""

    def __init__(self, host: Host, folder: Path, *, workers: int = 2) -> None:
        self.host, self.folder = host, folder
        self.scheduler = host.start(scheduler_file=str(folder / "scheduler"))
        told = folder / "scheduler"
        wait_for(lambda: told.exists() and told.read_text().strip().endswith("}"))  # the scheduler writes it in place
        self.address: str = json.loads(told.read_text())["address"]
        self.workers = [self.add() for _ in range(workers)]
        with distributed.Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)

    def add(self) -> int:
        return self.host.start(scheduler_ip=self.address, local_directory=str(self.folder))

    def close(self) -> None:
        kill(*self.workers, self.scheduler)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def kill(*pids: int) -> None:
    """End processes by SIGKILL, and see them gone."""
    for pid in filter(alive, pids):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(map(alive, pids)))


async def serve(what: dict[str, str]) -> None:
    kind = distributed.Worker if "scheduler_ip" in what else distributed.Scheduler
    options = {"nthreads": 1} if kind is distributed.Worker else {}
    async with kind(**what, **options, host="127.0.0.1", port=0, dashboard=False) as server:
        await server.finished()


def main() -> None:
    import sklearn.ensemble  # noqa: F401

    import miaudit.shadows.dask  # noqa: F401

    del sys.path[0]  # the tests' folder
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
            try:
                asyncio.run(serve(json.loads(line)))
            finally:
                os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
