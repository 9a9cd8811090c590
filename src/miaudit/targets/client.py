"""One HTTP client: connections kept, failures told apart, retries bounded, secrets never shown."""

from __future__ import annotations

import gzip
import logging
import random
import re
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urljoin

from miaudit.errors import PlanError, TargetError, TimeLimitError, counted
from miaudit.targets.connection import Connection, check_url, login_of, logins, sendable, shown, tls
from miaudit.targets.credentials import (
    ENV,
    names_credential,
    variable,
)
from miaudit.targets.deadline import GO_ON, bounded
from miaudit.targets.strike import Strike
from miaudit.targets.wire.rows import MissingError, excerpt

Read = TypeVar("Read")

SLOW_DOWN = (408, 425, 429)
"""Statuses that ask to come back later; 503 with Retry-After is another."""

MOST_BYTES = 16 * 2**20
"""Most bytes of an answer, after decompression, unless a client is told that its answers are larger."""

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds of backoff
_FAILURE = 500  # which may be of one record of a request
_TOLD_WAIT = 5.0  # seconds: a longer wait is told
_ERROR_BYTES = 64 * 1024  # read of an answer that is no answer
_LOGGERS = ("httpx2", *(f"httpcore2{part}" for part in ("", ".http11", ".http2", ".connection", ".proxy", ".socks")))
_PUBLIC = re.compile(r"(?:x-amz-)?date|host|accept.*|content-.*|user-agent|x-amz-content-sha256", re.IGNORECASE)


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


class RefusedError(TargetError):
    """The server answered a status, and no answers: it may be what was asked that it cannot answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Free:
    """Leave for a request that is not under a budget."""

    def sending(self) -> None:
        """Send at once."""

    def refused(self, status: int, seconds: float) -> None:
        """Count nothing."""

    def lost(self, why: str, seconds: float) -> None:
        """Count nothing."""

    def wait(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Client:
    """Posts bodies to one address.

    Parameters
    ----------
    url
        Where to post; ``env:NAME`` in its path or its query stands for an environment variable.
    content_type
        Of the bodies, and what is accepted in return.
    connection
        How.
    concurrency
        Most requests at a time, and connections kept.
    most_bytes
        Of an answer, after decompression.

    Attributes
    ----------
    deadline
        Time (by time.monotonic) after which nothing is sent, read or waited for.

    Raises
    ------
    PlanError
        If the url is no http address or holds a credential, a variable is not set, or a certificate cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        content_type: str,
        connection: Connection,
        concurrency: int = 1,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        import httpx2

        check_url(url)
        self.shown = shown(url)
        self.deadline: float | None = None
        self.most_bytes = most_bytes
        self.tell: Callable[[str], None] = lambda text: None
        self._options = connection
        self._random = random.Random()
        self._lock = threading.Lock()
        self._strike = Strike(logins())
        self._url = self._address(url)
        headers = {name: self._filled(f"headers.{name}", value) for name, value in connection.headers.items()}
        self._headers = {"content-type": content_type, "accept": content_type, **headers}
        proxy = None if connection.proxy is None else self._filled("proxy", connection.proxy)
        if proxy is not None:
            self._strike.add(login_of(proxy))
        try:
            httpx2.URL(self._url)
            self._http = httpx2.Client(
                headers=self._headers,
                timeout=connection.timeout,
                limits=httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
                verify=tls(connection) if url.startswith("https") else True,
                proxy=proxy,
            )
        except PlanError:
            raise
        except Exception as error:  # of many types: odd proxies, in the plan or the environment, and certificate files
            raise PlanError(
                f"the client for {self.shown} cannot be made: {self.redacted(f'{type(error).__name__}: {error}')}; check url, "
                "proxy, and the environment's HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE"
            ) from None
        self._time = bounded(self._http)
        self._closing = weakref.finalize(self, _end, self._http, _quiet(self._strike))

    def value(self, name: str, where: str) -> str:
        """Return the value of an environment variable, which is struck out of every text from now on."""
        value = variable(name, where)
        with self._lock:
            self._strike.add([value])
        return value

    def _address(self, url: str) -> str:
        return ENV.sub(lambda match: quote(self.value(match[1], "url"), safe=""), url)

    def _filled(self, where: str, value: str) -> str:
        text = ENV.sub(lambda match: self.value(match[1], where), value)
        if not sendable(text):
            names = ", ".join(match[1] for match in ENV.finditer(value))
            raise PlanError(f"the environment variable {names} of {where} holds characters a header cannot have")
        return text

    def redacted(self, text: str) -> str:
        """Return a text with every credential in it struck out, in whatever form it came back.

        Strike out before you shorten: of a credential that was cut in two, the first part would stay.
        """
        return self._strike(text)

    def read(self, content: bytes, decode: Callable[[bytes], Read]) -> Read:
        """Return what ``decode`` makes of an answer; a TargetError of it tells of the answer without its secrets."""
        try:
            return decode(content)
        except MissingError as error:
            raise MissingError(self.redacted(str(error)), error.answers, error.rows) from None
        except TargetError as error:
            problem = error
        try:
            decode(self.redacted(content[:_ERROR_BYTES].decode("utf-8", "replace")).encode())
        except TargetError as error:
            problem = error if len(content) <= _ERROR_BYTES else problem
        raise TargetError(self.redacted(str(problem)))

    def close(self) -> None:
        """Close the connections."""
        self._closing()

    def refuse_closed(self) -> None:
        """Raise a TargetError where it was closed: nothing can be sent any more."""
        if not self._closing.alive:
            raise TargetError(f"{self.shown} was closed, and cannot be asked any more: connect to it again")

    def get(self, reservation: Reservation, url: str | None = None) -> bytes:
        """Return the content of the answer to a GET, with the failures and attempts of `post`; of another address if given."""
        return self._sent("GET", None, reservation, None if url is None else self._address(url))

    def post(self, body: bytes, reservation: Reservation, *, again: bool = True) -> bytes:
        """Return the content of the answer to a body; without ``again`` a status 500 ends it at once.

        Dropped connections, timeouts and 5xx statuses are tried again, with exponential backoff and jitter; a status
        that means "slow down" is waited out as the server says; any other status that is not 2xx ends it.

        Raises
        ------
        TargetError
            If no answer could be had; the message holds no secret.
        TimeLimitError
            If the deadline came first, or would come before the next attempt.
        """
        packed = gzip.compress(body, mtime=0) if self._options.gzip else body
        return self._sent("POST", packed, reservation, again=again)

    def _sent(
        self, method: str, body: bytes | None, reservation: Reservation, url: str | None = None, *, again: bool = True
    ) -> bytes:
        self.refuse_closed()
        failures, slowed, waited = 0, 0, 0.0
        while True:
            self._check_time(0.0)
            reservation.sending()
            reply = self._attempt(method, body, reservation, url or self._url)
            if reply.content is not None:
                return reply.content
            self._check_time(0.0)
            if reply.slow_down:
                floor, slowed = self._backoff(slowed), slowed + 1
                wait = floor if reply.wait is None else max(reply.wait + self._random.uniform(0, 0.1), floor)
                waited += wait
                if waited > self._options.patience:
                    raise TargetError(
                        f"{reply.problem}; {_of_wait(reply.wait)}, and {_seconds(waited)} in all is more than patience = "
                        f"{self._options.patience:g}; lower rate and concurrency, or wait: {GO_ON}"
                    )
                self._check_time(wait)
                if wait >= _TOLD_WAIT:
                    self.tell(
                        f"the target answers status {reply.status}: {_of_wait(reply.wait)}, waiting {_seconds(wait)}"
                    )
                reservation.wait(wait)
                continue
            floor, failures = self._backoff(failures), failures + 1
            if failures > self._options.retries or (reply.status == _FAILURE and not again):
                check = "check url, and that the server runs; " if reply.status is None else ""
                problem = f"{reply.problem}, {counted(failures, 'time')}; {check}{GO_ON}"
                raise TargetError(problem) if reply.status is None else RefusedError(problem, reply.status)
            wait = floor if reply.wait is None else max(floor, min(reply.wait, _LONGEST_WAIT))
            self._check_time(wait)
            time.sleep(wait)

    def _attempt(self, method: str, body: bytes | None, reservation: Reservation, url: str) -> _Reply:
        """Send once; return the content, or what is wrong where it may be tried again."""
        import httpx2

        began = time.monotonic()
        self._time.at = min(began + self._options.timeout, float("inf") if self.deadline is None else self.deadline)
        try:
            signed = {**self._signed(method, url, body or b"")}
            if body is not None and self._options.gzip:
                signed["content-encoding"] = "gzip"
            with self._http.stream(method, url, content=body, headers=signed) as response:
                status, headers = response.status_code, response.headers
                good = 200 <= status < 300
                content = self._content(response, self.most_bytes if good else _ERROR_BYTES, whole=good)
        except httpx2.TransportError as error:
            why = self.redacted(f"{type(error).__name__}: {error}")
            reservation.lost(why, time.monotonic() - began)
            if isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol):
                raise TargetError(f"{self.shown} cannot be asked ({why}); check url, headers and proxy") from None
            return _Reply(problem=f"{self.shown} does not answer ({why})")
        except TargetError as error:
            reservation.lost(str(error)[:100], time.monotonic() - began)
            raise
        except Exception as error:
            why = self.redacted(f"{type(error).__name__}: {error}")
            reservation.lost(type(error).__name__, time.monotonic() - began)
            raise TargetError(f"the answer of {self.shown} cannot be read: {why}") from None
        if good:
            return _Reply(content=content)
        reservation.refused(status, time.monotonic() - began)
        text = excerpt(self.redacted(content.decode("utf-8", "replace")))
        problem, wait = f"{self.shown} answers status {status}: {text}", retry_after(headers.get("retry-after"))
        if self._means_slow_down(status, wait):
            return _Reply(problem=problem, wait=wait, slow_down=True, status=status)
        if status < 500:
            raise RefusedError(
                f"{problem}; {self.redacted(_hint(status, self.shown, headers.get('location')))}", status
            )
        return _Reply(problem=problem, wait=wait, status=status)

    def _content(self, response: Any, most: int, *, whole: bool) -> bytes:
        """Return the decompressed content; of one that is too large, an error or the first part."""
        import httpx2

        parts, size = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > most:
                if not whole:
                    break
                raise TargetError(
                    f"{self.shown} answers more than {most / 2**20:,.0f} MiB (after decompression) to one request; lower "
                    "batch, or check url and format"
                )
            if time.monotonic() > self._time.at:
                raise httpx2.ReadTimeout("the time for one request is over")
        return b"".join(parts)[:most]

    def _check_time(self, wait: float) -> None:
        """Raise TimeLimitError if the time limit is over, or will be when so many seconds were waited."""
        if self.deadline is not None and time.monotonic() + wait >= self.deadline:
            raise TimeLimitError(
                "the time limit came while the target was asked"
                + (f", which asks to wait {_seconds(wait)}" if wait else "")
                + f"; {GO_ON}"
            )

    def _signed(self, method: str, url: str, body: bytes) -> Mapping[str, str]:
        if self._options.sign is None:
            return {}
        try:
            headers = {str(k): str(v) for k, v in self._options.sign(method, url, dict(self._headers), body).items()}
        except Exception as error:
            raise TargetError(f"sign failed: {self.redacted(f'{type(error).__name__}: {error}')}") from None
        with self._lock:
            self._strike.add(
                value for name, value in headers.items() if not _PUBLIC.fullmatch(name) or names_credential(name)
            )
        return headers

    def _means_slow_down(self, status: int, wait: float | None) -> bool:
        return status in SLOW_DOWN or status in self._options.slow_down or (status == 503 and wait is not None)

    def _backoff(self, attempt: int) -> float:
        """Return seconds between half and all of a wait that doubles."""
        wait = min(_FIRST_WAIT * 2.0 ** min(attempt, 10), _LONGEST_WAIT)
        return wait * self._random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class _Reply:
    """What came of an attempt: the content, or what is wrong and how long the server asks to wait."""

    content: bytes | None = None
    problem: str = ""
    wait: float | None = None
    slow_down: bool = False
    status: int | None = None


def _of_wait(wait: float | None) -> str:
    """Say whether a server that means "slow down" says for how long."""
    return "it asks to wait" if wait is not None else "it asks for fewer requests, and does not say how long to wait"


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
        when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
        return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _seconds(wait: float) -> str:
    return f"{wait:.0f} s" if wait < 1e7 else f"{wait:.1e} s"


def _quiet(strike: Strike) -> Callable[[logging.LogRecord], bool]:
    """Strike credentials out of what the HTTP library logs; return the filter that does."""

    def struck(record: logging.LogRecord) -> bool:
        record.msg, record.args = strike(record.getMessage()), ()
        return True

    for name in _LOGGERS:
        logging.getLogger(name).addFilter(struck)
    return struck


def _end(http: Any, struck: Callable[[logging.LogRecord], bool]) -> None:
    http.close()
    for name in _LOGGERS:
        logging.getLogger(name).removeFilter(struck)


def _hint(status: int, url: str, location: str | None) -> str:
    if 300 <= status < 400:
        way = url
        with suppress(ValueError):  # no address
            way = shown(urljoin(url, location or ""))
        return (
            f"redirects are not followed: where the model answers at {way}, give that as url"
            if way != url
            else "set another url"
        )
    if status in (401, 403):
        return f"check the credential in headers; {GO_ON}"
    if status in (404, 405):
        return "check url, model and format"
    if status == 413:
        return "lower batch"
    return (
        'check format, and that the records have the form the model was trained on: "$objects" in the body of format json '
        "sends them with the names of their columns; where it takes fewer records at a time, lower batch"
    )
