"""The leak in every class and in every group a user names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit import stats
from miaudit.errors import PlanError
from miaudit.evidence import Bools
from miaudit.findings.basis import spread_of
from miaudit.findings.claims import CONFIDENCE
from miaudit.findings.unit import Unit, unit_of
from miaudit.result import GroupFigures, Grouping, Interval


def group_figures(
    attack: str,
    score: NDArray[np.float64],
    member: Bools,
    slices: Mapping[str, NDArray[Any]],
    *,
    unit: Unit | None = None,
) -> list[Grouping]:
    """Measure one attack in every group.

    Every interval is corrected for the groups of its column and for the number of columns (Bonferroni): "this group
    leaks" is wrong in at most one audit of twenty, whatever group a reader looks at. The attack must have been chosen
    before any figure was known.

    Parameters
    ----------
    attack
        Name of the attack.
    score, member
        (n,) its scores, and who is a member.
    slices
        (n,) group of each record, as text, by the name of the column.
    unit
        What is counted; default: records. Figures are of records; where people are known their intervals allow for whose
        the records are.
    """
    unit = unit or unit_of(member)
    countable = unit.counted
    sides = unit.records(score, member)
    level = 1 - (1 - CONFIDENCE) / max(1, len(slices))
    figures = []
    for column, values in slices.items():
        if len(values) != len(member):
            raise PlanError(f"slices: {column!r} has {len(values):,} values for {len(member):,} audited records")
        of = np.asarray(values).astype(str)
        leaks = stats.by_group(
            sides.inside,
            sides.outside,
            of[member & countable],
            of[~member & countable],
            in_people=sides.in_people,
            out_people=sides.out_people,
            confidence=level,
        )
        figures.append(
            Grouping(
                column=column,
                attack=attack,
                confidence=leaks[0].confidence,
                groups=[
                    GroupFigures.of(
                        leak,
                        auc=leak.auc or Interval.undefined(leak.reason),
                        spread=None if leak.spread is None else spread_of(leak.spread),
                    )
                    for leak in sorted(leaks, key=lambda leak: (_natural(leak.group), leak.group))
                ],
            )
        )
    return figures


def _natural(name: str) -> float:
    """Place of a group that is a number, or a range of them, among the others; texts come after."""
    try:
        return float(name.split(" to ")[0])
    except ValueError:
        return float("inf")
