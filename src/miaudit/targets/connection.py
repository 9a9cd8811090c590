"""How a server is reached: its address, headers, certificates and proxy, checked before anything is sent."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from miaudit.errors import PlanError, not_real, not_whole
from miaudit.targets.credentials import (
    ENV,
    header_problems,
    of_no_address,
    printable,
    proxy_problem,
    query_problem,
    without_login,
)

Sign = Callable[[str, str, Mapping[str, str], bytes], Mapping[str, str]]
"""From method, url, headers and body of a request to further headers, such as a signature; called for every attempt."""


@dataclass(frozen=True)
class Connection:
    """How a server is reached.

    Parameters
    ----------
    headers
        Sent with every request; ``env:NAME`` in a value stands for an environment variable.
    timeout
        Seconds for one attempt in all, from connecting to the last byte of the answer.
    retries
        Further attempts after a dropped connection, a timeout, or a 5xx status.
    patience
        Seconds that a request may be told to slow down in all, before the audit stops.
    slow_down
        Statuses that mean "slow down", beside 408, 425, 429, and 503 with Retry-After.
    proxy
        Address of a proxy; default: the environment's HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
    ca, certificate, key
        Files with the authorities to trust, the client's certificate and its key.
    gzip
        Whether bodies are sent compressed.
    sign
        Adds headers to each attempt, such as a cloud's request signature.

    Raises
    ------
    PlanError
        If a value is out of range, or a header holds a credential in clear.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30.0
    retries: int = 5
    patience: float = 300.0
    slow_down: tuple[int, ...] = ()
    proxy: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    gzip: bool = False
    sign: Sign | None = None

    def __post_init__(self) -> None:
        problems = header_problems(self.headers)
        problems += [
            (
                f"headers.{printable(name)}",
                "is no header: a name is letters, digits and -, a value is one line of ASCII",
            )
            for name, value in self.headers.items()
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or not sendable(value)
        ]
        problems += not_real(("timeout", self.timeout), above=0)
        problems += not_real(("patience", self.patience), least=0)
        problems += not_whole(("retries", self.retries), least=0)
        problems += not_whole(*(("slow_down", status) for status in self.slow_down), least=100, most=599)
        if self.key is not None and self.certificate is None:
            problems.append(("key", "belongs to certificate, the client's certificate"))
        if self.proxy is not None:
            problems += [("proxy", problem) for problem in _proxy_problems(self.proxy)]
        if problems:
            raise PlanError(problems)


def check_url(url: str) -> None:
    """Refuse what is no http address, and credentials in it.

    Raises
    ------
    PlanError
        Saying which.
    """
    try:
        parts = urlsplit(url)
        plain = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        plain = plain and url.isascii() and url.isprintable() and " " not in url and not ENV.search(parts.netloc)
    except (ValueError, TypeError, AttributeError):
        plain, parts = False, urlsplit("")
    if not plain or parts.scheme not in ("http", "https"):
        raise PlanError(f"url must be an address such as https://host/path, in ASCII; got {of_no_address(str(url))!r}")
    problem = query_problem(url)
    if problem is not None:
        raise PlanError(problem)


def shown(url: str) -> str:
    """Return an address as it may be shown: without login, parameters and query."""
    return without_login(url)


def identity_of(connection: Connection, url: str) -> dict[str, Any]:
    """Return what of a connection decides who answers: headers, certificates and proxy; credentials by their variables.

    A folder without any of these has the identity it had before they counted.
    """
    proxy = connection.proxy
    if proxy is None and not proxy_bypass(urlsplit(url).hostname or ""):
        proxies = getproxies()
        proxy = proxies.get(urlsplit(url).scheme) or proxies.get("all")
    parts = {
        "headers": sorted((name.lower(), value) for name, value in connection.headers.items()),
        "certificate": _digest(connection.certificate),
        "ca": _digest(connection.ca),
        "proxy": None if proxy is None else without_login(proxy),
        "sign": None
        if connection.sign is None
        else getattr(connection.sign, "__qualname__", type(connection.sign).__name__),
    }
    return {name: value for name, value in parts.items() if value}


def _digest(path: str | None) -> str | None:
    try:
        return None if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return path


def sendable(value: Any) -> bool:
    """Whether a value can be that of a header: one line of ASCII."""
    return isinstance(value, str) and value.isascii() and not any(ord(c) < 32 or ord(c) == 127 for c in value)


def _proxy_problems(proxy: str) -> list[str]:
    problem = proxy_problem(proxy)
    if problem is not None or ENV.search(proxy):
        return [] if problem is None else [problem]
    try:
        parts = urlsplit(proxy)
        good = parts.scheme in ("http", "https", "socks5", "socks5h") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    return [] if good else [f"must be an address such as http://host:port, got {of_no_address(proxy)!r}"]


def login_of(address: str) -> list[str]:
    """Return what of a proxy's address is secret."""
    login, at, _ = address.rpartition("@")
    login = login.partition("://")[2] or login  # the environment's may have no scheme
    user, _, password = login.partition(":")
    return [login, password or user, unquote(password or user)] if at else []


def logins() -> list[str]:
    """Return what of the environment's proxies is secret."""
    return [text for address in getproxies().values() for text in login_of(address)]


def tls(connection: Connection) -> Any:
    """Return how certificates are checked, as httpx2 takes it.

    Raises
    ------
    PlanError
        If a file of them cannot be used.
    """
    if connection.ca is None and connection.certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=connection.ca)
        if connection.certificate is not None:
            context.load_cert_chain(
                connection.certificate, connection.key, password=lambda: ""
            )  # never asks at a terminal
    except (OSError, ValueError, TypeError) as error:
        raise PlanError(
            f"the files of ca, certificate and key cannot be used: {error}; expected PEM files, and a key without a passphrase"
        ) from error
    return context
