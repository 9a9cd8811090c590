"""An audit of stored outputs: no model at hand, no shadow to train; see docs/outputs.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from miaudit.attacks import Attack
from miaudit.attacks.choice import chosen_attacks
from miaudit.auditing.asking import Tell, quiet
from miaudit.auditing.conclusion import conclude
from miaudit.auditing.evidence import without_outside
from miaudit.auditing.keywords import in_keywords
from miaudit.auditing.measured import Measured, ShadowFacts, SplitFacts, TargetFacts
from miaudit.auditing.progress import in_python
from miaudit.auditing.provenance import Clock, Origin
from miaudit.auditing.row_order import unrelated_shadows
from miaudit.auditing.shadow_sides import one_sided, refuse_trained_bystanders, repeated_models, turned_shadows
from miaudit.auditing.stored import StoredOutputs, read_outputs
from miaudit.data import Copies, Features, apart_by_value, check_audited
from miaudit.documents import plain, whole
from miaudit.errors import not_path, refuse
from miaudit.evidence import Bools
from miaudit.findings import FIGURES, UnitName
from miaudit.plan import FiguresPlan
from miaudit.result import Result
from miaudit.result.seal import seal
from miaudit.seeds import child_seed
from miaudit.shadows.pool import ShadowEvidence


def score(
    outputs: str | Path | StoredOutputs,
    *,
    seed: int = 0,
    title: str | None = None,
    operating: FiguresPlan = FIGURES,
    unit: UnitName | None = None,
    attacks: Sequence[str | Mapping[str, Any] | Attack] | None = None,
    out: str | Path | None = None,
    tell: Tell | None = None,
    progress: bool | None = None,
) -> Result:
    """Audit a model from what it and its shadow models answered.

    Parameters
    ----------
    outputs
        An ``.npz`` in the layout of docs/outputs.md, or what `miaudit.auditing.stored.stored_outputs` made of such arrays.
    seed
        Root of the draws of attacks and controls.
    title
        Heading of the report; default: the file's name.
    operating
        Where the threshold of PPV and epsilon comes from.
    unit
        ``"person"`` or ``"record"``, what is counted and bounded; default: people where the array ``group`` names them.
    attacks
        As of `miaudit.audit`.
    out
        Folder to write ``result.json``, ``records.csv`` and ``seal.json`` to; none: nothing is written.
    tell, progress
        As of `miaudit.audit`.

    Returns
    -------
    Result
        As of `miaudit.audit`; null where stored outputs do not tell.

    Raises
    ------
    DataError
        If the file cannot be used; the message says why.
    StoreError
        If the folder cannot be written.
    """
    refuse(not_path(("out", out)))
    clock, seed = Clock(), whole(seed, "seed", least=0)
    options: dict[str, Any] = {**operating.model_dump(), "unit": unit}
    choice = None if attacks is None else chosen_attacks(attacks)
    options["attacks"] = None if choice is None else [{"name": each.name, **each.options} for each in choice]
    with in_keywords({"data.group": "them in the array group"}), in_python(False if tell else progress) as shown:
        tell = tell or shown or quiet
        tell("reading the outputs", None)
        stored = outputs if isinstance(outputs, StoredOutputs) else read_outputs(outputs)
        hashes = {"outputs": stored.sha256 or None}
        plan = dict(plain({"call": "miaudit score", **options}, "options"))
        parts = {"seeds": {"root": seed}, "hashes": hashes, "plan": plan}
        measured = measured_of(stored, seed, Origin(clock, parts, things=choice or ()))
        measured = replace(
            measured,
            warnings=(*measured.warnings, *turned_shadows(stored), *unrelated_shadows(stored.own)),
            title=title or f"Membership inference audit of {stored.name}",
            attacks=choice,
            operating=operating,
            unit=unit,
        )
        tell("attacking", None)
        result = conclude(measured, tell)
    if out is not None:
        result.save(out)
        seal(out)
    return result


def measured_of(stored: StoredOutputs, seed: int, origin: Origin) -> Measured:
    """Return what a file holds as what was measured; what it does not tell is None.

    Raises
    ------
    DataError
        If the shadow models' training sets tell members from non-members, or bystanders are such shadow models.
    """
    warnings = one_sided(stored)
    refuse_trained_bystanders(stored)
    mask, copies = _copies(stored, seed)
    if copies is not None and copies.left_out.get("population"):
        forms = without_outside(ShadowEvidence(stored.own, stored.direct), mask[len(stored.member) :])
        stored = replace(stored, own=forms.own, direct=forms.direct)
    own, population = stored.own, stored.own.population
    compared = "members and non-members"
    if population is not None and population.features is not None:
        compared = "members, non-members and records outside the audit"
    return Measured(
        title=stored.name,
        seed=seed,
        evidence=ShadowEvidence(own, stored.direct),
        member=stored.member,
        classes=stored.classes,
        data={"name": stored.name, "records": len(stored.member), "sha256": stored.sha256 or None},
        target=TargetFacts(
            description=f"answers stored in {stored.name}",
            source="stored outputs",
            outputs=stored.type,
            outputs_reason=stored.reason,
            capability=stored.capability,
            decimals=stored.decimals,
        ),
        split=SplitFacts(
            population=0 if population is None else len(population.labels),
            copies=copies,
            compared=compared,
            duplicates={} if copies is None else copies.same,
            grouped_by=None if own.audited_people is None else "group",
        ),
        shadows=ShadowFacts("unknown: only the answers are at hand", len(own.models), stored.shadow_accuracies),
        origin=origin,
        countable=mask[: len(stored.member)],
        contents=stored.contents,
        records=None if own.features is None else Features(own.features, 0),
        no_records="the file holds no features",
        ids=stored.ids,
        slices=stored.slices,
        warnings=(*stored.warnings, *warnings, *repeated_models(stored)),
    )


def _copies(stored: StoredOutputs, seed: int) -> tuple[Bools, Copies | None]:
    """Compare the records by value, as far as the file holds them.

    Returns
    -------
    (ndarray, Copies or None)
        (n + p,) which audited records and which records outside the audit may be counted, and what was found.

    Raises
    ------
    SplitError
        If hardly a member or a non-member is left.
    """
    own, member = stored.own, stored.member
    population = own.population
    theirs = None if population is None else population.features
    if theirs is not None and own.features is not None and theirs.shape[1:] != own.features.shape[1:]:
        theirs = None  # not comparable
    p = 0 if population is None else len(population.labels)
    keep = np.ones(len(member) + p, bool)
    if own.features is None:
        return keep, None
    flat = [np.asarray(each).reshape(len(each), -1) for each in (own.features, theirs) if each is not None]
    audited = own.audited_labels
    outside = audited[:0] if population is None or theirs is None else population.labels
    masks, copies = apart_by_value(
        np.concatenate([flat[0][member], flat[0][~member], *flat[1:]]),
        [audited[member], audited[~member], outside],
        seed=child_seed(seed, "copies"),
    )
    check_audited(copies, int(member.sum()), int((~member).sum()))
    sides = keep[: len(member)]
    sides[member], sides[~member] = masks[0], masks[1]
    if theirs is not None:
        keep[len(member) :] = masks[2]
    return keep, copies
