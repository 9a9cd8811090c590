"""One HTTP client: connections kept, failures told apart, retries bounded, secrets never shown."""

from __future__ import annotations

import json
import os
import random
import re
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from miaudit.errors import PlanError, TargetError
from miaudit.targets.wire.rows import excerpt

Read = TypeVar("Read")

Sign = Callable[[str, str, Mapping[str, str], bytes], Mapping[str, str]]
"""From method, url, headers and body of a request to further headers, such as a signature; called for every attempt."""

SLOW_DOWN = (408, 425, 429)
"""Statuses that ask to come back later; 503 with Retry-After is another."""

_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_SECRET = re.compile(r"auth|key|token|secret|cookie|password|signature|credential", re.IGNORECASE)
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds of backoff


@dataclass(frozen=True)
class Connection:
    """How a server is reached.

    Parameters
    ----------
    headers
        Sent with every request; ``env:NAME`` in a value stands for an environment variable.
    timeout
        Seconds to wait for an answer, and for a connection.
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
    sign: Sign | None = None

    def __post_init__(self) -> None:
        problems = [
            (
                f"headers.{name}",
                "looks like a credential, and plans and results are kept: put it into an environment variable and write "
                f'{name} = "env:VARIABLE" (or "Bearer env:VARIABLE")',
            )
            for name, value in self.headers.items()
            if _SECRET.search(name) and not _ENV.search(value)
        ]
        if not self.timeout > 0:
            problems.append(("timeout", f"must be a number of seconds above 0, got {self.timeout}"))
        if self.retries < 0:
            problems.append(("retries", f"must be at least 0, got {self.retries}"))
        if self.key is not None and self.certificate is None:
            problems.append(("key", "belongs to certificate, the client's certificate"))
        if self.proxy is not None and urlsplit(self.proxy).password:
            problems.append(
                ("proxy", 'holds a password: put the address into a variable and write proxy = "env:VARIABLE"')
            )
        if problems:
            raise PlanError(problems)


class Reservation(Protocol):
    """What an attempt asks leave of and reports to; the query ledger's side of a request."""

    def sending(self) -> None:
        """Take note that the records are about to be sent; may wait, or refuse by an error."""
        ...

    def refused(self, status: int, seconds: float) -> None:
        """Take note that the server answered a status and no answers."""
        ...

    def lost(self, why: str, seconds: float) -> None:
        """Take note that no response came: the server may have seen the records or not."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait; for all requests if the server asked for it."""
        ...


class Client:
    """Posts bodies to one address.

    Parameters
    ----------
    url
        Where to post.
    content_type
        Of the bodies, and what is accepted in return.
    connection
        How.
    concurrency
        Most requests at a time, and connections kept.

    Raises
    ------
    PlanError
        If the url is no http address or holds a credential, a variable is not set, or a certificate cannot be read.
    """

    def __init__(self, url: str, *, content_type: str, connection: Connection, concurrency: int = 1) -> None:
        import httpx2

        check_url(url)
        self._url = url
        self.shown = shown(url)
        self._options = connection
        self._secrets: set[str] = set()
        self._random = random.Random()
        self._lock = threading.Lock()
        headers = {name: self._filled(f"headers.{name}", value) for name, value in connection.headers.items()}
        self._headers = {"content-type": content_type, "accept": content_type, **headers}
        proxy = None if connection.proxy is None else self._filled("proxy", connection.proxy)
        try:
            self._http = httpx2.Client(
                headers=self._headers,
                timeout=connection.timeout,
                limits=httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
                verify=_tls(connection) if url.startswith("https") else True,
                proxy=proxy,
            )
        except (ValueError, httpx2.InvalidURL) as error:
            raise PlanError(f"the client for {self.shown} cannot be made: {self.redacted(str(error))}") from None
        self._closing = weakref.finalize(self, self._http.close)

    def _filled(self, name: str, value: str) -> str:
        def variable(match: re.Match[str]) -> str:
            found = os.environ.get(match[1], "")
            if not found:
                raise PlanError(f"{name} takes its value from the environment variable {match[1]}, which is not set")
            if not found.isascii() or any(ord(c) < 32 or ord(c) == 127 for c in found):
                raise PlanError(f"the environment variable {match[1]} of {name} holds characters a header cannot have")
            self._secrets.add(found)
            return found

        return _ENV.sub(variable, value)

    def redacted(self, text: str) -> str:
        """Return a text with every secret in it struck out, also as JSON, Python or an address would write it.

        Strike out before you shorten: of a secret that was cut in two, the first part would stay.
        """
        with self._lock:
            forms = {f for s in self._secrets for f in (s, json.dumps(s)[1:-1], repr(s)[1:-1], quote(s, safe=""))}
        secrets = sorted(forms, key=len, reverse=True)
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    def read(self, content: bytes, decode: Callable[[bytes], Read]) -> Read:
        """Return what ``decode`` makes of an answer; a TargetError of it tells of the answer without its secrets."""
        try:
            return decode(content)
        except TargetError as error:
            found = error
        try:
            decode(self.redacted(content.decode("utf-8", "replace")).encode())
        except TargetError as error:
            found = error
        raise TargetError(self.redacted(str(found)))

    def close(self) -> None:
        """Close the connections."""
        self._closing()

    def get(self, reservation: Reservation) -> bytes:
        """Return the content of the answer to a GET, with the failures and attempts of `post`."""
        return self._sent("GET", None, reservation)

    def post(self, body: bytes, reservation: Reservation) -> bytes:
        """Return the content of the answer to a body.

        Dropped connections, timeouts and 5xx statuses are tried again, with exponential backoff and jitter; a status
        that means "slow down" is waited out as the server says; any other status that is not 2xx ends it.

        Raises
        ------
        TargetError
            If no answer could be had; the message holds no secret.
        """
        return self._sent("POST", body, reservation)

    def _sent(self, method: str, body: bytes | None, reservation: Reservation) -> bytes:
        import httpx2

        failures, waited = 0, 0.0
        while True:
            reservation.sending()
            began = time.monotonic()
            try:
                response = self._http.request(
                    method, self._url, content=body, headers=self._signed(method, body or b"")
                )
            except httpx2.TransportError as error:
                why = self.redacted(f"{type(error).__name__}: {error}")
                reservation.lost(why, time.monotonic() - began)
                problem, wait = f"{self.shown} does not answer ({why})", self._backoff(failures)
            except httpx2.HTTPError as error:
                reservation.lost(type(error).__name__, time.monotonic() - began)
                raise TargetError(
                    f"the answer of {self.shown} cannot be read: {self.redacted(f'{type(error).__name__}: {error}')}"
                ) from None
            else:
                status = response.status_code
                if 200 <= status < 300:
                    return response.content
                reservation.refused(status, time.monotonic() - began)
                said = excerpt(self.redacted(response.content.decode("utf-8", "replace")))
                problem = f"{self.shown} answers status {status}: {said}"
                asked = retry_after(response.headers.get("retry-after"))
                if self._means_slow_down(status, asked):
                    wait = self._backoff(int(waited)) if asked is None else asked + self._random.uniform(0, 0.1)
                    waited += wait
                    if waited > self._options.patience:
                        raise TargetError(
                            f"{problem}; it asks to wait, and {waited:.0f} s in all is more than patience = "
                            f"{self._options.patience:g}. What was answered is kept: run again later, or lower rate and "
                            "concurrency"
                        )
                    reservation.wait(wait)
                    continue
                if status < 500:
                    raise TargetError(f"{problem}; {_hint(status, response.headers.get('location'))}")
                wait = self._backoff(failures) if asked is None else min(asked, _LONGEST_WAIT)
            failures += 1
            if failures > self._options.retries:
                raise TargetError(f"{problem}, {failures} times; what was answered is kept, run again to go on")
            time.sleep(wait)

    def _signed(self, method: str, body: bytes) -> Mapping[str, str]:
        if self._options.sign is None:
            return {}
        try:
            added = dict(self._options.sign(method, self._url, dict(self._headers), body))
        except Exception as error:
            raise TargetError(f"sign failed: {self.redacted(f'{type(error).__name__}: {error}')}") from None
        with self._lock:
            self._secrets |= {value for name, value in added.items() if _SECRET.search(name)}
        return added

    def _means_slow_down(self, status: int, asked: float | None) -> bool:
        return status in SLOW_DOWN or status in self._options.slow_down or (status == 503 and asked is not None)

    def _backoff(self, attempt: int) -> float:
        """Return seconds between half and all of a wait that doubles."""
        wait = min(_FIRST_WAIT * 2.0 ** min(attempt, 10), _LONGEST_WAIT)
        return wait * self._random.uniform(0.5, 1.0)


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds a Retry-After header asks for, which may give seconds or a date; None if it says nothing."""
    if value is None:
        return None
    try:
        return max(0.0, float(value)) if float(value) < float("inf") else None
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def check_url(url: str) -> None:
    """Refuse what is no http address, and credentials in it.

    Raises
    ------
    PlanError
        Saying which.
    """
    try:
        parts = urlsplit(url)
        named = parts.hostname is not None and (parts.port is None or parts.port > 0)
    except ValueError:
        named, parts = False, urlsplit("")
    if not named or parts.scheme not in ("http", "https"):
        raise PlanError(f"url must be an address such as https://host/path; got {url!r}")
    if parts.username or parts.password:
        raise PlanError("url holds a user or a password, and plans and results are kept: send them by headers")
    secret = [name for name, _ in parse_qsl(parts.query) if _SECRET.search(name) or name.lower() == "sig"]
    if secret:
        raise PlanError(f"url holds a credential ({secret[0]}), and plans and results are kept: send it by headers")


def shown(url: str) -> str:
    """Return an address without its query."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


def _tls(connection: Connection) -> Any:
    if connection.ca is None and connection.certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=connection.ca)
        if connection.certificate is not None:
            context.load_cert_chain(connection.certificate, connection.key)
    except (OSError, ssl.SSLError) as error:
        raise PlanError(f"the files of ca, certificate and key cannot be used: {error}") from error
    return context


def _hint(status: int, location: str | None) -> str:
    if 300 <= status < 400:
        return f"redirects are not followed: give {shown(location)} as url" if location else "set another url"
    if status in (401, 403):
        return "check the credential in headers"
    if status in (404, 405):
        return "check url, model and format"
    if status == 413:
        return "lower batch"
    return "check format, and that the records have the form the model was trained on"
