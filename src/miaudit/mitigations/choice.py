"""Which mitigations a plan asks for, and which are usual."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from miaudit.documents import whole
from miaudit.errors import PlanError, nearest, section, sentence_of
from miaudit.mitigations.defended import Defended
from miaudit.mitigations.output import OUTPUT, USUAL_OUTPUT
from miaudit.mitigations.training import MITIGATIONS, USUAL_TRAINING, Knob, TrainingMitigation
from miaudit.recipes import Recipe, Turnable, Wrapping

_OWN = ("limit", "canaries", "together", "knobs")
_KNOBS: dict[str, tuple[Any, ...]] = {"max_depth": (4, 8), "min_samples_leaf": (5, 20), "C": (0.1, 0.01)}
_SHRINKAGE = (0.03, 0.01)  # learning rates of boosted trees


@dataclass(frozen=True)
class Choice:
    """What a plan's section ``[mitigations]`` asks for."""

    mitigations: tuple[Any, ...] = ()
    limit: float | None = None
    canaries: int = 0


def chosen(table: Mapping[str, Any]) -> Choice:
    """Return what the section ``[mitigations]`` of a plan asks for.

    Its keys are names of mitigations, each a table of options, of which a list is so many strengths; ``knobs``, a table of the
    recipe's own parameters likewise; ``together``, a list of such tables whose mitigations are tried as one; ``limit``, the AUC
    that no attacker is to reach; and ``canaries``, how many every training is judged by, too.

    Raises
    ------
    PlanError
        With every name, option and value that cannot be.
    """
    problems: list[tuple[str, str]] = []
    things: list[Any] = []
    kinds = {kind.name: kind for kind in (*OUTPUT, *MITIGATIONS) if kind is not Knob}
    limit, canaries = table.get("limit"), 0
    with section("mitigations", problems):
        canaries = whole(table.get("canaries", 0), "canaries", least=0)
    for name, options in table.items():
        if name in ("limit", "canaries"):
            continue
        with section(f"mitigations.{name}", problems):
            if name == "knobs":
                things += [Knob(of, value) for of, values in _options(options).items() for value in _several(values)]
            elif name == "together":
                if not isinstance(options, list) or not all(isinstance(each, Mapping) for each in options):
                    raise PlanError("must be a list of tables, each of mitigations that are tried together")
                if not options or not all(options):
                    raise PlanError("must name at least one mitigation in each of its tables, or be left out")
                for each in options:
                    parts = [_strengths(kinds, of, _options(values)) for of, values in each.items()]
                    things += [tuple(combination) for combination in itertools.product(*parts)]
            else:
                things += _strengths(kinds, name, _options(options))
    if problems:
        raise PlanError(problems)
    return Choice(tuple(things), limit, canaries)


def usual(recipe: Recipe | None) -> tuple[Any, ...]:
    """Return the usual output mitigations, and those of the training that a recipe can have; None: of the answers alone."""
    if recipe is None:
        return USUAL_OUTPUT
    training: list[TrainingMitigation] = []
    for mitigation in (*USUAL_TRAINING, *_knobs(recipe)):
        try:
            mitigation.of(recipe)
        except PlanError:
            continue
        training.append(mitigation)
    return (*USUAL_OUTPUT, *training)


def _knobs(recipe: Recipe) -> list[Knob]:
    """Return the usual strengths of an estimator's own parameters against overfitting."""
    inner = recipe
    while isinstance(inner, Wrapping) and not isinstance(inner, Defended):
        inner = inner.inner
    parameters: Mapping[str, Any] = getattr(getattr(inner, "estimator", None), "get_params", dict)()
    if not isinstance(inner, Turnable) or not parameters:
        return []
    last = {name.rpartition("__")[2]: value for name, value in parameters.items()}
    knobs = [Knob(name, value) for name, values in _KNOBS.items() if name in last for value in values]
    if isinstance(last.get("learning_rate"), float):
        knobs += [Knob("learning_rate", value) for value in _SHRINKAGE]
    return knobs


def _options(options: Any) -> Mapping[str, Any]:
    if not isinstance(options, Mapping):
        raise PlanError(f"must be a table of options, such as {{ k = [1, 3] }} or {{}}; got {options!r}")
    return options


def _strengths(kinds: Mapping[str, type[Any]], name: str, options: Mapping[str, Any]) -> list[Any]:
    """Return one mitigation for each combination of the values that its options list."""
    if name not in kinds:
        hint = nearest(name, kinds) or f"there are {', '.join(kinds)}; and {', '.join(_OWN)}"
        raise PlanError(f"no mitigation is called {name!r}; {hint}")
    kind = kinds[name]
    names = [each.name for each in fields(kind)]
    if unknown := [key for key in options if key not in names]:
        raise PlanError([(key, f"unknown option; {name} has {', '.join(names) or 'none'}") for key in unknown])
    hints = get_type_hints(kind)
    combinations = itertools.product(*[[(key, value) for value in _several(of)] for key, of in options.items()])
    return [kind(**{key: _checked(hints[key], key, value) for key, value in each}) for each in combinations]


def _several(value: Any) -> list[Any]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values:
        raise PlanError("an empty list names no strength to try; give at least one, or leave the mitigation out")
    return values


def _checked(hint: Any, key: str, value: Any) -> Any:
    try:
        return TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        raise PlanError([(key, sentence_of(each, ())) for each in error.errors()]) from None
