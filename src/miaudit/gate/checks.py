"""Figures against limits: a lower end beyond the limit fails, an upper end below the margin passes, all else is open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from miaudit import stats
from miaudit.errors import counted
from miaudit.gate.decision import Check, Outcome
from miaudit.gate.ends import Ends, Errors, area_ends, attack_area, excess_low, rate_ends, unscored_area
from miaudit.gate.limits import GRID, AreaLimit, NamedLimit, RateLimit, SliceLimit
from miaudit.gate.requirements import controls_hold
from miaudit.result import AttackResult, Beyond, Result, beyond_bystanders

_OLD = "the result does not hold what intervals at other levels need, as it is of an older miaudit: audit again"
_PEOPLE = "records of one person are no independent draws, so that no bound holds for their rates: count people"


@dataclass(frozen=True, eq=False)
class Bench:
    """A result on the bench: what its limits may err by, and which of its attacks' claims stand.

    ``error`` is that of all limits together, each of ``limits`` of which has an equal part.
    """

    result: Result
    error: float
    limits: int

    @cached_property
    def ran(self) -> list[AttackResult]:
        """The attacks that have figures."""
        return [attack for attack in self.result.attacks if attack.status == "ran" and attack.area is not None]

    @cached_property
    def beyond(self) -> Beyond:
        """The claims that bystanders leave standing."""
        return beyond_bystanders(self.ran)

    @cached_property
    def sound(self) -> bool:
        """Whether no control speaks against the figures."""
        return controls_hold(self.result)

    def errors(self, tests: int) -> Errors:
        """Return the error of each end where a limit is put to so many tests.

        Lower ends share the error, so that all hold together; upper ends have it whole, as a pass needs all of them.
        """
        return Errors(self.error / self.limits / max(1, tests), self.error)

    def stands(self, attack: AttackResult) -> bool:
        """Whether bystanders leave some claim of an attack standing."""
        return any(attack.name == each.name for each in (*self.beyond.above, *self.beyond.few))


def check_areas(bench: Bench, limit: AreaLimit) -> Iterator[Check]:
    """Judge the AUC of every attack; a failure also lies beyond what bystanders show by more than the limit allows."""
    errors, tests = bench.errors(len(bench.ran)), len(bench.ran) or 1
    for attack in bench.ran:
        ends = attack_area(attack, errors)
        size = None if ends is None else _area_size(bench, limit.margin - ends.unscored, tests)
        more = excess_low(attack.bystander, errors.low)
        above = any(attack.name == each.name for each in bench.beyond.above)
        counts = above and (more is not None and more > limit.beyond - 0.5 if attack.checked else True)
        yield _judged(bench, "auc", attack, "AUC", ends, limit.beyond, limit.margin, errors, counts, size)


def check_pair(bench: Bench, limit: AreaLimit) -> Iterator[Check]:
    """Judge, of a deletion audit, the AUC of every attack by both models, as of somebody who kept the earlier one."""
    deletion = bench.result.deletion
    if deletion is None or deletion.pair is None:
        reason = (
            "the result is of no deletion audit"
            if deletion is None
            else f"it was not asked: {deletion.unasked['pair']}"
        )
        sentence = f"what both models give away together is not known: {reason}"
        yield Check(limit="pair", outcome="inconclusive", margin=limit.margin, beyond=limit.beyond, sentence=sentence)
        return
    pair = bench.result.model_copy(update={"attacks": deletion.pair.attacks})
    for check in check_areas(Bench(pair, bench.error, bench.limits), limit):
        yield check.model_copy(update={"limit": "pair", "sentence": f"by both models together, {check.sentence}"})


def check_rates(bench: Bench, limit: RateLimit) -> Iterator[Check]:
    """Judge the TPR of every attack at one rate."""
    errors, name = bench.errors(len(bench.ran)), f"tpr at {limit.fpr:g}"
    beyond, margin = limit.beyond * limit.fpr, limit.margin * limit.fpr
    what = f"TPR at an FPR of {100 * limit.fpr:g} %"
    for attack in bench.ran:
        ends = rate_ends(attack, limit.fpr, errors)
        size = None if ends is None else _rate_size(bench, limit.fpr, margin - ends.unscored)
        yield _judged(bench, name, attack, what, ends, beyond, margin, errors, bench.stands(attack), size)


def check_named(bench: Bench, limit: NamedLimit) -> Iterator[Check]:
    """Judge of every attack which share of the members it can name.

    At even odds a share u can be named with precision p if at some threshold the TPR is u and the FPR at most u / g with
    g = p / (1 - p). So fewer than ``margin`` can be if the ROC curve lies below g times the FPR from FPR = margin / g on: an
    intersection-union test over all rates, of which a grid is looked at and the curve's rise does the rest. One rate of the
    grid at which the lower end is above that line shows that more can be.
    """
    gain = limit.gain
    rates = limit.margin ** np.linspace(2, 0, 2 * GRID + 1) / gain  # the lower half only says how far below the margin
    errors = bench.errors(len(bench.ran) * (GRID + 1))
    first = rates[GRID:]
    what = f"share of the members that can be named with {100 * limit.precision:g} % right"
    for attack in bench.ran:
        ends = None if attack.basis is None else _named_ends(attack, gain, rates, errors)
        unscored = 0.0 if attack.basis is None else attack.missing / attack.basis.members
        size = _rate_size(bench, first[1], gain * first[0] - unscored)
        yield _judged(
            bench, "named", attack, what, ends, limit.margin, limit.margin, errors, bench.stands(attack), size
        )


def _named_ends(attack: AttackResult, gain: float, rates: np.ndarray, errors: Errors) -> Ends | None:
    basis = attack.basis
    at = [rate_ends(attack, float(rate), errors) for rate in rates]
    ends = [each for each in at if each is not None]
    if basis is None or basis.curve is None or len(ends) < len(rates):
        return None
    over = zip(ends[GRID:], rates[GRID:], strict=True)
    lows = [each.low for each, rate in over if each.low >= gain * rate * (1 - 1e-12)]
    high, scored = (_named_high([each.high - out * each.unscored for each in ends], gain * rates) for out in (0, 1))
    shares = [
        tp / basis.members
        for fp, tp in zip(basis.curve.ranks, basis.curve.allowed, strict=True)
        if tp / basis.members >= gain * fp / basis.nonmembers
    ]
    return Ends(max(shares, default=0.0), max(lows, default=0.0), high, high - scored)


def _named_high(highs: list[float], shares: np.ndarray) -> float:
    """Return which share is not reached: from there on each upper end lies below the share that the rate before it takes."""
    below = [high < share for high, share in zip(highs[1:], shares[:-1], strict=True)]
    from_here = next((i for i in range(len(below)) if all(below[i:])), None)
    return 1.0 if from_here is None else float(shares[from_here]) * (1 - 1e-12)  # below it, not at it


def check_slices(bench: Bench, limit: SliceLimit) -> Iterator[Check]:
    """Judge the leading attack in every slice; no failure where sides differ on bystanders, who are not looked at by slice."""
    slices = [
        (grouping, each) for grouping in bench.result.groups for each in grouping.groups if each.auc.value is not None
    ]
    errors = bench.errors(len(slices))
    judged = [each for _, each in slices if min(each.members, each.nonmembers) >= limit.least]
    lead = bench.result.lead
    missing = 0 if lead is None else lead.missing
    plain = stats.auc_size(limit.margin, tests=len(judged) or 1, confidence=1 - bench.error)
    differ = any(r.bystander is not None and r.bystander.tells_sides for r in bench.ran)
    counts = not differ or (lead is not None and bench.stands(lead))
    if not judged:
        sentence = f"no slice has {counted(limit.least, 'record')} on both sides, so that none can be judged"
        yield Check(limit="slices", outcome="inconclusive", sentence=sentence, needed=plain)
    for grouping, each in slices:
        name, ends = f"{grouping.column} = {each.group}", None
        if each.spread is not None and each.auc.value is not None:
            ends = area_ends(each.auc.value, each.members, each.nonmembers, each.spread, errors)
            here = min(missing, each.members + each.nonmembers)  # nothing says in which slices they are
            ends = ends.raised(unscored_area(here, each.members, each.nonmembers))
        size = None if ends is None else _area_size(bench, limit.margin - ends.unscored, len(judged) or 1)
        small = min(each.members, each.nonmembers) < limit.least
        if small and (ends is None or ends.low <= limit.beyond):
            continue  # what is too small to be judged may fail, and is never what a pass rests on
        yield _judged(bench, "slices", lead, "AUC", ends, limit.beyond, limit.margin, errors, counts, size, of=name)


def _area_size(bench: Bench, margin: float, tests: int) -> int | None:
    """Return the records a side that show areas of chance to be below a margin; None where none are enough."""
    return stats.auc_size(margin, tests=tests, confidence=1 - bench.error) if margin > 0.5 else None


def _rate_size(bench: Bench, fpr: float, margin: float) -> int | None:
    """Return the records a side that show TPRs of chance at a rate to be below a margin; None where none are enough."""
    if margin <= fpr:
        return None
    return stats.tpr_size(fpr, margin, tests=len(bench.ran) or 1, confidence=1 - bench.error)


def _judged(
    bench: Bench,
    name: str,
    attack: AttackResult | None,
    what: str,
    ends: Ends | None,
    beyond: float,
    margin: float,
    errors: Errors,
    counts: bool,
    size: int | None,
    *,
    of: str | None = None,
) -> Check:
    """Return the check of one figure.

    Parameters
    ----------
    bench, name, attack
        The result, the limit's name, and whose figure it is.
    what, ends
        The figure in words, and its ends; None where the result does not hold what they need.
    beyond, margin, errors
        Of the limit.
    counts
        Whether bystanders leave the figure standing.
    size
        How many a side show a figure of chance to be below the margin.
    of
        The slice, where it is one's.
    """
    whose = "" if attack is None else f" of '{attack.name}'"
    subject = f"{what}{whose}" + ("" if of is None else f" where {of}")
    if attack is not None and attack.unit == "person" and of is None:
        subject = f"{subject}, by person"
    fields: dict[str, Any] = {"limit": name, "about": of or (None if attack is None else attack.name), "margin": margin}
    fields |= {"beyond": beyond, "low_error": errors.low, "high_error": errors.high}
    if ends is None:
        complete = attack is not None and attack.basis is not None
        return Check(**fields, outcome="inconclusive", sentence=f"{subject}: {_PEOPLE if complete else _OLD}")
    fields |= {"value": ends.value, "low": ends.low, "high": ends.high}
    outcome, rest, short = _outcome(bench, ends, beyond, margin, counts)
    if short and size is not None:
        wide = 1.0 if attack is None or attack.basis is None else attack.basis.spread.inflation or 1.0
        fields["needed"] = int(np.ceil(size * wide))
    return Check(**fields, outcome=outcome, sentence=f"{subject} is {ends.value:z.3f}{rest}")


def _outcome(bench: Bench, ends: Ends, beyond: float, margin: float, counts: bool) -> tuple[Outcome, str, bool]:
    """Return the outcome, the sentence after the figure, and whether more records would help."""
    if ends.low > beyond:
        over = f", at least {near(ends.low, beyond)}, above the limit {beyond:.4g}"
        if not bench.sound:
            return "inconclusive", f"{over}, but a control failed, so that it says nothing of the model", False
        if not counts:
            return "inconclusive", f"{over}, but models trained on neither side explain it, or may", False
        return "fail", over, False
    if ends.high < margin:
        return "pass", f", at most {near(ends.high, margin)}, below the margin {margin:.4g}", False
    rest = f" and may be up to {near(ends.high, margin)}, not shown to be below the margin {margin:.4g}"
    if ends.unscored and ends.high - ends.unscored < margin:
        rest += ", for the records that could not be scored: more shadow models score them"
    return "inconclusive", rest, ends.value < margin


def near(end: float, bound: float) -> str:
    """Return an end with as many digits as tell it from the bound."""
    return next((text for digits in range(3, 7) if float(text := f"{end:z.{digits}f}") != bound), f"{end:z.3f}")
