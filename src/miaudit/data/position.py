"""Where a record stands, as messages say it: by its number in the side or file that it came from.

Records of several sides, or files, are put one after the other before they are read. Their numbers are then no longer those
that the user knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_parts: ContextVar[tuple[tuple[str, int], ...]] = ContextVar("_parts", default=())


@contextmanager
def in_parts(names: Iterable[object], sizes: Iterable[int]) -> Iterator[None]:
    """Let `position` count within parts of these names, that stand one after the other with so many records each."""
    token = _parts.set(tuple((str(name), size) for name, size in zip(names, sizes, strict=True)))
    try:
        yield
    finally:
        _parts.reset(token)


def position(number: int) -> str:
    """Return how to call the record of this number: ``record 7 (counted from 0)``, or ``record 7 of nonmembers (...)``."""
    of_parts, rest = _parts.get(), number
    for name, size in of_parts:
        if rest < size:
            return f"record {rest}{f' of {name}' if len(of_parts) > 1 else ''} (counted from 0)"
        rest -= size
    return f"record {number} (counted from 0)"
