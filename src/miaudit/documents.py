"""What a document can hold: numbers, texts in UTF-8, lists and tables; what a caller passes is checked before training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import index
from os import PathLike, fspath
from typing import Annotated, Any, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from miaudit.errors import PlanError, not_whole, noun, refuse, sentence_of

_DEPTH, _BITS = 50, 128  # as many bits as numpy draws for a seed
ROUNDING = 1e-9


def _unrounded(value: Any) -> Any:
    """Return 0 or 1 in place of what arithmetic left a little outside them."""
    if isinstance(value, float) and -ROUNDING <= value <= 1 + ROUNDING:
        return min(max(value, 0.0), 1.0)
    return value


Fraction = Annotated[float, BeforeValidator(_unrounded), Field(ge=0, le=1)]
"""A rate, a share, an area or a probability."""
Signed = Annotated[float, Field(ge=-1 - ROUNDING, le=1 + ROUNDING)]
"""A difference of two such, or a correlation."""
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class Document(BaseModel):
    """Closed, frozen, and made of plain values: no NaN and no infinity, however deep, and no half of a character."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return _held(value)

    @classmethod
    def of(cls, *sources: object, **more: Any) -> Self:
        """Return the document of objects' attributes, by name; ``more`` has fields that they lack, or that are to differ.

        A document within may come from an object likewise.
        """
        values = {name: getattr(of, name) for of in sources for name in cls.model_fields if hasattr(of, name)}
        return cls.model_validate({**values, **more}, from_attributes=True)


class Facts(Document):
    """A document of what is known: a field that nobody filled is not written."""

    @model_serializer(mode="wrap")
    def _known(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        names = {name for key in self.model_fields_set for name in (key, fields[key].serialization_alias)}
        return {key: value for key, value in handler(self).items() if key in names}


def _held(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a document holds no NaN and no infinity: use null and a reason")
    if isinstance(value, int) and value.bit_length() > _BITS:
        raise ValueError(f"a document holds no whole number of more than {_BITS} bits")
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_held(key): _held(of) for key, of in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_held, value))
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # a number of numpy
        return _held(value.item())
    return value


def plain(value: Any, what: str, depth: int = 0) -> Any:
    """Return a value as JSON has it: numbers of numpy as Python's, arrays and sets as lists, paths and objects as texts.

    Parameters
    ----------
    value
        Anything a caller passed as an option.
    what
        Its path in the document, for messages.

    Raises
    ------
    PlanError
        If a text is not in UTF-8, a whole number has too many bits, or tables are nested too deeply.
    """
    if depth > _DEPTH:
        raise PlanError([(what, f"is nested more than {_DEPTH} levels deep")])
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return check_text(str(value), what)
    if isinstance(value, int):
        if value.bit_length() > _BITS:
            raise PlanError([(what, f"is a whole number of more than {_BITS} bits")])
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {
            check_text(str(key), what): plain(item, f"{what}.{key!s:.50}", depth + 1) for key, item in value.items()
        }
    if isinstance(value, set | frozenset):
        value = sorted(value, key=repr)
    if isinstance(value, list | tuple):
        return [plain(item, f"{what}.{i}", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, PathLike):
        return check_text(str(fspath(value)), what)
    if callable(getattr(value, "tolist", None)) and hasattr(value, "dtype"):  # numpy's scalars and arrays
        return plain(value.tolist(), what, depth + 1)
    return check_text(str(value), what)


def check_text(text: str, what: str) -> str:
    """Return a text that UTF-8 can hold.

    Raises
    ------
    PlanError
        If it holds half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        of_name = any(
            "\udc80" <= letter <= "\udcff" for letter in text
        )  # how Python holds bytes of a name it cannot read
        way = "where it is of the name of a file, set PYTHONUTF8=1" if of_name else "write the character itself"
        problem = f"{text!a:.100} holds half of a surrogate pair, which UTF-8 has no form for; {way}"
        raise PlanError([(what.encode("ascii", "backslashreplace").decode(), problem)]) from None
    return text


def whole(value: Any, what: str, *, least: int) -> int:
    """Return a whole number from ``least``, whoever's integer it is.

    Raises
    ------
    PlanError
        If it is none.
    """
    try:
        number = value if isinstance(value, bool) else index(value)
    except (TypeError, ValueError):
        number = value
    refuse(not_whole((what, number), least=least))
    if number.bit_length() > _BITS:
        raise PlanError([(what, f"is a whole number of more than {_BITS} bits")])
    return number


def problems_of(document: type[BaseModel], error: ValidationError) -> list[tuple[str, str]]:
    """Return path and sentence of each of pydantic's errors about a document; the path is ``it`` for the whole."""
    located = [(each, each["loc"] if each["type"] == "model_type" else each["loc"][:-1]) for each in error.errors()]
    return [(".".join(map(str, each["loc"])) or "it", sentence_of(each, keys_at(document, at))) for each, at in located]


def first_problem(document: type[BaseModel], error: ValidationError) -> str:
    """Return the first of pydantic's errors about a document, and how many more there are."""
    (path, sentence), *others = problems_of(document, error)
    further = noun(len(others), "is another, which is shown", f"are {len(others):,} others, which are shown")
    return f"{path}: {sentence}" + (f"; there {further} when this one is mended" if others else "")


def keys_at(document: Any, location: Sequence[Any]) -> list[str]:
    """Return the keys of the document at a path within one, as pydantic's errors say it; none where there is no document."""
    for step in location:
        if not isinstance(step, int):
            field = getattr(document, "model_fields", {}).get(step)
            document = None if field is None else _document_in(field.annotation)
    fields = getattr(document, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def _document_in(annotation: Any) -> Any:
    """Return the document that a value of an annotation is, or consists of."""
    if hasattr(annotation, "model_fields"):
        return annotation
    return next((each for each in map(_document_in, get_args(annotation)) if each is not None), None)
