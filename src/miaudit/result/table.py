"""The table of audited records, column by column, and its form as CSV."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import StoreError
from miaudit.visible import visible

_FORMULA = re.compile("'|\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20].")  # a spreadsheet takes the wide forms, too
_PARTED = re.compile(r";(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")  # some spreadsheets part cells at semicolons
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TEXTS = ("id", "class")
_FLAGS = ("member", "accused")
_PLACES = ("risk_rank", "risk_low", "risk_high")
_ROWS = 1 << 14  # written at a time


@dataclass(frozen=True, eq=False, repr=False)
class Records(Sequence[dict[str, Any]]):
    """One row per audited record: id, class, member, the risk columns, and two for each attack; read-only, column by column.

    ``risk_rank`` is the record's place by the headline attack, 1 for the likeliest member (ties share the best
    place); ``risk_low`` and ``risk_high`` are its best and worst place over halves of the shadows; ``risk_top`` is the
    share of those halves that put it among the first tenth. The last three are there where that attack uses
    shadows. ``accused`` is whether it is on the list of `Accusations`, None where it was not judged. Then ``<attack>``
    and ``<attack>_in`` for each attack.

    Parameters
    ----------
    columns
        (n,) values by the name of the column: NaN where a score is missing, None where another value is.
    """

    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for column in self.columns.values():
            column.setflags(write=False)

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Records:
        """Return the table of such rows; what a row lacks is missing."""
        rows = list(rows)
        names = dict.fromkeys(name for row in rows for name in row)
        return cls({name: _array([row.get(name) for row in rows]) for name in names})

    def __len__(self) -> int:
        return next((len(column) for column in self.columns.values()), 0)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | Records:
        """Return a record as a dict, None where a value is missing; or the table of some records."""
        if isinstance(index, slice):
            return Records({name: column[index] for name, column in self.columns.items()})
        row = range(len(self))[index]
        return next(iter(self[row : row + 1]))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in zip(*map(_values, self.columns.values()), strict=True):
            yield dict(zip(self.columns, row, strict=True))

    def __repr__(self) -> str:
        return f"Records({len(self):,} rows; columns {', '.join(self.columns)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def to_pandas(self) -> Any:
        """Return the table as a frame of pandas, whose index are the records' ids.

        Raises
        ------
        ImportError
            If pandas is not installed (pip install 'miaudit[frames]').
        """
        import pandas

        columns = {name: column for name, column in self.columns.items() if name != "id"}
        return pandas.DataFrame(columns, index=pandas.Index(self.columns.get("id", []), name="id"))

    def to_csv(self) -> str:
        """Return the table as text: scores read back bit for bit, memberships are 1 and 0, what is missing is empty.

        Texts are those of the data, so they are written for a spreadsheet and a terminal: what cannot be seen is written
        out, and an apostrophe stands before what would be read as a formula, and before an apostrophe. A semicolon before
        a formula is written out, too.
        """
        return "".join(self.csv_parts())

    def csv_parts(self) -> Iterator[str]:
        """Yield the text of `to_csv` in parts of so many rows that a large table takes no more memory than a small one."""
        classes = ["class"] if "class" in self.columns or not self.columns else []
        names = list(dict.fromkeys(["id", *classes, "member", *self.columns]))
        yield ",".join(_quoted(_text(name)) for name in names) + "\n"
        for start in range(0, len(self), _ROWS):
            part = self[start : start + _ROWS]
            missing = [""] * len(part)
            cells = [_csv_cells(name, part.columns[name]) if name in part.columns else missing for name in names]
            yield "".join(",".join(line) + "\n" for line in zip(*cells, strict=True))

    @classmethod
    def load(cls, path: Path) -> Records:
        """Read a table: id and class as text, scores as floats, places as whole numbers, memberships as booleans.

        Raises
        ------
        StoreError
            If the file cannot be read or is no such table.
        """
        try:
            with path.open(newline="", encoding="utf-8") as file:
                head, *rows = [row for row in csv.reader(file) if row] or [[]]
            if wrong := next((row for row in rows if len(row) != len(head)), None):
                raise ValueError(f"the row of record {wrong[0]!r} has more or fewer cells than the header")
            columns = zip(head, zip(*rows, strict=True) if rows else [()] * len(head), strict=True)
            return cls({name.removeprefix("'"): _parsed(name, texts) for name, texts in columns})
        except (OSError, ValueError, csv.Error) as error:
            raise StoreError(f"{path} cannot be read: {error}; write it again with `miaudit run`") from error


def _array(values: Sequence[Any]) -> NDArray[Any]:
    """Return one column: numbers where it holds nothing else, floats with NaN for what is missing, or else objects."""
    if all(value is None or isinstance(value, float) for value in values):
        return np.array([math.nan if value is None else value for value in values], np.float64)
    if not any(value is None or isinstance(value, str) for value in values):
        return np.array(values)
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _values(column: NDArray[Any]) -> list[Any]:
    """Return Python values of a column, None where one is missing."""
    values: list[Any] = column.tolist()
    return [None if value != value else value for value in values] if column.dtype.kind == "f" else values


def _parsed(column: str, texts: Sequence[str]) -> NDArray[Any]:
    if column in _TEXTS:
        return _array([text.removeprefix("'") for text in texts])
    if column in _FLAGS or column.endswith("_in"):
        return _array([bool(int(text)) if text else None for text in texts])
    return _array([(_place(text) if column in _PLACES else float(text)) if text else None for text in texts])


def _place(text: str) -> int:
    """Return a place, which the first tables write as 1.0."""
    place = float(text)
    if not place.is_integer():
        raise ValueError(f"{text!r} is no place: a whole number")
    return int(place)


def _quoted(text: str) -> str:
    """Quote as RFC 4180 does; csv.writer forgets a lone carriage return when lines end in a newline only."""
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def shown(text: str) -> str:
    """Return a text as it stands in the table, but for the apostrophe before a formula."""
    return _PARTED.sub(r"\\x3b", visible(text))


def _text(text: str) -> str:
    text = shown(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _csv_cells(name: str, column: NDArray[Any]) -> list[str]:
    """Return the cells of a column, or of a part of it."""
    values = _values(column)
    if name in _TEXTS:
        texts = ["" if value is None else str(value) for value in values]
        cells = {text: _quoted(_text(text)) for text in {*texts}}  # classes come again and again
        return [cells[text] for text in texts]
    if name in (*_FLAGS, *_PLACES) or name.endswith("_in"):
        return ["" if value is None else str(int(value)) for value in values]
    numbers = (math.nan if value is None else float(value) for value in values)
    return [repr(number) if math.isfinite(number) else "" for number in numbers]
