"""Options of a plan's table as those of a frozen dataclass, checked by the types that it declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from miaudit.errors import PlanError, nearest, sentence_of


def checked_options(kind: type, options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the values of a table for the fields ``names`` of a dataclass.

    Raises
    ------
    PlanError
        With every key that is none of them, and every value of another type.
    """
    hints = get_type_hints(kind)
    problems, values = list[tuple[str, str]](), dict[str, Any]()
    for key, value in options.items():
        if key not in names:
            hint = nearest(key, list(names), cutoff=0.5) or f"allowed here: {', '.join(names) or 'none'}"
            problems.append((key, f"unknown option; {hint}"))
            continue
        try:
            values[key] = TypeAdapter(hints[key]).validate_python(value, strict=False)
        except ValidationError as error:
            problems += [(key, sentence_of(each, ())) for each in error.errors()]
    if problems:
        raise PlanError(problems)
    return values
