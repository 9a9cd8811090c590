"""Noisy real records: an attacker whose data are like the target's, but imperfect (Shokri et al. 2017, section V-C)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from miaudit.errors import PlanError, not_real, refuse
from miaudit.synthesis.domain import Domain, Values

Noise = Literal["flip", "replace"]

_CHUNK = 1 << 12  # records at a time: bounds memory


def noisy(values: Values, domain: Domain, *, rate: float, noise: Noise, rng: np.random.Generator) -> Values:
    """Return records with a share of their features, chosen at random in each, changed.

    The paper's text flips the chosen bits; the caption of its Fig. 8 replaces them by random values, which changes only
    half of them on average. Both are here. Labels are the caller's, and stay.

    Parameters
    ----------
    values
        (n, width) records as numbers; see `Domain.values`.
    rate
        Share of the features, in [0, 1]. Of ``rate * width`` features the fraction is left to chance record by record,
        so that the share is right on average for few features too.
    noise
        ``"flip"``: binary features are flipped, categories and whole numbers take another of their values, real numbers
        are drawn uniformly from their range. ``"replace"``: all are drawn uniformly from their possible values.
    rng
        Draws everything.

    Raises
    ------
    PlanError
        If rate or noise cannot be.
    """
    refuse(not_real(("rate", rate), least=0, most=1))
    if noise not in ("flip", "replace"):
        raise PlanError([("noise", f"got {noise!r}; allowed: 'flip' or 'replace'")])
    out = values.copy()
    for start in range(0, len(out), _CHUNK):
        part = out[start : start + _CHUNK]  # a view
        rank = rng.random(part.shape).argsort(axis=1)  # a random order of the features of each record
        many = np.floor(rate * domain.width + rng.random(len(part)))
        row, feature = np.nonzero(rank < many[:, None])
        u = rng.random(len(row))
        part[row, feature] = (
            domain.other(feature, u, part[row, feature]) if noise == "flip" else domain.uniform(feature, u)
        )
    return out
