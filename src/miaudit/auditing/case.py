"""Case: everything one audit needs, made from a plan or from what was handed to `miaudit.audit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks import Attack, Shokri
from miaudit.attacks.choice import chosen_attacks, refuse_unknown, shokri_of
from miaudit.auditing.regression import refuse_attacks, refuse_unfit
from miaudit.data import (
    Dataset,
    Split,
    draw_split,
    encoder,
    from_sides,
    given_split,
    groups_of_sides,
    leave_out_copies,
    load,
    load_named,
    load_parts,
    near_names,
    read_index,
    slices_of,
)
from miaudit.data.labels import Labels
from miaudit.documents import plain, whole
from miaudit.errors import PlanError
from miaudit.permissions import Permissions
from miaudit.plan import Plan, RecipePlan, SynthesisPlan
from miaudit.recipes import (
    Encoded,
    Loadable,
    Model,
    Network,
    Recipe,
    ServiceRecipe,
    Task,
    as_recipe,
    estimator_from_function,
    fingerprint,
    function_of_file,
    innermost,
    is_regressor,
    named_estimator,
    standin,
)
from miaudit.seeds import child_seed
from miaudit.signals import ResidualForm
from miaudit.targets import Target, as_target, connect, load_model
from miaudit.targets.classes import classes_of
from miaudit.targets.files import file_format, model_hashes
from miaudit.targets.outputs import Source
from miaudit.targets.regression import RegressionTarget

Design = Literal["disjoint", "overlapping"]
UnitName = Literal["person", "record"]


class TrainedTarget(NamedTuple):
    """A target of ours that is trained already: the model, the seconds it took, and the form of its records."""

    model: Model
    seconds: float
    form: str


@dataclass(frozen=True, eq=False)
class Case:
    """Data, split, recipe and target of one audit; ``target`` is None when the recipe is to train it."""

    title: str
    seed: int
    dataset: Dataset
    split: Split
    recipe: Recipe
    target: Target | None
    source: Source
    shadows: int
    train: int
    test: int
    minimum: int
    attack: Shokri
    plan: dict[str, Any]
    threshold: Literal["bonferroni", "split"] = "bonferroni"  # where that of PPV and epsilon comes from
    delta: float = 1e-5  # of epsilon
    slices: dict[str, NDArray[np.str_]] = field(default_factory=dict)  # (n_records,) each
    unit: UnitName | None = None  # what is counted; None: people where they are known
    design: Design = "disjoint"
    attacks: tuple[Attack, ...] | None = None  # None: all that can be run
    shadow_data: str = "real"  # as shadows.data of a plan
    synthesis_options: SynthesisPlan = field(default_factory=SynthesisPlan)  # type: ignore[arg-type]
    synthesis: dict[str, Any] | None = None  # figures of the synthetic records that are the population
    residual: ResidualForm = "absolute"  # of a regression: what attacks read off its errors
    bystanders: int = 8  # models beside overlapping shadows that are trained on no audited record
    outside: int | None = None  # records of the population to ask the target about; None: as many as members
    hashes: dict[str, str] = field(default_factory=dict)
    trained: list[TrainedTarget] = field(default_factory=list)  # a target that synthesis had to train, and asked
    warnings: list[str] = field(default_factory=list)


def case_of_plan(
    plan: Plan, *, data_folder: str | PathLike[str] | None = None, permissions: Permissions | None = None
) -> Case:
    """Load and draw what a plan asks for.

    Raises
    ------
    PlanError, DataError, SplitError
        If the plan asks for more than ``permissions``, or it, its files or its sizes do not fit.
    """
    permissions = permissions or Permissions()
    permissions.check(plan)
    regression = plan.recipe.task == "regression"
    if regression:
        refuse_unfit(plan)
    estimators = _estimators(plan, permissions)
    dataset, split = _data(plan, data_folder)
    sizes = (plan.shadows.train, plan.shadows.test, plan.shadows.design)
    split = _apart(dataset, split, *sizes, seed=plan.seed, real=plan.shadows.data == "real")
    target, hashes = None, {}
    recipe = _recipe(plan.recipe, dataset, estimators.get("recipe"))
    refuse_missing(plan.recipe, dataset, estimators.get("recipe"))
    if plan.target.file is not None:
        target = _target_file(plan, dataset, recipe, permissions)
        path = Path(plan.target.file)
        found = model_hashes(path)
        hashes = {"target_file" if name == path.name else f"target_file/{name}": found[name] for name in found}
        if plan.target.module is not None:  # the weights alone are not the model
            hashes["target_module"] = fingerprint(function_of_file(plan.target.module)).sha256
    elif plan.target.url is not None:
        target = _target_url(plan, dataset)
    design = plan.shadows.design
    train, test, warnings = shadow_sizes(split, *sizes)
    warnings += [*_odd_classes(dataset), *dataset.notes, *_order_taken(target, dataset)]
    options = plan.attack.model_dump(exclude={"estimator", "params"})
    attack = shokri_of(options | ({"estimator": estimators["attack"]} if "attack" in estimators else {}))
    attacks = None if plan.attacks is None else chosen_attacks(plan.attacks, attack)
    if regression:
        refuse_attacks(attacks, plan.recipe.residual)
    return Case(
        title=plan.title,
        seed=plan.seed,
        dataset=dataset,
        split=split,
        recipe=recipe,
        target=target,
        source="trained here" if target is None else "given file" if plan.target.file is not None else target.source,
        shadows=plan.shadows.count,
        train=train,
        test=test,
        minimum=plan.shadows.minimum or _half(plan.shadows.count),
        attack=attack,
        plan=plain(plan.model_dump(by_alias=True), "plan"),
        threshold=plan.figures.threshold,
        delta=plan.figures.delta,
        slices=slices_of(dataset, plan.data.slices),
        unit=plan.data.unit,
        design=design,
        attacks=attacks,
        residual=plan.recipe.residual,
        outside=plan.split.outside,
        bystanders=plan.shadows.bystanders,
        shadow_data=plan.shadows.data,
        synthesis_options=plan.synthesis,
        hashes=hashes,
        warnings=warnings,
    )


def case_of_model(
    model: Any,
    members: tuple[Any, Any],
    nonmembers: tuple[Any, Any],
    population: tuple[Any, Any],
    *,
    recipe: Any,
    shadows: int,
    seed: int,
    title: str,
    attack: Mapping[str, Any],
    attacks: str | Sequence[str | Mapping[str, Any] | Attack] | None = None,
    design: Design = "disjoint",
    outside: int | None = None,
    bystanders: int = 8,
    outputs: Any = None,
    columns: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
    unit: UnitName | None = None,
    task: Task | None = None,
    residual: ResidualForm = "absolute",
) -> Case:
    """Take a trained model and three sets of records with their classes, or with the numbers that a regression predicts.

    Raises
    ------
    PlanError, DataError, SplitError
        If they do not fit one another.
    """
    if not isinstance(title, str):
        raise PlanError([("title", f"must be a text; got {title!a:.50} ({type(title).__name__})")])
    seed, shadows = whole(seed, "seed", least=0), whole(shadows, "shadows", least=1)
    outside = None if outside is None else whole(outside, "outside", least=0)
    if design not in get_args(Design):
        raise PlanError(f"design must be one of {', '.join(get_args(Design))}; got {design!r}")
    shokri = shokri_of(attack)
    chosen = None if attacks is None else chosen_attacks(attacks, shokri)
    regression = task_of(model, recipe, task) == "regression"
    if regression:
        _refuse_options(residual, outputs=outputs, columns=columns, attack=attack)
        refuse_attacks(chosen, residual)
    names = None if regression else model_classes(model) if columns is None else tuple(columns)
    sides = {"members": members, "nonmembers": nonmembers, "population": population}
    # the order of the model's own names is not known to be that of numbers in the data
    labels: Labels = "values" if regression else "codes"
    dataset, index = from_sides(sides, classes=names, numbered=columns is not None, labels=labels)
    if groups is not None:
        people = groups_of_sides(sides, groups)
        notes = (*dataset.notes, *near_names(dict.fromkeys(people.tolist()), "Groups"))
        dataset = replace(dataset, groups=people, group_name="group", notes=notes)
    split = given_split(dataset, *index, by_group=False if unit == "record" else None)
    split = _apart(dataset, split, None, None, design, seed=seed)
    if regression:
        target: Target = model if isinstance(model, RegressionTarget) else RegressionTarget(model)
    else:
        target = as_target(
            model,
            classes=len(dataset.classes),
            names=dataset.classes if names is None else names,
            outputs=outputs,
            columns=columns,
            coded=not dataset.alphabetical,
        )
    train, test, warnings = shadow_sizes(split, None, None, design)
    warnings += [*_odd_classes(dataset), *dataset.notes]
    if groups is not None and groups[2] is None:
        warnings.append(
            "Nothing says whose the records of the population are. If some are of audited people, shadow models were trained "
            "on those people, and the figures per person are not of what an outsider finds."
        )
    warnings += _order_taken(target, dataset)
    return Case(
        title=title,
        seed=seed,
        dataset=dataset,
        split=split,
        recipe=as_recipe(
            model if recipe is None else recipe, classes=names, task="regression" if regression else "classification"
        ),
        target=target,
        source=target.source,
        shadows=shadows,
        train=train,
        test=test,
        minimum=_half(shadows),
        attack=shokri,
        plan={
            "call": "miaudit.audit",
            "shadows": shadows,
            "seed": seed,
            "attack": plain(attack, "attack"),
            "recipe": None,
            "design": design,
            "outside": outside,
            "bystanders": bystanders,
            "outputs": outputs,
            **({"task": "regression", "residual": residual} if regression else {}),
            "unit": unit,
            "columns": None if columns is None else plain(list(columns), "columns"),
            "attacks": None
            if chosen is None
            else plain([{"name": each.name, **each.options} for each in chosen], "attacks"),
        },
        design=design,
        attacks=chosen,
        outside=outside,
        bystanders=bystanders,
        residual=residual,
        unit=unit,
        warnings=warnings,
    )


def task_of(model: Any, recipe: Any, task: Task | None) -> Task:
    """Return what a model answers: as it is said, or else as scikit-learn's tags of the model or of its recipe say.

    Raises
    ------
    PlanError
        If there is no such task.
    """
    if task is not None and task not in get_args(Task):
        raise PlanError([("task", f"must be one of {', '.join(get_args(Task))}; got {task!r}")])
    of_numbers = is_regressor(model) or is_regressor(recipe) or isinstance(model, RegressionTarget)
    return task or ("regression" if of_numbers else "classification")


def _refuse_options(residual: Any, **options: Any) -> None:
    """Refuse options that say of classes what a regression has not."""
    problems = [
        (name, "says how answers about classes are read, or attacked; a regression has none: leave it out")
        for name, value in options.items()
        if value
    ]
    if residual not in get_args(ResidualForm):
        problems.append(("residual", f"must be one of {', '.join(get_args(ResidualForm))}; got {residual!r}"))
    if problems:
        raise PlanError(problems)


def _apart(
    dataset: Dataset, split: Split, train: int | None, test: int | None, design: Design, *, seed: int, real: bool = True
) -> Split:
    """Return the split without copies across its sides; see `leave_out_copies`."""
    members = len(split.members)
    need = members if train is None and test is None else (train or members) + (test or train or members)
    if design == "overlapping":
        need = 0 if train is None and test is None else need - members - len(split.nonmembers)
    return leave_out_copies(dataset, split, need=need if real else 0, seed=child_seed(seed, "copies"))


def _order_taken(target: Target | None, dataset: Dataset) -> list[str]:
    """Return the warning of a target that names no classes, where the data numbers its own by the alphabet."""
    if target is None or target.named or not dataset.alphabetical:
        return []
    return [
        "The target names no classes: columns of its answers without names were taken to be in the order of the sorted "
        f"labels, {', '.join(dataset.classes[:5])}{', ...' if len(dataset.classes) > 5 else ''}; give columns (target.columns "
        "in a plan) if they are in another."
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


def refuse_missing(plan: RecipePlan, dataset: Dataset, estimator: Any) -> None:
    """Refuse missing values where what is trained is known to take none.

    Raises
    ------
    PlanError
        Naming the columns and what to do.
    """
    columns = [column.name for column in dataset.schema.columns if column.missing and column.kind != "categorical"]
    takes_none = plan.network is not None or plan.service is not None or plan.standin is not None
    if plan.estimator is not None and not plan.steps:
        tags = getattr(estimator, "__sklearn_tags__", None)
        takes_none = tags is not None and not tags().input_tags.allow_nan
    if columns and takes_none:
        raise PlanError(
            f"data: values are missing in columns {columns[:5]}, and the recipe's model takes none: put an imputer first "
            '(recipe.steps = [{class = "sklearn.impute.SimpleImputer"}]), fill the values in, state drop, or state categorical '
            "where a missing value is a category"
        )


def _half(count: int) -> int:
    return max(1, (count + 1) // 2)


def _data(plan: Plan, data_folder: str | PathLike[str] | None) -> tuple[Dataset, Split]:
    data, asked = plan.data, plan.split
    if data.members is not None:
        assert data.nonmembers is not None
        files = [data.members, data.nonmembers, *([] if data.population is None else [data.population])]
        dataset, parts = load_parts(files, **_reading(plan))
        return dataset, given_split(
            dataset,
            *parts,
            duplicates=asked.duplicates,
            by_group=asked.by_group,
            empty_population=data.population is None,
        )
    if data.name is not None:
        dataset = load_named(data.name, data_folder, options=data.options, frame=data.frame)
        if (dataset.values is None) == (plan.recipe.task == "regression"):
            what = "are classes" if dataset.values is None else "are numbers to predict"
            raise PlanError(
                [
                    (
                        "recipe.task",
                        f"is {plan.recipe.task!r}, and the labels of {data.name!r} {what}; see data.options.label",
                    )
                ]
            )
    else:
        assert data.path is not None
        dataset = load(data.path, **_reading(plan))
    members, nonmembers, population = asked.members, asked.nonmembers, asked.population
    if isinstance(members, str) and isinstance(nonmembers, str) and not isinstance(population, int):
        index = [None if path is None else read_index(path, len(dataset)) for path in (members, nonmembers, population)]
        given = given_split(dataset, *index, duplicates=asked.duplicates, by_group=asked.by_group)  # type: ignore[arg-type]
        return dataset, given
    if isinstance(members, str) or isinstance(nonmembers, str) or isinstance(population, str):
        raise PlanError(
            "split: members, nonmembers and population are all counts, or all files of record numbers; got "
            f"{members!r}, {nonmembers!r}, {population!r}"
        )
    assert members is not None
    split = draw_split(
        dataset,
        members=members,
        nonmembers=nonmembers,
        population=population,
        seed=child_seed(plan.seed, "split"),
        by_group=asked.by_group,
        duplicates=asked.duplicates,
    )
    return dataset, split


def _reading(plan: Plan) -> dict[str, Any]:
    data = plan.data
    return {
        "label": data.label,
        "ids": data.ids,
        "group": data.group,
        "drop": tuple(data.drop),
        "categorical": tuple(data.categorical),
        "numeric": tuple(data.numeric),
        "labels": "values" if plan.recipe.task == "regression" else data.labels,
        "frame": data.frame,
        "texts": tuple(data.texts),
        "slices": tuple(data.slices),
    }


def _estimators(plan: Plan, permissions: Permissions) -> dict[str, Any]:
    """Return the estimators that a plan names, made before any record is read."""
    made, problems = {}, []
    for section, of in (("recipe", plan.recipe), ("attack", plan.attack)):
        if of.estimator is not None:
            steps = [(step.class_, step.params) for step in getattr(of, "steps", ())]
            try:
                made[section] = named_estimator(of.estimator, of.params, steps, allow_code=permissions.allow_code)
            except PlanError as error:
                problems += [(section, text) for _, text in error.problems]
    if problems:
        raise PlanError(problems)
    return made


def _recipe(plan: RecipePlan, dataset: Dataset, estimator: Any) -> Recipe:
    encode = plan.encode
    if plan.network is not None:
        options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plan.network.items()}
        refuse_unknown(options, ("preset", *Network.__dataclass_fields__), "recipe.network")
        preset = options.pop("preset", None)
        try:
            recipe: Recipe = Network(**options) if preset is None else Network.preset(preset, **options)
        except TypeError as error:
            raise PlanError([("recipe.network", str(error).replace("Network.__init__() ", ""))]) from error
        except PlanError as error:
            problems = [(f"recipe.network.{path}" if path else "recipe.network", text) for path, text in error.problems]
            raise PlanError(problems) from error
        encode = encode is not False and dataset.schema.shape is None
    elif plan.function is not None:
        recipe = as_recipe(estimator_from_function(plan.function), task=plan.task)
        encode = encode is True
    elif plan.service is not None:
        recipe = _service(plan.service.model_dump(exclude_unset=True))
        encode = encode is True
    elif plan.standin is not None:
        recipe = standin(plan.standin, plan.params)
        encode = encode is not False
    else:
        recipe = as_recipe(estimator, task=plan.task)
        encode = encode is not False
    if hasattr(recipe, "weight_shapes") and not encode:
        recipe.weight_shapes(dataset.X.shape[1:], len(dataset.classes))  # tells records that do not fit the network
    transformer = encoder(dataset.schema) if encode else None
    return recipe if transformer is None else Encoded(recipe, transformer)


def _service(options: dict[str, Any]) -> ServiceRecipe:
    refuse_unknown(options, tuple(ServiceRecipe.__dataclass_fields__), "recipe.service")
    if "train" not in options:
        raise PlanError([("recipe.service.train", "missing: the address that starts a training")])
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    try:
        return ServiceRecipe(**given)
    except PlanError as error:
        raise PlanError([(f"recipe.service.{path}".rstrip("."), text) for path, text in error.problems]) from error
    except (TypeError, AttributeError, ValueError, KeyError, OverflowError) as error:
        raise PlanError([("recipe.service", f"a value has the wrong type: {error}")]) from error


def _target_file(plan: Plan, dataset: Dataset, recipe: Recipe, permissions: Permissions) -> Target:
    assert plan.target.file is not None
    path, module = Path(plan.target.file), plan.target.module
    classes = len(dataset.classes)
    if dataset.values is not None:
        return _regression_file(path, plan.target.description, permissions)
    inner = innermost(recipe)
    if module is None and isinstance(inner, Loadable) and file_format(path) in ("safetensors", "torch"):
        if inner is not recipe:
            raise PlanError(
                f"{path} holds the weights of a network, and what its columns were encoded with is not in it: give the "
                "records as numbers, as the network takes them, and recipe.encode = false"
            )
        shape, allow_pickle = dataset.X.shape[1:], permissions.allow_pickle
        model: Any = inner.loaded(path, classes=classes, shape=shape, allow_pickle=allow_pickle)
    else:
        model = load_model(
            path,
            names=dataset.classes if plan.target.columns is None else plan.target.columns,
            coded=plan.target.columns is not None or not dataset.alphabetical,
            module=None if module is None else lambda: estimator_from_function(module),
            allow_pickle=permissions.allow_pickle,
            trusted=tuple(permissions.trusted),
        )
    return as_target(
        model,
        classes=classes,
        names=dataset.classes,
        description=plan.target.description,
        outputs=plan.target.outputs,
        columns=plan.target.columns,
        coded=not dataset.alphabetical,
    )


def _regression_file(path: Path, description: str | None, permissions: Permissions) -> Target:
    if file_format(path) not in ("skops", "pickle"):
        raise PlanError(f"{path} is a {file_format(path)} file; a regression is read from a skops or pickle file")
    model = load_model(path, allow_pickle=permissions.allow_pickle, trusted=tuple(permissions.trusted))
    return RegressionTarget(model, description=description)


def _target_url(plan: Plan, dataset: Dataset) -> Target:
    assert plan.target.url is not None
    options = plan.target.http.model_dump()
    options["outputs"] = plan.target.outputs or options["outputs"]
    options["columns"] = plan.target.columns or options["columns"]
    if options["sign"] is not None:
        options["sign"] = function_of_file(options["sign"])
    try:
        endpoint = connect(plan.target.url, **options, description=plan.target.description)
        return endpoint.for_classes(len(dataset.classes), dataset.classes)
    except PlanError as error:
        raise PlanError(
            [(f"target.http.{path}" if path else "target", text) for path, text in error.problems]
        ) from error


def _odd_classes(dataset: Dataset) -> list[str]:
    classes, records = len(dataset.classes), len(dataset)
    if dataset.values is not None or 4 * classes <= records:
        return []
    return [
        f"{records} records fall into {classes} classes, fewer than four each: is the label column really the class?"
    ]


def shadow_sizes(split: Split, train: int | None, test: int | None, design: Design) -> tuple[int, int, list[str]]:
    """Return how many records each shadow is trained and tested on, and what to warn of."""
    members, room = len(split.members), len(split.population)
    there = f"The population has {room} records"
    if design == "overlapping":
        room += members + len(split.nonmembers)
        there = f"Audited records and population are {room} records"
    if train is not None or test is not None:
        train = members if train is None else train
        return train, train if test is None else test, []
    if 2 * members <= room:
        return members, members, []
    if room < 2:
        return members, members, []  # the draw says what is missing
    return (
        room // 2,
        room // 2,
        [
            f"{there}, too few for shadows of {members} training and {members} test records like "
            f"the target's: the shadows are trained on {room // 2} records, and may overfit more than the target."
        ],
    )
