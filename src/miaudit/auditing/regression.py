"""Audits of regressions: what they cannot do, and what is read off predictions in the place of class probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import stdtrit

from miaudit.attacks import Attack, attack_name
from miaudit.attacks.attack import lacking_answers
from miaudit.data import Dataset, Features
from miaudit.errors import PlanError
from miaudit.evidence import OFFERS, Bools, Capability, Floats, Ints, Measure, Population
from miaudit.findings import Unit
from miaudit.plan import Plan
from miaudit.shadows.pool import ShadowPool
from miaudit.signals import FLOOR, Residual, ResidualForm

_MEASURES: dict[ResidualForm, str] = {
    "absolute": "negative absolute error",
    "squared": "negative squared error",
    "log": "negative logarithm of the absolute error",
}
LEVEL = 0.05 / 3  # of each of the three checks of errors, or of accuracies, of one audit
_WAYS = "an estimator or a function (recipe.estimator, recipe.function)"


def refuse_unfit(plan: Plan) -> None:
    """Refuse a plan of a regression that asks for what only classifiers do, before anything is read.

    Raises
    ------
    PlanError
        That lists all of it.
    """
    recipe, target = plan.recipe, plan.target
    problems = [
        (f"recipe.{way}", f"trains classifiers; a regression is trained by {_WAYS}")
        for way in ("standin", "network", "service")
        if getattr(recipe, way) is not None
    ]
    if target.url is not None:
        problems.append(("target.url", "endpoints are asked for classes; a regression is a file, or trained here"))
    if target.plugin is not None:
        problems.append(("target.plugin", "plug-ins are asked for classes; a regression is a file, or trained here"))
    problems += [
        (f"target.{key}", "belongs to targets that answer about classes; leave it out")
        for key in ("outputs", "columns", "module")
        if getattr(target, key)
    ]
    if plan.data.labels != "codes":
        problems.append(("data.labels", "says what labels of classes are; those of a regression are numbers"))
    if plan.shadows.data != "real":
        problems.append(("shadows.data", "records are made from answers about classes, or by class; give real ones"))
    if problems:
        raise PlanError(problems)


def refuse_attacks(attacks: Sequence[Attack] | None, form: ResidualForm) -> None:
    """Refuse attacks that were asked for and cannot read the errors of a regression, before anything is trained.

    Raises
    ------
    PlanError
        With the reason of each.
    """
    offers = OFFERS[capability_of(form)]
    reasons = [(attack_name(each), lacking_answers(each.demands, offers)) for each in attacks or ()]
    if problems := [("attacks", f"{name} cannot attack a regression: {reason}") for name, reason in reasons if reason]:
        raise PlanError(problems)


def capability_of(form: ResidualForm) -> Capability:
    """Return what attacks find in the errors of a regression."""
    return "signal" if form == "log" else "log-likelihood"


def residual_of(form: ResidualForm, pool: ShadowPool, shadows: Iterable[int]) -> tuple[Residual, Measure]:
    """Return what is read off predictions, and what that is; its scale is the shadow models' error on other records."""
    absolute, squared = pool.errors(shadows)
    scale = np.sqrt(squared) if form == "squared" else absolute
    return Residual(form, max(float(scale), FLOOR)), Measure(_MEASURES[form], log_likelihood=form != "log")


def residuals(residual: Residual, predictions: NDArray[Any], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 1) residuals of (n, 1) predictions."""
    return residual(predictions, truth)[:, None]


def population_of(
    residual: Residual, predictions: NDArray[Any], dataset: Dataset, outside: Ints, features: NDArray[Any] | None
) -> Population:
    """Return the target's residuals on records outside the audit."""
    rows = residuals(residual, predictions, dataset.truth[outside])
    return Population(rows, np.zeros(len(outside), np.int64), features=features)


def with_truth(numbers: Any, truth: NDArray[np.float64]) -> Any:
    """Return (n, 1 + d) records as numbers, the labels before them; sparse where the records are."""
    column = truth[:, None].astype(np.float32)
    if sparse.issparse(numbers):
        return sparse.csr_array(sparse.hstack([sparse.csr_array(column), numbers]))  # type: ignore[arg-type]
    return np.hstack([column, np.asarray(numbers).reshape(len(truth), -1)])


def features_with_truth(features: Features, truth: NDArray[np.float64]) -> Features:
    """Return records as the control without a model reads them, their labels among them."""
    return replace(features, numbers=with_truth(features.numbers, truth), plain=features.plain + 1)


class MeanError(NamedTuple):
    """A mean absolute error, its standard error, and of how many independent draws: people, or records."""

    value: float
    spread: float
    n: int


def mean_errors(errors: Floats, member: Bools, unit: Unit) -> tuple[MeanError, MeanError]:
    """Return the mean absolute errors on members and on non-members among what counts, ``errors`` and ``member`` both (n,)."""
    inside, outside = (
        _mean_error(errors[of], None if unit.people is None else unit.people[of])
        for of in (member & unit.counted, ~member & unit.counted)
    )
    return inside, outside


def _mean_error(errors: Floats, people: Ints | None) -> MeanError:
    value = float(errors.mean())
    of = np.arange(len(errors)) if people is None else np.unique(people, return_inverse=True)[1]
    deviations = np.bincount(of, errors - value)  # (people,) summed: records of one person move together
    n = len(deviations)
    variance = float(np.sum(deviations**2)) * n / (n - 1) if n > 1 else np.inf
    return MeanError(value, float(np.sqrt(variance)) / len(errors), n)


def other_unit(predictions: Floats, truth: Floats) -> list[str]:
    """Return that one number for all would err less than the target does on members, as where their labels have another unit.

    ``predictions`` and ``truth`` are both (n,), of members. A model that was trained on these labels by its squared or
    absolute errors does better than their mean. Ten per cent more by both errors, and by more than chance explains, are a sign.
    """
    mean = truth.mean()
    ours, constant = np.abs(predictions - truth), np.abs(truth - mean)
    squares = float(np.mean(ours**2)), float(np.mean(constant**2))
    own, theirs = _mean_error(ours, None), _mean_error(constant, None)
    if own.value <= 1.1 * theirs.value or squares[0] <= 1.1**2 * squares[1] or not larger(own, theirs):
        return []
    return [
        f"The target errs by {own.value:.4g} on the members; one number for all of them, the mean of their labels, errs by "
        f"{theirs.value:.4g}. Its predictions for them run from {predictions.min():.4g} to {predictions.max():.4g}, the labels "
        f"from {truth.min():.4g} to {truth.max():.4g}: see that the labels are in the unit of the predictions (a model may "
        "predict logarithms or scaled values), and that the members are the records it was trained on. If not, no figure of "
        "this audit measures the model. A model of a high or low quantile may err so in its own unit, too."
    ]


def larger(first: MeanError, second: MeanError) -> bool:
    """Whether the first mean error is larger than the second by more than chance explains, by Welch's test."""
    variances = np.array([first.spread**2, second.spread**2])
    if not (total := float(variances.sum())) or not np.isfinite(total):
        return total == 0
    freedom = total**2 / float(np.sum(variances**2 / [first.n - 1, second.n - 1]))
    return bool(first.value - second.value > stdtrit(freedom, 1 - LEVEL) * np.sqrt(total))
