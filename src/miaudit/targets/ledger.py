"""The query ledger: what may be asked, what was asked, and every answer that came.

A folder holds two files. ``answers.sqlite`` has one row per record that was answered, keyed by the record's content;
``queries.jsonl`` has one line before each request and one after it, with counts, times, statuses and a hash: no record,
no answer, no credential. Both only grow.

The rule that is kept: **no record whose answer arrived is asked again**, in this run or a later one, however the earlier
one ended. An answer is in the file before anything else is done with it. A request that was on its way when the process
was killed is another matter: the server may have answered it, so its records stay counted as spent; their answers did
not arrive, so they are asked again. That is at most one request per connection.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import BudgetError, StoreError, TimeLimitError, counted, not_real, not_whole, noun, refuse
from miaudit.files import PRIVATE, private_folder
from miaudit.targets.deadline import GO_ON

RECORD = 24
"""Bytes that name a record; what follows them says why it was asked again."""


@dataclass(frozen=True)
class Limits:
    """What may be asked.

    Parameters
    ----------
    budget
        Most records that may be sent in all, counted over all runs in one folder; None: as many as are needed.
    rate
        Most records per second.
    price
        Of 1,000 records, in whatever money; for the estimate.

    Raises
    ------
    PlanError
        If one is out of range.
    """

    budget: int | None = None
    rate: float | None = None
    price: float | None = None

    def __post_init__(self) -> None:
        refuse(
            not_whole(("budget", self.budget), optional=True),
            not_real(("rate", self.rate), above=0, optional=True),
            not_real(("price", self.price), least=0, optional=True),
        )


@dataclass(frozen=True)
class Estimate:
    """What asking will take.

    ``records`` are to be asked about and ``cached`` of them were answered before, and up to ``further`` ones that are not
    known yet; ``seconds`` is the least time at the rate, and ``cost`` the most at the price, None where there is none;
    ``affordable`` is how many the budget still allows.
    """

    records: int
    cached: int
    seconds: float | None
    cost: float | None
    affordable: int | None
    further: int = 0

    @property
    def to_ask(self) -> int:
        """Records that have to be sent for certain."""
        return self.records - self.cached

    def __str__(self) -> str:
        most = self.to_ask + self.further
        count = f"{self.to_ask:,} to {most:,}" if self.further else f"{most:,}"
        parts = [
            f"{count} {noun(most, 'query', 'queries')} to send ({self.cached:,} of {self.records:,} answered before)"
        ]
        if self.seconds is not None:
            parts.append(f"at least {self.seconds:,.0f} s at the rate limit")
        if self.cost is not None:
            parts.append(f"cost {'up to ' if self.further else ''}{self.cost:,.2f}")
        if self.affordable is not None and self.affordable < most:
            parts.append(f"the budget covers only {self.affordable:,}")
        return ", ".join(parts)


class Ledger:
    """Counts, paces and remembers queries; shared by threads.

    Parameters
    ----------
    folder
        Where answers and log are kept; None: in memory, for this run only.
    limits
        What may be asked.

    Attributes
    ----------
    spent
        Records sent and not refused, over all runs in the folder: answered, on their way, or lost.
    deadline
        Time (by time.monotonic) after which nobody may send.
    sent, refused, lost, requests
        Of this run: records sent, records sent that the server refused by a status, records sent without any response,
        and requests.

    Raises
    ------
    StoreError
        If the folder cannot be written, or another audit is using it.
    """

    def __init__(self, folder: str | Path | None = None, limits: Limits | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.limits = limits or Limits()
        self.spent = self.sent = self.refused = self.lost = self.requests = 0
        self._lock = threading.RLock()
        self.deadline: float | None = None
        self._next = 0.0  # by time.monotonic: the next turn
        self._taken = 0.0  # the end of the last one
        self._held = 0.0  # the end of a wait
        self._holds = 0  # how often all were held back
        self._number = 0
        self._answers: dict[bytes, bytes] = {}
        self._log: int | None = None
        self._base: sqlite3.Connection | None = None
        if self.folder is not None:
            self._open(self.folder)

    def _open(self, folder: Path) -> None:
        try:
            private_folder(folder)
            _refuse_links(folder)
            os.close(
                os.open(folder / "answers.sqlite", os.O_RDWR | os.O_CREAT, PRIVATE)
            )  # SQLite gives its others this mode
            self._base = sqlite3.connect(folder / "answers.sqlite", check_same_thread=False, timeout=1.0)
            self._closing = weakref.finalize(self, self._base.close)
            self._base.execute("PRAGMA locking_mode = EXCLUSIVE")  # held until the process ends, however it ends
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = NORMAL")
            with self._base:
                self._base.execute(
                    "CREATE TABLE IF NOT EXISTS answers (record BLOB PRIMARY KEY, answer BLOB) WITHOUT ROWID"
                )
                self._base.execute("CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT)")
            self._answers = dict(self._base.execute("SELECT record, answer FROM answers"))
            for record, answer in self._answers.items():
                _check_row(record, answer)
            self.spent, self._number = _read_log(folder / "queries.jsonl")
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
            self._log = os.open(folder / "queries.jsonl", flags, PRIVATE)
            _end_line(self._log)
        except sqlite3.OperationalError as error:
            self.close()
            if "locked" in str(error):
                raise StoreError(
                    f"{folder} is in use: another audit is asking this target; wait for it, or choose another output folder"
                ) from None
            raise StoreError(f"cannot keep answers in {folder}: {error}; choose another output folder") from error
        except (sqlite3.Error, _DamagedError, ValueError, OverflowError) as error:
            self.close()
            raise StoreError(
                f"the answers kept in {folder} are damaged ({error}): remove that folder to ask again, or choose another "
                "output folder"
            ) from None
        except OSError as error:
            self.close()
            raise StoreError(f"cannot keep answers in {folder}: {error}; choose another output folder") from error

    def close(self) -> None:
        """Let go of the files, so that others may ask; asking again takes them up."""
        with self._lock:
            if self._base is not None:
                self._base.close()
            if self._log is not None:
                os.fsync(self._log)
                os.close(self._log)
            self._base = self._log = None

    def begin(self) -> None:
        """Count from now on: what was sent before was another run's."""
        self.sent = self.refused = self.lost = self.requests = 0

    def take(self, other: Ledger) -> None:
        """Take up the answers of another ledger, and what they cost the budget."""
        with other._lock:
            answers = {record: _unpacked(answer) for record, answer in other._answers.items() if not self.has(record)}
        self.put(list(answers), list(answers.values()))
        self.spent = max(self.spent, other.spent)

    def _take_up(self) -> None:
        """Open the files again where they were let go of."""
        with self._lock:
            if self.folder is not None and self._base is None:
                self._open(self.folder)

    def known(self, record: bytes) -> NDArray[Any] | str | int | float | None:
        """Return the answer to a record, or None if it never came."""
        packed = self._answers.get(record)
        return None if packed is None else _unpacked(packed)

    def has(self, record: bytes) -> bool:
        """Whether the answer to a record is here."""
        return record in self._answers

    def __len__(self) -> int:
        """Return how many answers are kept."""
        return len(self._answers)

    def records(self) -> Iterator[bytes]:
        """Yield the records that were answered, leaving out answers to records that were asked again on purpose."""
        return (record for record in self._answers if len(record) == RECORD)

    def estimate(self, records: Sequence[bytes], *, further: int = 0) -> Estimate:
        """Return what asking about these records will take, and about so many further ones at most."""
        with self._lock:
            distinct = set(records)
            cached = sum(record in self._answers for record in distinct)
            count = len(distinct) - cached
            rate, price = self.limits.rate, self.limits.price
            return Estimate(
                len(distinct),
                cached,
                None if rate is None else count / rate,
                None if price is None else (count + further) * price / 1000,
                self.left,
                further,
            )

    @property
    def left(self) -> int | None:
        """Records the budget still allows; None if there is no budget."""
        return None if self.limits.budget is None else max(0, self.limits.budget - self.spent)

    def facts(self) -> dict[str, Any]:
        """Return counts and limits, for the provenance of a result."""
        return {
            "requests": self.requests,
            "records_sent": self.sent,
            "records_refused": self.refused,
            "records_lost": self.lost,
            "spent_over_all_runs": self.spent,
            "budget": self.limits.budget,
            "rate": self.limits.rate,
            "price_per_1000": self.limits.price,
        }

    def fact(self, name: str) -> Any:
        """Return what was noted under a name, or None."""
        self._take_up()
        if self._base is None:
            return None
        with self._lock:
            row = self._base.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        try:
            return None if row is None else json.loads(row[0])
        except (ValueError, TypeError, RecursionError):
            raise StoreError(
                f"what {self.folder} holds of the target ({name}) is damaged: remove that folder to ask again"
            ) from None

    def note(self, name: str, value: Any) -> None:
        """Note something JSON can hold about the target."""
        self._take_up()
        if self._base is not None:
            with self._lock, self._base:
                self._base.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def reserve(self, records: Sequence[bytes]) -> Query:
        """Take as many of the records as the budget allows; they are spent from now on, unless refused for good.

        Raises
        ------
        BudgetError
            If it allows none of them.
        """
        self._take_up()
        with self._lock:
            budget = self.left
            granted = len(records) if budget is None else min(len(records), budget)
            if granted == 0:
                raise BudgetError(
                    f"the budget of {counted(self.limits.budget or 0, 'query', 'queries')} is spent ({self.spent:,} sent)"
                )
            self.spent += granted
            self._number += 1
            return Query(self, self._number, list(records[:granted]))

    def put(self, records: Sequence[bytes], answers: Sequence[Any]) -> None:
        """Keep answers; they are on their way to the disk when this returns, and outlive the process."""
        rows = [(record, _packed(answer)) for record, answer in zip(records, answers, strict=True)]
        with self._lock:
            if self._base is not None:
                try:
                    with self._base:
                        self._base.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)
                except sqlite3.Error as error:
                    raise StoreError(
                        f"cannot keep answers in {self.folder}: {error}; those before are kept: free some space and run again"
                    ) from error
            for record, answer in rows:
                self._answers.setdefault(record, answer)

    def pace(self, records: int) -> None:
        """Wait until so many records may be sent.

        Whoever asks gets the next turn, and turns follow one another at the rate: one that is taken late, by less than its own
        length, does not put off those after it.

        Raises
        ------
        TimeLimitError
            If the deadline comes first.
        """
        turn, holds = 0.0, -1
        length = 0.0 if self.limits.rate is None else records / self.limits.rate
        while True:
            with self._lock:
                now = time.monotonic()
                if holds != self._holds:  # the first time, or all were held back meanwhile
                    holds, turn = self._holds, self._next if self._next > now - length else now
                    self._next = turn + length
                wait = turn - now
                if wait <= 0:
                    self._taken = max(self._taken, turn + length)
                    return
                if self.deadline is not None and now + wait >= self.deadline:
                    raise TimeLimitError(
                        f"the time limit comes before the target may be asked again, in {wait:.0f} s; {GO_ON}"
                    )
            time.sleep(min(wait, 0.5))

    def hold(self, seconds: float) -> None:
        """Let nobody send for so many seconds: those who wait get new turns after that."""
        with self._lock:
            self._held = max(self._held, time.monotonic() + seconds)
            self._next = max(self._held, self._taken)
            self._holds += 1

    def write(self, **line: Any) -> None:
        """Add a line to the log."""
        if self._log is not None:
            text = json.dumps({"at": round(time.time(), 3), **line}, separators=(",", ":")) + "\n"
            try:
                os.write(self._log, text.encode())
            except OSError as error:
                raise StoreError(f"cannot write the log of queries in {self.folder}: {error}") from error


class Query:
    """Records of one request, from leave to ask until their answers are kept; made by `Ledger.reserve`."""

    def __init__(self, ledger: Ledger, number: int, records: list[bytes]) -> None:
        self.records = records
        self._ledger = ledger
        self._number = number
        self._attempt = 0
        self._state = "reserved"  # or sent, refused, lost, done
        self._hash = hashlib.blake2b(b"".join(records), digest_size=16).hexdigest()
        self._sent = 0.0

    def sending(self) -> None:
        """Pace, and note that the records are about to be sent; a lost attempt is spent, so another is reserved.

        Raises
        ------
        BudgetError
            If an earlier attempt was lost and the budget does not allow another.
        """
        ledger, n = self._ledger, len(self.records)
        ledger.pace(n)
        with ledger._lock:
            if self._state == "lost":
                if ledger.left is not None and ledger.left < n:
                    raise BudgetError(
                        f"the budget of {counted(ledger.limits.budget or 0, 'query', 'queries')} is spent "
                        f"({ledger.spent:,} sent, {n:,} of them without any response)"
                    )
                ledger.spent += n
            self._attempt += 1
            self._state = "sent"
            self._sent = time.monotonic()
            ledger.sent += n
            ledger.requests += 1
            ledger.write(event="send", request=self._number, attempt=self._attempt, records=n, hash=self._hash)

    def answered(self, answers: Sequence[Any], rows: Sequence[int] | None = None) -> None:
        """Keep the answers to the records, or to those of these places among them."""
        records = self.records if rows is None else [self.records[row] for row in rows]
        self._ledger.put(records, answers)
        self._end("done", status=200)

    def unusable(self) -> None:
        """Note that the answers cannot be used; the records are spent."""
        self._end("unusable", status=200)

    def refused(self, status: int, seconds: float) -> None:
        """Note that the server answered a status and no answers: the records are not spent by this attempt."""
        with self._ledger._lock:
            self._ledger.refused += len(self.records)
            self._end("refused", status=status, seconds=seconds)

    def lost(self, why: str, seconds: float) -> None:
        """Note that no response came: the records are spent, for the server may have seen them."""
        with self._ledger._lock:
            self._ledger.lost += len(self.records)
            self._end("lost", why=why[:200], seconds=seconds)

    def wait(self, seconds: float) -> None:
        """Hold everybody back, as the server asked."""
        self._ledger.hold(seconds)

    def give_up(self) -> None:
        """Give back what was reserved, where the server did not see it."""
        with self._ledger._lock:
            if self._state in ("reserved", "refused"):
                self._ledger.spent -= len(self.records)
                self._state = "given up"

    def _end(self, state: str, *, seconds: float | None = None, **more: Any) -> None:
        self._state = state
        if seconds is None:
            seconds = time.monotonic() - self._sent
        self._ledger.write(
            event=state,
            request=self._number,
            attempt=self._attempt,
            records=len(self.records),
            **more,
            seconds=round(seconds, 4),
        )


def _refuse_links(folder: Path) -> None:
    """Refuse a folder, or a file of it, that is a link: what is written would go elsewhere."""
    names = ("answers.sqlite", "answers.sqlite-wal", "answers.sqlite-shm", "answers.sqlite-journal", "queries.jsonl")
    for path in (folder, *(folder / name for name in names)):
        if path.is_symlink() or (path != folder and path.exists() and not path.is_file()):
            raise StoreError(f"{path} is a link or no file, and answers are kept in files of their own; remove it")


def _read_log(path: Path) -> tuple[int, int]:
    """Return the records spent and the last request's number; a line cut short by a crash is passed over."""
    if not path.exists():
        return 0, 0
    queries, last = 0, 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
                event, records, request = line["event"], line["records"], line["request"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if type(records) is not int or type(request) is not int or not 0 <= records < 2**53 > request:
                continue
            last = max(last, request)
            queries += records if event == "send" else -records if event == "refused" else 0
    return queries, last


def _end_line(log: int) -> None:
    """End a last line that a crash cut short."""
    size = os.lseek(log, 0, os.SEEK_END)
    if size:
        os.lseek(log, size - 1, os.SEEK_SET)
        if os.read(log, 1) != b"\n":
            os.write(log, b"\n")


class _DamagedError(Exception):
    """A row that no run has written."""


def _check_row(record: Any, answer: Any) -> None:
    if not isinstance(record, bytes) or len(record) < RECORD or not isinstance(answer, bytes):
        raise _DamagedError("a row is no answer")
    try:
        value = _unpacked(answer)
    except ValueError as error:
        raise _DamagedError(str(error)) from None
    if isinstance(value, np.ndarray | float) and not np.isfinite(value).all():
        raise _DamagedError("an answer is not finite")


def _packed(answer: Any) -> bytes:
    if isinstance(answer, str):
        return b"s" + answer.encode()
    if isinstance(answer, np.ndarray):
        return b"f" + np.ascontiguousarray(answer, dtype="<f8").tobytes()
    if isinstance(answer, float | np.floating):
        return b"d" + repr(float(answer)).encode()
    return b"i" + str(int(answer)).encode()


def _unpacked(content: bytes) -> NDArray[Any] | str | int | float:
    kind, rest = content[:1], content[1:]
    if kind == b"f":
        return np.frombuffer(rest, dtype="<f8")
    if kind == b"d":
        return float(rest)
    if kind not in (b"s", b"i"):
        raise ValueError(f"an answer is of kind {kind!r}")
    return rest.decode() if kind == b"s" else int(rest)
