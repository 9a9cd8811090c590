"""A time at which a request ends, whatever the server does: bytes that trickle in do not put it off."""

from __future__ import annotations

import socket
import threading
import time
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from typing import Any

from miaudit.libraries import network_pools

GO_ON = "every answer is kept where the audit has a folder (out): run it again to go on there"

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

        seconds = self.at - time.monotonic()
        if seconds <= 0:
            raise httpcore2.ReadTimeout("the time for one request is over")
        return seconds if timeout is None else min(seconds, timeout)


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


def _addresses(host: str, port: int, seconds: float) -> list[str]:
    """Return the addresses of a host, at least one, looked up in no more than so many seconds.

    The operating system's look-up takes no time limit and cannot be called off: it is left to a thread, which is not waited for
    any longer than that, and ends when the system gives up.

    Raises
    ------
    httpcore2.ConnectTimeout
        If it takes longer.
    httpcore2.ConnectError
        If there is no such host.
    """
    import httpcore2

    try:
        return [str(ip_address(host))]
    except ValueError:
        pass
    answer: SimpleQueue[list[str] | Exception] = SimpleQueue()

    def look_up() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(_literal(entry[4]) for entry in entries)))
        except (OSError, UnicodeError, ValueError) as error:
            answer.put(error)

    threading.Thread(target=look_up, name="miaudit-look-up", daemon=True).start()
    try:
        addresses = answer.get(timeout=seconds)
    except Empty:
        raise httpcore2.ConnectTimeout("the time for one request is over while its host's name is looked up") from None
    if isinstance(addresses, Exception) or not addresses:
        raise httpcore2.ConnectError(f"the host's name cannot be looked up: {addresses}")
    return addresses


def _literal(address: tuple[Any, ...]) -> str:
    """Return a socket's address as text; one of IPv6 that holds on one interface only carries its number."""
    scope = address[3] if len(address) > 3 else 0
    return f"{address[0]}%{scope}" if scope and "%" not in address[0] else str(address[0])


class _Backend:
    """Opens connections that end at the deadline."""

    def __init__(self, backend: Any, deadline: Deadline) -> None:
        self._backend, self._deadline = backend, deadline

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> _Stream:
        """Connect to the first of the host's addresses that takes the connection."""
        import httpcore2

        *others, last = _addresses(host, port, self._deadline.left(timeout))
        for address in others:
            try:
                stream = self._backend.connect_tcp(address, port, timeout=self._deadline.left(timeout), **options)
                return _Stream(stream, self._deadline)
            except httpcore2.ConnectError:  # as a server that listens to one of IPv4 and IPv6 alone
                continue
        stream = self._backend.connect_tcp(last, port, timeout=self._deadline.left(timeout), **options)
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
    for pool in network_pools(client):
        pool._network_backend = _Backend(pool._network_backend, deadline)
    return deadline
