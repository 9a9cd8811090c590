"""Records of a plan, and who among them is a member."""

from __future__ import annotations

from os import PathLike
from typing import Any

from miaudit.data import Dataset, Split, draw_split, given_split, load, load_named, load_parts, read_index
from miaudit.errors import PlanError
from miaudit.plan import Plan
from miaudit.seeds import child_seed


def records_of(plan: Plan, data_folder: str | PathLike[str] | None) -> tuple[Dataset, Split]:
    """Load the records that a plan names, and draw or read who is a member, who is not, and whom shadows may use."""
    data, options = plan.data, plan.split
    if data.members is not None:
        assert data.nonmembers is not None
        files = [data.members, data.nonmembers, *([] if data.population is None else [data.population])]
        dataset, parts = load_parts(files, **_reading(plan))
        return dataset, given_split(
            dataset,
            *parts,
            duplicates=options.duplicates,
            by_group=options.by_group,
            empty_population=data.population is None,
        )
    if data.name is not None:
        dataset = load_named(data.name, data_folder, options=data.options, frame=data.frame)
        if (dataset.values is None) == (plan.recipe.task == "regression"):
            what = "are classes" if dataset.values is None else "are numbers to predict"
            text = f"is {plan.recipe.task!r}, and the labels of {data.name!r} {what}; see data.options.label"
            raise PlanError([("recipe.task", text)])
    else:
        assert data.path is not None
        dataset = load(data.path, **_reading(plan))
    members, nonmembers, population = options.members, options.nonmembers, options.population
    if isinstance(members, str) and isinstance(nonmembers, str) and not isinstance(population, int):
        index = [None if path is None else read_index(path, len(dataset)) for path in (members, nonmembers, population)]
        split_of_files = given_split(
            dataset,
            *index,  # type: ignore[arg-type]
            duplicates=options.duplicates,
            by_group=options.by_group,
            empty_population=population is None,
        )
        return dataset, split_of_files
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
        by_group=options.by_group,
        duplicates=options.duplicates,
    )
    return dataset, split


def _reading(plan: Plan) -> dict[str, Any]:
    data = plan.data
    return {
        "label": data.label,
        "ids": data.ids,
        "group": data.group,
        "order": tuple(data.order),
        "drop": tuple(data.drop),
        "categorical": tuple(data.categorical),
        "numeric": tuple(data.numeric),
        "labels": "values" if plan.recipe.task == "regression" else data.labels,
        "frame": data.frame,
        "text": data.text,
        "texts": tuple(data.texts),
        "slices": tuple(data.slices),
    }
