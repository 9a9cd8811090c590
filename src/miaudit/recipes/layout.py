"""How classes and their instances hold what they are: in Python's attributes, or out of sight in C."""

from __future__ import annotations

import sys
from typing import Any


def is_plain(kind: type) -> bool:
    """Whether all that an instance holds stands in its ``__dict__`` and slots, so that no base keeps more in C."""
    for each in kind.__mro__:
        base = each.__base__
        if base is None:
            break
        slots = vars(each).get("__slots__", ())
        fields = len({slots} if isinstance(slots, str) else set(slots) - {"__dict__", "__weakref__"})
        fields += each.__weakrefoffset__ > 0 >= base.__weakrefoffset__
        fields += each.__dictoffset__ > 0 >= base.__dictoffset__
        if each.__itemsize__ or each.__basicsize__ - base.__basicsize__ != fields * tuple.__itemsize__:
            return False
    return True


def is_heap(kind: type) -> bool:
    """Whether a class was made while a program ran, as those of Python code are."""
    return bool(kind.__flags__ & (1 << 9))  # Py_TPFLAGS_HEAPTYPE


def is_where_it_says(kind: type) -> bool:
    """Whether a class is the one of its name in its module: one made by ``exec`` may say that it is a builtin."""
    thing: Any = sys.modules.get(str(kind.__module__))
    for step in kind.__qualname__.split("."):
        thing = getattr(thing, step, None)
    return thing is kind


def attributes(thing: Any) -> dict[str, Any]:
    """Return what an instance holds in its ``__dict__`` and slots."""
    values = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            mangled = (
                f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
            )
            if name not in ("__dict__", "__weakref__") and hasattr(thing, mangled):
                values[name] = getattr(thing, mangled)
    return values
