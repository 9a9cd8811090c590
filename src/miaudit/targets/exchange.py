"""Requests to an endpoint: records in batches over several connections, and answers that are read, checked and kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import Records, take_records
from miaudit.errors import BudgetError, TargetError, TimeLimitError, counted
from miaudit.plan import HTTPPlan
from miaudit.targets.client import Client, RefusedError
from miaudit.targets.jobs import awaited
from miaudit.targets.kept import LATE
from miaudit.targets.ledger import Ledger, Query
from miaudit.targets.wire import Wire, names_classes
from miaudit.targets.wire.rows import MissingError

_HUGE = 1e100  # sums of such numbers are infinite
_OF_A_RECORD = (400, 413, 422, 500)  # statuses by which a server may refuse one record of a request


class _SquareError(Exception):
    """An answer to as many records as there are classes lists as many labels, which may be of either."""


@dataclass(frozen=True)
class Asked:
    """Records with their keys, where their answers are kept, and the names of the classes in the target's order."""

    X: Records
    keys: Sequence[bytes]
    ledger: Ledger
    names: Sequence[str]
    first: bool  # whether the target was never asked before


class Exchange:
    """How an endpoint is asked about many records.

    Attributes
    ----------
    may_fail
        Keys of the records that may go without an answer.
    refusals
        Why a record got no answer, by its key.
    tells
        Whether the first answers say which class each number is of.
    batch
        Most records in one request.
    """

    def __init__(self, client: Client, wire: Wire, http: HTTPPlan, url: str) -> None:
        self._client, self._wire, self._http, self._url = client, wire, http, url
        self._filled = wire.filled(client.value)
        self.may_fail: set[bytes] = set()
        self.refusals: dict[bytes, str] = {}
        self.tells = False
        self.batch = 1 if wire.one_at_a_time else http.batch
        self._square = False  # whether answers list labels beside the numbers, so that the size of a batch says of what
        self.tell: Callable[[str], None] = lambda text: None

    def fetch(self, asked: Asked, missing: Sequence[int]) -> None:
        """Ask about some of the records over all connections; the first failure ends it, what is on its way is still taken.

        Raises
        ------
        BudgetError
            If the budget does not cover them; the answers that came are kept.
        TargetError
            If the target fails, or gives an unusable answer.
        TimeLimitError
            If the deadline has passed.
        """
        size = self.batch - self._is_square(self.batch, asked)
        work = iter(missing[start : start + size] for start in range(0, len(missing), size))
        lock = threading.Lock()
        failures: list[BaseException] = []
        answers, last = 0, time.monotonic()

        def ask_on() -> None:
            nonlocal answers, last
            while True:
                with lock:
                    rows = next(work, None)
                    if rows is None or failures:
                        return
                try:
                    self._check_deadline()
                    self._ask_batch(asked, rows)
                except BaseException as error:
                    with lock:
                        failures.append(error)
                    return
                with lock:
                    answers += len(rows)
                    if time.monotonic() - last > 2:
                        last = time.monotonic()
                        self.tell(f"asking the target: {answers:,} of {counted(len(missing), 'record')}")

        threads = min(self._http.concurrency, -(-len(missing) // size))
        if threads == 1:
            ask_on()
        else:
            with ThreadPoolExecutor(threads) as pool:
                for _ in range(threads):
                    pool.submit(ask_on)
        if failures:
            raise next((e for e in failures if not isinstance(e, BudgetError)), failures[0])

    def _check_deadline(self) -> None:
        if self._client.deadline is not None and time.monotonic() > self._client.deadline:
            raise TimeLimitError(LATE)

    def _is_square(self, n: int, asked: Asked) -> bool:
        """Whether an answer to so many records could be read in two ways."""
        return self._square and n == len(asked.names) > 1

    def _ask_batch(self, asked: Asked, rows: Sequence[int], *, halved: bool = False) -> None:
        query = asked.ledger.reserve([asked.keys[i] for i in rows])
        granted = len(query.records)
        try:
            if self._is_square(granted, asked):
                query.give_up()
                raise _SquareError
            answers = self._answers(asked, rows[:granted], query, again=not halved or granted == 1)
        except _SquareError:
            self._square = True
            for part in (rows[: granted - 1], rows[granted - 1 :]):
                self._ask_batch(asked, part, halved=halved)
            return
        except RefusedError as error:
            if error.status not in _OF_A_RECORD or not self.may_fail.issuperset(query.records):
                raise
            if granted == 1:
                self._went_without(query.records, str(error))
                return
            if not halved:
                self.tell(
                    f"the target answers status {error.status} to {granted:,} records: asking in halves which fail"
                )
            for part in (rows[: granted // 2], rows[granted // 2 :]):  # until it is known which record it is
                self._ask_batch(asked, part, halved=True)
            return
        except MissingError as error:
            if not self.may_fail.issuperset(query.records):
                raise
            query.answered(list(error.answers), error.rows)
            self._went_without([key for i, key in enumerate(query.records) if i not in {*error.rows}], str(error))
        else:
            query.answered(list(answers))
        if granted < len(rows):
            raise BudgetError(f"the budget of {counted(asked.ledger.limits.budget or 0, 'query', 'queries')} is spent")

    def _answers(self, asked: Asked, rows: Sequence[int], query: Query, *, again: bool) -> NDArray[Any]:
        """Return the answers to the records of one request."""
        try:
            content = self._client.post(self._filled.encode(take_records(asked.X, list(rows))), query, again=again)
            if self._http.job is not None:
                content = awaited(self._client, content, self._http.job, self._url)
        except BaseException:
            query.give_up()
            raise
        n, names = len(rows), asked.names
        if n == len(names) > 1 and self._wire.is_ambiguous(content, n):
            query.unusable()
            raise _SquareError
        decode = partial(self._wire.decode, n=n)
        try:
            answers = self._usable(self._client.read(content, partial(decode, names=names)), names)
            if asked.first:
                self.tells |= names_classes(decode, content, answers, names)
            return answers
        except MissingError as error:
            error.answers = self._usable(error.answers, names)
            raise
        except TargetError:
            query.unusable()
            raise

    def _went_without(self, records: Sequence[bytes], why: str) -> None:
        """Take note of records that got no answer; too many end the run."""
        self.refusals |= dict.fromkeys(records, why)
        if len(self.refusals) > self._http.failing:
            raise TargetError(
                f"{counted(len(self.refusals), 'record')} got no answer, and failing = {self._http.failing} is the "
                f"most that may be left out; the last: {why}"
            )

    def _usable(self, answers: NDArray[Any], names: Sequence[str]) -> NDArray[Any]:
        """Return answers; refuse numbers that no model gives, and labels in which a credential is sent back."""
        if answers.dtype.kind == "f" and np.abs(answers).max(initial=0.0) > _HUGE:
            raise TargetError(f"the target's answer holds {answers[np.abs(answers) > _HUGE][0]}; no model says so")
        if answers.ndim == 1 and answers.dtype.kind != "f":
            for label in {str(label) for label in answers.tolist()} - set(names):
                if self._client.redacted(label) != label:
                    raise TargetError(
                        f"the target answers {self._client.redacted(label)!r} as a label, in which a credential of the request "
                        "was struck out; check url and format"
                    )
        return answers
