"""Records made from a model's answers alone: Algorithm 1 of Shokri et al. 2017 (section V-C), many climbs in lockstep.

A climb starts at a random record and asks the target once per step. It keeps a proposal that the target is at least as
sure belongs to the wanted class, and changes ``k`` random features of the best record so far for the next one; ``k``
halves when too many proposals in a row are turned down. Among records that the target gives to the class with more than
``conf_min``, each is taken with a chance equal to that confidence.

Here all climbs that will be needed for certain stand beside each other, and a step of all of them is one batch of
queries. Every climb is named by its class and the number of the attempt at it and has random numbers of its own
(`streams`). A class has as many climbs under way as it lacks records, and never more than it may still fail, so that
exactly those climbs are made that one at a time would make: same records, same queries, whatever the width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import PlanError, not_real, not_whole
from miaudit.synthesis.domain import Domain, Values
from miaudit.synthesis.streams import Words, bases, keys, uniforms

Ask = Callable[[Values], NDArray[np.floating[Any]]]
"""Answers (n, width) values with (n, classes) probabilities."""

_ACCEPT, _FIRST = 0, 1  # places of a step's draws: acceptance; then the features; then their new values


@dataclass(frozen=True)
class Climbing:
    """Options of model-based synthesis. The defaults follow the pseudo-code and the paper's section VI-D.

    Parameters
    ----------
    k_max, k_min
        Features changed in a proposal, at first and at least. At most as many as there are features.
    rej_max
        Proposals turned down in a row before ``k`` halves (rounded up).
    conf_min
        A record is only taken if the target's confidence in the class lies above this.
    iter_max
        Queries after which a climb has failed. The paper does not state it.
    accept
        ``">="`` keeps a proposal of equal confidence too (pseudo-code), ``">"`` only a higher one (the text).
    halve
        ``"after"``: at the rejection after ``rej_max`` of them (pseudo-code); ``"at"``: at number ``rej_max`` (the text).
    select
        A record is taken with the target's confidence in it (``"current"``, pseudo-code), or with the best confidence
        before it (``"best"``, the text).
    give_up, give_up_first
        Failed climbs after which no more records of a class are tried, and as long as it has none. The paper does not
        say when it stops.
    width
        Climbs in lockstep; changes nothing but time and memory.

    Raises
    ------
    PlanError
        Listing every option that cannot be.
    """

    k_max: int = 128
    k_min: int = 4
    rej_max: int = 10
    conf_min: float = 0.2
    iter_max: int = 1000
    accept: Literal[">=", ">"] = ">="
    halve: Literal["after", "at"] = "after"
    select: Literal["current", "best"] = "current"
    give_up: int = 100
    give_up_first: int = 10
    width: int = 4096

    def __post_init__(self) -> None:
        problems: list[tuple[str, str]] = []
        counts = ("k_max", "k_min", "iter_max", "give_up", "give_up_first", "width")
        problems += not_whole(*((name, getattr(self, name)) for name in counts))
        problems += not_whole(("rej_max", self.rej_max), least=0)
        if not problems and self.k_min > self.k_max:
            problems.append(("k_min", f"got {self.k_min}, more than k_max = {self.k_max}; k only falls from k_max"))
        problems += not_real(("conf_min", self.conf_min), least=0, below=1)
        for name, allowed in (("accept", (">=", ">")), ("halve", ("after", "at")), ("select", ("current", "best"))):
            if getattr(self, name) not in allowed:
                problems.append((name, f"got {getattr(self, name)!r}; allowed: {' or '.join(map(repr, allowed))}"))
        if problems:
            raise PlanError(problems)


class Climbs:
    """All climbs towards a set of records: finished, under way, and what they cost.

    The state is plain arrays, so that a run that was stopped by a budget, an error or a kill is taken up where it was.

    Parameters
    ----------
    domain
        The features.
    counts
        (classes,) how many records of each class.
    options, seed
        How to climb, and the root of all draws.
    state
        What `state` of an earlier run with the same arguments returned.
    """

    def __init__(
        self,
        domain: Domain,
        counts: NDArray[np.int64],
        options: Climbing,
        *,
        seed: int,
        state: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.domain, self.options, self.seed = domain, options, seed
        self.wanted = np.asarray(counts, dtype=np.int64)  # (classes,)
        classes = len(self.wanted)
        arrays = dict(state or {})

        def taken(name: str, dtype: Any, *shape: int) -> NDArray[Any]:
            return np.array(arrays.get(name, np.zeros(shape, dtype=dtype)), dtype=dtype)

        # per class
        self.launched, self.made, self.failed = (taken(n, np.int64, classes) for n in ("launched", "made", "failed"))
        self.made_queries, self.failed_queries = (
            taken(n, np.int64, classes) for n in ("made_queries", "failed_queries")
        )
        # per record made
        self._done: dict[str, list[NDArray[Any]]] = {
            "values": [taken("done_values", domain.dtype, 0, domain.width)],
            "klass": [taken("done_klass", np.int64, 0)],
            "attempt": [taken("done_attempt", np.int64, 0)],
            "confidence": [taken("done_confidence", np.float64, 0)],
            "queries": [taken("done_queries", np.int64, 0)],
        }
        # per climb under way
        self._x = taken("x", domain.dtype, 0, domain.width)  # the proposal to be asked next
        self._best_x = taken("best_x", domain.dtype, 0, domain.width)
        self._best = taken("best", np.float64, 0)
        self._k, self._rejected, self._step = (taken(n, np.int64, 0) for n in ("k", "rejected", "step"))
        self._klass, self._attempt = (taken(n, np.int64, 0) for n in ("klass", "attempt"))
        self._key: Words = keys(seed, self._klass, self._attempt)
        self._scratch = np.zeros((0, domain.width), dtype=bool)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything that is known, as arrays; the next run is made of it."""
        arrays = {name: getattr(self, f"_{name}") for name in _UNDER_WAY}
        arrays |= {name: getattr(self, name) for name in _PER_CLASS}
        return arrays | {f"done_{name}": np.concatenate(parts) for name, parts in self._done.items()}

    @property
    def queries(self) -> int:
        """Queries of all climbs so far, also of those that failed or are not done."""
        return int(self.made_queries.sum() + self.failed_queries.sum() + self._step.sum())

    @property
    def most_queries(self) -> int:
        """Queries of all climbs if as many fail as may, each as late as it can."""
        climbs = np.where(self.wanted > 0, self.wanted + self.options.give_up - 1, 0)
        return int(climbs.sum()) * self.options.iter_max

    @property
    def finished(self) -> bool:
        """Whether every class has its records or was given up."""
        return not len(self._klass) and not self._room().any()

    def run(
        self,
        ask: Ask,
        *,
        max_queries: int | None = None,
        tell: Callable[[], None] = lambda: None,
        seconds_between: float = 1.0,
    ) -> bool:
        """Climb until every class has its records or was given up, or ``max_queries`` are spent in all.

        An error of ``ask`` passes through; the round it belongs to then counts as not asked, and all else is kept.

        Returns
        -------
        bool
            Whether the climbs are finished; if not, the budget came first.
        """
        last = time.monotonic()
        while not self.finished:
            self._launch()
            width = len(self._klass) if max_queries is None else min(len(self._klass), max_queries - self.queries)
            if width < 1:
                return False
            self._round(ask, width)
            if time.monotonic() - last > seconds_between:
                tell()
                last = time.monotonic()
        return True

    def records(self) -> dict[str, NDArray[Any]]:
        """Return ``values``, ``klass``, ``attempt``, ``confidence`` and ``queries`` of the records made, by class."""
        arrays = {name: np.concatenate(parts) for name, parts in self._done.items()}
        order = np.lexsort((arrays["attempt"], arrays["klass"]))
        return {name: array[order] for name, array in arrays.items()}

    def _room(self) -> NDArray[np.int64]:
        """Return how many more climbs each class needs for certain."""
        under_way = self.launched - self.made - self.failed
        options = self.options
        # before the first record no more than give_up_first climbs begin, so the first is among them in any order
        limit = np.where(self.made > 0, options.give_up, min(options.give_up, options.give_up_first))
        room: NDArray[np.int64] = np.minimum(self.wanted - self.made, limit - self.failed) - under_way
        return room.clip(min=0)

    def _launch(self) -> None:
        free = self.options.width - len(self._klass)
        if free < 1:
            return
        room = np.minimum(self._room(), free)  # (classes,)
        klass = np.repeat(np.arange(len(room)), room)
        rank = np.arange(len(klass)) - np.repeat(np.cumsum(room) - room, room)  # place among the new ones of its class
        under_way = self.launched - self.made - self.failed
        order = np.argsort(rank + under_way[klass], kind="stable")[:free]  # classes evenly
        klass, attempt = klass[order], self.launched[klass[order]] + rank[order]
        if not len(klass):
            return
        self.launched += np.bincount(klass, minlength=len(room))
        key = keys(self.seed, klass, attempt)
        feature = np.arange(self.domain.width)
        draws = uniforms(bases(key, np.zeros(len(key), dtype=np.int64))[:, None], feature)
        start = self.domain.uniform(feature, draws).astype(self.domain.dtype)  # (new, width)
        k = np.full(len(klass), min(self.options.k_max, self.domain.width))
        zeros = np.zeros(len(klass), dtype=np.int64)
        self._join(x=start, best_x=start, best=zeros, k=k, rejected=zeros, step=zeros, klass=klass, attempt=attempt)
        self._key = np.concatenate([self._key, key])

    def _join(self, **new: NDArray[Any]) -> None:
        for name, array in new.items():
            old = getattr(self, f"_{name}")
            setattr(self, f"_{name}", np.concatenate([old, array.astype(old.dtype)]))

    def _round(self, ask: Ask, count: int) -> None:
        """Take the first ``count`` climbs one step further."""
        options, part = self.options, slice(0, count)
        answers = ask(self._x[part])  # (count, classes); an error here leaves everything as it was
        klass = self._klass[part]
        confidence = np.asarray(answers[np.arange(count), klass], dtype=np.float64)
        right = answers.argmax(axis=1) == klass
        self._step[part] += 1
        best = self._best[part]
        accepted = confidence >= best if options.accept == ">=" else confidence > best
        draw = uniforms(bases(self._key[part], self._step[part]), _ACCEPT)
        chance = confidence if options.select == "current" else best
        records = accepted & right & (confidence > options.conf_min) & (draw < chance)

        index = np.flatnonzero(accepted)
        self._best_x[index] = self._x[index]
        self._best[index] = confidence[index]
        rejected = np.where(accepted, 0, self._rejected[part] + 1)
        over = rejected > options.rej_max if options.halve == "after" else rejected >= max(options.rej_max, 1)
        least = min(options.k_min, self.domain.width)
        self._k[part] = np.where(over, np.maximum(least, -(-self._k[part] // 2)), self._k[part])
        self._rejected[part] = np.where(over, 0, rejected)

        failures = ~records & (self._step[part] >= options.iter_max)
        self._count(np.flatnonzero(records), np.flatnonzero(failures), confidence)
        self._propose(np.flatnonzero(~records & ~failures))
        if records.any() or failures.any():
            stay = np.ones(len(self._klass), dtype=bool)
            stay[part] = ~records & ~failures
            for name in (*_UNDER_WAY, "key"):
                setattr(self, f"_{name}", getattr(self, f"_{name}")[stay])

    def _count(self, records: NDArray[np.int64], failures: NDArray[np.int64], confidence: NDArray[np.float64]) -> None:
        classes = len(self.wanted)
        for rows, number, queries in (
            (records, self.made, self.made_queries),
            (failures, self.failed, self.failed_queries),
        ):
            number += np.bincount(self._klass[rows], minlength=classes)
            queries += np.bincount(self._klass[rows], self._step[rows], minlength=classes).astype(np.int64)
        if len(records):
            columns = (
                self._x[records],
                self._klass[records],
                self._attempt[records],
                confidence[records],
                self._step[records],
            )
            for parts, array in zip(self._done.values(), columns, strict=True):
                parts.append(array)

    def _propose(self, rows: NDArray[np.int64]) -> None:
        """Write into the proposals of climbs their best record with ``k`` features changed."""
        self._x[rows] = self._best_x[rows]
        if len(self._scratch) < len(self._klass):
            self._scratch = np.zeros((len(self._klass), self.domain.width), dtype=bool)
        base, width = bases(self._key[rows], self._step[rows]), self.domain.width
        flat_x = self._x.reshape(-1)
        for k in np.unique(self._k[rows]):
            of = np.flatnonzero(self._k[rows] == k)
            feature = distinct(base[of], int(k), width, self._scratch)  # (k, g)
            place = rows[of] * width + feature  # (k, g)
            if self.domain.dtype == np.uint8:
                flat_x[place] ^= 1
                continue
            u = uniforms(base[of], _FIRST + width + np.arange(k)[:, None])
            flat_x[place] = self.domain.changed(feature, u, flat_x[place])


_UNDER_WAY = ("x", "best_x", "best", "k", "rejected", "step", "klass", "attempt")
_PER_CLASS = ("launched", "made", "failed", "made_queries", "failed_queries")


def distinct(base: Words, k: int, width: int, scratch: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (k, g) features for g proposals, k different ones in each, every set equally likely.

    R. Floyd's method (Bentley and Floyd, CACM 1987): number i is drawn from the first ``width - k + i + 1`` features, and
    gives way to the last of them if it is there already.

    Parameters
    ----------
    base
        (g,) words of the steps that draw.
    k, width
        How many of how many.
    scratch
        At least (g, width) False; False again on return.
    """
    i = np.arange(k)[:, None]
    last = width - k + i  # (k, 1)
    feature = np.floor(uniforms(base, _FIRST + i) * (last + 1)).astype(np.int64)  # (k, g)
    first_rows, rows = scratch.reshape(-1), np.arange(len(base)) * width
    for number in range(k):
        place = rows + feature[number]
        again = first_rows[place]
        if again.any():
            feature[number][again] = last[number, 0]
            place = rows + feature[number]
        first_rows[place] = True
    first_rows[rows + feature] = False
    return feature
