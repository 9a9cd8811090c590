"""Whether answers have to do with the labels beside them: rows of the two may stand in another order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.measured import Measured
from miaudit.errors import counted
from miaudit.evidence import Bools, Evidence, Ints

_DEVIATIONS = 3.0  # beyond which the number of right answers is not what labels in another order give
_LEAST_GAP = 0.2  # by which answers must be surer than labels in another order would let them be right
_RESOLUTIONS = 1 / 2, 3 / 4  # of that gap which all records, and the trained alone, must be many enough to tell


class Unrelated(NamedTuple):
    """Share of right answers, that of labels in any other order, and the mean largest probability; None of labels alone."""

    right: float
    in_other_order: float
    sure: float | None


def unrelated(answers: NDArray[np.floating] | Ints, labels: Ints, trained: Bools) -> Unrelated | None:
    """Return what (n, c) or (n,) answers of a model say where they have nothing to do with the labels.

    The right ones are as many as labels in a random order give, given how often each class is answered and is true, among all
    records and among the ``trained``, which a model fits best. And the answers claim more: their mean largest probability is
    higher by at least ``_LEAST_GAP``, and so many records, and so many trained ones, would tell much of that. So no model is
    spoken of that is unsure, answers the most frequent class, or was trained on few of the records.
    """
    predicted: Ints = (answers if answers.ndim == 1 else answers.argmax(axis=1)).astype(np.int64, copy=False)
    parts = [_by_chance(predicted, labels), _by_chance(predicted[trained], labels[trained])]
    right, expected, _ = parts[0]
    sure = None if answers.ndim == 1 else float(answers.max(axis=1).mean())
    gap = _LEAST_GAP if sure is None else sure - expected
    if gap < _LEAST_GAP or expected + _LEAST_GAP > 1:
        return None
    for (share, chance, spread), resolution in zip(parts, _RESOLUTIONS, strict=True):
        if not 0 < _DEVIATIONS * spread <= resolution * gap or abs(share - chance) > _DEVIATIONS * spread:
            return None
    return Unrelated(right, expected, sure)


def unrelated_target(measured: Measured) -> list[str]:
    """Return that the target's answers have nothing to do with the labels."""
    evidence = measured.evidence.own
    if not measured.of_classes or measured.target.source == "trained here":
        return []
    figures = unrelated(np.asarray(evidence.target), np.asarray(evidence.audited_labels), measured.member)
    if figures is None:
        return []
    sure = "" if figures.sure is None else f", though it is sure of it (mean largest probability {figures.sure:.3f})"
    return [
        f"The class that the target answers is right for {figures.right:.3f} of the audited records{sure}, as with labels in "
        f"any other order ({figures.in_other_order:.3f}), and no more often for members than that explains. Either its answers "
        "and the labels do not stand in one order, and no figure of this audit measures the model, or it has learned hardly "
        "anything that these labels say. Check that each answer stands in the row of its record's label."
    ]


def unrelated_shadows(evidence: Evidence) -> list[str]:
    """Return how many shadow models give answers that have nothing to do with the labels, not even of their own records."""
    if evidence.measure is not None:
        return []
    rows = zip(evidence.models, evidence.shadow_labels, evidence.inside, strict=True)
    models = [each for answers, labels, inside in rows if (each := unrelated(np.asarray(answers), labels, inside))]
    if not models:
        return []
    right, chance = (float(np.mean([each[k] for each in models])) for k in (0, 1))
    return [
        f"Of {len(models):,} of {counted(len(evidence.models), 'shadow model')} the class answered is right for {right:.3f} of "
        f"the records, as with labels in any other order ({chance:.3f}), and no more often for the records trained on than "
        "that explains. Either answers and labels do not stand in one order, or such a model has learned hardly "
        "anything that the labels say: attacks that compare with it are misled. Check that each answer stands in the row "
        "of its record's label."
    ]


def _by_chance(predicted: Ints, labels: Ints) -> tuple[float, float, float]:
    """Return the share of right answers, and its mean and standard deviation over all orders of the labels."""
    n = len(labels)
    if n < 2:
        return 0.0, 0.0, 0.0
    classes = int(max(predicted.max(), labels.max())) + 1
    answered, true = (np.bincount(each, minlength=classes) / n for each in (predicted, labels))
    both = float(answered @ true)
    variance = both - float(answered @ true**2) - float(true @ answered**2) + both**2
    return float((predicted == labels).mean()), both, max(0.0, variance / (n - 1)) ** 0.5
