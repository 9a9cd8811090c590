"""RMIA, BASE and InfoRMIA: how much likelier the target finds a record than models of its kind do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit import signals
from miaudit.attacks.attack import Scores, with_missing
from miaudit.attacks.decisions import Ranking
from miaudit.attacks.moments import Side, sides, signal_rows
from miaudit.attacks.population import share
from miaudit.errors import DataError, PlanError, counted, misfits, not_real
from miaudit.evidence import Bools, Evidence, Floats, Ints, Signal
from miaudit.signals import Floored, Loss, Rounded, Upright
from miaudit.stats import auc

Form = Literal["base", "rmia", "informia"]
Mode = Literal["offline", "online"]
Array = NDArray[np.float64]

_DEFAULT_A = 0.3
_TRIED = tuple(sorted((i / 10 for i in range(11)), key=lambda a: abs(a - _DEFAULT_A)))  # the default wins ties
_STAND_INS = 4  # shadows put in the target's place while `a` is tuned


@dataclass(frozen=True)
class RMIA(Ranking):
    """Zarifzadeh, Liu and Shokri (2024), and two forms that rank alike.

    Let r(x) = p(y | x, target) / p(x), with p(x) the probability models of this kind give. The score is

    * ``"base"``: log r(x) (BASE, Lassila et al. 2025). Continuous: the form to rank by.
    * ``"rmia"``: the share of population records z with r(x) / r(z) > gamma (RMIA, equations 1 and 2). A step function
      of log r(x), so it ranks alike but for ties, which log r(x) breaks here; gamma does not change the ranking.
    * ``"informia"``: log r(x) less its mean over the population (InfoRMIA, Tao and Shokri 2026, from second-hand
      descriptions): the same ranking, shifted so that figures of different targets can be compared.

    p(x) *online* is the mean of the two sides' mean probabilities. *Offline* it is ((1 + a) p_out(x) + 1 - a) / 2, from
    the linear model p_in = a p_out + 1 - a. ``a`` is tuned by attacking shadow models in the target's place (up to
    four, mean area), never on the target: on the audited records where shadows were trained on some, else on records of
    the shadows' own that others answered without having been trained on them. Where there are none it is 0.3. Where
    every shadow was trained on the record, p_out is had from the same line, backwards.

    Of evidence that is signals it reads the log-likelihood, where they are one; ``temperature`` then plays no part.

    Deviations: plain means, not trimmed ones; strict inequality, no correction for a record compared with itself,
    as the population is apart.

    Parameters
    ----------
    form
        ``"base"``, ``"rmia"`` or ``"informia"``; the latter two need a population the shadows answered.
    mode
        ``"offline"`` or ``"online"``.
    gamma
        Of ``"rmia"``: how many times r(z) must be exceeded.
    a
        Of the offline line, from 0 to 1; None to tune it.
    temperature
        Softens the outputs; 2 in the papers for CIFAR-10 and Purchase-100, 1 for CIFAR-100.
    """

    form: Form = "base"
    mode: Mode = "offline"
    gamma: float = 2.0
    a: float | None = None
    temperature: float = 2.0

    name: ClassVar[str] = "rmia"
    title: ClassVar[str] = "RMIA: probability against that of reference models"
    paper: ClassVar[str] = "Zarifzadeh et al. 2024; Lassila et al. 2025; Tao and Shokri 2026"
    when: ClassVar[Mapping[str, str]] = {
        "": "few shadow models, or none trained on audited records",
        "online": "a second opinion beside LiRA",
    }
    needs: ClassVar[frozenset[str]] = frozenset({"likelihood", "shadows", "overlapping"})

    def __post_init__(self) -> None:
        problems = misfits(("rmia.form", self.form, Form), ("rmia.mode", self.mode, Mode))
        problems += not_real(("rmia.gamma", self.gamma), ("rmia.temperature", self.temperature), above=0)
        problems += not_real(("rmia.a", self.a), least=0, most=1, optional=True)
        if problems:
            raise PlanError(problems)

    @property
    def least_shadows(self) -> int:
        """One, or two with both sides."""
        return 2 if self.mode == "online" else 1

    @property
    def compares_outside(self) -> bool:
        """With the population, but in the form that needs none."""
        return self.form != "base"

    def ranked(self, evidence: Evidence) -> Scores:
        """Score by the chosen form."""
        target, shadows = signal_rows(evidence, self._log(evidence))
        within, without = reference(target, shadows, evidence.inside)
        notes: tuple[str, ...] = ()
        if self.mode == "online":
            missing = np.asarray((within.n == 0) | (without.n == 0))
            a, why = 0.0, "no shadow model with them, or none without them"
            mean = (within.mean + without.mean) / 2
        else:
            a, tuned = (self.a, 0) if self.a is not None else self._tuned(shadows, evidence)
            if self.a is None:
                models = counted(tuned, "shadow model")
                how = f"tuned on {models} in the target's place" if tuned else "the published default"
                notes = (
                    f"without shadow models trained on the records, what such models answer is estimated (a = {a:.1f}, {how})",
                )
            only_in = (without.n == 0) & (within.n > 0) & (a > 0)
            missing = (without.n == 0) & ~only_in
            why = "every shadow model was trained on them"
            inverted = np.clip((within.mean + a - 1) / max(a, 0.1), signals.FLOOR, 1.0)
            mean = offline_mean(np.where(only_in, inverted, without.mean), a)
            if only_in.any():
                notes += (
                    f"every shadow model was trained on {int(only_in.sum()):,} of {evidence.n:,} audited records; what models "
                    "without them would say was had from the offline line",
                )
        score = target - np.log(np.maximum(mean, signals.FLOOR))
        if self.form != "base":
            score = self._against_population(score, evidence, a)
        return with_missing(score, missing, why, notes)

    def _tuned(self, shadows: Floats, evidence: Evidence) -> tuple[float, int]:
        own = evidence.own
        if own is None or evidence.inside.any():
            return tune_a(shadows, evidence.inside)
        return tune_a(*by_record(signal_rows(own, self._log(own))[1], own))

    def _log(self, evidence: Evidence) -> Signal:
        """Return the softened log-probability of the class, or the evidence's own."""
        return Upright(Loss(self.temperature)) if evidence.measure is None else Floored(evidence.measure)

    def _against_population(self, log_ratio: Array, evidence: Evidence, a: float) -> Array:
        population = evidence.population
        if population is None or population.shadows is None or not len(population.labels):
            raise DataError(
                f'rmia with form "{self.form}" needs a population answered by the target and the shadows; '
                'form "base" ranks alike without one'
            )
        log = self._log(evidence) if evidence.measure is not None else Rounded(self._log(evidence))
        shadows = np.stack([log(rows, population.labels) for rows in population.shadows])
        target = log(population.target, population.labels).astype(np.float64)
        _, out = reference(target, shadows, np.zeros(shadows.shape, bool))
        mean = out.mean if self.mode == "online" else offline_mean(out.mean, a)
        others = target - np.log(np.maximum(mean, signals.FLOOR))  # (p,)
        if self.form == "informia":
            return log_ratio - float(others.mean())
        return share(beaten(log_ratio, others, self.gamma), len(others), log_ratio)


def reference(target: ArrayLike, shadows: ArrayLike, inside: ArrayLike) -> tuple[Side, Side]:
    """Mean probability of the reference models, from log-probabilities.

    Parameters
    ----------
    target
        (n,) log-probabilities of the target.
    shadows, inside
        (m, n) log-probabilities of the shadows and their memberships.

    Returns
    -------
    (Side, Side)
        In and out; ``mean`` is a probability, 0 where a side is empty. Where every model says the same, it is that.
    """
    t = np.asarray(target, np.float64)
    p = np.exp(t)
    within, without = sides(t, shadows, inside, change=lambda d: np.expm1(d, out=d))
    return tuple(  # type: ignore[return-value]
        side._replace(mean=np.where(side.n > 0, p * (1 + side.mean), 0.0)) for side in (within, without)
    )


def beaten(log_ratio: ArrayLike, population: ArrayLike, gamma: float) -> Ints:
    """Count the population records z with r(x) > gamma r(z), by sorting: no matrix of x against z is made.

    Parameters
    ----------
    log_ratio, population
        (n,) and (p,) logarithms of r.
    gamma
        The factor. A z exactly at r(x) / gamma, to rounding of the logarithm, is not beaten.

    Returns
    -------
    ndarray
        (n,) counts from 0 to p.
    """
    others = np.sort(np.asarray(population, np.float64))
    cut = np.asarray(log_ratio, np.float64) - np.log(gamma)
    order = np.argsort(cut)  # sorted questions walk through memory once
    counts = np.empty(len(cut), np.int64)
    counts[order] = np.searchsorted(others, cut[order], side="left")
    return counts


def by_record(signal: NDArray[np.floating], own: Evidence) -> tuple[NDArray[np.floating], Bools, Bools]:
    """Sort (m, r) signals of shadows' own rows by record.

    Returns (m, n) signals, memberships, and which of the n records each of the m shadows answered.
    """
    records = np.arange(own.n)[None].repeat(len(signal), axis=0) if own.asked is None else own.asked  # (m, r)
    numbers, place = np.unique(records, return_inverse=True)
    place = place.reshape(records.shape)
    signals_of = np.zeros((len(records), len(numbers)), signal.dtype)
    inside, answered = np.zeros((2, *signals_of.shape), bool)
    for i, at in enumerate(place):
        signals_of[i, at] = signal[i]
        inside[i, at], answered[i, at] = own.inside[i], True
    return signals_of, inside, answered


def tune_a(shadows: NDArray[np.floating], inside: Bools, answered: Bools | None = None) -> tuple[float, int]:
    """Choose the offline line's ``a`` with shadows in the target's place; their memberships are known.

    Parameters
    ----------
    shadows, inside
        (m, n) log-probabilities and memberships.
    answered
        (m, n) which records each shadow answered; None for all.

    Returns
    -------
    (float, int)
        The ``a`` in 0, 0.1 .. 1 with the largest mean area (of equal ones, the nearest to 0.3), and the number of
        shadows it was tuned on; 0.3 and 0 if there was none that has members, non-members and others to compare with.
    """
    outside = ~inside if answered is None else ~inside & answered  # (m, n)
    count = outside.sum(axis=0)  # (n,)
    areas, used = np.zeros(len(_TRIED)), 0
    if len(shadows) < 2:
        return _DEFAULT_A, 0
    total = np.zeros(shadows.shape[1])  # (n,) sum of the out side's probabilities
    for row, without in zip(shadows, outside, strict=True):
        total += np.where(without, np.exp(row, dtype=np.float64), 0.0)
    for row, member, without in zip(shadows, inside, outside, strict=True):
        others = count - without
        comparable = (others > 0) & (member | without)
        if used == _STAND_INS or not (member & comparable).any() or not (without & comparable).any():
            continue
        logs = row.astype(np.float64)
        out = np.maximum(total - np.where(without, np.exp(logs), 0.0), 0.0)[comparable] / others[comparable]
        for i, a in enumerate(_TRIED):
            score = logs[comparable] - np.log(np.maximum(offline_mean(out, a), signals.FLOOR))
            areas[i] += auc(score[member[comparable]], score[~member[comparable]])
        used += 1
    best = areas >= areas.max() - 1e-9 * max(used, 1)
    return (_TRIED[int(np.argmax(best))], used) if used else (_DEFAULT_A, 0)


def offline_mean(out: Array, a: float) -> Array:
    """Return p(x) from p_out(x), with p_in = a p_out + 1 - a."""
    return ((1 + a) * out + (1 - a)) / 2
