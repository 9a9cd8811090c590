"""What was measured, as it would have been behind an output mitigation: stored rows changed, nothing asked or trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing import Measured
from miaudit.errors import DataError
from miaudit.evidence import Answers, Evidence, Floats, Population
from miaudit.mitigations.output import OutputMitigation
from miaudit.shadows.pool import ShadowEvidence
from miaudit.targets import Outputs

HELD = 2 * 2**30
"""Bytes of shadow models' answers that are held in memory; more are read one model at a time for each attack."""

Change = Callable[[Floats], Floats]


def mitigated(measured: Measured, mitigation: OutputMitigation, /, *, naive: bool = False) -> Measured:
    """Return what would have been measured of a target behind a mitigation.

    Nothing is asked and nothing trained. What was learned by asking for labels alone stays where the mitigation keeps labels,
    and is left out where it may change them: that would have to be asked again. The loss after each stage of the training is
    left out: a mitigation gives out final answers.

    Parameters
    ----------
    measured
        What was measured without it; its answers must be about classes.
    mitigation
        What changes answers.
    naive
        Whether the attacker does not know of it: shadow models answer unmitigated. By default they answer as the target does.

    Raises
    ------
    DataError
        If the answers are signals, or of a regression.
    """
    if not measured.of_classes:
        raise DataError(
            "an output mitigation changes what is answered of classes, and this audit has one number a record "
            f"({measured.target.outputs}) only"
        )
    answers = mitigation.apply(_outputs(measured, measured.evidence.own.target))
    vectors = _read_as_vectors(answers) if naive else answers
    target = replace(
        measured.target,
        outputs=vectors.decision.type,
        outputs_reason=f"as the mitigation {label(mitigation)} leaves it",
        capability=vectors.capability,
        decimals=vectors.decimals,
    )
    cache: dict[int, Evidence] = {}
    own, direct = (
        None if each is None else _evidence(each, measured, mitigation, naive, cache) for each in measured.evidence
    )
    assert own is not None
    return replace(measured, evidence=ShadowEvidence(own, direct), target=target)


def held(measured: Measured) -> Measured:
    """Return the same with the shadow models' answers in memory, where they are not too many; each is then read once."""
    rows: dict[int, Evidence] = {}

    def of(evidence: Evidence) -> Evidence:
        if id(evidence) not in rows:
            population = evidence.population
            if population is not None and population.shadows is not None:
                population = replace(population, shadows=_held(population.shadows))
            rows[id(evidence)] = evidence.replace(
                shadows=_held(evidence.models),
                population=population,
                bystanders=None if evidence.bystanders is None else _held(evidence.bystanders),
                own=None if evidence.own is None else of(evidence.own),
            )
        return rows[id(evidence)]

    own, direct = measured.evidence
    return replace(measured, evidence=ShadowEvidence(of(own), None if direct is None else of(direct)))


def label(mitigation: Any) -> str:
    """Return a mitigation's name and options, as ``top-k k=1``; a parameter of the recipe alone, as ``max_depth=4``."""
    parts = getattr(mitigation, "parts", None)
    if parts is not None:
        return ", ".join(map(label, parts))
    if mitigation.name == "knob":
        return f"{mitigation.parameter}={mitigation.value}"
    options = {key.replace("_", "-"): value for key, value in vars(mitigation).items() if value is not None}
    words = [f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in options.items()]
    return " ".join([mitigation.name, *words])


def _held(models: Floats | Answers) -> Floats | Answers:
    m, r, c = models.shape
    return np.asarray(models) if m * r * c * models.dtype.itemsize <= HELD else models


def _outputs(measured: Measured, values: NDArray[Any]) -> Outputs:
    """Return answers in the form of evidence, which is probabilities or labels, as outputs."""
    if values.ndim == 1:
        return Outputs(values, "labels", classes=len(measured.classes))
    return Outputs(values, "topk" if measured.target.capability == "topk" else "probabilities")


def _read_as_vectors(outputs: Outputs) -> Outputs:
    """Return labels as vectors of ones and zeros, by which an attacker reads them who takes them for probabilities."""
    return Outputs(outputs.probabilities, "topk") if outputs.kind == "labels" else outputs


def _evidence(
    evidence: Evidence, measured: Measured, mitigation: OutputMitigation, naive: bool, cache: dict[int, Evidence]
) -> Evidence:
    """Return evidence of mitigated answers; evidence that serves twice is made once (``cache``)."""
    if id(evidence) in cache:
        return cache[id(evidence)]
    answers = mitigation.apply(_outputs(measured, evidence.target))
    labels = answers.kind == "labels"

    def change(rows: Floats) -> Floats:
        return mitigation.apply(_outputs(measured, rows)).probabilities.astype(rows.dtype, copy=False)

    theirs: Change = (lambda rows: rows) if naive else change
    population = evidence.population
    if population is not None:
        usable = not labels and population.target.ndim == 2  # labels of other records serve no attack
        population = _population(population, change, theirs) if usable else None
    variants = evidence.variants
    if variants is not None:
        ours = np.stack([change(rows) for rows in variants.target])
        models = np.stack([np.stack([theirs(rows) for rows in query]) for query in variants.shadows])
        variants = None if labels else replace(variants, target=ours, shadows=models)
    keeps = mitigation.keeps_labels
    outputs = _read_as_vectors(answers) if naive else answers
    cache[id(evidence)] = evidence.replace(
        target=outputs.values,
        shadows=_models(evidence.models, theirs),
        population=population,
        variants=variants,
        probes=evidence.probes if keeps else None,
        answers=evidence.answers if keeps else None,
        own=None if evidence.own is None else _evidence(evidence.own, measured, mitigation, naive, cache),
        trace=None,
        bystanders=None if evidence.bystanders is None else _models(evidence.bystanders, change),
    )
    return cache[id(evidence)]


def _population(population: Population, ours: Change, theirs: Change) -> Population:
    shadows = None if population.shadows is None else _models(population.shadows, theirs)
    return replace(population, target=ours(population.target), shadows=shadows)


def _models(models: Floats | Answers, change: Change) -> Floats | Answers:
    """Return changed answers: in memory where the given ones are, else changed whenever they are read."""
    if isinstance(models, Answers):
        readers = tuple(partial(_read, each, change) for each in models.read)
        return Answers(readers, models.rows, models.classes)
    return np.stack([change(rows) for rows in models]) if len(models) else models


def _read(read: Callable[[], Floats], change: Change) -> Floats:
    return change(read())
