"""From what was measured in a deletion audit to its result: each question concluded as an audit, then the verdict."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from miaudit import signals, stats
from miaudit.attacks import Attack
from miaudit.auditing.asking import Tell, quiet
from miaudit.auditing.conclusion import conclude as conclude_audit
from miaudit.auditing.measured import Measured
from miaudit.errors import DataError
from miaudit.findings import unit_of
from miaudit.findings.bystander import compared
from miaudit.result import (
    AttackResult,
    Counted,
    Deletion,
    DeletionKind,
    Difference,
    Interval,
    Likeness,
    Question,
    Records,
    Result,
    Verdict,
)
from miaudit.seeds import child_seed
from miaudit.threads import one_thread
from miaudit.unlearning import wording
from miaudit.unlearning.measured import DeletionMeasured, Retrained

_FLOOR = 1e-7
_CONTROLS = 5
"""The retrained control fails by chance in at most one audit of a hundred: 5 % over so many."""
_CHANCE = 0.05
"""A removed class may be answered for so many inputs of it beyond what retrained models do."""
_LEAST_GAP = 0.1
"""Trained and untrained records must differ so much in how often they are called trained before a share is estimated."""


def conclude(measured: DeletionMeasured, tell: Tell = quiet) -> Result:
    """Return the result: that of the model afterwards, with all questions of the deletion and the verdict on it.

    ``tell`` hears how far the attacks of each question are.
    """
    results = {
        name: None if of is None else conclude_audit(of, tell)
        for name, of in (
            ("after", measured.after),
            ("before", measured.before),
            ("pair", measured.pair),
            ("others_before", measured.others_before),
            ("others_after", measured.others_after),
        )
    }
    after = results["after"]
    assert after is not None
    if measured.removed is not None:
        after = results["after"] = _without_class(after, measured.after, measured.removed)
    with one_thread():
        likeness = _likeness(measured)
    questions = {name: None if of is None else _question(name, of) for name, of in results.items()}
    kind = _kind(results["before"], after, likeness, of_class=measured.removed is not None)
    answered = _answered(measured)
    if answered is not None and kind in ("no trace found", "nothing to see here", "inconclusive"):
        kind = "traces remain"
    finding = _finding(after, kind, likeness)
    n = questions["after"].n if questions["after"] is not None else Counted(members=0, nonmembers=0)
    deletion = Deletion.of(
        measured,
        kind=kind,
        options=dict(measured.options),
        exact=measured.exact and (measured.receipt is None or measured.receipt.holds),
        deleted=n.members,
        never=n.nonmembers,
        exposure=_exposure(results["others_before"], results["others_after"]),
        still_in=None if measured.removed is not None else _still_in(after, results["others_after"]),
        likeness=likeness,
        answered=answered,
        earlier_model=wording.earlier_model(questions["pair"], measured),
        unasked=dict(measured.unasked),
        **questions,
    )
    deletion = deletion.model_copy(update={"sentences": wording.sentences(deletion)})
    return after.model_copy(
        update={
            "verdict": wording.verdict(deletion, finding),
            "verdict_kind": finding.kind,
            "finding": finding,
            "deletion": deletion,
            "threat_model": wording.threat_model(measured, after),
            "not_tested": wording.not_tested(measured),
            "warnings": [wording.MEMBERS, *after.warnings],
            "records": _records(results),
        }
    )


def _without_class(after: Result, measured: Measured, removed: str) -> Result:
    """Return a result whose accuracies and classes are not those of the likeliest other class, which attacks read."""
    nothing = {
        name: None for name in type(after.target).model_fields if name.startswith(("train_acc", "test_acc", "gap"))
    }
    target = after.target.model_copy(
        update={**nothing, "accuracy_reason": f"the class {removed!r} was removed, and all audited records are of it"}
    )
    columns = {**after.records.columns, "class": np.full(len(measured.member), removed)}
    return after.model_copy(update={"target": target, "groups": [], "factors": None, "records": Records(columns)})


def _question(name: str, result: Result) -> Question:
    finding = result.finding
    assert finding is not None
    lead = result.lead
    by_name = {each.name: each for each in result.attacks}
    claims = finding.kind in ("leak", "inverted") and finding.attack in by_name
    spoken = by_name[finding.attack] if claims and finding.attack is not None else lead
    return Question(
        asked=wording.QUESTIONS[name],
        inside="records that stayed" if "others" in name else "deleted records",
        outside="records never trained on",
        kind=finding.kind,
        attack=None if spoken is None else spoken.name,
        auc=finding.figure if claims and finding.figure is not None else _area(spoken),
        population=_area(by_name.get("threshold")),
        limit=finding.limit,
        power=None if lead is None else lead.power,
        n=finding.n,
        attacks=result.attacks,
    )


def _area(attack: AttackResult | None) -> Interval:
    area = None if attack is None else attack.of_unit.auc
    return Interval.undefined("no attack could be measured") if area is None else area


def _kind(before: Result | None, after: Result, likeness: Likeness | None, *, of_class: bool) -> DeletionKind:
    """Return the verdict on a deletion.

    Of a removed class attacks read the likeliest other one, in which a model that has forgotten nothing is *less* sure of what
    it was trained on. So less confidence is no sign of too much forgetting there.
    """
    pattern = after.controls.pattern
    if after.controls.blind.confounded or (pattern is not None and pattern.confounded):
        return "confounded"
    if (likeness is not None and likeness.control_fails) or after.verdict_kind in ("confounded", "broken"):
        return "not valid"
    if after.verdict_kind in ("leak", "inverted"):
        return "over-forgotten" if _below(after) and not of_class else "traces remain"
    if after.verdict_kind != "none detected":
        return "inconclusive"
    if before is None or before.verdict_kind in ("leak", "inverted"):
        return "no trace found"
    return "nothing to see here"


def _below(result: Result) -> bool:
    """Whether the deleted records are answered with less confidence than ones never trained on, by signed attacks."""
    signed = [each for each in result.attacks if each.name.split()[0] in ("calibration", "threshold")]
    return any(each.below_chance for each in signed) and not any(each.above_chance for each in signed)


def _finding(after: Result, kind: DeletionKind, likeness: Likeness | None) -> Verdict:
    """Return the finding that a gate judges: what cannot be seen and what is not valid is no absence of a leak."""
    finding = after.finding
    assert finding is not None
    if kind == "nothing to see here":
        reason = "these records left no trace that was found before the deletion either, so that none afterwards shows nothing"
        return Verdict(kind="inconclusive", basis="nothing", n=finding.n, reason=reason, caveats=finding.caveats)
    if kind == "traces remain" and after.verdict_kind not in ("leak", "inverted"):
        reason = "the model still answers the removed class, which no attack on single records looks for"
        return Verdict(kind="inconclusive", basis="nothing", n=finding.n, reason=reason, caveats=finding.caveats)
    if kind == "not valid" and likeness is not None and likeness.control_fails:
        return Verdict(kind="confounded", basis="sides", attack=after.headline, figure=likeness.control, n=finding.n)
    return finding


def _answered(measured: DeletionMeasured) -> float | None:
    """Return the share of unused inputs of a removed class that the model answers with it, where that is not chance.

    None unless its low end (Clopper-Pearson, 95 %) is above the share of retrained models by 0.05.
    """
    cost = measured.cost
    if measured.removed is None or cost.after.never is None:
        return None
    n = int((~measured.after.member).sum())
    usual = 0.0 if cost.retrained is None or cost.retrained.never is None else cost.retrained.never
    low, _ = stats.clopper_pearson(round(cost.after.never * n), n, 0.95)
    return cost.after.never if low > usual + _CHANCE else None


def _likeness(measured: DeletionMeasured) -> Likeness | None:
    of = measured.retrained
    if of is None:
        return None
    control, fails = _control(measured)
    count = len(of.models)
    common = {
        "models": count,
        "compared": "inputs of the class" if of.of_class else "deleted records",
        "control": control,
        "control_fails": fails,
    }
    if of.target.ndim == 1 or not len(of.labels):
        reason = "the target answers labels alone" if of.target.ndim == 1 else "there are no such records"
        return Likeness.of(**common, p_value=None, least=None, apart=None, expected=None, reason=reason)
    distances, apart = _distances(of)
    return Likeness.of(
        **common,
        p_value=float((distances >= distances[0]).mean()),
        least=1 / (count + 1),
        apart=apart,
        expected=None if apart is None else 2 / (count + 1),
    )


def _distances(of: Retrained) -> tuple[NDArray[np.float64], float | None]:
    """Return (1 + K,) distances of each model from the mean of all others, the target's first; and the share apart."""
    values = np.concatenate([of.target[None], of.models]).astype(np.float64)  # (1 + K, n, classes)
    if not of.of_class:
        values = np.stack([signals.phi(each, of.labels, floor=_FLOOR) for each in values])[..., None]
    others = (values.sum(axis=0) - values) / (len(values) - 1)
    distances = np.abs(values - others).sum(axis=2).mean(axis=1)
    if of.of_class:
        return distances, None
    own, theirs = values[0, :, 0], values[1:, :, 0]
    return distances, float(((own < theirs.min(axis=0)) | (own > theirs.max(axis=0))).mean())


def _control(measured: DeletionMeasured) -> tuple[Interval, bool | None]:
    """Return what the attack that leads finds on retrained models, which never saw the records, and whether that fails."""
    after, answers = measured.after, measured.controls
    attack = _leading(after)
    if answers is None or attack is None:
        return Interval.undefined("no attack could be measured"), None
    if measured.removed is not None:
        return Interval.undefined("a removed class is compared by its inputs"), None
    evidence = after.evidence.own.replace(bystanders=answers)
    unit = unit_of(after.member, people=evidence.audited_people, contents=after.contents, name=after.unit)
    others = [evidence.of_bystander(number) for number in range(len(answers))]
    seed = child_seed(after.seed, "attack", attack.name)
    try:
        own = attack.run(evidence, seed=seed).score
        scores = attack.scores_of(evidence, others, seed=seed)
    except DataError as error:
        return Interval.undefined(str(error)), None
    sides = [unit.judged(row, after.member, seed=after.seed) for row in (own, *scores)]
    figures = compared(sides[0], sides[1:], attacks=_CONTROLS)
    return figures.auc, figures.tells_sides if len(answers) > 2 else None


def _leading(measured: Measured) -> Attack | None:
    m = len(measured.evidence.own.models)
    return next((each for each in measured.attacks or () if m >= each.least_shadows), None)


def _columns(result: Result, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | None:
    """Return (n,) scores of an attack and who is on the first side; None where it has none, or people are counted."""
    table = result.records.columns
    if name not in table or result.split.unit == "person":
        return None
    scores, member = np.asarray(table[name], np.float64), np.asarray(table["member"], bool)
    return None if not np.isfinite(scores).all() else (scores, member)


def _exposure(before: Result | None, after: Result | None) -> Difference | None:
    """Return by how much the AUC on records that stayed rose, by the attack that leads on both."""
    if before is None or after is None:
        return None
    if before.headline is None or before.headline != after.headline:
        return Difference.undefined("no attack leads on both models")
    was, is_now = _columns(before, before.headline), _columns(after, before.headline)
    if was is None or is_now is None:
        return Difference.undefined("records of people are no independent draws, or an attack could not score all")
    (old, member), (new, _) = was, is_now
    return Difference.of(stats.auc_difference(new[member], new[~member], old[member], old[~member]).interval(0.95))


def _still_in(after: Result, others: Result | None) -> Difference | None:
    """Return the share of the deleted records that still answer as trained ones do: (d - f) / (t - f).

    d, f and t are the shares of deleted, never trained and kept records whose confidence, less its mean under models that
    never saw the record, lies above nine tenths of a second set of never trained records.
    """
    if others is None:
        return None
    own, stayed = _columns(after, "calibration"), _columns(others, "calibration")
    if own is None or stayed is None:
        return Difference.undefined("the attack 'calibration' was not run on both, or people are counted")
    threshold = np.quantile(stayed[0][~stayed[1]], 0.9)
    sides = [own[0][own[1]], own[0][~own[1]], stayed[0][stayed[1]]]
    _, f, t = (float((side > threshold).mean()) for side in sides)
    if t - f < _LEAST_GAP:
        return Difference.undefined(
            f"kept records are called trained in {100 * t:.0f} % of cases and untrained ones in {100 * f:.0f} %: too near "
            "to tell"
        )
    mixed, never, kept = ((int((side > threshold).sum()), len(side)) for side in sides)
    return Difference.of(stats.mixture_share(mixed, never, kept))


def _records(results: dict[str, Result | None]) -> Records:
    """Return the table of the model afterwards, with the scores before and by both models beside."""
    after = results["after"]
    assert after is not None
    columns = dict(after.records.columns)
    for name in ("before", "pair"):
        other = results[name]
        if other is not None and other.headline is not None and other.headline in other.records.columns:
            by = "before" if name == "before" else "by both models"
            columns[f"{other.headline} {by}"] = other.records.columns[other.headline]
    return Records(columns)
