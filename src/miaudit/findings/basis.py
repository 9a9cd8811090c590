"""What an attack's figures rest on, kept in its result so that intervals at other levels can be had from it."""

from __future__ import annotations

import math

from miaudit import stats
from miaudit.findings.unit import Sides
from miaudit.result import AreaSpread, Basis, RankCounts


def basis_of(sides: Sides, *, independent: bool) -> Basis:
    """Return sizes, spread and curve of the scores that the verdict reads; no curve where they are no independent draws."""
    spread = stats.auc_spread(sides.inside, sides.outside, in_people=sides.in_people, out_people=sides.out_people)
    curve = None
    if independent:
        counts = stats.rank_counts(sides.inside, sides.outside)
        curve = RankCounts(**{name: values.tolist() for name, values in counts._asdict().items()})
    return Basis(members=len(sides.inside), nonmembers=len(sides.outside), spread=spread_of(spread), curve=curve)


def spread_of(spread: stats.Spread) -> AreaSpread:
    """Return a spread as a document, null where it is infinite."""
    inflation, freedom = (value if math.isfinite(value) else None for value in (spread.inflation, spread.freedom))
    return AreaSpread(inflation=inflation, freedom=freedom, units=spread.units)
