"""Who is trained on what, as a file: for shadow models that are trained elsewhere, and come back as stored answers."""

from __future__ import annotations

import io
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.case import Case
from miaudit.auditing.drawing import bystanders_of, draws_of
from miaudit.auditing.evidence import numbers_of
from miaudit.auditing.from_plan import sides_of
from miaudit.auditing.layout import DRAW
from miaudit.errors import PlanError
from miaudit.files import explained, write_atomically
from miaudit.plan import Plan, plan_of
from miaudit.seeds import child_seed


def draws(
    subject: Plan | Mapping[str, Any] | str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    data: str | PathLike[str] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return who is trained on what in the audit of a plan; nothing is trained, asked, imported or run.

    Parameters
    ----------
    subject
        A `Plan`, or a dict or the path of a TOML file that holds one.
    out
        An ``.npz`` file to write.
    data
        Folder of the named data sets.

    Returns
    -------
    dict
        ``labels``, ``member``, ``inside``, ``asked``, ``features``, ``ids``, ``group``, ``classes`` and ``population_...`` as
        stored outputs have them (docs/outputs.md), as far as they are known; of regressions no ``labels`` and ``classes``. And
        what is to be trained and asked, as record numbers: ``draw_train`` (m, k), the training set of each shadow model;
        ``draw_asked`` (m, r), what it answers; ``draw_seeds`` (m,); ``draw_audited`` (n,) and ``draw_outside`` (p,), what the
        target answers; ``draw_bystanders`` (b, k), training sets of models that answer the audited records; ``draw_members``,
        what the target is trained on.

    Raises
    ------
    PlanError, DataError, SplitError
        If the plan, its files or its sizes do not fit, or the records are to be made.
    """
    plan = plan_of(subject)
    if plan.shadows.data != "real":
        raise PlanError(
            f"shadows.data = {plan.shadows.data!r} makes records: miaudit synthesize writes them to a file, which a plan can "
            "name as data.population; then draw"
        )
    dataset, (split, shadows, sides, _) = sides_of(plan, data)
    recipe: Any = None  # nothing is trained
    arrays = _arrays(Case("", plan.seed, dataset, split, recipe, None, {}, shadows=shadows, sides=sides))
    if plan.data.features is not None:  # a function of the plan's makes them, and none is run here
        arrays = {name: array for name, array in arrays.items() if name not in ("features", "population_features")}
    if out is not None:
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]
        with explained(Path(out).parent):
            write_atomically(Path(out), content.getvalue())
    return arrays


def _arrays(case: Case) -> dict[str, NDArray[Any]]:
    dataset, (who, outside) = case.dataset, draws_of(case)
    audited, (m, r) = who.audited, who.asked.shape
    records = who.asked[:, : r - len(who.aside)]
    order = np.concatenate([audited, np.setdiff1d(records, audited)])
    position = np.full(len(dataset), -1, dtype=np.int64)
    position[order] = np.arange(len(order))
    bystanders, _ = bystanders_of(case)
    seed = child_seed(case.seed, "shadows")
    arrays: dict[str, NDArray[Any] | None] = {
        "member": np.arange(len(audited)) < len(case.split.members),
        "asked": position[records],
        "inside": who.inside[:, : records.shape[1]],
        "features": numbers_of(dataset, audited),
        "population_features": numbers_of(dataset, outside) if len(outside) else None,
        "ids": audited if dataset.ids is None else np.asarray(dataset.ids[audited], dtype=str),
        "group": None if dataset.people is None else dataset.people[order],
        f"{DRAW}train": who.train,
        f"{DRAW}asked": records,
        f"{DRAW}seeds": np.array([child_seed(seed, "shadow", i) for i in range(m)], dtype=np.int64),
        f"{DRAW}audited": audited,
        f"{DRAW}members": case.split.training,
        f"{DRAW}outside": outside,
        f"{DRAW}bystanders": bystanders,
    }
    if dataset.values is None:
        arrays |= {"labels": dataset.y[order], "classes": np.array(dataset.classes, dtype=str)}
        arrays["population_labels"] = dataset.y[outside] if len(outside) else None
    return {name: array for name, array in arrays.items() if array is not None}
