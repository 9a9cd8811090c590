"""What every section of a plan shares: its types, what names something outside the plan, and values no plan holds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

Kind = Literal["file", "function", "class", "scheduler", "command"]


@dataclass(frozen=True)
class Names:
    """Marks a text of a plan that names something outside it, so that no such key is forgotten."""

    kind: Kind


def _in_folder(path: str, info: ValidationInfo) -> str:
    """Return a path resolved against the plan's folder, where the plan is a file."""
    if not path or any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in path):
        raise ValueError("a path must not be empty and holds no control characters")
    if re.match(r"[~$]|[A-Za-z][\w+.-]+://", path):  # one letter is a drive
        raise ValueError(
            f"{path!r:.80} is not taken as a path: ~ and variables are not filled in, and nothing is fetched; write a path "
            "from the plan's folder (./~name where it is called so), or the whole one"
        )
    if not info.context:
        return path
    folder: Path = info.context["folder"]
    while path.startswith("../"):  # the folder is resolved, so that its parent is what the dots mean
        folder, path = folder.parent, path[3:].lstrip("/")
    return str(folder / path)


def _model_in_folder(path: str, info: ValidationInfo) -> str:
    return path if is_address(path) else _in_folder(path, info)


def is_address(text: str) -> bool:
    """Whether a text is the address of a model of MLflow, as ``models:/name/3``, and no path."""
    return re.match(r"(models|runs|mlflow-artifacts):/", text) is not None


def _as_text(path: Any) -> Any:
    """Return a path object of Python, such as pathlib's, as text; everything else as it is."""
    return fspath(path) if isinstance(path, PathLike) else path


FilePath = Annotated[str, BeforeValidator(_as_text), AfterValidator(_in_folder), Names("file")]
"""The path of a file, relative to the plan's folder."""
ModelPath = Annotated[str, BeforeValidator(_as_text), AfterValidator(_model_in_folder), Names("file")]
"""The same of a model, or its address in MLflow."""
FunctionPath = Annotated[str, BeforeValidator(_as_text), AfterValidator(_in_folder), Names("function")]
"""``file.py:name``, a function of a file, which is code; the file is relative to the plan's folder."""
ImportPath = Annotated[str, Names("class")]
"""``package.module.Class``, a class of an installed package."""
Command = Annotated[str, Names("command")]
"""Of a shell, which is code."""
SchedulerAddress = Annotated[str, Names("scheduler")]
"""Of a Dask scheduler, which sends this program pickles."""


def _leaves(annotation: Any) -> set[Any]:
    """Return the types that a value of an annotation may be of; that of the values of a Literal counts."""
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    parts = get_args(annotation)
    if get_origin(annotation) in (list, dict):
        return {get_origin(annotation)}
    return {leaf for part in parts for leaf in _leaves(part)} if parts else {annotation}


class Section(BaseModel):
    """Closed, frozen, and without NaN or infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _of_its_type(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what pydantic would turn into another type: true for 1, "2" for 2, "no" for false."""
        types = _leaves(cls.model_fields[info.field_name or ""].annotation)
        numeric = bool(types & {int, float})
        if isinstance(value, bool) and numeric and bool not in types:
            raise ValueError(f"must be a number; got {str(value).lower()}")
        if isinstance(value, str) and str not in types and (numeric or bool in types):
            raise ValueError(
                f"must be {'true or false' if bool in types else 'a number'}, without quotes; got {value!r}"
            )
        if bool in types and isinstance(value, int | float) and not isinstance(value, bool) and not numeric:
            raise ValueError(f"must be true or false; got {value!r}")
        return value


_DEEPEST = 32  # tables and lists in one another


def odd_values(value: Any, path: str = "", depth: int = _DEEPEST) -> Iterator[tuple[str, str]]:
    """Yield what no plan holds, wherever it stands: NaN, infinities, broken texts, and tables in tables without end."""
    if depth == 0:
        yield path, f"tables and lists in one another more than {_DEEPEST} deep; allowed are {_DEEPEST}"
    elif isinstance(value, Mapping):
        for key, of in value.items():
            if not isinstance(key, str):
                yield path, f"a key must be a text; got {key!r}"
            else:
                yield from odd_values(key, path, 1)
                yield from odd_values(of, f"{path}.{key}".lstrip("."), depth - 1)
    elif isinstance(value, list | tuple):
        for i, of in enumerate(value):
            yield from odd_values(of, f"{path}.{i}", depth - 1)
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, f"must be a finite number; got {value}"
    elif isinstance(value, int) and value.bit_length() > 64:
        yield path, f"must be a number of at most 64 bits; got one of {value.bit_length()}"
    elif isinstance(value, str) and any(0xD800 <= ord(c) < 0xE000 for c in value):
        yield path, f"holds half of a character (a lone surrogate); got {value!r}"


def texts_naming(model: BaseModel, kind: Kind, above: str) -> Iterator[tuple[str, str]]:
    """Yield path and value of every text of a section, and of those within, that names something of this kind."""
    for name, field in type(model).model_fields.items():
        value, path = getattr(model, name), f"{above}{field.alias or name}"
        if isinstance(value, BaseModel):
            yield from texts_naming(value, kind, f"{path}.")
        elif isinstance(value, list):
            for i, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from texts_naming(item, kind, f"{path}.{i}.")
                elif isinstance(item, str) and Names(kind) in _marks(field.annotation, field.metadata):
                    yield f"{path}.{i}", item
        elif isinstance(value, str) and Names(kind) in _marks(field.annotation, field.metadata):
            yield path, value


def _marks(annotation: Any, metadata: list[Any]) -> list[Any]:
    """Return what marks a type, or any of those it may be."""
    marks = [*metadata, *getattr(annotation, "__metadata__", ())]
    for of in get_args(annotation):
        marks += _marks(of, [])
    return marks
