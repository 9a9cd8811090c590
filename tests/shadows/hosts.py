"""Several hosts on one machine: network namespaces joined by a bridge, each with processes that may be killed.

Needs root, `ip` and `unshare`. The namespace of this program is left as it is: a namespace of its own, called home, holds the
bridge and runs the program under test.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


class Hosts:
    """Hosts 1 to ``count`` at 10.77.0.11, .12, ..., and home, host 0, at 10.77.0.10.

    Raises
    ------
    RuntimeError
        If the machine does not let us make them.
    """

    def __init__(self, count: int) -> None:
        self.names = [f"miaudit-{os.getpid()}-{i}" for i in range(count + 1)]
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        home = self.names[0]
        for name in self.names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", home, "link", "add", "wire", "type", "bridge")
        _ip("-n", home, "addr", "add", f"{self.address(0)}/24", "dev", "wire")
        _ip("-n", home, "link", "set", "wire", "up")
        for i, name in enumerate(self.names[1:], 1):
            port = f"port{i}"
            _ip("-n", home, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", home, "link", "set", port, "master", "wire", "up")
            _ip("-n", name, "addr", "add", f"{self.address(i)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")

    def address(self, host: int) -> str:
        return f"10.77.0.{10 + host}"

    def start(self, host: int, *command: str, log: Path, hide: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a command on a host, in a process group of its own; an empty folder lies over ``hide`` for it."""
        inside = ["ip", "netns", "exec", self.names[host]]
        if hide is not None:
            inside += ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(hide)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*inside, *command], stdout=file, stderr=file, env=environment, start_new_session=True
            )
        self.processes.append(process)
        return process

    def scheduler(self, host: int, *, log: Path) -> tuple[str, subprocess.Popen[bytes]]:
        """Start a scheduler; return its address and process."""
        options = ["--host", self.address(host), "--port", "8786", "--no-dashboard"]
        process = self.start(host, sys.executable, "-m", "distributed.cli.dask_scheduler", *options, log=log)
        return f"tcp://{self.address(host)}:8786", process

    def worker(self, host: int, scheduler: str, *, folder: Path, hide: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a worker with one thread; what it says goes into a log in the folder."""
        options = ["--host", self.address(host), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        options += ["--local-directory", str(folder / f"worker {host}")]
        command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, *options]
        return self.start(host, *command, log=folder / f"worker {host}.log", hide=hide)

    def bytes_received(self, host: int) -> int:
        """Return the bytes that came over a host's wire so far; for home, what all hosts sent to it or each other."""
        names = ["eth0"] if host else [f"port{i}" for i in range(1, len(self.names))]
        files = [f"/sys/class/net/{name}/statistics/rx_bytes" for name in names]
        command = ["ip", "netns", "exec", self.names[host], "cat", *files]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return sum(map(int, said.split()))

    def close(self) -> None:
        for process in self.processes:
            end(process)
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children at once."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _ip(*arguments: str) -> None:
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise RuntimeError("network namespaces need the command `ip` (package iproute2), which is not there") from None
    except subprocess.CalledProcessError as error:
        raise RuntimeError(
            f"this machine does not let us make hosts in network namespaces: ip {' '.join(arguments)}: {error.stderr.strip()}. "
            "It takes root (CAP_SYS_ADMIN and CAP_NET_ADMIN) and a kernel with namespaces, veth and bridge"
        ) from None
