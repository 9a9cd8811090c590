"""First contact with a target, and the same questions asked again later, to see whether it is still the same model.

The figures of an audit are of one model. A target that is replaced or drifts while it is asked answers some records as
one model and the others as another. Records are therefore asked about in a random order over both sides, so that the
change falls on members and non-members alike, and the records of first contact are asked about again at the end, and
whenever a run is resumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import TargetError, counted
from miaudit.evidence.answers import ROUNDED

ANEW = ContextVar("ANEW", default=False)
"""Whether the question is one that is asked anew; a target that keeps its answers then does not answer from them, whatever
stands between it and who asks."""

NOISE = 1e-6
"""Answers to the same record that differ by no more than this, by their largest number if that is above 1, differ by
arithmetic, not by chance: a network rounds otherwise for one record than for several."""

SAME = 1e-5
"""Answers of a deterministic target that differ by no more than this, by its largest number if that is above 1, are
answers of one model: other processors round otherwise."""

SPREADS = 3.0
"""A randomised target is the same model as long as its answers differ by so many times what they did at first contact."""

TRIES = 3
"""So many times are records asked about again before a target counts as another one."""


@dataclass(frozen=True)
class Contact:
    """What first contact found of a target, and whether it answered the same when asked again; see the result's `Contact`."""

    records: int
    queries: int
    answers: str | None
    decimals: int | None
    deterministic: bool
    repeat_difference: float
    batch_consistent: bool
    batch_difference: float
    later: int = 0
    later_difference: float | None = None
    unchanged: bool | None = None
    unchanged_reason: str | None = "the records of first contact were not asked about again"
    outputs: str | None = None
    reason: str | None = None

    def anew(self, queries: int) -> Contact:
        """Return the same before anything was asked again, when it had taken so many queries."""
        fresh: dict[str, Any] = {
            each.name: each.default for each in fields(self) if each.name.startswith(("later", "unchanged"))
        }
        return replace(self, queries=queries, **fresh)


class Met(Protocol):
    """A target that first contact was made with."""

    contact: Contact | None


def difference(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the largest difference of two answers; of labels, the share that differs."""
    if first.shape != second.shape or first.ndim not in (1, 2):
        return float("inf")
    if not (_numbers(first) and _numbers(second)):
        other = [str(a) != str(b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
        return float(np.mean(other)) if other else 0.0
    earlier, later = first.astype(np.float64), second.astype(np.float64)  # differences of uint8 would wrap around
    apart = earlier != later  # two of minus infinity, the logarithm of 0, do not differ
    return float(np.abs(earlier[apart] - later[apart]).max(initial=0.0))


def _numbers(answers: NDArray[Any]) -> bool:
    return answers.ndim == 2 or answers.dtype.kind == "f"


def asked_alone(first: NDArray[Any]) -> int:
    """Return which record of first contact is asked alone, too: the first, or the second where all answers are alike.

    A target that answers its first record for all of a batch answers that one alike.
    """
    alike = all(difference(first[:1], first[[i]]) <= SAME * _scale(first) for i in range(1, len(first)))
    return int(alike and len(first) > 1)


def findings(
    first: NDArray[Any], again: NDArray[Any], alone: NDArray[Any] | None, *, answers: str | None, decimals: int | None
) -> Contact:
    """Return what answers to a batch, to the same batch, and to the record `asked_alone` tell of a target.

    ``alone`` is None where records are asked one by one.

    Raises
    ------
    TargetError
        If it answers in another order than that of the records.
    """
    noise = NOISE * _scale(first)
    own = first[[asked_alone(first)]]
    _refuse_moved(first, again, own if alone is None else alone, noise)
    repeat, single = difference(first, again), difference(own, own if alone is None else alone[:1])
    return Contact(
        records=len(first),
        queries=2 * len(first) + int(alone is not None),
        answers=answers,
        decimals=decimals,
        deterministic=repeat <= noise,
        repeat_difference=repeat,
        batch_consistent=single <= noise or repeat > noise,
        batch_difference=single,
    )


def _scale(answers: NDArray[Any]) -> float:
    """Return the largest number of answers, and at least 1."""
    finite = np.abs(answers[np.isfinite(answers)].astype(np.float64)) if _numbers(answers) else np.zeros(0)
    return max(1.0, float(finite.max(initial=0.0)))


def _refuse_moved(first: NDArray[Any], again: NDArray[Any], alone: NDArray[Any], noise: float) -> None:
    """Refuse the same answers to a batch in another order, and the answer to a record alone in another's place.

    Labels are not compared: that they repeat says nothing. Where some answers are alike, as those of trees are, only
    one with more digits than `ROUNDED` is known again.
    """
    if first.ndim != 2 or again.shape != first.shape or alone.shape[1:] != first.shape[1:]:
        return
    places = [_places(answer, first, noise) for answer in (*first, *again, alone[0])]
    kinds = [place[0] if place else None for place in places]
    earlier, later, single = kinds[: len(first)], kinds[len(first) : -1], kinds[-1]
    distinct = [_has_digits(answer) or len(set(earlier)) == len(first) for answer in first]
    moved = [i for i, kind in enumerate(later) if kind != earlier[i]]
    if moved and Counter(earlier) == Counter(later) and any(distinct[i] for i in moved):
        how = "asked twice about the same records, it gave the same answers in another order"
    elif not moved and single is not None and single != earlier[0] and distinct[single]:
        how = f"its answer to the first record stood in place {single + 1} among those to a batch"
    else:
        return
    raise TargetError(
        f"the target does not answer in the order of the records: {how}. Let it keep the order, or ask about one record at "
        "a time (batch = 1)"
    )


def _places(answer: NDArray[Any], answers: NDArray[Any], noise: float) -> list[int]:
    return [i for i in range(len(answers)) if difference(answer[None], answers[[i]]) <= noise]


def _has_digits(answer: NDArray[Any]) -> bool:
    """Whether some number of an answer has so many digits that another record hardly gets it by chance."""
    numbers = answer[np.isfinite(answer)].astype(np.float64)
    return bool((np.abs(numbers - np.round(numbers, ROUNDED)) > NOISE).any())


def allowed(contact: Contact, first: NDArray[Any]) -> float:
    """Return by how much later answers may differ from the first ones and be those of the same model."""
    company = 0.0 if contact.batch_consistent else SPREADS * contact.batch_difference  # may be asked with others
    return max(_noise(contact, first), company)


def _noise(contact: Contact, first: NDArray[Any]) -> float:
    """Return the same for answers to the same batch."""
    scale = SAME * _scale(first) if _numbers(first) else 0.0
    return max(scale, 0.0 if contact.deterministic else SPREADS * contact.repeat_difference)


def _otherwise(first: NDArray[Any], answers: NDArray[Any], most: float) -> str:
    """Return how later answers differ from the first ones: of how many records, and by how much."""
    off = difference(first, answers)
    if off == float("inf"):
        return "its answers have another form"
    if not _numbers(first):
        return f"its answers differ for {100 * off:.0f} % of them"
    records = sum(difference(first[[i]], answers[[i]]) > most for i in range(len(first)))
    return f"its answers to {records} of them differ by up to {off:.2g}"


def repeated(target: Met, first: NDArray[Any], ask: Callable[[], NDArray[Any]], *, since: str, advice: str) -> None:
    """Ask again what was asked at first contact, and note in the target's ``contact`` what came of it.

    A target that answers otherwise is asked twice more. If it then answers as it did first, it was deterministic at first
    contact by luck, and is one that varies; if it never does, it is another one.

    Parameters
    ----------
    target
        Whose ``contact`` is brought up to date with every answer.
    first
        The first answers.
    ask
        Returns answers to the same records.
    since
        When it may have changed, and what to do: parts of the message.

    Raises
    ------
    TargetError
        If it is not the model that it was.
    """
    assert target.contact is not None
    most, off, varies = allowed(target.contact, first), 0.0, None
    for _ in range(TRIES):
        answers, contact = ask(), target.contact
        off = difference(first, answers)
        largest = max(off, contact.later_difference or 0.0)
        contact = replace(contact, queries=contact.queries + len(first), later_difference=largest)
        target.contact = contact
        if off <= most:
            break
        varies = off
    else:
        target.contact = replace(contact, unchanged=False, unchanged_reason=None)
        raise TargetError(
            f"the target is not the model that it was, or loses or mixes up records: asked again {since} about the "
            f"{counted(len(first), 'record')} of first contact, {_otherwise(first, answers, most)}, where {most:.2g} is within "
            f"its noise. Such answers make no figure. {advice}"
        )
    if varies is not None:
        contact = replace(contact, deterministic=False, repeat_difference=max(varies, contact.repeat_difference))
    reason = None
    if not contact.deterministic and most >= (np.ptp(first) if _numbers(first) else 1.0):  # hardly any differ by more
        reason = "its answers vary so much that another model would not be noticed"
    elif off > _noise(contact, first):
        reason = (
            f"asked again {since}, its answers differ by {off:.2g}, no more than those to a record alone and among others did "
            "at first contact; the other records of a request or a change of the target may be why"
        )
    unchanged = True if reason is None else None
    target.contact = replace(contact, later=contact.later + 1, unchanged=unchanged, unchanged_reason=reason)
