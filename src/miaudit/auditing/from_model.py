"""A Case of Python objects: a trained model, and two or three sets of records with their classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from inspect import Parameter
from typing import Any

import numpy as np

from miaudit.attacks import Attack
from miaudit.attacks.choice import chosen_attacks
from miaudit.auditing.case import Case, odd_classes
from miaudit.auditing.own_population import divided, idle_options
from miaudit.auditing.regression import refuse_attacks
from miaudit.data import Dataset, Split, from_sides, given_split, groups_of_sides, near_names, slices_of
from miaudit.data.arrays import index_of_sides, values_of_sides
from miaudit.data.labels import Labels
from miaudit.data.naming import notes_of_order
from miaudit.data.records import column_names, column_values, in_order
from miaudit.data.tables import people_notes
from miaudit.documents import plain, whole
from miaudit.errors import DataError, PlanError, counted, misfits, nearest, not_list, noun, refuse, with_article
from miaudit.evidence.answers import Type
from miaudit.findings import UnitName
from miaudit.plan import FiguresPlan, ShadowPlan, SplitPlan, moved, section_of
from miaudit.plan.sections import Section
from miaudit.recipes import Task, as_recipe, is_regressor, recipe_of_target
from miaudit.signals import ResidualForm
from miaudit.targets import Target, as_target
from miaudit.targets.classes import classes_of
from miaudit.targets.regression import RegressionTarget

_SECTIONS: dict[str, tuple[type[Section], set[str]]] = {
    "shadows": (ShadowPlan, {*ShadowPlan.model_fields} - {"data"}),
    "sides": (SplitPlan, {"outside", "holdout"}),
    "figures": (FiguresPlan, {*FiguresPlan.model_fields}),
}
"""Keys of a plan's sections that are keywords of the same name."""


def case_of_model(
    model: Any,
    members: tuple[Any, Any] | None,
    nonmembers: tuple[Any, Any] | None,
    population: tuple[Any, Any] | None,
    *,
    recipe: Any = None,
    shadows: int = 20,
    seed: int = 0,
    title: str = "Membership inference audit",
    attacks: str | Sequence[str | Mapping[str, Any] | Attack] | None = None,
    outputs: Type | None = None,
    columns: Sequence[Any] | None = None,
    positive: Any = None,
    groups: Sequence[Any] | None = None,
    ids: Sequence[Any] | None = None,
    slices: Sequence[str] | Mapping[str, Sequence[Any]] = (),
    unit: UnitName | None = None,
    features: Callable[[Any], Any] | None = None,
    task: Task | None = None,
    residual: ResidualForm = "absolute",
    **options: Any,
) -> Case:
    """Take a trained model and its sets of records with their classes, or with the numbers that a regression predicts.

    Parameters
    ----------
    model, members, nonmembers, population, recipe, shadows, seed, title, attacks, outputs, columns, positive, groups, ids
    slices, unit, features
    task, residual
        As of `miaudit.audit`.
    options
        Of a plan's sections: ``design``, ``bystanders``, ``train``, ``test`` and ``minimum`` of ``[shadows]``, ``outside`` and
        ``holdout`` of ``[split]``, and all of ``[figures]``; defaults are the plan's.

    Raises
    ------
    PlanError, DataError, SplitError
        If they do not fit one another.
    """
    seed, shadows = whole(seed, "seed", least=0), whole(shadows, "shadows", least=0)
    sections = _sections({"count": shadows} | options)
    pairs, beside, remarks = _in_fitted_columns(model, _flat_texts(model, _pairs(members, nonmembers, population)))
    choice = None if attacks is None else chosen_attacks(attacks)
    refuse([] if columns is None else not_list(("columns", columns), of="classes"))
    task = task_of(model, recipe, task)
    _refuse_options(task, residual, choice, outputs=outputs, columns=columns, positive=positive)
    names = None if task == "regression" else model_classes(model) if columns is None else tuple(columns)
    dataset, index = _dataset(pairs, names, groups, numbered=columns is not None, task=task)
    dataset = _named(dataset, pairs, ids, slices, features, beside)
    if groups is None:
        unused = {name: values for name, values in beside.items() if name not in slices}
        remarks += people_notes(unused, "give it as groups")
    by_group = False if unit == "record" else None
    split = given_split(dataset, *index, by_group=by_group, empty_population=population is None)
    split, sections, notes = _divided(dataset, split, sections, seed)
    target = _target(model, dataset, names, outputs=outputs, columns=columns, positive=positive)
    further = {"positive": positive, "features": features, "task": task, "residual": residual}
    of_recipe: Any = {"classes": names, "task": task}
    return Case(
        title=_title(title),
        seed=seed,
        dataset=dataset,
        split=split,
        recipe=as_recipe(recipe, **of_recipe)
        if recipe is not None
        else recipe_of_target(model, needed=bool(shadows), **of_recipe),
        target=target,
        document=_document(
            {"seed": seed, "outputs": outputs, "unit": unit, "columns": columns}, sections, choice, **further
        ),
        **sections,
        attacks=choice,
        residual=residual,
        unit=unit,
        slices=slices_of(dataset, [*slices]),
        notes=(
            *notes,
            *odd_classes(dataset),
            *dataset.notes,
            *remarks,
            *_nobody(groups),
        ),
    )


def _flat_texts(model: Any, sides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sides with a column of texts as texts, where the model takes those and not the column: told by asking it."""
    ask = getattr(model, "predict", None) or model
    columns = {
        name: _one_column(side[0]) for name, side in sides.items() if isinstance(side, tuple | list) and len(side) == 2
    }
    if not callable(ask) or len(columns) < len(sides) or any(column is None for column in columns.values()):
        return dict(sides)
    first, flat = next((side[0], columns[name]) for name, side in sides.items())
    if _takes(ask, first[:2], 2) or not _takes(ask, getattr(flat, "iloc", flat)[:2], 2):
        return dict(sides)
    return {name: (columns[name], side[1]) for name, side in sides.items()}


def _in_fitted_columns(model: Any, sides: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[Any]], list[str]]:
    """Return the sides with the columns of frames that the model was fitted on, in its order, as files are read for it.

    With them come the columns of all sides that were left out, which may still part the records, and remarks on both.

    Raises
    ------
    DataError
        If a frame lacks a column, and the model does not take it.
    """
    if (fitted := fitted_on(model)) is None:
        return dict(sides), {}, []
    pairs = {name: side for name, side in sides.items() if isinstance(side, tuple | list) and len(side) == 2}
    frames = {
        name: (side[0], columns)
        for name, side in pairs.items()
        if hasattr(side[0], "columns")
        and (columns := column_names(side[0])) is not None
        and len({*columns}) == len(columns)
    }
    for name, (X, columns) in frames.items():
        lacking = [column for column in fitted if column not in columns]
        if lacking and not _takes(getattr(model, "predict", None) or model, X[:2], 2):
            raise DataError(
                f"{name}: the frame lacks columns that the model was fitted on: {lacking[:10]}; it has {columns[:10]}. Name "
                "its columns as the model's"
            )
    complete = {name: frame for name, frame in frames.items() if {*fitted} <= {*frame[1]}}
    further = list(
        dict.fromkeys(column for _, columns in complete.values() for column in columns if column not in fitted)
    )
    remarks = notes_of_order(
        [fitted, *([column for column in columns if column in fitted] for _, columns in complete.values())],
        ["the model", *complete],
    )
    if further:
        were = counted(len(further), "column of the frames was", "columns of the frames were")
        it = noun(len(further), "it", "them")
        remarks.append(f"{were} left out because the model was not fitted on {it}: {', '.join(further[:10])}.")
    beside = {
        column: [column_values(X, columns.index(column)) for X, columns in frames.values()]
        for column in further
        if len(frames) == len(sides) and all(column in columns for _, columns in frames.values())
    }
    ordered = {name: (in_order(X, fitted), sides[name][1]) for name, (X, _) in complete.items()}
    return {**sides, **ordered}, beside, remarks


def fitted_on(model: Any) -> list[str] | None:
    """Return the names of the columns that a model was fitted on; None where it was fitted on an array."""
    try:
        names = getattr(model, "feature_names_in_", None)
    except Exception:  # a property of others
        return None
    listed = None if names is None else list(names)
    return listed if listed and all(isinstance(name, str) for name in listed) else None


def _one_column(X: Any) -> Any:
    """Return the texts of a table of one column as a flat array, or with a frame's index as a Series; None of anything else."""
    if len(getattr(X, "shape", ())) != 2 or X.shape[1] != 1 or not hasattr(X, "__array__"):
        return None
    flat = X.iloc[:, 0] if hasattr(X, "iloc") else np.asarray(X)[:, 0]
    return flat.astype(object) if len(flat) > 2 and all(isinstance(text, str) for text in flat.tolist()) else None


def _takes(ask: Callable[[Any], Any], records: Any, n: int) -> bool:
    try:
        return len(ask(records)) == n
    except Exception:  # it takes another form
        return False


def task_of(model: Any, recipe: Any, task: Task | None) -> Task:
    """Return what a model answers: as it is said, or else as scikit-learn's tags of the model or of its recipe say.

    Raises
    ------
    PlanError
        If there is no such task.
    """
    if task is not None and (problems := misfits(("task", task, Task))):
        raise PlanError(problems)
    recipe_says = is_regressor(recipe) and classes_of(model) is None  # a classifier is none, whatever its recipe is
    of_numbers = is_regressor(model) or recipe_says or isinstance(model, RegressionTarget)
    return task or ("regression" if of_numbers else "classification")


def _refuse_options(task: Task, residual: Any, attacks: Sequence[Attack] | None, **options: Any) -> None:
    """Refuse options and attacks of classes that a regression has not, and of errors that a classifier has not."""
    if task != "regression":
        if residual != "absolute":
            raise PlanError([("residual", f'belongs to task="regression"; got {residual!r} for a classifier')])
        return
    problems = [
        (name, "says how answers about classes are read; a regression has none: leave it out")
        for name, value in options.items()
        if value
    ]
    problems += misfits(("residual", residual, ResidualForm))
    if problems:
        raise PlanError(problems)
    refuse_attacks(attacks, residual)


def _target(model: Any, dataset: Dataset, names: tuple[Any, ...] | None, **answers: Any) -> Target:
    if dataset.values is not None:
        return model if isinstance(model, RegressionTarget) else RegressionTarget(model)
    classes = len(dataset.classes)
    names = dataset.classes if names is None else names
    return as_target(model, classes=classes, names=names, coded=not dataset.alphabetical, **answers)


def signature() -> inspect.Signature:
    """Return the signature of `case_of_model` with the keys of a plan's sections."""
    own = [each for each in inspect.signature(case_of_model).parameters.values() if each.kind != each.VAR_KEYWORD]
    keys = [(key, kind.model_fields[key].default) for kind, names in _SECTIONS.values() for key in sorted(names)]
    further = [Parameter(key, Parameter.KEYWORD_ONLY, default=default) for key, default in keys if key != "count"]
    return inspect.Signature([*own, *further], return_annotation=Case)


def keywords_of_keys() -> dict[str, str]:
    """Return the keywords of the same name by the paths of a plan's keys."""
    paths = {"shadows": "shadows", "sides": "split", "figures": "figures"}
    return {f"{paths[name]}.{key}": key for name, (_, keys) in _SECTIONS.items() for key in keys}


def refuse_keywords(options: Mapping[str, Any], names: Collection[str]) -> None:
    """Raise a TypeError for a keyword that `miaudit.audit` does not take, or a PlanError for one that it took."""
    for key, value in options.items():
        if sentence := moved(key, value, call=True):
            raise PlanError([(key, sentence)])
        if key not in names:
            hint = nearest(key, names) or f"it takes {sorted({*names} - {'count'})}"
            raise TypeError(f"miaudit.audit takes no {key!r}; {hint}")


def _sections(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of a plan that keywords are keys of."""
    refuse_keywords(options, (*signature().parameters, "count"))
    return {
        name: section_of(kind, {key: value for key, value in plain(options, "options").items() if key in keys})
        for name, (kind, keys) in _SECTIONS.items()
    }


def _document(
    choices: dict[str, Any],
    sections: dict[str, Any],
    attacks: Sequence[Attack] | None,
    *,
    positive: Any,
    features: Any,
    task: Any,
    residual: Any,
) -> dict[str, Any]:
    """Return what was asked for, as the provenance of the result says it."""
    document: dict[str, Any] = {"call": "miaudit.audit", **choices}
    document |= {} if positive is None else {"positive": str(positive)}
    document |= {} if features is None else {"features": getattr(features, "__name__", type(features).__name__)}
    document |= {"task": task, "residual": residual} if task == "regression" else {}
    for section in sections.values():
        document |= section.model_dump(exclude={"data"})
    document |= {"shadows": document.pop("count")}
    document["attacks"] = None if attacks is None else [{"name": each.name, **each.options} for each in attacks]
    return dict(plain(document, "options"))


def _title(title: Any) -> str:
    if not isinstance(title, str):
        raise PlanError([("title", f"must be a text; got {title!a:.50} ({type(title).__name__})")])
    return title


def _pairs(members: Any, nonmembers: Any, population: Any) -> dict[str, Any]:
    """Return the sides by their names; one without a population is taken from the others."""
    sides = {"members": members, "nonmembers": nonmembers}
    if missing := [name for name, side in sides.items() if side is None]:
        raise PlanError(f"to audit a model, give {', '.join(missing)} too: pairs (X, y) of records and classes")
    return sides if population is None else {**sides, "population": population}


def _divided(
    dataset: Dataset, split: Split, sections: Mapping[str, Any], seed: int
) -> tuple[Split, dict[str, Any], Sequence[str]]:
    """Return split and sections with a population of their own where there was none, and notes on it."""
    split, shadows, sides, notes = divided(dataset, split, sections["shadows"], sections["sides"], seed=seed)
    if problems := idle_options(split, shadows, sides):
        raise PlanError([(path.partition(".")[2], text) for path, text in problems])
    return split, {**sections, "shadows": shadows, "sides": sides}, notes


def _dataset(
    sides: Mapping[str, Any],
    names: tuple[Any, ...] | None,
    groups: Sequence[Any] | None,
    *,
    numbered: bool,
    task: Task,
) -> tuple[Dataset, Any]:
    labels: Labels = "values" if task == "regression" else "codes"
    # the order of the model's own names is not known to be that of numbers in the data
    dataset, index = from_sides(sides, classes=names, numbered=numbered, labels=labels)
    if groups is not None:
        people = groups_of_sides(sides, groups)
        notes = (*dataset.notes, *near_names(dict.fromkeys(people.tolist()), "Groups"))
        dataset = replace(dataset, groups=people, group_name="group", notes=notes)
    return dataset, index


def _named(
    dataset: Dataset,
    sides: Mapping[str, Any],
    ids: Sequence[Any] | None,
    slices: Any,
    features: Any,
    beside: Mapping[str, list[Any]],
) -> Dataset:
    """Return the data set with what a user calls its records, with arrays that part them, and with their features."""
    if features is not None and not callable(features):
        raise PlanError(
            [("features", f"must be a function from records to numbers; got {with_article(type(features).__name__)}")]
        )
    if not_list(("slices", slices)) or not all(isinstance(name, str) for name in slices):
        example = f": [{slices!r}]" if isinstance(slices, str) else ""
        raise PlanError(
            [("slices", f"must be a list of names, or a dict of names to arrays; got {slices!r:.80}{example}")]
        )
    arrays = slices if isinstance(slices, Mapping) else {name: beside[name] for name in slices if name in beside}
    values = {name: values_of_sides(sides, of, f"slices: {name}") for name, of in arrays.items()}
    names = index_of_sides(sides) if ids is None else values_of_sides(sides, ids, "ids", numbered=True)
    ids_ = dataset.ids if names is None else names
    return replace(dataset, ids=ids_, slices={**dataset.slices, **values}, features=features)


def _nobody(groups: Sequence[Any] | None) -> list[str]:
    if groups is None or len(groups) < 3 or groups[2] is not None:
        return []
    return [
        "Nothing says whose the records of the population are. If some are of audited people, shadow models were trained "
        "on those people, and the figures per person are not of what an outsider finds."
    ]


def model_classes(model: Any) -> tuple[Any, ...] | None:
    """Return the classes a model names: its ``classes_``, or those of the object whose method it is; None without.

    Raises
    ------
    PlanError
        If it names those of several outputs.
    """
    classes = classes_of(model)
    if classes is None:
        classes = classes_of(getattr(model, "__self__", None))
    return None if classes is None else tuple(classes)
