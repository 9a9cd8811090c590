"""Whether stored shadow models can tell who is a member: whom they were trained on must not, for attacks read it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.stored import StoredOutputs
from miaudit.errors import DataError, counted
from miaudit.evidence import Bools, Evidence, Floats
from miaudit.stats import auc, auc_interval

_CONFIDENCE = 0.999
_APART = 0.05  # difference of the sides' mean shares that is told of
_FAR = 0.08  # and that is refused: an attack on nothing then lies more than 0.01 above chance (docs/outputs.md)
_TURNED, _DEVIATIONS = 0.05, 5.0  # how far below 0.5 an area is no chance, and no small difference of the records
_VARIED, _LOOKED_AT = 20, 1000  # different answers, among the first so many, that no two models give by chance


def one_sided(stored: StoredOutputs) -> list[str]:
    """Refuse shadow models that were trained on far more of the members than of the non-members, or on far fewer.

    An attack that compares a record with models trained with and without it reads from their memberships how many there
    are of either. Where these numbers differ between the sides, it tells members from non-members whatever the target
    answers. That is so of shadow models that are trained on members alone, and, with few models, where the target is one
    of a design in which every record is in exactly half of all models.

    Returns
    -------
    list of str
        A warning where they differ, but by less.

    Raises
    ------
    DataError
        With the mean share of either side, and what to do.
    """
    evidence, member = stored.direct or stored.own, stored.member
    share, asked = _shares(evidence)
    sides = asked & member, asked & ~member
    if not all(side.any() for side in sides):
        return []
    means = [float(share[side].mean()) for side in sides]
    if abs(means[0] - means[1]) < _APART:
        return []
    people = evidence.audited_people
    area = auc_interval(
        *(share[side] for side in sides),
        in_people=None if people is None else people[sides[0]],
        out_people=None if people is None else people[sides[1]],
        confidence=_CONFIDENCE,
    )
    if area.low <= 0.5 <= area.high:
        return []
    difference = (
        f"a member is in the training set of {_percent(means[0])} of the {counted(len(evidence.models), 'shadow model')}, a "
        f"non-member of {_percent(means[1])} (means over the records), so that whom they were trained on tells the sides "
        "apart, whatever the target answers"
    )
    if abs(means[0] - means[1]) < _FAR:
        return [
            f"{difference[0].upper()}{difference[1:]}: do not read areas within 0.02 of 0.5 as a leak, or as none, and train "
            "more models, or each on a random half of all audited records."
        ]
    raise DataError(
        f"{difference}, and attacks that compare with them may call that a leak. Train each on a "
        "random half of all audited records, drawn without regard to who is a member, or on none of them; where the target "
        "is one of a design in which every record is in exactly half of the models, more models are needed. Without shadow "
        "models the loss and the gap are an audit"
    )


def refuse_trained_bystanders(stored: StoredOutputs) -> None:
    """Refuse bystanders that are the target, or shadow models trained on audited records: no control would hold.

    Raises
    ------
    DataError
        Saying how many.
    """
    evidence = stored.direct or stored.own
    if evidence.bystanders is None or evidence.asked is not None:
        return
    trained = {
        _digest(answers)
        for answers, inside in zip(evidence.models, evidence.inside, strict=True)
        if inside.any() and _is_varied(answers, evidence)
    }
    if _is_varied(evidence.target, evidence):
        trained.add(_digest(evidence.target))
    same = sum(_digest(answers) in trained for answers in evidence.bystanders)
    if same:
        raise DataError(
            f"{same:,} of {counted(len(evidence.bystanders), 'bystander')} {'answers' if same == 1 else 'answer'} every "
            "record as the target, or as a shadow model that was trained on some of them; bystanders are models that were "
            "trained on none: leave the others out"
        )


def repeated_models(stored: StoredOutputs) -> list[str]:
    """Return a warning where shadow models are the same as others, or as the target, or bystanders as others, by their answers.

    Answers of labels alone are not looked at, and neither are equal answers of models that were trained on other records where
    they are few, as of shallow trees or after rounding: these may be the same by chance.
    """
    evidence = stored.direct or stored.own
    if evidence.measure is None and stored.capability == "labels":
        return []
    seen: set[bytes] = set()
    copies = of_target = 0
    for i, answers in enumerate(evidence.models):
        inside, varied = evidence.inside[i], _is_varied(answers, evidence)
        if not varied and (inside == inside[0]).all():
            continue
        content = _digest(
            answers, *(() if varied else (inside,)), *(() if evidence.asked is None else (evidence.asked[i],))
        )
        copies += content in seen
        alike = varied or np.array_equal(inside, stored.member)
        of_target += alike and evidence.asked is None and np.array_equal(answers, evidence.target)
        seen.add(content)
    total = counted(len(evidence.models), "shadow model")
    warnings = []
    if copies:
        warnings.append(
            f"{copies:,} of {total} {'answers' if copies == 1 else 'answer'} every record as another one does: the same "
            "model more than once adds nothing, and counts as if it did."
        )
    if of_target:
        warnings.append(
            f"{of_target:,} of {total} {'answers' if of_target == 1 else 'answer'} every record as the target does: a "
            "target in the place of a shadow model hides what it gives away. Leave it out."
        )
    return warnings + _repeated_bystanders(evidence)


def turned_shadows(stored: StoredOutputs) -> list[str]:
    """Return a warning where shadow models fit the records they were trained on worse than others, beyond chance.

    Models fit what they were trained on better, if at all. Fitting it worse is what a signal with its sign turned looks like,
    or an ``inside`` that says the opposite.
    """
    evidence = stored.own
    areas, variance = [], 0.0
    for answers, labels, inside in zip(evidence.models, evidence.shadow_labels, evidence.inside, strict=True):
        if inside.all() or not inside.any():
            continue
        rows = np.arange(len(inside))
        fit = answers[rows, labels] if evidence.measure is None else answers.reshape(len(rows), -1)[:, 0]
        areas.append(auc(fit[inside], fit[~inside]))
        variance += (len(rows) + 1) / (12 * int(inside.sum()) * int((~inside).sum()))
    if not areas or (mean := float(np.mean(areas))) > 0.5 - max(_TURNED, _DEVIATIONS * variance**0.5 / len(areas)):
        return []
    if evidence.measure is None:
        what, than = "are less sure of the true classes of", "of"
        advice = (
            "check that inside is true where a record was in the training set, and that labels are its true classes"
        )
    else:
        what, than = "have lower signals for", "for"
        advice = "a signal must be higher for members: turn the sign of losses and errors, or correct inside"
    return [
        f"The shadow models {what} the records they were trained on than {than} others (AUC {mean:.3f}, mean of "
        f"{counted(len(areas), 'model')}): {advice}. As they are, attacks that compare with them are misled."
    ]


def _repeated_bystanders(evidence: Evidence) -> list[str]:
    models = () if evidence.bystanders is None else evidence.bystanders
    contents = [_digest(answers) for answers in models if _is_varied(answers, evidence)]
    copies = len(contents) - len(set(contents))
    if not copies:
        return []
    return [
        f"{copies:,} of {counted(len(models), 'bystander')} {'answers' if copies == 1 else 'answer'} every record as another "
        "one does: the same model more than once does not show how such models differ, and counts as if it did."
    ]


def _shares(evidence: Evidence) -> tuple[np.ndarray, Bools]:
    """Return (n,) of how many shadow models' training sets each audited record is part, as a share, and who was asked about."""
    n, inside = evidence.n, evidence.inside
    if evidence.asked is None:
        return (inside.mean(axis=0) if len(inside) else np.zeros(n)), np.full(n, bool(len(inside)))
    audited = evidence.asked < n
    of = evidence.asked[audited]
    answers = np.bincount(of, minlength=n)
    return np.bincount(of, inside[audited], minlength=n) / np.maximum(answers, 1), answers > 0


def _is_varied(answers: Floats, evidence: Evidence) -> bool:
    """Whether a model's answers differ so much between records that another model does not give all of them by chance.

    Labels, and answers of 0 and 1 alone, as of trees, do not count.
    """
    part = np.asarray(answers[:_LOOKED_AT])
    if part.ndim == 1:  # of a target that answers labels
        return False
    if evidence.measure is None:
        part = part[~np.isin(part, (0.0, 1.0)).all(axis=1)]
    return len(np.unique(part, axis=0)) >= _VARIED


def _digest(*arrays: NDArray[Any]) -> bytes:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.digest()


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
