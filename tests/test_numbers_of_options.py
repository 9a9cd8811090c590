"""Numbers of options: every public frozen value refuses what is no number of its kind, with the house's error."""

from __future__ import annotations

import dataclasses
import importlib
import math
import types
import typing
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from miaudit.documents import whole
from miaudit.errors import PlanError, literal, not_real, not_whole, reason_of, refuse
from miaudit.recipes import Network

ROOMS = (
    *("attacks", "canaries", "data.protect", "evidence.questions", "mitigations", "recipes", "signals", "stats", "synthesis"),
    *("targets.connection", "targets.ledger", "targets.wire", "unlearning.procedures"),
)  # fmt: skip
NO_NUMBERS = (True, math.nan, math.inf, -math.inf, "3", [3], 3j)
SIGNED = {("Explicit", "threshold")}  # may be below 0
NEEDED: dict[str, dict[str, Any]] = {  # fields without a default
    "ClassSISA": {"recipe": Network()},
    "CommandRecipe": {"command": "python train.py {records} {answers}"},
    "Explicit": {"threshold": 0.5},
    "ModuleRecipe": {"build": lambda: None},
    "SISA": {"recipe": Network()},
    "ServiceRecipe": {"train": "http://127.0.0.1/train", "predict": "http://127.0.0.1/{job}"},
    "Wire": {"format": "instances"},
}


def options() -> Iterator[tuple[type, str, Any]]:
    """Yield class, field and type of every number, or tuple of numbers, that is an option of a public frozen value."""
    kinds = set()
    for room in ROOMS:
        module = importlib.import_module(f"miaudit.{room}")
        names = getattr(module, "__all__", vars(module))
        kinds |= {getattr(module, name) for name in names if _is_option(getattr(module, name), own=module.__name__)}
    for kind in sorted(kinds, key=lambda each: (each.__module__, each.__name__)):
        hints = typing.get_type_hints(kind, localns=vars(np.typing))
        for field in dataclasses.fields(kind):
            if _types(hints[field.name]) <= {int, float, type(None), Ellipsis}:
                yield kind, field.name, hints[field.name]


def _is_option(thing: Any, *, own: str) -> bool:
    """Whether a value is made by users: it has defaults, or is listed above. Documents and measured figures are not."""
    frozen = isinstance(thing, type) and dataclasses.is_dataclass(thing) and thing.__dataclass_params__.frozen
    if not frozen or not thing.__module__.startswith(own):
        return False
    fields = [field for field in dataclasses.fields(thing) if field.init]
    needed = {field.name for field in fields if field.default is field.default_factory is dataclasses.MISSING}
    return not thing.__name__.startswith("_") and (not needed or needed <= set(NEEDED.get(thing.__name__, ())))


def _types(hint: Any) -> set[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType, tuple):
        return set().union(*(_types(each) for each in typing.get_args(hint)))
    return {hint}


OPTIONS = list(options())
KINDS = list(dict.fromkeys(kind for kind, _, _ in OPTIONS))


def made(kind: type, name: str, value: Any) -> Any:
    return kind(**NEEDED.get(kind.__name__, {}) | {name: value})


def default(kind: type, name: str) -> Any:
    return getattr(kind(**NEEDED.get(kind.__name__, {})), name)


def test_the_rooms_hold_the_options_that_are_known():
    names = {f"{kind.__name__}.{name}" for kind, name, _ in OPTIONS}
    assert names >= {"Projection.batch", "TangentKernel.layers", "Tangent.block", "Separable.patch", "DPSGD.epochs",
                     "Shokri.hidden", "Network.hidden", "Climbing.k_max", "Votes.queries", "Limits.budget",
                     "Canaries.count", "ModuleRecipe.milestones", "SISA.shards", "Scrub.away", "Loss.temperature"}  # fmt: skip
    assert len(names) > 100


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_what_is_no_number_of_its_kind_is_refused_with_the_name_of_the_option(kind):
    for name, hint in ((name, hint) for of, name, hint in OPTIONS if of is kind):
        types_ = _types(hint)
        values = [*NO_NUMBERS, *([] if (kind.__name__, name) in SIGNED else [-1]), *([] if float in types_ else [2.5])]
        values += [] if type(None) in types_ else [None]
        for value in values:
            with pytest.raises(PlanError) as error:
                made(kind, name, (value,) if Ellipsis in types_ else value)
            assert name in str(error.value), (value, str(error.value))


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_numbers_of_numpy_are_numbers(kind):
    for name in (name for of, name, _ in OPTIONS if of is kind):
        value = default(kind, name)
        if isinstance(value, int | float):
            like = (np.int64 if isinstance(value, int) else np.float64)(value)
            assert getattr(made(kind, name, like), name) == value


def test_limits_are_those_that_the_sentence_names():
    assert not not_whole(("a", 1), ("b", np.uint8(7)), ("c", 10**40))
    assert not not_whole(("a", None), ("b", 0), optional=True, least=0)
    assert not_whole(("a", 8), ("b", 9), most=8) == [("b", "must be a whole number from 1 to 8, got 9")]
    assert not not_real(("a", 0), ("b", np.float32(0.5)), ("c", 1.0), least=0, most=1)
    assert not_real(("a", 0), above=0, most=1) == [("a", "must be a finite number above 0 and at most 1, got 0")]
    assert not_real(("a", 1), least=0, below=1) == [("a", "must be a finite number from 0 and below 1, got 1")]
    assert not_real(("a", 10**400)) == [("a", f"must be a finite number, got {repr(10**400)[:50]}")]
    assert not_real(("a", None), optional=True) == []
    assert not_real(("a", "x"), optional=True) == [("a", "must be a finite number, or None, got 'x'")]
    refuse([], [])
    with pytest.raises(PlanError, match=r"2 problems in the plan\n  a: x\n  b: y"):
        refuse([("a", "x")], [("b", "y")])
    assert whole(np.int64(3), "a", least=0) == 3


def test_numbers_of_numpy_are_named_as_plain_ones_and_full_stops_stand_once():
    assert not_whole(("a", np.int64(-3))) == [("a", "must be a whole number from 1, got -3")]
    assert not_real(("a", np.float64(-1.5)), least=0)[0][1].endswith("got -1.5")
    assert literal([np.float64(0.1), np.str_("x"), {"np": "text"}]) == "[0.1, 'x', {'np': 'text'}]"
    assert reason_of(ValueError("no such thing.")) == "ValueError: no such thing"
    assert reason_of(ValueError("and so on...")) == "ValueError: and so on..."
