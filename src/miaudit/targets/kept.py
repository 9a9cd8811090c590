"""Answers kept by record: what names a record, and a function whose answers outlive a failure."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.hashes import row_hashes
from miaudit.data.records import Records, column_names, kind_of, take_records
from miaudit.errors import BudgetError, PlanError, TargetError, TimeLimitError, counted, reason_of, with_article
from miaudit.targets.contact import ANEW
from miaudit.targets.deadline import GO_ON
from miaudit.targets.form import array_of
from miaudit.targets.ledger import Estimate, Ledger, Limits


def record_keys(X: Records) -> list[bytes]:
    """Return a key per record: its content, and the form it is sent in."""
    dtype = str(X.dtype) if kind_of(X) in ("array", "sparse") else ""
    names = column_names(X)
    form = hashlib.blake2b(f"{kind_of(X)}|{dtype}|{X.shape[1:]}|{names}".encode(), digest_size=8).digest()
    return [form + bytes(row).ljust(16, b"\0") for row in row_hashes(X).tolist()]


def stacked(answers: Sequence[Any]) -> NDArray[Any]:
    """Return answers to single records as one array.

    Raises
    ------
    TargetError
        If they differ in length or kind.
    """
    if all(isinstance(answer, np.ndarray) for answer in answers):
        widths = {len(answer) for answer in answers}
        if len(widths) > 1:
            raise TargetError(f"the target's answers have {sorted(widths)} numbers; expected one per class each time")
        return np.stack(answers)
    if any(isinstance(answer, np.ndarray) for answer in answers):
        raise TargetError("the target answered labels to some records and several numbers to others")
    if any(isinstance(answer, str) for answer in answers):
        return np.array(answers, dtype=object)
    return np.array(answers, dtype=np.float64 if any(isinstance(answer, float) for answer in answers) else np.int64)


def filled(answers: Sequence[Any]) -> list[Any]:
    """Return answers with another's in place of each that is None, which whoever asked takes for none."""
    first = next((answer for answer in answers if answer is not None), None)
    if answers and first is None:
        raise TargetError("none of the records that were asked about got an answer")
    return [first if answer is None else answer for answer in answers]


LATE = f"the time limit came while the target was asked; {GO_ON}"


class Kept:
    """A function from records to answers, such as a client of one's own, whose answers are kept; made by `keep`.

    Attributes
    ----------
    ledger
        Counts of what was asked, and every answer that came.
    """

    def __init__(
        self,
        ask: Callable[[Any], Any],
        name: str,
        folder: Path | None,
        limits: Limits,
        batch: int,
        *,
        failing: int = 0,
        homeless: bool = False,
    ) -> None:
        self._ask = ask
        self._batch = batch
        self._failing, self._homeless = failing, homeless  # kept where the audit keeps its own
        self._may_fail: set[bytes] = set()
        self._failures: dict[bytes, str] = {}
        self.__name__ = name
        self.limits = limits
        self._place = hashlib.sha256(name.encode()).hexdigest()[:16]
        self.ledger = Ledger(None if folder is None else folder / self._place, limits)

    def open(self, folder: Path | None, deadline: float | None, tell: Callable[[str], None]) -> None:
        """End at the deadline; answers are kept where `keep` was told to, or of a plan's function in the audit's folder."""
        if self._homeless and folder is not None and self.ledger.folder is None:
            self.ledger = Ledger(folder / self._place, self.limits)
        self.ledger.deadline = deadline
        self.ledger.begin()
        self._failures = {}

    def expect(self, parts: Iterable[Records], *, further: int = 0) -> Estimate:
        """Return what all that will be asked takes; records of the first part may go without an answer."""
        keys = [record_keys(part) for part in parts]
        self._may_fail = {*(keys[0] if keys else ())}
        return self.ledger.estimate([key for part in keys for key in part], further=further)

    def lacking(self, X: Records) -> NDArray[np.bool_]:
        """(n,) On which of some records the function failed."""
        return np.array([key in self._failures for key in record_keys(X)], bool)

    def rest(self) -> None:
        """Let go of what is kept, so that others may ask; asking again takes it up."""
        self.ledger.close()

    def close(self) -> None:
        """Close the files; the answers stay."""
        self.ledger.close()

    def facts(self) -> dict[str, Any]:
        """Return this run's counts, for the provenance of a result."""
        return self.ledger.facts()

    def __call__(self, X: Records) -> NDArray[Any]:
        """Return what `answer` returns."""
        return self.answer(X)

    def answer(self, X: Records) -> NDArray[Any]:
        """Return the answers to some records, asking about those that were never answered.

        Raises
        ------
        BudgetError
            If the budget does not cover them; the answers that came are kept.
        TargetError
            If the function fails, or does not answer all; what it answered before is kept.
        TimeLimitError
            If the deadline has passed; what it answered before is kept.
        """
        reason = os.urandom(8) if ANEW.get() else b""
        keys = [key + reason for key in record_keys(X)]
        first = {key: i for i, key in reversed(list(enumerate(keys)))}  # identical records are asked about once
        missing = sorted(i for key, i in first.items() if not self.ledger.has(key) and key not in self._failures)
        for start in range(0, len(missing), self._batch):
            self._ask_some(X, keys, missing[start : start + self._batch])
        return stacked(filled([self.ledger.known(key) for key in keys]))

    def known(self, X: Records) -> NDArray[np.bool_]:
        """(n,) Whether a record was answered before."""
        return np.array([self.ledger.has(key) for key in record_keys(X)], bool)

    def _ask_some(self, X: Records, keys: Sequence[bytes], rows: Sequence[int]) -> None:
        if self.ledger.deadline is not None and time.monotonic() > self.ledger.deadline:
            raise TimeLimitError(LATE)
        query = self.ledger.reserve([keys[i] for i in rows])
        part = list(rows[: len(query.records)])
        query.sending()
        try:
            answers = array_of(self._ask(take_records(X, part)))
            if answers.ndim not in (1, 2) or len(answers) != len(part):
                raise TargetError(
                    f"{self.__name__} was asked about {counted(len(part), 'record')} and answered {answers.shape}"
                )
        except BaseException as error:
            query.lost(type(error).__name__, 0.0)
            if not self._failing or not isinstance(error, Exception) or isinstance(error, BudgetError | TimeLimitError):
                raise
            if not self._may_fail.issuperset(query.records):
                raise
            self._part(X, keys, part, error)
            return
        query.answered(list(answers) if answers.ndim == 2 else answers.tolist())
        if len(part) < len(rows):
            raise BudgetError(
                f"the budget of {counted(self.ledger.limits.budget or 0, 'query', 'queries')} is spent; "
                f"{counted(len(self.ledger), 'answer is', 'answers are')} kept"
                f"{'' if self.ledger.folder else ' for this program alone, as there is no folder'}, run again with a larger "
                "one to go on"
            )

    def _part(self, X: Records, keys: Sequence[bytes], rows: Sequence[int], error: Exception) -> None:
        """Ask about two halves of records on which the function failed; one that fails alone goes without an answer."""
        if len(rows) > 1:
            for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
                self._ask_some(X, keys, half)
            return
        self._failures[keys[rows[0]]] = reason_of(error)
        if len(self._failures) > self._failing:
            raise TargetError(
                f"{self.__name__} failed on {counted(len(self._failures), 'record')}, and failing = {self._failing} "
                f"is the most that may be left out; the last: {reason_of(error)}"
            ) from error


def keep(
    ask: Callable[[Any], Any],
    *,
    name: str,
    folder: str | Path | None = None,
    batch: int = 100,
    budget: int | None = None,
    rate: float | None = None,
) -> Kept:
    """Return a function target whose answers are kept, so that a failure in the middle loses none.

    Parameters
    ----------
    ask
        Answers records with numbers or labels, such as a client of an interface that `connect` does not speak.
    name
        What is asked, with its version: answers are kept under it, and are another model's once the name is another.
    folder
        Where answers are kept, so that a later run goes on there; None: in memory, for this program only.
    batch
        Most records in one call.
    budget, rate
        Most records that may be asked about, over all runs in the folder, and most per second.

    Raises
    ------
    PlanError
        If an option is out of range.

    Examples
    --------
    >>> target = keep(client, name="fraud API, version 7", folder="answers", budget=5_000)  # doctest: +SKIP
    >>> miaudit.audit(target, members=..., nonmembers=..., population=..., recipe=...)  # doctest: +SKIP
    """
    if not callable(ask):
        raise PlanError(f"ask must be a function from records to answers, got {with_article(type(ask).__name__)}")
    if not name or batch < 1:
        raise PlanError(f"keep needs a name and a batch of at least 1; got {name!r} and {batch}")
    return Kept(ask, name, None if folder is None else Path(folder), Limits(budget, rate), batch)
