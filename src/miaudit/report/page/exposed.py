"""The most exposed records: those that the attack that leads ranks first, and how far that can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from miaudit.result import Result

LISTED = 200


@dataclass(frozen=True)
class ExposedRecord:
    """One member: what it is called, its class, its place and the span of places that halves of the shadow models give it."""

    id: str
    class_: str
    rank: int
    low: int | None
    high: int | None
    accused: bool | None
    answer: float | None
    without: float | None
    with_: float | None


@dataclass(frozen=True)
class Exposed:
    """The members ranked first.

    ``of`` counts the members, ``n`` all ranked records; ``spans`` says whether records have spans, ``classes`` and
    ``answers`` whether they have classes, and answers of the target, ``compared`` and ``trained`` whether shadow models
    answered that were not, and were, trained on them. ``answer`` is what stands for an answer, in words.
    """

    attack: str
    records: list[ExposedRecord]
    of: int
    n: int
    spans: bool
    classes: bool
    answers: bool
    accused: bool
    compared: bool = False
    trained: bool = False
    answer: str = ""


def exposed_of(result: Result, *, most: int = LISTED) -> Exposed | None:
    """Return the members that are ranked first, those whose worst place is best before others of the same place.

    None where the result ranks nobody, or has no table of records.
    """
    columns, lead = result.records.columns, result.lead
    if lead is None or "risk_rank" not in columns or "member" not in columns:
        return None
    member = np.array([bool(each) for each in columns["member"]])
    rank = np.asarray(columns["risk_rank"], np.float64)
    worst = np.asarray(columns["risk_high"], np.float64) if "risk_high" in columns else rank
    order = np.lexsort((worst, rank))
    first = [int(i) for i in order if member[i] and np.isfinite(rank[i])][:most]  # one without an answer has no place
    cells = {name: column[first].tolist() for name, column in columns.items() if name in _COLUMNS}
    rows = [{name: values[k] for name, values in cells.items()} for k in range(len(first))]
    return Exposed(
        attack=lead.name,
        records=[_record(row) for row in rows],
        of=int(member.sum()),
        n=len(member),
        spans="risk_low" in columns,
        classes="class" in columns,
        answers="answer" in columns,
        accused="accused" in columns,
        compared="answer_without" in columns,
        trained="answer_with" in columns,
        answer=_ANSWERS.get(result.target.outputs, "probability of the true class"),
    )


_ANSWERS = {
    "labels": "whether the class is right, as 1 or 0",
    "signal": "the signal",
    "value": "the signal of the error",
}
_COLUMNS = ("id", "class", "risk_rank", "risk_low", "risk_high", "accused", "answer", "answer_without", "answer_with")


def _record(row: dict[str, Any]) -> ExposedRecord:
    accused = row.get("accused")
    return ExposedRecord(
        id=str(row["id"]),
        class_=str(row.get("class", "")),
        rank=int(row["risk_rank"]),
        low=_place(row.get("risk_low")),
        high=_place(row.get("risk_high")),
        accused=None if accused is None else bool(accused),
        answer=_number(row.get("answer")),
        without=_number(row.get("answer_without")),
        with_=_number(row.get("answer_with")),
    )


def _place(value: Any) -> int | None:
    return None if value is None or value != value else int(value)


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)
