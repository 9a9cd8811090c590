"""Simulated purchases: records of the shape of the paper's Purchase data, for those who do not have them.

The real records, of a competition of 2014, are not shipped. These are drawn from a model whose settings were chosen by the
accuracies and class shares that the paper reports, before any attack was run on them. What is measured on them is of simulated
records, and is called so wherever it appears. Two faults of the model are known: classes are made by k-means alone and are
therefore nearly linear in the record, so that a logistic regression does better on them than the paper's; and the bits of a
style are independent, so that their marginals are nearly the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import DataError, counted
from miaudit.seeds import generator

RECORDS = 197_324
CLASSES = (2, 10, 20, 50, 100)
CLUSTERED = 40_000
"""Records that k-means sees; fewer miss styles. All others are assigned to the nearest centre."""

_CHUNK = 8_192


@dataclass(frozen=True)
class Purchases:
    """How simulated purchases are drawn: customers of so many styles, each a direction of taste, buy by a probit rule.

    ``spread`` is how far styles lie from another in all directions, ``lead`` in the first, ``act`` how much baskets differ in
    size, ``median`` the share of customers who buy the median product.
    """

    styles: int = 100
    products: int = 600
    directions: int = 300
    spread: float = 0.255
    lead: float = 0.30
    act: float = 0.05
    median: float = 0.2

    def draw(self, records: int, *, seed: int) -> NDArray[np.uint8]:
        """Return (records, products) bits; fewer records of a seed are the first of more."""
        from scipy.stats import norm

        rng = generator(seed, "purchases", "styles")
        scales = np.full(self.directions, self.spread / self.directions**0.5)
        scales[0] = self.lead
        taste = rng.normal(size=(self.styles, self.directions)) * scales
        appeal = rng.normal(size=(self.products, self.directions))
        popularity = rng.normal(norm.ppf(self.median), 1.0, self.products)
        mean = taste @ appeal.T + popularity * (1 + self.spread**2 + self.act**2 + self.lead**2) ** 0.5
        shares = rng.gamma(4.0, size=self.styles)
        shares /= shares.sum()
        bits = np.empty((records, self.products), np.uint8)
        for start in range(0, records, _CHUNK):
            rng = generator(seed, "purchases", "records", start)
            n = min(_CHUNK, records - start)
            style = rng.choice(self.styles, _CHUNK, p=shares)[:n]
            basket = self.act * rng.normal(size=_CHUNK)[:n]
            noise = rng.standard_normal((_CHUNK, self.products), dtype=np.float32)[:n]
            bits[start : start + n] = mean[style].astype(np.float32) + basket[:, None].astype(np.float32) + noise > 0
        return bits


def clustered(bits: NDArray[np.uint8], classes: int, *, seed: int) -> NDArray[np.int64]:
    """Return (n,) classes of records: clusters of k-means over the first 40,000, numbered from 0.

    The paper clusters its records into purchase styles and does not say how; k-means is what others who used them name.

    Raises
    ------
    DataError
        If there are fewer records than classes, or a cluster has none.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    if len(bits) < classes:
        raise DataError(
            f"{counted(len(bits), 'record')} cannot be parted into {counted(classes, 'class', 'classes')}; give at "
            "least as many records"
        )
    state = int(generator(seed, "k-means", classes).integers(2**31))
    with threadpool_limits(1):
        means = KMeans(classes, n_init=1, max_iter=40, random_state=state).fit(bits[:CLUSTERED].astype(np.float32))
        labels = np.concatenate(
            [means.predict(bits[i : i + _CHUNK].astype(np.float32)) for i in range(0, len(bits), _CHUNK)]
        )
    return labels.astype(np.int64)
