"""The per-record table as CSV: id, class, member, places by risk, and score and in/out call of each attack."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from miaudit.errors import StoreError
from miaudit.visible import visible

_FORMULA = re.compile("'|\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20].")  # a spreadsheet takes the wide forms, too
_PARTED = re.compile(r";(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")  # some spreadsheets part cells at semicolons
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FLAGS = ("member", "accused")
_PLACES = ("risk_rank", "risk_low", "risk_high")


def records_csv(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the table as text: scores read back bit for bit, memberships are 1 and 0, what is unknown is empty.

    Texts are those of the data, so they are written for a spreadsheet and a terminal: what cannot be seen is written out,
    and an apostrophe stands before what would be read as a formula, and before an apostrophe. A semicolon before a formula
    is written out, too.
    """
    rows = list(records)
    classes = [] if rows and not any("class" in row for row in rows) else ["class"]
    columns = list(dict.fromkeys(["id", *classes, "member", *(key for row in rows for key in row)]))
    head = [_text(column) for column in columns]
    lines = [head, *([_csv_cell(column, row.get(column)) for column in columns] for row in rows)]
    return "".join(",".join(map(_quoted, line)) + "\n" for line in lines)


def _quoted(text: str) -> str:
    """Quote as RFC 4180 does; csv.writer forgets a lone carriage return when lines end in a newline only."""
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def shown(text: str) -> str:
    """Return a text as it stands in the table, but for the apostrophe before a formula."""
    return _PARTED.sub(r"\\x3b", visible(text))


def _text(text: str) -> str:
    text = shown(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _csv_cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column in ("id", "class"):
        return _text(str(value))
    if column in (*_FLAGS, *_PLACES) or column.endswith("_in"):
        return str(int(value))
    number = float(value)
    return repr(number) if math.isfinite(number) else ""


def _record(row: Mapping[str, str]) -> dict[str, Any]:
    if None in row or None in row.values():  # how csv.DictReader marks a row too long or too short
        raise ValueError(f"the row of record {row.get('id')!r} has more or fewer cells than the header")

    def parsed(column: str, text: str) -> Any:
        if column in ("id", "class"):
            return text.removeprefix("'")
        if text == "":
            return None
        if column in _FLAGS or column.endswith("_in"):
            return bool(int(text))
        return int(text) if column in _PLACES else float(text)

    return {column.removeprefix("'"): parsed(column, text) for column, text in row.items()}


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table: id and class as text, scores as floats, places as whole numbers, memberships as booleans.

    None where a cell is empty.

    Raises
    ------
    StoreError
        If the file cannot be read or is no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_record(row) for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error) as error:
        raise StoreError(f"{path} cannot be read: {error}; write it again with `miaudit run`") from error
