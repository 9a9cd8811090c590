"""The same audit with training sets of several sizes: whether more records leak less, as Fig. 4 of the 2017 paper asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from miaudit.auditing import audit
from miaudit.errors import PlanError, counted
from miaudit.plan import Plan, plan_of
from miaudit.result import Result


def sizes(
    plan: Plan | Mapping[str, Any] | str | PathLike[str],
    members: Sequence[int],
    *,
    out: str | PathLike[str],
    **options: Any,
) -> dict[int, Result]:
    """Audit targets that are trained on so many records each, and return the results by size.

    Parameters
    ----------
    plan
        Of one data set, whose ``split.members`` is a count; the target is trained here.
    members
        Sizes of the training set; there are as many non-members, and shadow models have the same size.
    out
        Folder: each size has one of its own in it, and is found again there.
    options
        Further ones of `miaudit.audit`.

    Raises
    ------
    PlanError
        If the plan's target exists already, or its sides are files: then there is one size.
    """
    document = plan_of(plan)
    target = document.target.model_dump(exclude_none=True)
    if not isinstance(document.split.members, int) or {"file", "url", "plugin"} & {*target}:
        raise PlanError(
            "sizes trains a target for each size: give a plan whose split.members is a count, and that names no target"
        )
    results = {}
    for size in members:
        split = document.split.model_copy(update={"members": size, "nonmembers": size})
        sized = document.model_copy(update={"split": split, "title": f"{document.title}, {counted(size, 'member')}"})
        results[size] = audit(sized, out=Path(out) / f"members-{size}", **options)
    return results
