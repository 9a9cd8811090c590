"""Two audits side by side: what changed between them, and which figures moved by more than chance explains."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miaudit import stats
from miaudit.documents import Document
from miaudit.errors import DataError
from miaudit.gate.ends import Ends, Errors, attack_area, rate_ends
from miaudit.result import AttackResult, Result

FPRS = (0.1, 0.01)
_ERROR = 0.05
_SECTIONS = ("target", "data", "split", "shadows", "synthesis")
_PROVENANCE = ("recipe", "versions", "platform", "device", "seeds", "hashes", "plan")
_LEFT_OUT = ("target.contact", "target.queries", "shadows.failures", "target.outputs_reason")
_LONGEST = 200


class Change(Document):
    """Something that one audit has otherwise than the other, as text; null where it lacks it."""

    what: str
    before: str | None
    after: str | None


class FigureChange(Document):
    """A figure of one attack in both audits.

    ``difference`` is the later less the earlier, ``low`` and ``high`` its interval at 95 %. ``moved`` is said at a level that
    holds for all figures of the comparison together. ``paired``: by the same records. All are null, with ``reason``, where
    they cannot be compared.
    """

    figure: str
    attack: str
    before: float | None
    after: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    paired: bool = False
    moved: Literal["rose", "fell"] | None = None
    reason: str | None = None


class Comparison(Document):
    """What changed between two audits, and which figures moved. ``unpaired`` says why records could not be paired."""

    before: str
    after: str
    unit: Literal["person", "record"]
    unpaired: str | None
    changes: list[Change]
    figures: list[FigureChange]


class Pair(NamedTuple):
    """An attack in two audits, and its scores of the same records in both, members' and non-members', where there are any."""

    before: AttackResult
    after: AttackResult
    scores: tuple[NDArray[np.float64], ...] | None  # before: members, non-members; after: members, non-members

    def difference(self, fpr: float | None, errors: Errors) -> Ends | None:
        """Return the later AUC, or TPR at a rate, less the earlier, with its ends.

        Of the same records the AUCs are compared in pairs; else the ends are those of the two intervals. None where a result
        does not hold what they need.
        """
        if self.scores is not None and fpr is None:
            excess = stats.auc_difference(*self.scores[2:], *self.scores[:2])
            low, high = (excess.interval(1 - 2 * error) for error in errors)
            return Ends(excess.value, low.low, high.high)
        excesses = []
        for error in errors:
            earlier, later = (_ends(each, fpr, Errors(error, error)) for each in (self.before, self.after))
            if earlier is None or later is None:
                return None
            excesses.append(stats.unpaired_difference(stats.Interval(*later[:3]), stats.Interval(*earlier[:3])))
        return Ends(excesses[0].value, excesses[0].low, excesses[1].high)


def _ends(attack: AttackResult, fpr: float | None, errors: Errors) -> Ends | None:
    return attack_area(attack, errors) if fpr is None else rate_ends(attack, fpr, errors)


def compare(before: Result, after: Result) -> Comparison:
    """Compare two audits.

    Differences are of these two models on these records: another training of either may differ by more. Where the records are
    the same, an AUC's difference is paired; those of TPRs are from the interval of each, which is wider than pairs would give.

    Raises
    ------
    DataError
        If they cannot be compared: people are counted in one and records in the other, or shadow models were trained by another
        design, so that attackers know other things.
    """
    refuse_unlike(before, after)
    by_name, unpaired = pairs(before, after)
    tests = max(1, len(by_name) * (1 + len(FPRS)))
    figures: list[FigureChange] = []
    for name, pair in by_name.items():
        if isinstance(pair, str):
            figures.append(FigureChange(figure="auc", attack=name, before=None, after=None, reason=pair))
            continue
        figures += [_figure(name, pair, fpr, tests) for fpr in (None, *FPRS)]
    return Comparison(
        before=before.title,
        after=after.title,
        unit=after.split.unit,
        unpaired=unpaired,
        changes=list(_changes(before, after)),
        figures=figures,
    )


def refuse_unlike(before: Result, after: Result) -> None:
    """Raise DataError where two audits cannot be compared."""
    for what, old, new in (
        ("what is counted", before.split.unit, after.split.unit),
        ("the design of the shadow models", before.shadows.design, after.shadows.design),
    ):
        if old != new:
            raise DataError(
                f"these audits cannot be compared: {what} is {old!r} in the earlier and {new!r} in the later one; audit "
                "one of them again as the other was"
            )


def pairs(before: Result, after: Result) -> tuple[dict[str, Pair | str], str | None]:
    """Return every attack of either audit as a pair, or why it has none; and why records could not be paired, if so."""
    rows, unpaired = _same_records(before, after)
    sides = [{a.name: a for a in each.attacks if a.status == "ran" and a.area is not None} for each in (before, after)]
    by_name: dict[str, Pair | str] = {}
    for name in dict.fromkeys((*sides[1], *sides[0])):
        old, new = sides[0].get(name), sides[1].get(name)
        if old is None or new is None:
            by_name[name] = f"it has figures in the {'later' if old is None else 'earlier'} audit only"
        elif old.options != new.options:
            by_name[name] = "it was run with other options"
        else:
            scores = None if rows is None else _scores(before, after, old, new, rows)
            by_name[name] = Pair(old, new, scores)
    return by_name, unpaired


class _Rows(NamedTuple):
    """Where the same records stand in both tables, and who of them is a member."""

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    member: NDArray[np.bool_]


def _same_records(before: Result, after: Result) -> tuple[_Rows | None, str | None]:
    """Return where the same records stand, or why the tables do not tell."""
    tables = before.records.columns, after.records.columns
    if any(each.split.people is not None for each in (before, after)):
        return None, "records belong to people, and the tables do not say to whom"
    if any(each.split.copies_left_out for each in (before, after)):
        return None, "copies were left out of the figures, and the tables do not say which"
    if not all("id" in table and "member" in table and len(table["id"]) for table in tables):
        return None, "there is no table of the records"
    names = [table["id"].astype(str) for table in tables]
    order = [np.argsort(each, kind="stable") for each in names]
    member = [table["member"].astype(bool)[by] for table, by in zip(tables, order, strict=True)]
    if len(names[0]) != len(names[1]) or not np.array_equal(names[0][order[0]], names[1][order[1]]):
        return None, "the records are not the same"
    if not np.array_equal(member[0], member[1]):
        return None, "other records are members"
    if len(np.unique(names[0])) < len(names[0]):
        return None, "several records have one name"
    data = [each.provenance.hashes.get("data") for each in (before, after)]
    numbered = set(names[0]) == set(map(str, range(len(names[0]))))
    if data[0] != data[1] or (data[0] is None and numbered):
        return None, "nothing says that records of one name are the same in both"
    return _Rows(order[0], order[1], member[0]), None


def _scores(
    before: Result, after: Result, old: AttackResult, new: AttackResult, rows: _Rows
) -> tuple[NDArray[np.float64], ...] | None:
    """Return the scores of the same records; None where the tables do not give the results' figures."""
    columns = [each.records.columns.get(old.name) for each in (before, after)]
    if columns[0] is None or columns[1] is None:
        return None
    scores = [np.asarray(c, np.float64)[by] for c, by in zip(columns, rows[:2], strict=True)]
    if not all(np.isfinite(each).all() for each in scores):
        return None
    sides = tuple(each[side] for each in scores for side in (rows.member, ~rows.member))
    areas = stats.auc(*sides[:2]), stats.auc(*sides[2:])
    same = all(abs(area - (attack.area or 0.0)) < 1e-9 for area, attack in zip(areas, (old, new), strict=True))
    return sides if same else None


def _value(attack: AttackResult, fpr: float | None) -> float | None:
    """Return a figure; an AUC also of an older result, which does not hold what its interval needs."""
    ends = _ends(attack, fpr, Errors(_ERROR / 2, _ERROR / 2))
    if ends is not None:
        return ends.value
    return attack.area if fpr is None else None


def _figure(name: str, pair: Pair, fpr: float | None, tests: int) -> FigureChange:
    plain, corrected = (pair.difference(fpr, Errors(error / 2, error / 2)) for error in (_ERROR, _ERROR / tests))
    old, new = (_value(each, fpr) for each in (pair.before, pair.after))
    change = FigureChange(figure="auc" if fpr is None else f"tpr at {fpr:g}", attack=name, before=old, after=new)
    if plain is None or corrected is None:
        return change.model_copy(update={"reason": "a result does not hold what its interval needs"})
    return change.model_copy(
        update={
            "difference": plain.value,
            "low": plain.low,
            "high": plain.high,
            "paired": pair.scores is not None and fpr is None,
            "moved": "rose" if corrected.low > 0 else "fell" if corrected.high < 0 else None,
        }
    )


def _changes(before: Result, after: Result) -> Iterator[Change]:
    """Return what differs in target, data, split, shadow models, attacks and provenance."""
    old, new = (_facts(each) for each in (before, after))
    for what in dict.fromkeys((*old, *new)):
        if old.get(what) != new.get(what):
            yield Change(what=what, before=old.get(what), after=new.get(what))


def _facts(result: Result) -> dict[str, str]:
    document = result.model_dump(mode="json")
    facts: dict[str, str] = {"verdict": result.verdict_kind or "unknown"}
    for section in _SECTIONS:
        facts |= dict(_flat(document[section], section))
    for section in _PROVENANCE:
        facts |= dict(_flat(document["provenance"].get(section), section))
    for attack in document["attacks"]:
        facts[f"attacks.{attack['name']}"] = attack["status"]
        facts |= dict(_flat(attack["options"], f"attacks.{attack['name']}"))
    return facts


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Return the plain values in a table by their dotted paths; ends of intervals follow from what they are of."""
    if value is None or path in _LEFT_OUT or path.endswith(("_low", "_high")):
        return
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(each, f"{path}.{key}")
        return
    text = value if isinstance(value, str) else json.dumps(value)
    yield path, text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
