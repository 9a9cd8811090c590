"""Where two documents differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

TOLERANCE = 1e-6
"""By how much two numbers may differ: the last digits depend on the processor."""


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield where two plain documents differ, as ``path is 1, not 2``; numbers by more than `TOLERANCE`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{path}[{i}]")
    elif _number(old) and _number(new):
        if abs(old - new) > TOLERANCE * max(1.0, abs(old), abs(new)):
            yield f"{path} is {old}, not {new}"
    elif old != new:
        yield f"{path} is {_shown(old)}, not {_shown(new)}"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
