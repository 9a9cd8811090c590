"""Figures counted again from the table of records, to see that a result and its table belong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit import stats
from miaudit.errors import counted, noun
from miaudit.evidence import Bools
from miaudit.findings.basis import basis_of
from miaudit.findings.claims import FPRS
from miaudit.findings.figures import balanced
from miaudit.findings.unit import Sides
from miaudit.result import AttackResult, Interval, Result, TnrAtFnr, TprAtFpr
from miaudit.result.difference import differences

_PARTS = ("auc", "tpr_at_fpr", "tnr_at_fnr", "pooled", "basis")


def uncountable(result: Result) -> str | None:
    """Return why figures cannot be counted from the table alone; None where they can."""
    if not len(result.records):
        return "there is no records.csv, or no record in it"
    if result.split.unit == "person" or result.split.people is not None:
        return "records.csv does not say whose the records are"
    if result.split.copies_left_out:
        return (
            f"records.csv does not say which {counted(result.split.copies_left_out, 'record is', 'records are')} left "
            f"out as {noun(result.split.copies_left_out, 'a copy of another', 'copies of others')}"
        )
    return None


def recount(result: Result) -> Iterator[str]:
    """Yield where a result says something else than its table of records, which `uncountable` does not forbid to count."""
    columns = result.records.columns
    member = np.array([bool(each) for each in columns["member"]])
    sizes = int(member.sum()), int((~member).sum())
    if sizes != (result.split.members, result.split.nonmembers):
        yield (
            f"records.csv has {counted(sizes[0], 'member')} and {counted(sizes[1], 'non-member')}, split in result.json "
            f"{result.split.members} and {result.split.nonmembers}"
        )
        return
    seed = result.provenance.seeds.get("root", 0)
    for attack in result.attacks:
        if attack.status == "ran":
            yield from _of_attack(attack, columns, member, seed)
    lead = result.lead
    if lead is not None and lead.name in columns and "risk_rank" in columns:
        ranks = stats.places(_filled(columns[lead.name]))
        if not np.array_equal(ranks, np.array(columns["risk_rank"])):
            yield f"risk_rank in records.csv is not the place by the scores of '{lead.name}'"
    yield from _accused(result, member)


def _of_attack(attack: AttackResult, columns: Any, member: Bools, seed: int) -> Iterator[str]:
    if attack.name not in columns:
        yield f"records.csv has no scores of '{attack.name}', which ran"
        return
    score = columns[attack.name]
    missing = int(np.isnan(score).sum())
    if missing != attack.missing:
        yield f"records.csv lacks {counted(missing, 'score')} of '{attack.name}', result.json says {attack.missing:,}"
        return
    filled, level = _filled(score), attack.confidence
    sides = Sides(filled[member], filled[~member])
    ins, outs = sides.inside, sides.outside
    figures: dict[str, Any] = {
        "auc": Interval.of(sides.interval(level)),
        "tpr_at_fpr": [TprAtFpr.of(stats.tpr_at_fpr(ins, outs, fpr, confidence=level)) for fpr in FPRS],
        "tnr_at_fnr": [TnrAtFnr.of(stats.tnr_at_fnr(ins, outs, fnr, confidence=level)) for fnr in FPRS],
        "basis": basis_of(sides, independent=True),
    }
    for name, value in figures.items():
        stored = getattr(attack, name)
        if stored is None:
            continue  # of an older result
        for difference in differences(_plain(stored), _plain(value), name):
            yield f"'{attack.name}': {difference}, counted from records.csv"
    decided = [each is not None for each in columns.get(f"{attack.name}_in", [])]
    if attack.pooled is not None and all(decided):
        even = balanced(member, seed=seed)
        decision = np.array([bool(each) for each in columns[f"{attack.name}_in"]])
        again = stats.decisions(decision[even], member[even], confidence=level)
        if abs((attack.pooled.accuracy or 0.0) - (again.accuracy.value or 0.0)) > 1e-9:
            yield f"'{attack.name}': pooled.accuracy is not what its decisions in records.csv give"


def _accused(result: Result, member: Bools) -> Iterator[str]:
    accusations, column = result.accusations, result.records.columns.get("accused")
    if accusations is None or accusations.named is None or column is None:
        return
    accused = np.array([each is not None and bool(each) for each in column])
    counts = int(accused.sum()), int((accused & member).sum())
    if counts != (accusations.named, accusations.of_members):
        yield (
            f"records.csv accuses {counted(counts[0], 'record')}, {counts[1]:,} of them members; "
            "accusations in result.json say "
            f"{accusations.named} and {accusations.of_members}"
        )


def _filled(score: NDArray[Any]) -> NDArray[np.float64]:
    """Return scores in which the missing ones carry the median of the others, as in the figures."""
    score = np.asarray(score, np.float64)
    missing = np.isnan(score)
    return np.where(missing, np.median(score[~missing]), score) if missing.any() else score


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, list) else value.model_dump(mode="json", by_alias=True)
