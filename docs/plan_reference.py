"""Make the tables of docs/plans.md from the code, between the markers of the page: python docs/plan_reference.py."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from inspect import getdoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from miaudit.attacks import ATTACKS
from miaudit.data import NAMED
from miaudit.plan import HTTPPlan, JobPlan, LimitsPlan, Plan, ServicePlan, Step
from miaudit.plan.sections import Names, Section
from miaudit.recipes import SISA, ClassSISA
from miaudit.recipes.network import PRESETS, Network

PAGE = Path(__file__).with_name("plans.md")
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "table"}
WORDS |= {Step: "table", ServicePlan: "table", Any: "import path"}
NAMES = {"file": "path", "function": "`file.py:name`", "class": "import path", "scheduler": "text", "command": "text"}
SECTIONS = {n: f.annotation for n, f in Plan.model_fields.items() if f.annotation in Section.__subclasses__()}
SECTIONS |= {"http": HTTPPlan, "job": JobPlan, "limits": LimitsPlan}


def _kind(of: Any) -> str:
    origin, inner = get_origin(of), [each for each in get_args(of) if each is not NoneType]
    if origin is Annotated:
        return _named(of.__metadata__) or _kind(inner[0])
    if origin in (Union, UnionType, Literal):
        return " or ".join(f'`"{each}"`' if origin is Literal else _kind(each) for each in inner)
    return f"list of {_kind(inner[0])}s" if origin in (list, tuple) else WORDS.get(origin or of, "section")


def _named(metadata: Any) -> str | None:
    return next((NAMES[mark.kind] for mark in metadata if isinstance(mark, Names)), None)


def _toml(value: Any) -> str:
    return f"`{value:g}`" if isinstance(value, float) else "-" if value is None else f"`{json.dumps(value)}`"


def _table(*rows: tuple[str, ...]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ("---",) * len(rows[0]), *rows[1:]))


def _keys(model: Any) -> str:
    rows = []
    for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] not in model.__annotations__):
        section = SECTIONS[name] if _kind(field.annotation) == "section" and name in SECTIONS else None
        least = "".join(f" from {bound.ge}" for bound in field.metadata if hasattr(bound, "ge"))
        default = "required" if field.is_required() else _toml(None if section else field.get_default())
        meaning = (getdoc(section) or "").split("\n")[0] if section else field.description or ""
        kind = _named(field.metadata) or _kind(field.annotation) + least
        rows.append((f"`{field.alias or name}`", kind, default, meaning))
    return _table(("key", "type", "default", "meaning"), *rows)


def _options(cls: Any) -> str:
    return _table(("key", "type", "default", "meaning"), *_rows(cls))


def _rows(cls: Any) -> list[tuple[str, ...]]:
    rows, kinds = [], {name: _kind(hint) for name, hint in get_type_hints(cls).items()}
    for heads, text in re.findall(r"^(\w[\w, ]*)\n((?:    .*\n?)+)", getdoc(cls) or "", re.MULTILINE):
        of = [(f"`{n}`", kinds[n], _toml(getattr(cls, n))) for n in heads.split(", ") if n in kinds and hasattr(cls, n)]
        if of:
            meaning = re.sub(r":\w+:(?=`)", "", " ".join(text.split()).replace("``", "`"))
            rows.append((*map(", ".join, zip(*of, strict=True)), meaning))
    return rows


def _attacks() -> str:
    """Return the options of every attack that has some."""
    rows = [("attack", "key", "type", "default", "meaning")]
    for name, cls in ATTACKS.items():
        own = _rows(cls) if fields(cls) else []  # type: ignore[arg-type]
        rows += [(f"`{name}`" if i == 0 else "", *row) for i, row in enumerate(own)]
    return _table(*rows)


def tables() -> dict[str, str]:
    """Return every table, by the name in its marker."""
    presets, named = [("preset", "sets")], [("name", "what it is", "files", "options, default first")]
    for name, network in PRESETS.items():
        changed = sorted(vars(network).items() - vars(Network()).items())
        presets.append((f"`{name}`", ", ".join(f"`{key}` = {_toml(value)}" for key, value in changed)))
    for name, info in NAMED.items():
        options = "; ".join(f"`{key}` = {' or '.join(map(_toml, values))}" for key, values in info.options.items())
        files = f"{', '.join(f'`{file}`' for file in info.files)} ({info.layout})" if info.files else "-"
        named.append((f"`{name}`", info.description, files, options or "-"))
    made = {name: _keys(model) for name, model in {"plan": Plan, **SECTIONS, "step": Step}.items()}
    made |= {
        "network": _options(Network),
        "sisa": _options(SISA),
        "class_sisa": _options(ClassSISA),
        "attacks": _attacks(),
    }
    return made | {"presets": _table(*presets), "named": _table(*named)}


def updated(page: str) -> str:
    """Return the page with its tables made anew."""
    made = tables()
    return MARKED.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n\n{found[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
