"""Target: what can be asked of the model under audit, with every answer checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import n_records, take_records
from miaudit.errors import BudgetError, DataError, MiauditError, PlanError, TargetError, counted, reason_of
from miaudit.evidence.answers import (
    MORE_DECIMALS,
    ROUNDED,
    SUM_TOLERANCE,
    Decision,
    Hint,
    Kind,
    Type,
    checked_type,
    count_decimals,
    decide,
    empty_rows,
    read,
    shown_decimals,
    with_cut,
)
from miaudit.seeds import generator
from miaudit.targets.classes import (
    class_columns,
    class_numbers,
    larger_of_two,
)
from miaudit.targets.contact import ANEW, Contact, asked_alone, findings, repeated
from miaudit.targets.form import array_of, columns_of_frame, odd_cells, texts_in_a_table
from miaudit.targets.outputs import Outputs, Source
from miaudit.targets.stages import Stages

BATCH, BATCH_BYTES = 20_000, 64 << 20
"""Most records, and most bytes of records, in one question to an in-process model; they bound its memory."""

__all__ = [
    "BATCH",
    "ROUNDED",
    "SUM_TOLERANCE",
    "Kind",
    "Outputs",
    "Target",
    "class_columns",
    "class_numbers",
    "count_decimals",
]


class Target:
    """A model behind a function, its answers checked and its queries counted.

    Parameters
    ----------
    ask
        Answers records with (n, columns) numbers, or with (n,) labels or scores.
    classes
        Number of classes of the data.
    columns
        The class of each column of the answer; None if column j is class j.
    names
        Class names in order, to tell labels by; labels may also be class numbers.
    width
        Number of features the model says it was trained on, if it says so.
    description
        What to call it in a report.
    kind
        What it answers, as declared by the user; None: decided once, at first contact, by `miaudit.evidence.answers.decide`.
    hint
        What else is known of its answers, or a function that tells it once something was asked.
    coded
        Whether a label that is a number may be the number of a class that has another name.
    order
        The class of the data that each of ``names`` is, where they are in the model's order; None if they are in the data's.
    limit
        Says how many of some records to ask about at a time.
    positive
        Of two classes the number of the one that a single number a record is of, where the user says so.
    wrapped
        What has hooks of its own, which are passed on.

    Attributes
    ----------
    queries
        Records it was asked about.
    decision
        What its answers are taken for, and why; None before first contact.
    remarks
        Sentences for the warnings of a result.
    named
        Whether the classes of its answers are known by name.
    by_name
        Whether it finds the columns of a frame by name alone.
    stages
        How to ask for its answers after each stage of its training; None where it keeps none.
    source
        Where the model is: "given object", or "given url".
    advice
        What to do where it fails, for the end of the message.
    batch_size
        Most records in one question.
    order
        Seed of the order in which records are asked about; None: as they are given. An audit gives one, so that a model
        that changes while it is asked changes for members and non-members alike.
    contact
        What first contact found; None before it.
    probes
        Records asked about at first contact.
    resumed
        Whether it goes on with answers of an earlier run.
    """

    def __init__(
        self,
        ask: Callable[[Any], Any],
        *,
        classes: int,
        columns: NDArray[np.int64] | None = None,
        names: tuple[Any, ...] | None = None,
        width: int | None = None,
        description: str = "model",
        kind: Type | None = None,
        hint: Hint | Callable[[], Hint | None] | None = None,
        coded: bool = True,
        order: NDArray[np.int64] | None = None,
        limit: Callable[[Any], int] | None = None,
        positive: int | None = None,
        wrapped: Any = None,
    ) -> None:
        self._ask = ask
        self._positive = positive
        self._empty = 0  # records that it answered with zeros alone
        self._place, self._limit = order, limit
        self._columns, self._names = columns, names
        self._hint, self._coded = hint, coded
        self._decimals = -1  # most seen
        self._cut = True  # whether every row so far left classes out
        self._one = False  # whether it answers one value a record
        try:
            self._declared = checked_type(kind)
        except DataError as error:
            raise PlanError([("outputs", str(error).removeprefix("outputs "))]) from None
        self.classes = classes
        self.width = width
        self.description = description
        self.decision: Decision | None = None
        self.queries = 0
        self.batch_size = BATCH
        self.remarks: list[str] = []
        self.advice = ""
        self._named = columns is not None
        self.by_name = False
        self.stages: Stages | None = None
        self.order: int | None = None
        self.contact: Contact | None = None
        self.probes = 5
        self.resumed = False
        self._first: tuple[Any, NDArray[Any]] | None = None  # records of first contact, and the answers to them
        self._wrapped = wrapped
        self.limits: Any = getattr(wrapped, "limits", None)  # what may be asked, and at which price
        self._read = False  # whether it answers with outputs, which are read already
        url = getattr(wrapped, "source", None) == "given url"
        self.source: Source = "given url" if url else "given object"

    @property
    def own_classes(self) -> NDArray[np.int64] | None:
        """The class number of each column of its answers; None where nothing but the data says it."""
        return self._columns

    @property
    def named(self) -> bool:
        """Whether it is known which class each column of its answers is, and each of its labels: by names, or stated."""
        return self._named or bool(getattr(self._wrapped, "named", False))

    @named.setter
    def named(self, value: bool) -> None:
        self._named = value

    @property
    def kind(self) -> Kind | None:
        """The form of its answers; None before the first, unless declared."""
        if self.decision is not None:
            return self.decision.kind
        if self._declared is not None:
            return Decision(self._declared, "declared").kind
        return "labels" if isinstance(self._hint, Hint) and self._hint.type == "labels" else None

    @property
    def outputs(self) -> Type | None:
        """What it answers: declared, or decided at first contact; None before."""
        return self._declared if self.decision is None else self.decision.type

    @property
    def foreseen(self) -> Type | None:
        """What it answers, where that is known before it is asked about the audited records: also by its method."""
        return self.outputs or (self._hint.type if isinstance(self._hint, Hint) else None)

    @property
    def decimals(self) -> int | None:
        """Most decimals seen in its probabilities; None if there are more than six, or none seen yet."""
        return shown_decimals(self._decimals)

    def for_classes(self, classes: int, names: tuple[Any, ...] | None = None) -> Target:
        """Return this target for data of such classes.

        Raises
        ------
        PlanError
            If it was made for another number of them.
        """
        if classes != self.classes:
            raise PlanError(f"the target was made for {self.classes} classes, the data has {classes}")
        return self

    def declare(self, outputs: Type | None) -> None:
        """Say what it answers, in place of what would be decided at first contact.

        Raises
        ------
        PlanError
            If there is no such type, or another one was declared before.
        """
        try:
            declared = checked_type(outputs)
        except DataError as error:
            raise PlanError([("outputs", str(error).removeprefix("outputs "))]) from None
        if declared is not None and self._declared not in (None, declared):
            raise PlanError([("outputs", f"got {declared!r}, and the target was declared {self._declared!r} before")])
        self._declared = declared or self._declared

    def _saw_decimals(self, decimals: int | None) -> None:
        """Take note of decimals seen before; None is more than six."""
        self._decimals = max(self._decimals, MORE_DECIMALS if decimals is None else decimals)

    def __init_subclass__(cls) -> None:
        if "query" in vars(cls):
            raise TypeError(f"{cls.__name__} defines query, which an audit does not call; let it define answer")

    def open(self, folder: Path | None, deadline: float | None, tell: Callable[[str], None]) -> None:
        """Begin, also what was audited before; this and the other hooks are described in `miaudit.targets.outputs`."""
        self.queries, self.contact, self._first, self.resumed = 0, None, None, False
        self.remarks = []
        self._pass_on("open", folder, deadline, tell)

    def expect(self, parts: Iterable[Any], *, further: int = 0) -> Any:
        """Take note of what will be asked about, and return what that takes, where it is known."""
        return self._pass_on("expect", parts, further=further)

    def facts(self) -> dict[str, Any]:
        """Return counts and source, for the provenance of a result."""
        return self._pass_on("facts") or {}

    def lacking(self, X: Any) -> NDArray[np.bool_]:
        """(n,) Which of some records, all asked about, got no answer; what stands for one is another's."""
        rows = self._pass_on("lacking", X)
        return np.zeros(n_records(X), bool) if rows is None else np.asarray(rows, bool)

    def rest(self) -> None:
        """Let go of what keeps others from asking; asking again takes it up."""
        self._pass_on("rest")

    def cease(self) -> None:
        """Ask nothing more, while another thread asks; what is on its way is still taken."""
        self._pass_on("cease")

    def close(self) -> None:
        """End: nothing more is asked."""
        self._pass_on("close")

    def _pass_on(self, hook: str, *arguments: Any, **options: Any) -> Any:
        function = getattr(self._wrapped, hook, None)
        return function(*arguments, **options) if callable(function) else None

    def query(self, X: Any) -> Outputs:
        """Return what `answer` returns."""
        return self.answer(X)

    def answer(self, X: Any) -> Outputs:
        """Return the target's answers to n records.

        Returns
        -------
        Outputs
            (n, classes) probabilities, logits, or probabilities of the top k; or (n,) labels: as it answers.

        Raises
        ------
        DataError
            If the records have another width than the target was trained on.
        TargetError
            If the target fails, or its answer has the wrong shape, is not finite, is of no clear type, or is not what it
            was decided to be at first contact.
        """
        self._check_width(X)
        n = n_records(X)
        size = self.most_at_once(X) if n else self.batch_size
        order = np.arange(n) if self.order is None else generator(self.order, "order", n).permutation(n)
        parts: list[NDArray[Any]] = []
        for start in range(0, n, size):
            part = X if self.order is None and n <= size else take_records(X, order[start : start + size])
            parts.append(self._answer(part, start))
            if parts[-1].shape[1:] != parts[0].shape[1:]:
                raise TargetError(
                    f"the target answered records up to {start} with one value each, and further ones with one per class, or "
                    "the other way round; it must answer all alike"
                )
        if parts:
            answers = np.concatenate(parts)
            values = self._checked(answers if self.order is None else answers[np.argsort(order)])
        else:
            values = np.empty(0, dtype=np.int64) if self.kind == "labels" else np.empty((0, self.classes))
        why = () if self.decision is None else (self.decision.type, self.decision.reason)
        return Outputs(values, self.kind or "probabilities", self.classes, *why)

    def most_at_once(self, X: Any) -> int:
        """Return how many of such records to ask about in one question: by number, bytes, and what the model takes."""
        limits = [self.batch_size] if self._limit is None else [self.batch_size, self._limit(X)]
        bytes_ = getattr(X, "nbytes", 0) / max(n_records(X), 1)
        if bytes_ and self.source != "given url":  # which makes its own batches
            limits.append(max(1, int(BATCH_BYTES / bytes_)))
        return min(limits)

    def by_stage(self, X: Any) -> Iterator[NDArray[np.float64]]:
        """Yield (n, classes) probabilities after one stage of its training after the other; nothing where it keeps none.

        `query` must have been called before. No query is counted, as stages are read off a model at hand.

        Raises
        ------
        TargetError
            If it fails, or does not answer (n, columns) numbers.
        """
        try:
            for answer in () if self.stages is None else self.stages(X):
                values = np.zeros((n_records(X), self.classes))
                values[:, slice(None) if self._columns is None else self._columns] = array_of(answer)
                yield values
        except Exception as error:
            raise TargetError(
                f"the target failed to answer by stages: {reason_of(error)}; leave out attacks that need a trace"
            ) from error

    def _check_width(self, X: Any) -> None:
        shape = None if self.by_name and hasattr(X, "columns") else getattr(X, "shape", None)
        if self.width is not None and shape is not None and len(shape) == 2 and shape[1] != self.width:
            raise DataError(
                f"the target was trained on {counted(self.width, 'feature')}, the records have {shape[1]}; give the records in "
                "the form the model was trained on"
            )

    def make_contact(self, X: Any) -> Contact:
        """Ask about the first few of some records and note what kind of target this is.

        Raises
        ------
        DataError
            If the records have another width than the target was trained on.
        TargetError
            If an answer is unusable.
        """
        self._check_width(X)
        rows, earlier = np.arange(min(self.probes, n_records(X))), getattr(self._wrapped, "known", None)
        contact = self._pass_on("make_contact", X)
        if contact is not None:  # the wrapped target knows what it keeps
            self.resumed = bool(getattr(self._wrapped, "resumed", False))
            self.answer(take_records(X, rows))  # which are kept
            self.contact = replace(contact, answers=self.kind, decimals=self.decimals)
            return self.contact
        if earlier is not None:  # it keeps answers: see that those of an earlier run still hold
            before = np.asarray(earlier(X), bool)
            self.resumed = bool(before.any())
            rows = np.flatnonzero(before)[: self.probes] if self.resumed and not before[rows].all() else rows
        X = take_records(X, rows)
        first, again = self._answer(X, 0), self._anew(X)
        alone = self._anew(take_records(X, [asked_alone(first)]))
        self._first = X, first
        if self.resumed:
            contact = findings(self._anew(X), again, alone, answers=self.kind, decimals=self.decimals)
            self.contact = replace(contact, queries=contact.queries + len(rows))
        else:
            self.contact = findings(first, again, alone, answers=self.kind, decimals=self.decimals)
        return self.contact

    def _anew(self, X: Any) -> NDArray[Any]:
        """Return answers that are asked for now, also of a target that keeps answers."""
        token = ANEW.set(True)
        try:
            return self._answer(X, 0)
        finally:
            ANEW.reset(token)

    def confirm(self, *, resumed: bool = False) -> Contact | None:
        """Ask the questions of first contact again, see that the target is the model that it was, and return the contact.

        Parameters
        ----------
        resumed
            Whether it is asked before the other records, in a run that goes on with earlier answers, or after them.

        Raises
        ------
        TargetError
            If it is another model now.
        """
        contact = self._pass_on("confirm", resumed=resumed)
        if contact is not None:
            at_first = self.contact or contact
            self.contact = replace(contact, answers=at_first.answers, decimals=at_first.decimals)
        if self._first is None or self.contact is None:
            return self.contact
        X, first = self._first
        try:
            repeated(
                self,
                first,
                lambda: self._anew(X),
                since="before other records" if resumed else "at the end",
                advice="Keep the model as it is while it is audited, and run again"
                + (", with another name for the answers that are kept" if hasattr(self._wrapped, "known") else ""),
            )
        except BudgetError:
            reason = "the budget left no queries to ask the records of first contact again"
            self.contact = replace(self.contact, unchanged=None, unchanged_reason=reason)
        self.contact = replace(self.contact, answers=self.kind, decimals=self.decimals)
        return self.contact

    def _answer(self, X: Any, start: int) -> NDArray[Any]:
        """Return what the target answers: (n, columns), or (n,) where that is one value a record."""
        n = n_records(X)
        self.queries += n
        try:
            outputs = self._ask(X.copy() if hasattr(X, "copy") else X)  # the model's own to change
            if isinstance(outputs, Outputs):
                outputs.refuse_odd(n, self.classes, self._declared, self.decision)
                self._read, self.decision = True, outputs.decision
                return outputs.values
            answer = array_of(outputs)
        except MiauditError:
            raise
        except Exception as error:
            raise TargetError(
                f"the model failed on {counted(n, 'record')}, after {start} others: {reason_of(error)}; check "
                f"that the records have the form the model was trained on{odd_cells(X)}{self.advice}"
                f"{texts_in_a_table(X)}"
            ) from error
        if answer.ndim in (1, 2) and answer.shape[0] != n:
            raise TargetError(
                f"the target was asked about {counted(n, 'record')} and answered {answer.shape[0]}; it must answer all"
                f"{texts_in_a_table(X, answer.shape[0])}"
            )
        columns = columns_of_frame(outputs, X, self.classes, self._names, coded=self._coded)
        if columns is not None:
            self.named = True
            self._columns = columns if self._place is None else self._place[columns]
        width = self.classes if self._columns is None else len(self._columns)
        if answer.ndim == 2 and answer.shape[1] == 1 != width:
            answer = answer[:, 0]
        if self.decision is None and answer.ndim == 1:
            return answer
        if answer.shape != ((n,) if self._one else (n, width)):
            what = "label" if self.kind == "labels" else "value"
            raise TargetError(
                f"the target answered {counted(n, 'record')} with shape {answer.shape}; expected "
                + (f"({n},): one {what} per record" if self._one else f"({n}, {width}): one number per class")
            )
        if answer.ndim == 2 and answer.dtype.kind not in "fiub":
            value = next(iter(answer.reshape(-1)[:1].tolist()), "")
            raise TargetError(
                f"the target answered values of type {answer.dtype}, such as {value!r:.40} ({type(value).__name__}); "
                "expected numbers, one per class: let it answer numbers, as answers.astype(float) makes of texts of numbers"
            )
        return answer

    def _checked(self, answer: NDArray[Any]) -> NDArray[Any]:
        """Return answers in the form they are kept; the first decide of what type all are."""
        try:
            if self.decision is None:
                hint, second = self._hint() if callable(self._hint) else self._hint, self._second()
                self.decision = decide(
                    answer,
                    classes=self.classes,
                    declared=self._declared,
                    hint=hint,
                    positive=None if second is None else str(self._names_in_order()[second]),
                    stated=self._positive is not None,
                )
                self._one = answer.ndim == 1
            if self._read:
                return self._checked_outputs(answer, self.decision)
            if self.decision.type == "labels":
                return self._labels(answer)
            if self._declared is None and answer.ndim == 2:
                self.decision, self._cut = with_cut(answer, self.decision, cut=self._cut)
            self._note_empty(int(empty_rows(answer, self.decision, self._decimals).sum()))
            values, self._decimals = read(answer, self.decision, decimals=self._decimals)
        except DataError as error:
            raise TargetError(str(error)) from None
        if answer.ndim == 1 and self._second() == 0:
            return values[:, ::-1]
        if self._columns is None or answer.ndim == 1:
            return values
        full = np.zeros((len(values), self.classes), dtype=values.dtype)  # (n, classes)
        if self.kind == "logits":
            full[:] = values.min(axis=1, keepdims=True) - 100  # a class the model does not know is improbable
        full[:, self._columns] = values
        return full

    def _second(self) -> int | None:
        """Return of two classes the one that a single number a record is of, where that is known.

        It is what the user says, the second of the classes that the model names, or of numbers and truths the larger.
        """
        if self.classes != 2 or self._positive is not None:
            return self._positive
        if self._columns is not None and len(self._columns) == 2:
            return int(self._columns[1])
        return larger_of_two(self._names)

    def _names_in_order(self) -> Sequence[Any]:
        """Return the names of the data's classes."""
        if self._names is None or self._place is None:
            return range(self.classes) if self._names is None else self._names
        return [self._names[int(i)] for i in np.argsort(self._place)]

    def _note_empty(self, count: int) -> None:
        if count:
            self.remarks[:] = [remark for remark in self.remarks if "zeros for every class" not in remark]
            self._empty += count
            self.remarks.append(
                f"The target answered {counted(self._empty, 'record')} with zeros for every class, as "
                "one-versus-rest models do where "
                "no class is likely; they were read as equal probabilities."
            )

    def _checked_outputs(self, values: NDArray[Any], decision: Decision) -> NDArray[Any]:
        if decision.kind != "labels":
            values, self._decimals = read(values, Decision(decision.kind, decision.reason), decimals=self._decimals)
        return values

    def _labels(self, answer: NDArray[Any]) -> NDArray[np.int64]:
        if answer.ndim == 2:  # the user wants no more than the labels
            largest: NDArray[np.int64] = answer.argmax(axis=1)
            return largest if self._columns is None else self._columns[largest]
        labels = class_numbers(answer, self.classes, self._names, coded=self._coded)
        if not self.named and self._names is not None:
            self.named = set(map(str, answer.tolist())) <= set(map(str, self._names))
        return labels if self._place is None else self._place[labels]
