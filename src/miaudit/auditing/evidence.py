"""Evidence of an audit: the answers of the target and of its shadow models, in the forms that attacks read."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.asking import Asked
from miaudit.auditing.case import Case
from miaudit.auditing.regression import population_of, residual_of, residuals, with_truth
from miaudit.data import Dataset
from miaudit.data.records import densified, is_sparse, take_records
from miaudit.evidence import Bools, Population, Probes
from miaudit.shadows.pool import ShadowEvidence, ShadowPool
from miaudit.targets.seen import answered_classes, reduce_alike

_MOST_CATEGORIES = 1000  # with a column each


def evidence_of(
    case: Case, answers: Asked, pool: ShadowPool, outside: NDArray[np.int64], shadows: Iterable[int]
) -> ShadowEvidence:
    """Return what attacks read of the answers to audited records and (p,) others; of a regression, its residuals."""
    dataset, audited = case.dataset, pool.draws.audited
    n, about = len(audited), outside if answers.outside is not None else outside[:0]
    numbers = numbers_of(dataset, np.concatenate([audited, about]))
    of_audited, of_others = (None, None) if numbers is None else (numbers[:n], numbers[n:])
    population = None
    if dataset.values is not None:
        residual, measure = residual_of(case.residual, pool, shadows)
        if answers.outside is not None:
            population = population_of(residual, answers.outside, dataset, outside, of_others)
        return pool.evidence(
            shadows,
            residuals(residual, answers.outputs, dataset.values[audited]),
            audited,
            outside=population,
            features=of_audited,
            people=dataset.people,
            residual=residual,
            measure=measure,
        )
    if answers.outside is not None:
        population = Population(answers.outside, dataset.y[outside], features=of_others)
    top = answered_classes(answers.outputs) if answers.facts.capability == "topk" else None
    evidence = pool.evidence(
        shadows,
        answers.outputs,
        audited,
        outside=population,
        features=of_audited,
        people=dataset.people,
        alike=partial(reduce_alike, top=top, decimals=answers.facts.decimals),
    )
    return evidence if answers.trace is None else evidence._replace(own=evidence.own.replace(trace=answers.trace))


def without_outside(evidence: ShadowEvidence, keep: Bools) -> ShadowEvidence:
    """Return the evidence with only some of the (p,) records outside the audit."""
    old = evidence.own.population
    if old is None or keep.all():
        return evidence
    new = None
    if keep.any():
        new = Population(
            old.target[keep],
            old.labels[keep],
            shadows=None if old.shadows is None else np.stack([rows[keep] for rows in old.shadows]),
            features=None if old.features is None else old.features[keep],
        )
    own, direct = evidence.own.replace(population=new), evidence.direct
    if direct is None or direct is evidence.own:
        return ShadowEvidence(own, None if direct is None else own)
    inner = None if direct.own is None else direct.own.replace(population=new)
    return ShadowEvidence(own, direct.replace(population=new, own=inner))


def numbers_of(dataset: Dataset, index: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Return records as numbers for attacks that learn from them; None for sparse ones.

    They are what a function of the user's makes of them, where there is one. Texts have a column for each that there is, so
    where there are many they are hashed into a fixed number.
    """
    schema = dataset.schema
    if dataset.features is None and schema.sparse:
        return None
    if dataset.features is not None:
        matrix = dataset.numbers(index).numbers
        if is_sparse(matrix):
            return None
        numbers = np.asarray(matrix)
    elif (
        not any(column.kind == "text" for column in schema.columns)
        and sum(len(column.categories or ()) for column in schema.columns) <= _MOST_CATEGORIES
    ):
        numbers = np.asarray(schema.encode(take_records(dataset.X, index)))
    else:
        numbers = densified(dataset.numbers(index, buckets=_MOST_CATEGORIES // 4).numbers)
    return numbers if dataset.values is None else with_truth(numbers, dataset.values[index])


def with_shadows(probes: dict[str, Probes], pool: ShadowPool, shadows: Collection[int]) -> dict[str, Probes]:
    """Return what came of the target's probes, with the votes of the shadow models, if any, on the same variants."""
    return {
        question: replace(answers, shadow_votes=pool.probes(shadows, question))
        if shadows and answers.votes is not None
        else answers
        for question, answers in probes.items()
    }
