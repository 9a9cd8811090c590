"""Answers kept by record: what names a record, and a function whose answers outlive a failure."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import Records, column_names, kind_of, row_hashes, take_records
from miaudit.errors import BudgetError, PlanError, TargetError, TimeLimitError
from miaudit.targets.contact import ANEW
from miaudit.targets.deadline import GO_ON
from miaudit.targets.form import array_of
from miaudit.targets.ledger import Ledger, Limits


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


LATE = f"the time limit came while the target was asked; {GO_ON}"


class Kept:
    """A function from records to answers, such as a client of one's own, whose answers are kept; made by `keep`.

    Attributes
    ----------
    ledger
        Counts of what was asked, and every answer that came.
    """

    def __init__(self, ask: Callable[[Any], Any], name: str, folder: Path | None, limits: Limits, batch: int) -> None:
        self._ask = ask
        self._batch = batch
        self.__name__ = name
        place = hashlib.sha256(name.encode()).hexdigest()[:16]
        self.ledger = Ledger(None if folder is None else folder / place, limits)

    def open(self, folder: Path | None, deadline: float | None, tell: Callable[[str], None]) -> None:
        """End at the deadline; answers are kept where `keep` was told to."""
        self.ledger.deadline = deadline
        self.ledger.begin()

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
        missing = sorted(i for key, i in first.items() if not self.ledger.has(key))
        for start in range(0, len(missing), self._batch):
            self._ask_some(X, keys, missing[start : start + self._batch])
        return stacked([self.ledger.known(key) for key in keys])

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
                raise TargetError(f"{self.__name__} was asked about {len(part)} records and answered {answers.shape}")
        except BaseException as error:
            query.lost(type(error).__name__, 0.0)
            raise
        query.answered(list(answers) if answers.ndim == 2 else answers.tolist())
        if len(part) < len(rows):
            raise BudgetError(
                f"the budget of {self.ledger.limits.budget:,} queries is spent; {len(self.ledger):,} answers are kept, run "
                "again with a larger one to go on"
            )


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
        raise PlanError(f"ask must be a function from records to answers, got a {type(ask).__name__}")
    if not name or batch < 1:
        raise PlanError(f"keep needs a name and a batch of at least 1; got {name!r} and {batch}")
    return Kept(ask, name, None if folder is None else Path(folder), Limits(budget, rate), batch)
