"""Whether the risk of single records can be believed: over shadow models, and over attacks.

A record's score rests on a few shadow models; with others it would be another. Every shadow pool is halved at random, each
half scores all records anew, and what changes between the halves is what must not be read into a single rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from miaudit import stats
from miaudit.attacks import Attack
from miaudit.attacks.attack import errors_of
from miaudit.errors import counted
from miaudit.evidence import Bools, Evidence
from miaudit.result import Coverage, ShadowStability
from miaudit.seeds import child_seed, generator

SPLITS = 5
SHARES = (0.01, 0.1)
_TOP = 0.1
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Halves:
    """(2 splits, n) scores of an attack with one half of the shadows each: halves of one split follow one another."""

    scores: Floats
    reason: str | None = None

    def summary(self, attack: str) -> ShadowStability:
        """Return the rank agreement between the two halves of every split."""
        pairs = [stats.spearman(*self.scores[i : i + 2]) for i in range(0, len(self.scores), 2)]
        values = [value for value in pairs if value is not None]
        reason = self.reason
        if reason is None and not values:
            reason = "the attack ranks nobody: all records have one score"
        return ShadowStability(
            attack=attack,
            scorings=len(self.scores),
            spearman=float(np.mean(values)) if values else None,
            low=min(values, default=None),
            high=max(values, default=None),
            reason=reason,
        )

    def ranks(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats] | None:
        """Return (n,) best place, worst place, and share of scorings that put the record among the first tenth."""
        if not len(self.scores):
            return None
        places = np.stack([stats.places(row) for row in self.scores])  # (scorings, n)
        first = places <= max(1, round(_TOP * places.shape[1]))
        return places.min(axis=0), places.max(axis=0), first.mean(axis=0)


def halves(attack: Attack, evidence: Evidence, *, seed: int, splits: int = SPLITS) -> Halves:
    """Score all records again with random halves of the shadows.

    Parameters
    ----------
    attack, evidence
        The attack, and all shadows.
    seed
        Root of the draws of the halves and of the attack's own.
    splits
        How often the shadows are halved; attacks that learn from the shadows' rows (``attack.learns``) are halved once,
        which costs about what the attack costs.

    Returns
    -------
    Halves
        No scorings, with a reason, where the halves are too small for the attack.
    """
    n, m = evidence.n, len(evidence.models)
    need = max(1, attack.least_shadows)
    if m // 2 < need:
        reason = f"{counted(m, 'shadow model has', 'shadow models have')} no two halves of at least {need}"
        return Halves(np.empty((0, n)), reason)
    rows = []
    try:
        for split in range(1 if attack.learns else splits):
            order = generator(seed, "halves", split).permutation(m)
            for half in (order[: m // 2], order[m // 2 : 2 * (m // 2)]):
                part = evidence.of_shadows(np.sort(half))
                rows.append(attack.run(part, seed=child_seed(seed, "attack", attack.name)).score)
    except errors_of(attack) as error:
        return Halves(np.empty((0, n)), f"a half of the shadow models is too little for it: {error}")
    return Halves(np.stack(rows))


def agreement(scores: dict[str, Floats]) -> list[tuple[str, str, float | None]]:
    """Return Spearman's rank correlation of every two attacks."""
    correlations = stats.rank_correlations(np.stack(list(scores.values())))
    return [(*pair, value) for pair, value in zip(combinations(scores, 2), correlations, strict=True)]


def coverages(scores: Sequence[Floats], member: Bools, *, shares: Sequence[float] = SHARES) -> list[Coverage]:
    """Return who is among the first by every attack and by any, for each share of the records."""
    points = []
    for share in shares:
        both = stats.coverage(np.stack(scores), share)
        points.append(
            Coverage(
                share=share,
                records=both.size,
                in_every=int(both.in_every.sum()),
                members_in_every=int((both.in_every & member).sum()),
                in_any=int(both.in_any.sum()),
                members_in_any=int((both.in_any & member).sum()),
            )
        )
    return points


def ranks_finely(score: Floats, *, share: float = _TOP) -> bool:
    """Return whether scores are fine enough to say who comes first: no tie doubles the first tenth."""
    size = max(1, round(share * len(score)))
    border = -np.partition(-score, size - 1)[size - 1]
    return int((score >= border).sum()) <= 2 * size
