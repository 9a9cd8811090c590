"""Copies: records that a model sees as the same."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.mapped import BLOCK, HELD, is_mapped, written
from miaudit.data.on_disk import is_on_disk
from miaudit.data.partial import (
    BEYOND,
    CHANGED,
    Hashes,
    band_hashes,
    beyond_chance,
    components,
    linked,
    partial_links,
    sparse_band_hashes,
)
from miaudit.data.records import Records, column_blocks, is_sparse, kind_of, n_columns, n_records
from miaudit.errors import counted, noun

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_TOLERANCE = 1e-4  # of a column's spread: what a float format or a cast changes
_FLOAT32 = 2.4e-7  # of a column's largest value: twice the rounding of a cast to float32
_FLOAT64 = 4.5e-16  # the same of float64
_NEAR = (3e-2, 5e-3, 5e-4)  # of a column's spread: what rounding to a few decimals or a little noise changes
_CHUNK = 1 << 12
_BYTES = 32 << 20  # of numbers in float64 that are held at a time
_COLUMNS = 256  # of a sample that are held at a time
_LAGS = 256  # neighbours along one direction that are compared


@dataclass(frozen=True)
class Copies:
    """What a comparison of the three sides found, and what became of it.

    Parameters
    ----------
    same
        For each pair of sides ``"a/b"``: how many records of b a model sees as the same as some record of a.
    labelled
        The same, counting only records whose class is the same, too.
    left_out
        For each side: how many records were left out of it.
    alike
        Whether records were kept although many coincide, because no more do than if all records were dealt at random.
    near
        How many records were taken for copies of a record on another side although rounding, noise or a few columns
        differ.
    """

    same: Mapping[str, int] = field(default_factory=dict)
    labelled: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    alike: bool = False
    near: int = 0

    @property
    def shared(self) -> int:
        """Non-members in the audit that a model sees as the same as a member."""
        return 0 if self.left_out.get("nonmembers") else self.same.get("members/nonmembers", 0)

    @property
    def trained(self) -> int:
        """Records of the population, as it stands, that a model sees as the same as an audited one."""
        return 0 if self.left_out.get("population") else self.same.get("audited/population", 0)

    def caveats(self) -> list[str]:
        """Return what a verdict must say of records that stayed although they have copies on another side."""
        sentences = []
        if self.shared:
            sentences.append(
                f"{counted(self.shared, 'non-member has', 'non-members have')} the same values as a member, and no "
                "attack can tell these apart."
            )
        if self.trained:
            sentences.append(
                f"{self.trained:,} {noun(self.trained, 'record', 'records')} that shadow models may be trained on "
                f"{noun(self.trained, 'has', 'have')} the same values as an audited one, which "
                "may hide a leak."
            )
        return sentences

    def sentences(self, members: int, nonmembers: int, population: int, *, label: str | None = "class") -> list[str]:
        """Return what became of records on two sides, of which so many are left; ``label``: what a record has beside itself."""
        same, labelled, omissions = self.same, self.labelled, self.left_out
        twice = 'If the table holds the same record several times, keep one of each (in a plan, duplicates = "drop").'
        chance = "as often as chance brings about where records have few different values"

        def alike(before: str, sides: str, verb: str) -> str:
            return "" if label is None else f"{before}{labelled.get(sides, 0):,} {verb} {label}, too"

        lines = []
        if self.near:
            lines.append(
                f"{counted(self.near, 'record is a copy', 'records are copies')} of a record on another side up to "
                "rounding or noise, or but for at most "
                f"{CHANGED} columns (or twelfths of them): such pairs are more than {BEYOND} times as frequent as pairs within "
                "the sides explain."
            )
        if count := omissions.get("population"):
            lines.append(
                f"{counted(count, 'record of the population is a copy', 'records of the population are copies')} of audited "
                f"records ({same.get('members/population', 0):,} of members, {same.get('nonmembers/population', 0):,} of "
                f"non-members{alike('; ', 'audited/population', 'have the same')}) and {noun(count, 'was', 'were')} left out "
                f"of it, since an attack must not learn from what is audited: {population:,} are left. The figures can be used."
            )
        if count := omissions.get("nonmembers"):
            copied = omissions["members"]
            lines.append(
                f"{counted(count, 'non-member is a copy', 'non-members are copies')} of members"
                f"{alike(' (', 'members/nonmembers', 'with the same')}{')' if label else ''}. The target was trained on "
                f"{noun(count, 'it, so it was', 'them, so they were')} left out, and so {noun(copied, 'was', 'were')} the "
                f"{counted(copied, 'member')} {noun(count, 'it copies', 'they copy')}: "
                f"{counted(members, 'member')} and "
                f"{counted(nonmembers, 'non-member')} are audited. The figures can be used."
            )
        if self.shared:
            lines.append(
                f"{counted(self.shared, 'non-member has', 'non-members have')} the same values as a member, "
                f"{chance}. No attack can tell these apart, so "
                f"the figures understate how well others are told. {twice}"
            )
        if self.trained:
            lines.append(
                f"{counted(self.trained, 'record of the population has', 'records of the population have')} the same values as "
                f"an audited record, {chance}. Shadow models are trained on such records, which may hide a leak. {twice}"
            )
        return lines


def same_records(X: Records, sides: Ints | None = None) -> Ints:
    """Return (n,) numbers of records, equal where a model sees the same record.

    Whole numbers are compared exactly, texts without outer blanks and in one Unicode form, a number in a text as the
    number. Other numbers are the same within a ten-thousandth of their column's spread (less where columns are so few
    that records would coincide by chance), as another float format or a cast leaves them. Candidates are neighbours along
    random directions; every column of a candidate is compared.

    Parameters
    ----------
    sides
        (n,) numbers of the sides. Where one side holds a column as float32 and another as float64, the column is compared
        as float32.
    """
    columns = _columns(X, np.zeros(n_records(X), np.int64) if sides is None else sides)
    codes, numbers, tolerance = _parts(columns)
    return _joined(codes, numbers, tolerance.clip(min=1e-300))


def copies_across(X: Records, sides: Ints) -> tuple[Ints, Ints]:
    """Return the numbers of `same_records`, and the same with near copies on different sides joined.

    Near copies differ by rounding or noise. Two records are near if no column differs by more than a share of its spread.
    They are joined where far more pairs are near across two sides than within these sides. Neighbours along random
    directions are looked at, so that in large crowded tables near copies may be missed. So are partial copies, which
    differ in a few columns (`partial_links`).
    """
    columns = _columns(X, sides)
    codes, numbers, tolerance = _parts(columns)
    same = _joined(codes, numbers, tolerance.clip(min=1e-300))
    if not len(same):
        return same, same
    joined = same if numbers is None else _with_near(same, codes, numbers, tolerance, sides)
    bands = _bands(columns)
    return same, joined if bands is None else linked(partial_links(bands, joined, sides), joined)


def _with_near(same: Ints, codes: Ints, numbers: Any, tolerance: NDArray[np.float64], sides: Ints) -> Ints:
    """Return the numbers of records with near copies on different sides joined."""
    spread = _spreads(numbers)
    _, rows = np.unique(np.column_stack([sides, same]), axis=0, return_index=True)  # one of those a side repeats
    side, number = sides[rows], same[rows]
    for share in _NEAR:
        width = np.maximum(share * spread, tolerance).clip(min=1e-300)
        one, two = _near_pairs(codes[rows], _places(numbers, width)[rows], numbers, rows, width)
        apart = number[one] != number[two]
        one, two = one[apart], two[apart]
        across = _beyond_chance(side, one, two)
        if across.any():
            return linked(rows[np.stack([one[across], two[across]])], same)
    return same


def _beyond_chance(sides: Ints, one: Ints, two: Ints) -> NDArray[np.bool_]:
    """Return which pairs lie across sides that share far more pairs than chance explains."""
    sizes = np.bincount(sides)
    across = np.zeros(len(one), bool)
    first, second = np.minimum(sides[one], sides[two]), np.maximum(sides[one], sides[two])
    within = np.array([((first == s) & (second == s)).sum() for s in range(len(sizes))])
    for a in range(len(sizes)):
        for b in range(a + 1, len(sizes)):
            pairs = (first == a) & (second == b)
            records = min(len(np.unique(one[pairs])), len(np.unique(two[pairs])))
            if beyond_chance(records, sizes[[a, b]], within[[a, b]]):
                across |= pairs
    return across


def _joined(codes: Ints, numbers: Any, tolerance: NDArray[np.float64]) -> Ints:
    if numbers is None or not len(codes):
        return codes
    places = _places(numbers, tolerance)
    _, first, number = np.unique(
        np.column_stack([codes, places]), axis=0, return_index=True, return_inverse=True
    )  # records that are equal in every bit need no neighbours
    pairs = _near_pairs(codes[first], places[first], numbers, first, tolerance)
    return components(pairs, len(first))[number.ravel()]


def _places(numbers: Any, tolerance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 4) places of the records along random directions, in units of the tolerance."""
    used = np.isfinite(tolerance)
    directions = np.zeros((len(tolerance), 4))
    directions[used] = np.random.default_rng(0).normal(size=(int(used.sum()), 4))
    directions /= np.linalg.norm(directions, axis=0)
    return _along(numbers, directions / tolerance[:, None])


@dataclass(frozen=True, eq=False)
class _Columns:
    """Records as they are compared: columns of numbers, (n, c) or CSR, beside digests of all else."""

    table: Any
    exact: Sequence[NDArray[Any]]  # (n, 1) each
    sides: Ints


def _columns(X: Records, sides: Ints) -> _Columns:
    n = n_records(X)
    if is_sparse(X):
        table = X.tocsr(copy=True)
        table.sum_duplicates()
        table.eliminate_zeros()
        return _Columns(table, (), sides)
    if kind_of(X) == "array" and X.dtype.kind != "O":
        table = X.reshape(n, -1)
        return _Columns(table.view(np.uint8) if table.dtype.kind == "b" else table, (), sides)
    large = is_on_disk(X) and 8 * n * n_columns(X) > HELD
    columns = [_column(column_blocks(X, i), sides, in_a_file=large) for i in range(n_columns(X))]
    numeric = [values for values in columns if values.dtype.kind not in "Siu"]
    exact = [values[:, None] for values in columns if values.dtype.kind in "Siu"]
    if not numeric:
        return _Columns(np.empty((n, 0), np.float32), exact, sides)
    if not is_mapped(numeric[0]):
        return _Columns(np.column_stack(numeric), exact, sides)
    step = max(1, BLOCK // (8 * len(numeric)))
    parts = (slice(start, start + step) for start in range(0, n, step))
    like = np.empty((0, len(numeric)), np.result_type(*numeric))
    blocks = (np.column_stack([values[part] for values in numeric]).astype(like.dtype) for part in parts)
    return _Columns(written(blocks, n, like), exact, sides)


def _bands(columns: _Columns) -> Hashes | None:
    """Return hashes of bands of columns, in which numbers are compared up to a hundredth of their spread."""
    table = columns.table
    if is_sparse(table):
        whole = bool((table.data == np.rint(table.data)).all())
        return sparse_band_hashes(table, 0.0 if whole else float(np.std(table.data)))
    spreads = np.where(_whole(table), 0.0, _spreads(table)) if table.shape[1] else np.empty(0)
    return band_hashes([table, *columns.exact], spreads)


def _parts(columns: _Columns) -> tuple[Ints, Any, NDArray[np.float64]]:
    """Return (n,) numbers of what must be equal, (n, c) numbers that may differ a little or None, and their tolerances."""
    table, exact, sides = columns.table, columns.exact, columns.sides
    if is_sparse(table):
        return _sparse_parts(table, sides)
    n = len(table)
    whole, single = _whole(table), _single(table, sides)
    digests = []
    step = _step(table)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        numbers = table[rows] + table.dtype.type(0)  # no -0
        if single.any():
            numbers = np.where(single, _cast(numbers), numbers)
        blocks = [np.where(whole, numbers, np.isnan(numbers)), *(each[rows] for each in exact)]
        blocks = [np.ascontiguousarray(each).view(np.uint8).reshape(len(numbers), -1) for each in blocks]
        digests += [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.hstack(blocks)]
    codes = _numbered(digests)
    if whole.all():
        return codes, None, np.empty(0)
    if is_mapped(
        table
    ):  # columns of whole numbers are not left out, which would copy all others, but may differ by any number
        return codes, table, np.where(whole, np.inf, _tolerances(table, single, ~whole))
    numbers = table if not whole.any() else table[:, ~whole]
    return codes, numbers, _tolerances(numbers, single[~whole])


def _cast(numbers: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _single(table: NDArray[Any], sides: Ints) -> NDArray[np.bool_]:
    """(columns,) whether one side holds a column as float32, by its values, and another does not.

    Small whole numbers are the same in both formats and say nothing of a side's.
    """
    if table.dtype.kind != "f" or table.dtype.itemsize <= 4:
        return np.zeros(table.shape[1], bool)
    k = int(sides.max(initial=0)) + 1
    fits, evidence = np.ones((k, table.shape[1]), bool), np.zeros((k, table.shape[1]), bool)
    step = _step(table)
    for start in range(0, len(table), step):
        part, side = table[start : start + step], sides[start : start + step]
        same = (_cast(part) == part) | np.isnan(part)
        speaks = np.isfinite(part) & ((part != np.rint(part)) | (np.abs(part) > 1 << 24))
        for s in np.unique(side):
            fits[s] &= same[side == s].all(axis=0)
            evidence[s] |= speaks[side == s].any(axis=0)
    return np.asarray((fits & evidence).any(axis=0) & ~fits.all(axis=0))


def _sparse_parts(X: Any, sides: Ints) -> tuple[Ints, Any, NDArray[np.float64]]:
    whole = bool((X.data == np.rint(X.data)).all())
    data = X.data.astype(np.float64) if X.dtype.kind == "f" else X.data
    single = _single(data[:, None], np.repeat(sides, np.diff(X.indptr)))[0]
    data = _cast(data) if single else data
    digests = []
    for start, stop in zip(X.indptr[:-1].tolist(), X.indptr[1:].tolist(), strict=True):
        row = X.indices[start:stop].astype("<i8").tobytes() + data[start:stop].tobytes()
        digests.append(hashlib.blake2b(row if whole else b"", digest_size=16).digest())
    spread = float(np.std(X.data)) if X.nnz else 0.0
    level = max(_TOLERANCE * spread, (_FLOAT32 if single else _FLOAT64) * float(np.abs(X.data).max(initial=1.0)))
    return _numbered(digests), None if whole else X.astype(np.float64), np.full(X.shape[1], level)


def _column(blocks: Iterator[NDArray[Any]], sides: Ints, *, in_a_file: bool = False) -> NDArray[Any]:
    """Return numbers, or texts as (n,) digests, equal where they say the same."""
    first = next(blocks)
    if first.dtype.kind in "biuf":
        values = first if first.dtype.kind != "b" else first.astype(np.uint8)
        return written([values], len(values), values[:0]) if in_a_file else values
    if first.dtype.kind in "mM":
        return first.astype("datetime64[us]" if first.dtype.kind == "M" else "timedelta64[us]").view("S8")
    parts = [_of_objects(values) for values in chain([first], blocks)]
    numbers, digests = (np.concatenate(each) for each in zip(*parts, strict=True))
    number = digests == b""
    if number.all():
        return numbers
    single = bool(_single(numbers[:, None], sides)[0])
    cast = _cast(numbers[number]).astype(float) if single else numbers[number]
    distinct, index = np.unique(cast + 0.0, return_inverse=True)
    digests[number] = np.array([_digest(repr(each)) for each in distinct.tolist()], "S16")[index]
    return digests


def _of_objects(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bytes_]]:
    """Return (n,) the numbers that values are, NaN where they are none, and the digests of what is none, else nothing."""
    distinct, index = _distinct(values.tolist())
    items = [_plain(value) for value in distinct]
    numbers = np.array([item if isinstance(item, float) else math.nan for item in items], np.float64)
    digests = np.array([b"" if isinstance(item, float) else _digest(f"text {item}") for item in items], "S16")
    return numbers[index], digests[index]


_PLAIN = frozenset((str, int, float, bool, type(None)))  # of which equal values say the same


def _distinct(values: list[Any]) -> tuple[list[Any], Ints]:
    """Return the different values, and (n,) which of them each one is: a column of words has few, each read once."""
    keys = [(type(value), value if type(value) in _PLAIN else id(value)) for value in values]
    number: dict[Any, int] = {}
    index = np.fromiter((number.setdefault(key, len(number)) for key in keys), np.int64, len(keys))
    return list(dict(zip(keys, values, strict=True)).values()), index


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest().encode()


def _plain(value: Any) -> float | str:
    """Return a number or a text in one form."""
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value).strip()
        if not text[:1].isdigit() and text[:1] not in "+-.":
            return text
        try:
            number = float(text)
        except ValueError:
            return text
        return number if math.isfinite(number) and not _beyond_float(text, number) else text
    if value is None:
        return math.nan
    try:
        number = float(value)
        return str(value) if isinstance(value, int | np.integer) and int(number) != int(value) else number
    except (TypeError, ValueError, OverflowError):
        return str(value)


def _beyond_float(text: str, number: float) -> bool:
    """Whether a text holds a whole number that no float is equal to."""
    try:
        return int(number) != int(text)
    except ValueError:
        return False


def _whole(table: NDArray[Any]) -> NDArray[np.bool_]:
    """(columns,) whether all numbers of a column are whole (or missing)."""
    if table.dtype.kind != "f":
        return np.ones(table.shape[1], bool)
    whole, step = np.ones(table.shape[1], bool), _step(table)
    for start in range(0, len(table), step):
        part = table[start : start + step]
        whole &= ((part == np.rint(part)) | np.isnan(part)).all(axis=0)
    return whole


def _step(table: NDArray[Any]) -> int:
    """Return how many rows are read at a time, so that wide ones take no more memory than narrow ones."""
    return int(min(_CHUNK, max(1, (_BYTES // 8) // max(1, table.shape[1]))))


def _tolerances(
    numbers: NDArray[Any], single: NDArray[np.bool_], used: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    n, c = len(numbers), int(numbers.shape[1] if used is None else used.sum())
    by_chance = (1e-3 / n) ** (1 / c) / 0.56  # normal columns of unit spread: one record in a thousand has a neighbour
    largest = _of_sample(numbers, lambda sample: np.abs(sample).max(axis=0))
    return np.asarray(
        np.maximum(_spreads(numbers) * min(_TOLERANCE, by_chance), np.where(single, _FLOAT32, _FLOAT64) * largest)
    )


def _of_sample(numbers: NDArray[Any], statistic: Callable[[Floats], Floats]) -> Floats:
    """Return a statistic of each column, of about 4,000 of the rows; a part of the columns is held at a time."""
    rows = numbers[:: max(1, len(numbers) // 4000)]
    parts = []
    for start in range(0, numbers.shape[1], _COLUMNS):
        sample = np.asarray(rows[:, start : start + _COLUMNS], np.float64)
        parts.append(statistic(np.where(np.isfinite(sample), sample, 0.0)))
    return np.concatenate(parts) if parts else np.empty(0)


def _spreads(numbers: Any) -> NDArray[np.float64]:
    if is_sparse(numbers):
        return np.full(numbers.shape[1], float(np.std(numbers.data)))
    return _of_sample(numbers, _spread)


def _spread(sample: Floats) -> Floats:
    low, high = np.quantile(sample, [0.25, 0.75], axis=0)
    return np.asarray(np.where(high > low, (high - low) / 1.35, sample.std(axis=0)))


def _along(numbers: Any, directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, k) places of the records along directions."""
    if is_sparse(numbers):
        return np.asarray(numbers @ directions)
    step = _step(numbers)
    parts = [
        np.nan_to_num(np.asarray(numbers[start : start + step], np.float64)) @ directions
        for start in range(0, len(numbers), step)
    ]
    return np.concatenate(parts)


def _near_pairs(
    codes: Ints, places: NDArray[np.float64], numbers: Any, rows: Ints, tolerance: NDArray[np.float64]
) -> NDArray[np.int64]:
    """(2, pairs) neighbours within the tolerance, in every column."""
    order = np.lexsort((places[:, 0], codes))
    width = min(math.sqrt(np.isfinite(tolerance).sum()), 6.0) * (
        1 + 1e-9
    )  # the changes of many columns add up like noise
    first, second, *_ = sorted_places = np.ascontiguousarray(places[order].T)  # (4, n), read as they lie
    codes = codes[order]
    links: list[NDArray[np.int64]] = []
    for lag in range(1, min(_LAGS, len(order))):
        near = (codes[:-lag] == codes[lag:]) & (first[lag:] - first[:-lag] <= width)
        if not near.any():
            break
        near &= np.abs(second[:-lag] - second[lag:]) <= width
        one = np.flatnonzero(near)  # few are near in two directions, and only they are looked up
        one = one[(np.abs(sorted_places[:, one] - sorted_places[:, one + lag]) <= width).all(axis=0)]
        one, two = order[one], order[one + lag]
        fits = _within(numbers, rows[one], rows[two], tolerance)
        links.append(np.stack([one[fits], two[fits]]))
    return np.concatenate(links, axis=1) if links else np.empty((2, 0), np.int64)


def _within(numbers: Any, one: Ints, two: Ints, tolerance: NDArray[np.float64]) -> NDArray[np.bool_]:
    fits = np.zeros(len(one), bool)
    step = _CHUNK if is_sparse(numbers) else _step(numbers)
    for start in range(0, len(one), step):
        part = slice(start, start + step)
        if is_sparse(numbers):
            apart = abs(numbers[one[part]] - numbers[two[part]]).max(axis=1).toarray().ravel()
            fits[part] = apart <= tolerance[0]
            continue
        apart = np.abs(np.asarray(numbers[one[part]], np.float64) - np.asarray(numbers[two[part]], np.float64))
        fits[part] = ((apart <= tolerance) | np.isnan(apart)).all(axis=1)
    return fits


def _numbered(digests: Sequence[bytes]) -> Ints:
    number: dict[bytes, int] = {}
    return np.fromiter((number.setdefault(each, len(number)) for each in digests), np.int64, len(digests))
