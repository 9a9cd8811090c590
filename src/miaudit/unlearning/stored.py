"""A deletion audit of stored answers: before and after, and what each shadow model knows of each record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks import Attack
from miaudit.attacks.choice import chosen_attacks
from miaudit.auditing.asking import Tell, quiet
from miaudit.auditing.layout import DELETIONS, WAY
from miaudit.auditing.measured import Measured
from miaudit.auditing.progress import in_python
from miaudit.auditing.provenance import Clock, Origin
from miaudit.auditing.scoring import measured_of
from miaudit.auditing.stored import read_arrays, stored_outputs
from miaudit.data.arrays import shown
from miaudit.data.npz import open_npz
from miaudit.data.room import within_memory
from miaudit.errors import DataError, not_path, refuse
from miaudit.evidence import Bools, Ints
from miaudit.findings import FIGURES, UnitName
from miaudit.plan import FiguresPlan
from miaudit.result import Accuracies, DeletionCost, Result
from miaudit.result.seal import seal
from miaudit.shadows.pool import ShadowEvidence
from miaudit.unlearning.case import ATTACKS
from miaudit.unlearning.conclusion import conclude
from miaudit.unlearning.measured import DeletionMeasured, Retrained
from miaudit.unlearning.pairs import pair_evidence

STATES = ("never", "deleted", "kept")
_Arrays = dict[str, NDArray[Any]]
_NO_OTHERS = "a file holds no records that stayed in the target"
_NO_BEFORE = "the file holds no target_before and shadows_before"


def is_deletion(path: str | Path) -> bool:
    """Return whether a file of stored answers is of a deletion audit."""
    with open_npz(Path(path), way=WAY) as file:
        return bool({*DELETIONS} & {*file.headers})


def score(
    outputs: str | Path | Mapping[str, NDArray[Any]],
    *,
    seed: int = 0,
    title: str | None = None,
    operating: FiguresPlan = FIGURES,
    unit: UnitName | None = None,
    attacks: Sequence[str | Mapping[str, Any] | Attack] | None = None,
    procedure: str = "not told",
    out: str | Path | None = None,
    tell: Tell | None = None,
    progress: bool | None = None,
) -> Result:
    """Audit a deletion from what the target and its shadow models answered before and after.

    Parameters
    ----------
    outputs
        An ``.npz`` in the layout of docs/outputs.md, or its arrays. ``target`` and ``shadows`` are the answers afterwards;
        ``member`` (n,) says who was trained on and deleted, the others being never trained on; ``state`` (m, n) is
        ``"never"``, ``"deleted"`` or ``"kept"``. ``target_before`` and ``shadows_before`` are the answers before, ``retrained``
        (K, n, classes) those of models that were trained without the deleted records, where there are any.
    seed, title, operating, unit, attacks, out, tell, progress
        As of `miaudit.score`.
    procedure
        What to call the procedure in the result.

    Returns
    -------
    Result
        As of `miaudit.unlearning.audit`.

    Raises
    ------
    DataError
        If arrays do not fit one another, or the versions are of different tasks.
    """
    refuse(not_path(("out", out)))
    with in_python(False if tell else progress) as shown:
        tell = tell or shown or quiet
        tell("reading the outputs", None)
        measured = _measured(
            outputs, seed, title=title, operating=operating, unit=unit, attacks=attacks, procedure=procedure
        )
        tell("attacking", None)
        result = conclude(measured, tell)
    if out is not None:
        result.save(out)
        seal(out)
    return result


def _measured(
    outputs: str | Path | Mapping[str, NDArray[Any]],
    seed: int,
    *,
    title: str | None,
    operating: FiguresPlan,
    unit: UnitName | None,
    attacks: Sequence[str | Mapping[str, Any] | Attack] | None,
    procedure: str,
) -> DeletionMeasured:
    """Return what stored answers hold of a deletion, as what was measured."""
    clock = Clock()
    arrays, name, digest = _arrays(outputs)
    things = ATTACKS if attacks is None else chosen_attacks(attacks)
    named = None if attacks is None else [{"name": each.name, **each.options} for each in things]
    plan = {"call": "miaudit.unlearning.score", **operating.model_dump(), "unit": unit}
    plan |= {"attacks": named, "procedure": procedure}
    parts = {"seeds": {"root": seed}, "hashes": {"outputs": digest or None}, "plan": plan}
    origin = Origin(clock, parts, things=things)
    versions, notes = _versions(arrays)
    title = title or f"Deletion audit of {name}"
    options: dict[str, Any] = {"attacks": things, "operating": operating, "unit": unit, "deletion": True}

    def measured(version: _Arrays) -> Measured:
        of = measured_of(stored_outputs(version, name=name, sha256=digest), seed, origin)
        return replace(of, title=title, **options, warnings=(*of.warnings, *notes))

    after = measured(versions["after"])
    before = measured(versions["before"]) if "before" in versions else None
    pair = None if before is None else _pair(before, after)
    retrained = _retrained(arrays, after)
    unasked = {"others": _NO_OTHERS}
    unasked |= dict.fromkeys(("before", "pair"), _NO_BEFORE) if before is None else {}
    unasked |= {"likeness": "the file holds no retrained models"} if retrained is None else {}
    return DeletionMeasured(
        procedure=procedure,
        title=f"Deletion as stored in {name}",
        paper="not told",
        options={},
        exact=False,
        removed=None,
        after=after,
        before=before,
        pair=pair,
        others_before=None,
        others_after=None,
        retrained=None if retrained is None else _of_deleted(retrained, after),
        controls=retrained,
        cost=_cost(before, after),
        kept=0,
        unasked=unasked,
        stored=True,
    )


def _cost(before: Measured | None, after: Measured) -> DeletionCost:
    was = None if before is None else _accuracies(before)
    return DeletionCost(before=was, after=_accuracies(after), retrained=None)


def _arrays(outputs: str | Path | Mapping[str, NDArray[Any]]) -> tuple[_Arrays, str, str]:
    if isinstance(outputs, Mapping):
        return {key: np.asarray(value) for key, value in outputs.items()}, "outputs", ""
    path = Path(outputs)
    arrays, digest = read_arrays(path, beside=DELETIONS)
    with within_memory(path):
        return arrays, shown(path.stem), digest


def _versions(arrays: _Arrays) -> tuple[dict[str, _Arrays], list[str]]:
    """Return the arrays of an ordinary file for each version, and what a reader must know."""
    arrays = dict(arrays)
    for key in ("target", "member", "labels", "shadows"):
        if key not in arrays:
            raise DataError(f"a deletion audit needs the array {key!r}; the file has {', '.join(arrays) or 'none'}")
    if "state" not in arrays:
        raise DataError(f"a deletion audit needs the array 'state': {DELETIONS['state']}")
    for idle in ("inside", "asked", "bystanders", "trace", "variants_target", "variants_shadows", "population_shadows"):
        if idle in arrays:
            raise DataError(f"{idle!r} has no place in a file of a deletion audit: leave it out")
    state = _states(arrays["state"])
    wanted = arrays["shadows"].shape[:2]
    if state.shape != wanted:
        raise DataError(
            f"state must be {DELETIONS['state']}, of shape {wanted} like shadows; its shape is {state.shape}"
        )
    beside = {key: value for key, value in arrays.items() if key not in (*DELETIONS, "target", "shadows")}
    rows, notes = _apart_from_kept(state)
    inside = np.take_along_axis(state, rows, axis=0) == STATES.index("deleted")
    versions = {"after": ("target", "shadows")}
    if "target_before" in arrays or "shadows_before" in arrays:
        if not {"target_before", "shadows_before"} <= {*arrays}:
            raise DataError("target_before and shadows_before go together: give both, or none")
        versions["before"] = ("target_before", "shadows_before")
    content = {}
    for version, (target, shadows) in versions.items():
        if arrays[target].shape != arrays["target"].shape or arrays[shadows].shape != arrays["shadows"].shape:
            raise DataError(
                f"{target} and {shadows} are of shapes {arrays[target].shape} and {arrays[shadows].shape}, target and shadows "
                f"of {arrays['target'].shape} and {arrays['shadows'].shape}: before and after are not of one task"
            )
        answers = np.take_along_axis(arrays[shadows], rows[..., None], axis=0)
        content[version] = {**beside, "target": arrays[target], "shadows": answers, "inside": inside}
    return content, notes


def _states(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return 0, 1 and 2 for never, deleted and kept."""
    if values.dtype.kind in "SU":
        names = np.char.lower(values.astype(str))
        strange = sorted({*np.unique(names).tolist()} - {*STATES})
        if not strange:
            return np.select([names == each for each in STATES], range(3)).astype(np.int64)
    elif values.dtype.kind in "iu":
        strange = sorted({*np.unique(values).tolist()} - {0, 1, 2})
        if not strange:
            return values.astype(np.int64)
    else:
        strange = [str(values.dtype)]
    raise DataError(f"state must be never, deleted or kept (or 0, 1, 2); got {strange[:5]}")


def _apart_from_kept(state: Ints) -> tuple[Ints, list[str]]:
    """Return (m', n) which shadows' answers to each record are read: those that do not keep it, as many for all records."""
    stays = state == STATES.index("kept")
    if not stays.any():
        return np.broadcast_to(np.arange(len(state))[:, None], state.shape), []
    least = int((~stays).sum(axis=0).min())
    if least < 2:
        raise DataError("some record is kept by all shadow models but one or none: two others are needed")
    rows = np.argsort(stays, axis=0, kind="stable")[:least]
    return rows, [
        f"Shadow models that keep a record say nothing of its deletion: of {len(state):,} answers to each record {least:,} are "
        "read, as many for all."
    ]


def _pair(before: Measured, after: Measured) -> Measured:
    if before.classes != after.classes:
        raise DataError(
            f"the answers before are about {len(before.classes)} classes, those afterwards about {len(after.classes)}: "
            "they are not of one task"
        )
    was, later = before.evidence.own, after.evidence.own
    evidence = pair_evidence(
        (was.target, later.target),
        (was.models, later.models),
        later.inside,
        later.audited_labels,
        people=later.audited_people,
    )
    attacks = tuple(each for each in after.attacks or () if each.name == "lira")[:1] or (ATTACKS[0],)
    facts = replace(after.target, capability="signal", outputs="signal")
    return replace(after, evidence=ShadowEvidence(evidence, evidence), classes=(), target=facts, attacks=attacks)


def _retrained(arrays: _Arrays, after: Measured) -> NDArray[Any] | None:
    if "retrained" not in arrays:
        return None
    models, n = arrays["retrained"], after.evidence.own.n
    wanted = (n, after.evidence.own.classes)
    if models.ndim != 3 or models.shape[1:] != wanted:
        raise DataError(
            f"retrained must be {DELETIONS['retrained']}, (K, {wanted[0]}, {wanted[1]}); its shape is {models.shape}"
        )
    return models


def _of_deleted(models: NDArray[Any], after: Measured) -> Retrained:
    own, member = after.evidence.own, after.member
    return Retrained(own.target[member], models[:, member], own.audited_labels[member])


def _accuracies(of: Measured) -> Accuracies:
    right: Bools = of.evidence.own.predicted == of.evidence.own.audited_labels
    return Accuracies(deleted=float(right[of.member].mean()), never=float(right[~of.member].mean()), kept=None)
