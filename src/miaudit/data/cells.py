"""What the cells of a text table are: numbers, numbers in another notation, codes with leading zeros, missing values.

One grammar for every file of texts and for class labels, so that no two readers see different things in one cell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

MISSING = frozenset(
    {
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
        *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    }
)
"""Texts that stand for a missing value: those of pandas' `read_csv` with default settings."""

_NUMBER = re.compile(r"[ \t]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t]*")
_INFINITE = re.compile(r"[ \t]*[+-]?(?:inf|infinity)[ \t]*", re.IGNORECASE)
_WHOLE = re.compile(r"[ \t]*[+-]?[0-9]+[ \t]*")
_LEADING_ZEROS = re.compile(r"[ \t]*[+-]?0[0-9]+[ \t]*")
_BETWEEN = "[,._' \u00a0\u2009\u202f\u2019]"  # thousands, as offices and programs part them
_GROUPED = rf"[0-9]{{1,3}}(?P<between>{_BETWEEN})[0-9]{{3}}(?:(?P=between)[0-9]{{3}})*(?:[.,][0-9]+)?"
_INDIAN = r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?"
_AMOUNT = rf"[+\-\u2212]?(?:{_GROUPED}|{_INDIAN}|[0-9]+,[0-9]+|[0-9]+(?:_[0-9]+)+|[0-9]+(?:\.[0-9]+)?)"
_SYMBOL = "[$\u20ac\u00a3\u00a5\u20b9]"
_DRESSED = re.compile(
    rf"\s*[(\-]?(?:[A-Z]{{3}}[ \u00a0]|{_SYMBOL}[ \u00a0]?)?{_AMOUNT}"
    rf"(?:[ \u00a0]?[%\u2030]|[ \u00a0]?{_SYMBOL}|[ \u00a0][A-Z]{{3}})?[)\-]?\s*"
)


def is_number(text: str) -> bool:
    """Return whether the text is a finite number, written plainly."""
    return _NUMBER.fullmatch(text) is not None and math.isfinite(float(text))


def is_infinite(text: str) -> bool:
    """Return whether the text is a number that is not finite, or too large for one."""
    return _INFINITE.fullmatch(text) is not None or (
        _NUMBER.fullmatch(text) is not None and not math.isfinite(float(text))
    )


def is_whole(text: str) -> bool:
    """Return whether the text is a whole number, written plainly."""
    return _WHOLE.fullmatch(text) is not None


def is_missing(text: str) -> bool:
    """Return whether the text stands for a missing value."""
    return text in MISSING or not text.strip()


def is_dressed(text: str) -> bool:
    """Return whether the text is a number in another notation.

    With separators of thousands, a decimal comma, a percent or currency sign, brackets or a trailing sign for the minus, or
    underscores.
    """
    return not is_number(text) and _DRESSED.fullmatch(text) is not None


def has_leading_zeros(text: str) -> bool:
    """Return whether the text is a whole number with zeros in front, as codes are written."""
    return _LEADING_ZEROS.fullmatch(text) is not None


def merged(texts: Iterable[str]) -> list[str]:
    """Return two texts that are different and the same whole number but for zeros in front, such as ``0501`` and ``501``."""
    first: dict[str, str] = {}
    for text in texts:
        plain = text.strip().lstrip("+")
        sign, digits = ("-", plain[1:]) if plain.startswith("-") else ("", plain)
        other = first.setdefault(sign + (digits.lstrip("0") or "0"), text)
        if other != text and (has_leading_zeros(other) or has_leading_zeros(text)):
            return [other, text]
    return []


def exceeds_floats(text: str) -> bool:
    """Return whether the text is a whole number so large that floats do not tell it from its neighbours."""
    return is_whole(text) and abs(float(text)) >= 2.0**53


def natural(text: str) -> tuple[int, float, str]:
    """Sort key: numbers by value, then texts."""
    return (0, float(text), text) if is_number(text) else (1, 0.0, text)
