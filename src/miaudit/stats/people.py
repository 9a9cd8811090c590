"""People with many records: one score a person, and folds and shuffles that keep a person together.

A person's records share whatever the person shares, so that a hundred records of ten people say hardly more than ten do.
Everything that counts or deals records asks here what to do where people are known; docs/decisions/0008 has the rule.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from miaudit.errors import DataError, counted
from miaudit.stats.roc import Scores, sides

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class PersonScores(NamedTuple):
    """One score for each member and for each non-member, and how many of their records the scores rest on."""

    inside: Scores  # (people who are members,)
    outside: Scores  # (people who are not,)
    records: int


def numbered(people: ArrayLike) -> Ints:
    """Return (n,) numbers from 0 for names of people, in the order they appear."""
    values: NDArray[Any] = np.asarray(people)
    if values.ndim != 1:
        raise DataError(f"people must be one name or number per record, got shape {values.shape}")
    if values.dtype.kind in "iub":
        first, number_of = np.unique(values, return_index=True, return_inverse=True)[1:]
        return np.argsort(np.argsort(first))[number_of].astype(np.int64)
    number: dict[Any, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in values.tolist()], dtype=np.int64)


def person_scores(
    in_scores: ArrayLike, out_scores: ArrayLike, in_people: ArrayLike, out_people: ArrayLike, *, seed: int = 0
) -> PersonScores:
    """Score people by all their records together.

    Scores have any scale, so they are first put on one: the normal score of the rank among all records (van der Waerden
    1952), less its mean. A person's score is the sum over the k records of the person, divided by what that sum varies by
    where k records correlate by rho, the square root of k (1 + (k - 1) rho); rho is estimated within the two sides. For
    signals of equal variance the sum is what the likelihood ratio of k independent records rises in.

    So that the number of records is no sign of membership, neither in the middle nor in the tails, both sides are compared
    at equal numbers: people are ranked by how many records they have, and each counts with no more than the person of
    that rank on the other side, records drawn at random. Where the numbers follow one law this leaves out few records.

    Everything but the sums is a function of all records alike, so that people who are exchangeable keep exchangeable
    scores, and every statistic of independent scores holds for them, by the number of people.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of records, higher = member.
    in_people, out_people
        The person of each; nobody is on both sides.
    seed
        Of the draw of records where a person has more than the other side's.

    Returns
    -------
    PersonScores
        In the order in which people first appear; rounded, so that equal records give equal scores.

    Raises
    ------
    DataError
        If a side is empty or not finite, lengths differ, or somebody is on both sides.
    """
    scores = sides(in_scores, out_scores)
    people = _of_sides(in_people, out_people, scores)
    if shared := len(np.intersect1d(*people)):
        raise DataError(
            f"{counted(shared, 'person has', 'people have')} records on both sides, and are neither members nor "
            "non-members; count records instead"
        )
    own = [numbered(each) for each in people]
    counts = [np.bincount(each) for each in own]
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    of_people = [
        _first(each, least, rng) for each, least in zip(own, equal_counts(counts[0], counts[1]), strict=True)
    ]  # (n_in,), (n_out,) bool
    z = _normal_scores(np.concatenate([s[k] for s, k in zip(scores, of_people, strict=True)]))
    parts = np.split(z, [int(of_people[0].sum())])
    of = [each[k] for each, k in zip(own, of_people, strict=True)]
    rho = _correlation(parts, of)
    sums = []
    for part, person in zip(parts, of, strict=True):
        k = np.bincount(person)
        sums.append((np.bincount(person, part) / np.sqrt(k * (1 + (k - 1) * rho))).round(9))
    return PersonScores(sums[0], sums[1], len(z))


def equal_counts(in_counts: ArrayLike, out_counts: ArrayLike) -> tuple[Ints, Ints]:
    """Return how many records each person counts with: at most as many as the person of that rank on the other side."""
    counts = [np.asarray(in_counts, np.int64), np.asarray(out_counts, np.int64)]
    falling = [-np.sort(-each) for each in counts]
    parts = []
    for own, other in ((0, 1), (1, 0)):
        place = np.empty(len(counts[own]), np.int64)
        place[np.argsort(-counts[own], kind="stable")] = np.arange(len(place))
        ranks = ((2 * place + 1) * len(falling[other])) // (2 * len(place))
        parts.append(np.minimum(counts[own], falling[other][ranks]))
    return parts[0], parts[1]


def cut_by_person(people: ArrayLike, size: int, rng: np.random.Generator) -> Bools:
    """Choose about ``size`` of n records at random, whole people at a time; exactly so many where each has one record.

    Parameters
    ----------
    people
        (n,) the person of each record.
    size
        How many records; people are taken in random order until there are as many, the last one whole.
    rng
        Source of the order.
    """
    number = numbered(people)
    order = rng.permutation(int(number.max(initial=-1)) + 1)
    counts = np.bincount(number)[order]
    before = np.cumsum(counts) - counts  # records of those who come first
    sample = np.zeros(len(order), bool)
    sample[order] = before < size
    return np.asarray(sample[number])


def on_both_sides(people: ArrayLike, member: ArrayLike) -> int:
    """Return how many people have records among members and among non-members."""
    of, truth = np.asarray(people), np.asarray(member, bool)
    return len(np.intersect1d(of[truth], of[~truth]))


def copies(contents: ArrayLike, people: ArrayLike | None, member: ArrayLike) -> Bools:
    """Find what is on its own side twice: exact copies of a person, all of them members or all of them not.

    A copy is no further draw from anywhere. But where records have few values, different people have the same, and those
    of one value then lie on both sides by chance; they are left alone.

    Parameters
    ----------
    contents
        (n,) what a record holds, equal for equal records, as a hash.
    people
        (n,) the person of each record; None: each record is one.
    member
        (n,) bool.

    Returns
    -------
    ndarray
        (n,) bool: true for records of all but the first of such people.
    """
    content, truth = numbered(contents), np.asarray(member, bool)
    person = np.arange(len(content)) if people is None else numbered(people)
    order = np.lexsort((content, person))
    ends = np.flatnonzero(np.append(np.diff(person[order]), 1)) + 1
    rows_of: dict[bytes, list[int]] = {}
    for rows in np.split(order, ends[:-1]):
        rows_of.setdefault(content[rows].tobytes(), []).append(int(person[rows[0]]))
    side = np.zeros((int(person.max(initial=-1)) + 1, 2), bool)
    side[person, truth.astype(int)] = True
    further = np.zeros(len(side), bool)
    for same in rows_of.values():
        if len(same) > 1 and not side[same].any(axis=0).all():
            further[same[1:]] = True
    return np.asarray(further[person])


def _of_sides(
    in_people: ArrayLike, out_people: ArrayLike, scores: tuple[Scores, Scores]
) -> tuple[NDArray[Any], NDArray[Any]]:
    people = np.asarray(in_people), np.asarray(out_people)
    for name, each, of in zip(("in_people", "out_people"), people, scores, strict=True):
        if each.shape != of.shape:
            raise DataError(
                f"{name} must name one person per score, got shape {each.shape} for {counted(len(of), 'score')}"
            )
    return people


def _first(person: Ints, least: Ints, rng: np.random.Generator) -> Bools:
    """Keep ``least`` records of each person, drawn at random."""
    order = np.lexsort((rng.random(len(person)), person))
    counts = np.bincount(person)
    place = np.empty(len(person), np.int64)
    place[order] = np.arange(len(person)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(place < least[person])


def _normal_scores(scores: Scores) -> Scores:
    """Return normal scores of mid-ranks, of mean 0 and variance 1; all 0 where the scores are one."""
    values, number, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(scores)  # (values,)
    z = ndtri(middle)[number]
    spread = float(z.std())
    return np.zeros(len(z)) if len(values) == 1 else np.asarray((z - z.mean()) / spread)


def _correlation(parts: list[Scores], people: list[Ints]) -> float:
    """Return how two records of one person correlate, each side about its own mean: at least 0."""
    pairs = square = 0.0
    number = 0
    for part, person in zip(parts, people, strict=True):
        about = part - part.mean()
        sums, k = np.bincount(person, about), np.bincount(person)
        pairs += float((sums**2 - np.bincount(person, about**2)).sum())
        number += int((k * (k - 1)).sum())
        square += float((about**2).sum())
    variance = square / sum(len(part) for part in parts)
    return 0.0 if not number or not variance else min(1.0, max(0.0, pairs / number / variance))
