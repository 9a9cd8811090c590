"""A Case of a plan: records loaded and drawn, recipe and target as it names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from miaudit.attacks.choice import chosen_attacks, refuse_unknown
from miaudit.auditing.case import Case, odd_classes
from miaudit.auditing.own_population import Divided, divided, idle_options
from miaudit.auditing.records import records_of
from miaudit.auditing.regression import refuse_attacks, refuse_unfit
from miaudit.auditing.saved import recipe_of_clones, saved_estimator
from miaudit.auditing.workers import Engine
from miaudit.data import (
    Dataset,
    encoder,
    slices_of,
)
from miaudit.data.frames import advice_of
from miaudit.data.records import is_texts
from miaudit.documents import plain
from miaudit.errors import PlanError, section, with_article
from miaudit.plan import Plan, RecipePlan, TargetPlan, plan_of
from miaudit.plan.permissions import Permissions
from miaudit.plugins import plugin
from miaudit.recipes import (
    SISA,
    ClassSISA,
    CommandRecipe,
    Encoded,
    Loadable,
    Network,
    Recipe,
    ServiceRecipe,
    Sharded,
    TrainingRecipe,
    as_recipe,
    estimator_from_function,
    fingerprint,
    function_of_file,
    innermost,
    named_estimator,
    recipe_of_plugin,
    standin,
)
from miaudit.recipes.parameters import by_class_numbers
from miaudit.targets import Endpoint, Target, as_target, load_model
from miaudit.targets.files import file_format, model_hashes
from miaudit.targets.kept import Kept
from miaudit.targets.ledger import Limits
from miaudit.targets.registry import model_file
from miaudit.targets.regression import RegressionTarget
from miaudit.targets.servers import endpoint_of


def case_of_plan(
    subject: Plan | Mapping[str, Any] | str | PathLike[str],
    *,
    data_folder: str | PathLike[str] | None = None,
    permissions: Permissions | None = None,
    engine: Engine | None = None,
) -> Case:
    """Load and draw what a plan asks for.

    Parameters
    ----------
    subject
        A `Plan`, or a dict or the path of a TOML file that holds one.
    data_folder
        Of the named data sets; default: the environment's MIAUDIT_DATA.
    permissions
        Consent; default: none.
    engine
        How the work is to be done: a cluster that cannot be reached is an error before anything is loaded.

    Raises
    ------
    PlanError, DataError, SplitError
        If the plan asks for more than ``permissions``, or it, its files or its sizes do not fit.
    """
    plan = plan_of(subject)
    permissions = permissions or Permissions()
    permissions.check(plan)
    if plan.unlearning.asked:
        raise PlanError(
            [("unlearning", "describes a deletion audit: carry it out with miaudit unlearn, or leave it out")]
        )
    if plan.recipe.task == "regression":
        refuse_unfit(plan)
    if engine is not None:
        engine.reach(plan.engine)
    attacks = None if plan.attacks is None else chosen_attacks(_with_estimators(plan.attacks, permissions))
    plan, local, moving = _fetched(plan)
    estimators, endpoint = _estimators(local, permissions), _endpoint(plan)
    if engine is not None:
        engine.load_early(plan.engine, estimators.get("recipe") if plan.recipe.network is None else Network)
    dataset, (split, shadows, sides, notes) = sides_of(plan, data_folder)
    if plan.data.features is not None:
        with section("data.features"):
            dataset = replace(dataset, features=function_of_file(plan.data.features))
    if plan.synthesis.model_fields_set and shadows.data == "real":
        notes = (*notes, 'The section [synthesis] has no effect on this audit: shadows.data is "real".')
    plan = plan.model_copy(update={"shadows": shadows, "split": sides})
    recipe = _recipe(plan.recipe, dataset, estimators.get("recipe"))
    _refuse_missing(plan.recipe, dataset, estimators.get("recipe"))
    target = _target(local, dataset, recipe, permissions, estimators.get("target"), endpoint)
    if plan.recipe.task == "regression":
        refuse_attacks(attacks, plan.recipe.residual)
    return Case(
        *(plan.title, plan.seed, dataset, split, recipe, target),
        document=plain(plan.model_dump(by_alias=True), "plan"),
        shadows=plan.shadows,
        sides=plan.split,
        figures=plan.figures,
        synthesis=plan.synthesis,
        engine=plan.engine,
        attacks=attacks,
        residual=plan.recipe.residual,
        unit=plan.data.unit,
        slices=slices_of(dataset, plan.data.slices),
        hashes=_target_hashes(local),
        notes=(*moving, *notes, *odd_classes(dataset), *dataset.notes),
    )


def _fetched(plan: Plan) -> tuple[Plan, Plan, tuple[str, ...]]:
    """Return a plan that names a version of its target in MLflow, one whose target is a file here, and what to note of it."""
    if plan.target.file is None:
        return plan, plan, ()
    with section("target.file"):
        file = model_file(plan.target.file)
    pinned, local = (
        plan.model_copy(update={"target": plan.target.model_copy(update={"file": each})})
        for each in (file.address, str(file.path))
    )
    if file.address == plan.target.file:
        return pinned, local, ()
    moved = f"The plan names the target as {plan.target.file}; what was audited is {file.address}, which it named then."
    return pinned, local, (moved,)


def sides_of(plan: Plan, data_folder: str | PathLike[str] | None) -> tuple[Dataset, Divided]:
    """Return the records that a plan names, and its sides as they are audited; options of theirs without effect are refused."""
    dataset, split = records_of(plan, data_folder)
    with section("split"):
        parts = divided(dataset, split, plan.shadows, plan.split, seed=plan.seed)
    if problems := idle_options(*parts[:3]):
        raise PlanError(problems)
    return dataset, parts


def refuse_reading(data_folder: Any, permissions: Permissions) -> None:
    """Refuse what says how a plan is read, where there is none."""
    idle = [name for name, value in {"data": data_folder, **vars(permissions)}.items() if value]
    if idle:
        raise PlanError(
            f"{', '.join(idle)}: belong to a plan, which is read with them, and none was given; leave them out"
        )


def _refuse_missing(plan: RecipePlan, dataset: Dataset, estimator: Any) -> None:
    """Refuse missing values where what is trained is known to take none."""
    takes_gaps = ("categorical", "text")  # where a missing value is one of the values
    columns = [column.name for column in dataset.schema.columns if column.missing and column.kind not in takes_gaps]
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


def _with_estimators(entries: Sequence[str | dict[str, Any]], permissions: Permissions) -> list[Any]:
    """Return the entries of ``attacks``, with estimators in the place of their import paths and parameters."""
    attacks: list[Any] = list(entries)
    for i, entry in enumerate(entries):
        if isinstance(entry, dict) and isinstance(entry.get("estimator"), str):
            options = {"params": {}, **entry}
            path, params = options["estimator"], options.pop("params")
            with section(f"attacks.{i}.estimator"):
                attacks[i] = options | {"estimator": named_estimator(path, params, allow_code=permissions.allow_code)}
    return attacks


def _estimators(plan: Plan, permissions: Permissions) -> dict[str, Any]:
    """Return the estimators and plug-ins that a plan names, made before any record is read."""
    models: dict[str, Any] = {}
    problems: list[tuple[str, str]] = []
    recipe, target = plan.recipe, plan.target
    with section("recipe" if recipe.plugin is None else "recipe.plugin", problems):
        if recipe.estimator is not None:
            steps = [(step.class_, step.params) for step in recipe.steps]
            models["recipe"] = named_estimator(
                recipe.estimator, recipe.params, steps, allow_code=permissions.allow_code
            )
        elif recipe.clone:
            assert target.file is not None  # as the plan has checked
            models["recipe"] = models["target"] = saved_estimator(Path(target.file), permissions)
        elif recipe.plugin is not None:
            models["recipe"] = recipe_of_plugin(recipe.plugin, recipe.params, task=recipe.task)
    with section("target.plugin", problems):
        if target.plugin is not None:
            models["target"] = plugin("targets", target.plugin).make(target.params)
    if problems:
        raise PlanError(problems)
    return models


def _recipe(plan: RecipePlan, dataset: Dataset, estimator: Any) -> Recipe:
    others = (plan.function, plan.train, plan.command, plan.service, plan.plugin)
    foreign = plan.clone or any(way is not None for way in others)
    encode = plan.encode is True if foreign else plan.encode is not False
    if plan.network is not None:
        options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plan.network.items()}
        with section("recipe.network"):
            refuse_unknown(options, ("preset", *Network.__dataclass_fields__))
            recipe: Recipe = _network(**options)
        encode = encode and dataset.schema.shape is None
    elif plan.function is not None:
        recipe = as_recipe(estimator_from_function(plan.function), task=plan.task)
    elif plan.train is not None:
        with section("recipe"):
            predict = None if plan.predict is None else function_of_file(plan.predict)
            recipe = TrainingRecipe(function_of_file(plan.train), predict, tuple(plan.files))
    elif plan.command is not None:
        with section("recipe"):
            recipe = CommandRecipe(plan.command, plan.folder or ".", tuple(plan.files), plan.timeout)
    elif plan.service is not None:
        with section("recipe.service"):
            recipe = _service(plan.service.model_dump(exclude_unset=True))
    elif plan.clone:
        recipe = recipe_of_clones(estimator, dataset, task=plan.task)
    elif plan.standin is not None:
        with section("recipe.params"):
            recipe = standin(plan.standin, plan.params)
    else:
        if plan.estimator is not None and plan.task != "regression":
            with section("recipe.params"):
                estimator = by_class_numbers(estimator, dataset.classes)
        recipe = as_recipe(estimator, task=plan.task)
    if hasattr(recipe, "weight_shapes") and not encode:
        recipe.weight_shapes(dataset.X.shape[1:], len(dataset.classes))  # tells records that do not fit the network
    transformer = encoder(dataset.schema) if encode and not is_texts(dataset.X) else None
    return _sharded(plan, recipe if transformer is None else Encoded(recipe, transformer))


def _sharded(plan: RecipePlan, recipe: Recipe) -> Recipe:
    """Return the recipe within shards, where the plan says so: each learns its own encoder."""
    for key, kind in (("sisa", SISA), ("class_sisa", ClassSISA)):
        options = getattr(plan, key)
        if options is not None:
            with section(f"recipe.{key}"):
                return kind.of_options(recipe, options)
    return recipe


def _network(*, preset: str | None = None, **options: Any) -> Network:
    try:
        return Network(**options) if preset is None else Network.preset(preset, **options)
    except TypeError as error:
        raise PlanError(str(error).replace("Network.__init__() ", "")) from error


def _service(options: dict[str, Any]) -> ServiceRecipe:
    refuse_unknown(options, tuple(ServiceRecipe.__dataclass_fields__))
    if "train" not in options:
        raise PlanError([("train", "missing: the address that starts a training")])
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    try:
        return ServiceRecipe(**values)
    except (TypeError, AttributeError, ValueError, KeyError, OverflowError) as error:
        raise PlanError(f"a value has the wrong type: {error}") from error


def _target(
    plan: Plan, dataset: Dataset, recipe: Recipe, permissions: Permissions, model: Any, endpoint: Endpoint | None
) -> Target | None:
    if plan.target.file is not None:
        target = _target_file(plan, dataset, recipe, permissions, model)
        target.source = "given file"
        target.advice += advice_of(dataset.reading)
        return target
    if plan.target.plugin is not None:
        return _as_target(model, plan, dataset)
    if plan.target.function is not None:
        return _as_target(_kept(plan.target), plan, dataset)
    return None if endpoint is None else endpoint.for_classes(len(dataset.classes), dataset.classes)


def _kept(plan: TargetPlan) -> Kept:
    """Return the function that is the target, its answers kept as those of a server are."""
    limits, path = plan.limits, str(plan.function)
    name = " ".join(part for part in (Path(path).name, limits.version) if part)
    bounds = Limits(limits.budget, limits.rate, limits.price)
    function = function_of_file(path)
    return Kept(function, name, None, bounds, limits.batch, failing=limits.failing, homeless=True)


def _target_hashes(plan: Plan) -> dict[str, str]:
    """Return the hashes of the files of a target, and of the code that reads it: weights alone are not the model."""
    if plan.target.plugin is not None:
        declared = plugin("targets", plan.target.plugin)
        return {f"target_plugin/{declared.distribution}": fingerprint(declared.load()).sha256}
    if plan.target.function is not None:
        return {"target_function": fingerprint(function_of_file(plan.target.function)).sha256}
    if plan.target.file is None:
        return {}
    path = Path(plan.target.file)
    files = model_hashes(path)
    hashes = {"target_file" if name == path.name else f"target_file/{name}": files[name] for name in files}
    if plan.target.module is not None:
        hashes["target_module"] = fingerprint(function_of_file(plan.target.module)).sha256
    return hashes


def _target_file(plan: Plan, dataset: Dataset, recipe: Recipe, permissions: Permissions, model: Any) -> Target:
    """Return the target in a file; ``model`` is what it holds, where it was read already."""
    assert plan.target.file is not None
    path, module = Path(plan.target.file), plan.target.module
    classes = len(dataset.classes)
    if dataset.values is not None:
        return _regression_file(path, plan.target.description, permissions)
    if model is not None:
        return _as_target(model, plan, dataset)
    inner = innermost(recipe)
    if module is None and isinstance(inner, Loadable) and file_format(path) in ("safetensors", "torch"):
        if isinstance(recipe, Sharded):
            raise PlanError(
                f"{path} holds the weights of one network, and recipe.sisa trains one for each shard: give target.function, a "
                "function that answers as all of them together, or leave sisa out"
            )
        if inner is not recipe:
            raise PlanError(
                f"{path} holds the weights of a network, and what its columns were encoded with is not in it: give the "
                "records as numbers, as the network takes them, and recipe.encode = false"
            )
        shape, allow_pickle = dataset.X.shape[1:], permissions.allow_pickle
        model = inner.loaded(path, classes=classes, shape=shape, allow_pickle=allow_pickle)
    else:
        model = load_model(
            path,
            names=dataset.classes if plan.target.columns is None else plan.target.columns,
            coded=plan.target.columns is not None or not dataset.alphabetical,
            output=plan.target.output,
            module=None if module is None else lambda: estimator_from_function(module),
            weights=plan.target.weights,
            allow_pickle=permissions.allow_pickle,
            trusted=tuple(permissions.trusted),
        )
    return _as_target(model, plan, dataset)


def _as_target(model: Any, plan: Plan, dataset: Dataset) -> Target:
    return as_target(
        model,
        classes=len(dataset.classes),
        names=dataset.classes,
        description=plan.target.description,
        outputs=plan.target.outputs,
        columns=plan.target.columns,
        positive=plan.target.positive,
        coded=not dataset.alphabetical,
    )


def _regression_file(path: Path, description: str | None, permissions: Permissions) -> Target:
    if file_format(path) not in ("skops", "pickle"):
        raise PlanError(
            f"{path} is {with_article(file_format(path))} file; a regression is read from a skops or pickle file"
        )
    model = load_model(path, allow_pickle=permissions.allow_pickle, trusted=tuple(permissions.trusted))
    return RegressionTarget(model, description=description)


def _endpoint(plan: Plan) -> Endpoint | None:
    """Return the server that a plan names, before any record is read; nothing is sent."""
    own, http = plan.target, plan.target.http
    if own.url is None:
        return None
    http = http.model_copy(
        update={key: getattr(own, key) or getattr(http, key) for key in ("outputs", "columns", "positive")}
    )
    names = {key: getattr(http, key) for key in ("sign", "encode", "decode")}
    functions: dict[str, Any] = {key: None if name is None else function_of_file(name) for key, name in names.items()}
    try:
        return endpoint_of(own.url, http, **functions, description=own.description)
    except PlanError as error:
        raise PlanError(
            [(f"target.http.{path}" if path else "target", text) for path, text in error.problems]
        ) from error
