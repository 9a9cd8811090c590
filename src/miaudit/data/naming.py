"""Names that end up in documents: of classes, columns, ids, groups and slices. They are checked before anything is trained."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.position import position
from miaudit.data.records import missing_values
from miaudit.errors import DataError, counted, noun, with_article

LONGEST = 1000
"""Characters a name may have: it stands in a document once for each record."""


def notes_of_order(orders: Sequence[Sequence[Any] | None], parts: Sequence[str], what: str = "columns") -> list[str]:
    """Return the remarks on parts that have what the first has in another order, and were matched by its names."""
    return [
        f"{part} has its {what} in another order than {parts[0]}; they were matched by their names."
        for names, part in zip(orders, parts, strict=True)
        if names is not None and orders[0] is not None and list(names) != list(orders[0])
    ]


def check_names(names: Iterable[Any], what: str) -> None:
    """Refuse names that no document can hold: longer than `LONGEST`, or not in UTF-8.

    Raises
    ------
    DataError
        Naming the first.
    """
    for name in names:
        text = name if isinstance(name, str) else str(name)
        if len(text) > LONGEST:
            raise DataError(
                f"{what}: {text[:40]!a}... has {len(text):,} characters; a name has at most {LONGEST:,}: shorten it"
            )
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{what}: {text!a:.100} holds half of a surrogate pair, which UTF-8 has no form for; decode the text again "
                "from its source, or replace the character"
            ) from None


def near_names(names: Iterable[Any], what: str) -> list[str]:
    """Return the sentence for names that differ in blanks, case or the writing of a number alone, and yet are different.

    They are kept apart, as models keep them; a slip of the pen makes two of one.
    """
    forms: dict[Any, str] = {}
    near: list[tuple[str, str]] = []
    for name in names:
        if not isinstance(name, str):
            continue
        form: Any = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        with suppress(ValueError):
            form = float(form) if form[:1].isdigit() else form
        if forms.setdefault(form, name) != name:
            near.append((forms[form], name))
    if not near:
        return []
    return [
        f"{what}: {len(near)} {'differs' if len(near) == 1 else 'differ'} from another only in blanks, case or the writing of "
        f"a number, the first are {near[0][0]!r} and {near[0][1]!r}. They count as different, as they are written; if they are "
        "the same, correct the data."
    ]


def _has_value(value: Any) -> bool:
    """Whether equal values of this type have equal texts, as an object's place in memory has not."""
    kind: Any = type(value)
    return kind.__eq__ is not object.__eq__ and kind.__hash__ is not None


def as_names(values: NDArray[Any], what: str) -> NDArray[Any]:
    """Return ids or groups as documents hold them: numbers as they are, all else as texts.

    Raises
    ------
    DataError
        If one is missing, infinite, of no type that can be told from others by its text, or no name.
    """
    absent = missing_values(values)
    if absent.any():
        absences = counted(int(absent.sum()), "value that is", "values that are")
        raise DataError(
            f"{what}: {absences} NaN, infinite or missing, first in {position(int(np.argmax(absent)))}; "
            "every record needs one"
        )
    if values.dtype.kind in "biuf":
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DataError(f"{what}: values that are NaN, infinite or missing; every record needs one")
        return values
    if values.dtype.kind in "mM":
        return values.astype(str).astype(object)
    names = np.empty(len(values), dtype=object)
    for i, value in enumerate(values.tolist()):
        if not isinstance(value, str) and not _has_value(value):
            raise DataError(
                f"{what}: {position(i)} has {with_article(type(value).__name__)}, {value!a:.60}; use numbers or texts"
            )
        names[i] = value if isinstance(value, str) else str(value)
    check_names(dict.fromkeys(names.tolist()), what)
    return names


def check_people(names: Sequence[Any], what: str) -> None:
    """Refuse names of the people of records that name nobody: all of those would count as one person.

    Raises
    ------
    DataError
        Naming the first such record, and how many there are.
    """
    absent = missing_values(np.array([*names, None], dtype=object)[:-1])
    blank = [i for i, name in enumerate(names) if absent[i] or not str(name).strip()]
    if blank:
        raise DataError(
            f"{len(blank):,} of {counted(len(names), 'record')} {noun(len(blank), 'has', 'have')} no {what}, the first is "
            f"{position(blank[0])}; name the person of each, and give records of unknown people names of their own"
        )
