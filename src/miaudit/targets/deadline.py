"""A time at which a request ends, whatever the server does: bytes that trickle in do not put it off."""

from __future__ import annotations

import threading
import time
from typing import Any

_PIECE = 16_384  # bytes written at a time, so that a server that reads slowly is noticed


class Deadline(threading.local):
    """When the request of this thread ends, by time.monotonic."""

    at = float("inf")

    def left(self, timeout: float | None) -> float:
        """Return the seconds that one operation may take; raise httpcore2.ReadTimeout if there are none.

        Raises
        ------
        httpcore2.ReadTimeout
            If the time is over.
        """
        import httpcore2

        left = self.at - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the time for one request is over")
        return left if timeout is None else min(left, timeout)


class _Stream:
    """A connection of httpcore2 whose operations end at the deadline."""

    def __init__(self, stream: Any, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        content: bytes = self._stream.read(max_bytes, self._deadline.left(timeout))
        return content

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            self._stream.write(buffer[start : start + _PIECE], self._deadline.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> _Stream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left(timeout))
        return _Stream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend:
    """Opens connections that end at the deadline."""

    def __init__(self, backend: Any, deadline: Deadline) -> None:
        self._backend, self._deadline = backend, deadline

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> _Stream:
        stream = self._backend.connect_tcp(host, port, timeout=self._deadline.left(timeout), **options)
        return _Stream(stream, self._deadline)

    def connect_unix_socket(self, path: str, timeout: float | None = None, **options: Any) -> _Stream:
        stream = self._backend.connect_unix_socket(path, timeout=self._deadline.left(timeout), **options)
        return _Stream(stream, self._deadline)

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


def bounded(client: Any) -> Deadline:
    """Hold all connections of an httpx2.Client to a deadline, and return it.

    The library has no total time for a request, and lets nobody give its client another network: its pools' backend is
    replaced here, by a name that is private. Were that name gone, connections would keep their own time limits, and the
    deadline would be seen between two pieces of an answer, by `Client`.
    """
    deadline = Deadline()
    transports = [getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values()]
    for transport in transports:
        pool: Any = getattr(transport, "_pool", None)
        if hasattr(pool, "_network_backend"):
            pool._network_backend = _Backend(pool._network_backend, deadline)
    return deadline
