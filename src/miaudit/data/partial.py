"""Partial copies: records that are equal but for a few columns, such as an id, a time stamp or one column with noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

FEW = 10
"""Pairs on two sides up to which chance may have brought them about."""

BEYOND = 5
"""Times as many pairs across two sides as chance brings about, from which they are copies."""

CHANGED = 3
"""Columns, at most, in which a partial copy differs; fewer in tables of less than twelve."""

_BANDS = 12
_GRID = 1e-2  # of a column's spread: numbers in one cell are taken for equal
_ELEMENTS = 1 << 16  # read at a time, so that rows are read as they lie, and little more is held
_ODD = 0x9E3779B97F4A7C15


def partial_links(bands: Hashes, same: Ints, sides: Ints) -> Ints:
    """Return (2, links) records on different sides that are taken for copies but for a few bands.

    For every choice of up to `CHANGED` bands, records are compared by all others. Pairs across two sides are copies where
    they stand out from chance; see `beyond_chance`.

    Parameters
    ----------
    bands
        (n, bands) hashes of the columns, by `band_hashes`.
    same
        (n,) numbers of records, equal where they are the same in all columns: their pairs are not counted.
    sides
        (n,) numbers of the sides.
    """
    mixed = np.ascontiguousarray(_mixed(bands + _salt(np.arange(bands.shape[1]))).T)  # (bands, n)
    total, sizes = mixed.sum(axis=0, dtype=np.uint64), np.bincount(sides)
    many = [np.bincount(same[sides == s], minlength=int(same.max(initial=0)) + 1) for s in range(len(sizes))]
    links: list[Ints] = [np.empty((2, 0), np.int64)]
    for left_out in _choices(bands.shape[1]):
        rows, cells = _shared(total - mixed[left_out].sum(axis=0, dtype=np.uint64))
        if not len(rows):
            continue
        side = sides[rows]
        counts = [np.bincount(cells[side == s], minlength=int(cells.max()) + 1) for s in range(len(sizes))]
        within = np.array([(each * (each - 1) // 2).sum() for each in counts])
        for a, b in combinations(range(len(sizes)), 2):
            partners = [
                np.where(side == one, (counts[two][cells] - many[two][same[rows]]).clip(min=0), 0)
                for one, two in ((a, b), (b, a))
            ]
            if beyond_chance(min(int((each > 0).sum()) for each in partners), sizes[[a, b]], within[[a, b]]):
                copies = (partners[0] > 0) | (partners[1] > 0)
                first = np.full(int(cells.max()) + 1, -1)
                first[cells[copies][::-1]] = rows[copies][::-1]
                links.append(np.stack([first[cells[copies]], rows[copies]]))
    return np.concatenate(links, axis=1)


def beyond_chance(records: int, sizes: Ints, within: Ints) -> bool:
    """Whether so many records have a partner on the other of two sides that chance does not explain it.

    The density of pairs across two sides is at most the geometric mean of those within (Cauchy and Schwarz), whatever
    the sides' distributions, if being a pair means to be equal in some respect.

    Parameters
    ----------
    records
        The smaller of the two numbers of records with a partner on the other side.
    sizes, within
        (2,) the sides' sizes, and the pairs within each.
    """
    n = sizes.astype(float)
    density = (within + 1) / np.maximum(n * (n - 1) / 2, 1)
    return records > max(FEW, BEYOND * float(n[0] * n[1]) * math.sqrt(float(density[0] * density[1])))


def band_hashes(columns: list[NDArray[Any]], spreads: NDArray[np.float64]) -> Hashes | None:
    """Return (n, bands) hashes of bands of columns, or None where columns are so few that a copy without one says nothing.

    Parameters
    ----------
    columns
        (n, ...) blocks of columns: numbers, or digests of 16 bytes.
    spreads
        (numbers,) of each column of numbers: cells of `_GRID` times the spread are compared, or the very numbers where 0.
    """
    widths = [each.shape[1] for each in columns]
    if sum(widths) < 4:
        return None
    band = _dealt(sum(widths))
    n, start = len(columns[0]), 0
    hashes = np.zeros((n, int(band.max()) + 1), np.uint64)
    for block, width in zip(columns, widths, strict=True):
        if not width:
            continue
        own = band[start : start + width]
        order = np.argsort(own, kind="stable")
        bands, first = np.unique(own[order], return_index=True)
        salt, spread = _salt(np.arange(start, start + width)), spreads[start : start + width]
        step = max(1, _ELEMENTS // width)
        for begin in range(0, n, step):
            rows = slice(begin, begin + step)
            mixed = _mixed(_bits(block[rows], spread) + salt)  # (step, width)
            hashes[rows, bands] += np.add.reduceat(mixed[:, order], first, axis=1)
        start += width
    return hashes


def sparse_band_hashes(X: Any, spread: float) -> Hashes | None:
    """Return what `band_hashes` does, of a CSR matrix without stored zeros; all columns have one spread."""
    n, width = X.shape
    if width < 4:
        return None
    band = _dealt(width)
    hashes = np.zeros((n, int(band.max()) + 1), np.uint64)
    row = np.repeat(np.arange(n), np.diff(X.indptr))
    values = _mixed(_bits(X.data, np.array([spread])) + _salt(X.indices))
    np.add.at(hashes, (row, band[X.indices]), values)
    return hashes


def _dealt(width: int) -> Ints:
    """(width,) the band of each column, dealt at random."""
    return np.random.default_rng(0).permutation(width) % min(width, _BANDS)


def _choices(bands: int) -> Iterator[list[int]]:
    for size in range(1, min(CHANGED, bands // 4) + 1):
        yield from map(list, combinations(range(bands), size))


def _shared(keys: Hashes) -> tuple[Ints, Ints]:
    """Return the rows whose key is not theirs alone, and the number of each one's key."""
    ordered = np.sort(keys)
    equal = ordered[1:] == ordered[:-1]
    if not equal.any():  # as of most choices of bands, where an order of the rows would be made in vain
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.argsort(keys)
    shared = np.zeros(len(keys), bool)
    shared[1:] |= equal
    shared[:-1] |= equal
    number = np.concatenate([[0], np.cumsum(~equal)])
    return order[shared], np.unique(number[shared], return_inverse=True)[1]


def _bits(values: NDArray[Any], spread: NDArray[np.float64]) -> Hashes:
    """Return numbers of the shape of the values, equal where these are; spreads are of the columns, 0 where none counts."""
    if values.dtype.kind == "S":
        halves = np.ascontiguousarray(values.astype("S16")).view(np.uint64).reshape(*values.shape, 2)
        return np.asarray(_mixed(halves[..., 0]) + halves[..., 1])
    if values.dtype.kind in "iub":
        return values.astype(np.uint64)
    numbers = values.astype(np.float64)
    coarse = spread > 0
    if coarse.any():
        cells = np.floor(numbers / (_GRID * np.where(coarse, spread, 1.0)) + 0.5)
        numbers = cells if coarse.all() else np.where(coarse, cells, numbers)
    numbers = np.where(np.isnan(numbers), np.nan, numbers + 0.0)  # no -0, and one NaN
    return np.ascontiguousarray(numbers).view(np.uint64)


def _salt(columns: NDArray[Any]) -> Hashes:
    return np.asarray((columns.astype(np.uint64) + np.uint64(1)) * np.uint64(_ODD), np.uint64)


def _mixed(bits: Hashes) -> Hashes:
    """Return well mixed bits: the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))


def linked(links: Ints, numbers: Ints) -> Ints:
    """Return (n,) numbers of records, equal where they were or where a chain of links joins them."""
    return components(numbers[links], int(numbers.max(initial=0)) + 1)[numbers]


def components(ends: Ints, n: int) -> Ints:
    """(n,) numbers, equal where a chain of pairs links."""
    graph = sparse.coo_array((np.ones(ends.shape[1], bool), (ends[0], ends[1])), shape=(n, n))
    return sparse.csgraph.connected_components(graph, directed=False)[1].astype(np.int64)
