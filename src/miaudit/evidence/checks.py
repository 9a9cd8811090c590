"""Whether the arrays of evidence fit one another: shapes, ranges and types."""

from __future__ import annotations

from typing import Any

import numpy as np

from miaudit.errors import DataError, counted
from miaudit.evidence.rows import Answers, Population, Probes, Variants
from miaudit.evidence.signal import Measure


def check_answers(target: Any, shadows: Any, inside: Any, labels: Any, asked: Any) -> None:
    """Refuse answers of target and shadows, memberships and labels that do not fit one another."""
    if shadows.ndim != 3:
        raise DataError(f"shadows must have shape (models, records, classes), got {shadows.shape}")
    if target.ndim not in (1, 2) or (target.ndim == 2 and target.shape[1] != shadows.shape[2]):
        raise DataError(f"target must have shape (n, {shadows.shape[2]}) like the shadows, got {target.shape}")
    if inside.shape != shadows.shape[:2]:
        raise DataError(f"inside must have shape {shadows.shape[:2]} (models, records), got {inside.shape}")
    if inside.dtype != bool and not np.isin(inside, (0, 1)).all():
        raise DataError(f"inside must be true or false (0 or 1) everywhere, got dtype {inside.dtype}")
    if labels.ndim != 1 or len(labels) < len(target):
        raise DataError(f"labels must be one class per record, at least {len(target):,}, got shape {labels.shape}")
    if len(labels) and (labels.min() < 0 or labels.max() >= shadows.shape[2]):
        raise DataError(
            f"labels must lie in 0..{shadows.shape[2] - 1}, one per output column; got {labels.min()}..{labels.max()}"
        )
    if asked is None:
        if shadows.shape[1] != len(target):
            raise DataError(
                f"without `asked`, shadows must answer the {len(target):,} audited records; they answer {shadows.shape[1]}"
            )
    elif asked.shape != inside.shape or (asked.size and (asked.min() < 0 or asked.max() >= len(labels))):
        raise DataError(f"asked must have shape {inside.shape} with record numbers below {len(labels)}")
    for name, array in (("target", [target]), ("shadows", () if isinstance(shadows, Answers) else shadows)):
        if not all(np.isfinite(rows).all() for rows in array):  # one model at a time: the test takes memory, too
            raise DataError(f"{name} holds NaN or infinite outputs; every output must be a finite number")


def check_beside(
    target: Any, shadows: Any, asked: Any, population: Population | None, variants: Variants | None, features: Any
) -> None:
    """Refuse a population, variants or features that do not fit the answers."""
    models, n, classes = len(shadows), len(target), shadows.shape[2]
    if population is not None:
        p = len(population.labels)
        check_block("population.target", population.target, (p, classes))
        if population.shadows is not None:
            check_block("population.shadows", population.shadows, (models, p, classes))
        if p and (population.labels.min() < 0 or population.labels.max() >= classes):
            raise DataError(f"population.labels must lie in 0..{classes - 1}, one per output column")
        if population.features is not None and (
            features is None or population.features.shape != (p, *features.shape[1:])
        ):
            raise DataError(
                f"population.features must be {p} rows like the evidence's features, "
                f"{None if features is None else features.shape}; got {population.features.shape}"
            )
    if variants is not None:
        if asked is not None:
            raise DataError("variants need shadows that answered the audited records themselves; `asked` must be None")
        q = len(variants.target)
        check_block("variants.target", variants.target, (q, n, classes))
        check_block("variants.shadows", variants.shadows, (q, models, n, classes))
    if features is not None and (features.ndim < 2 or len(features) != n):
        raise DataError(
            f"features must have one row of numbers for each of {counted(n, 'record')}, got shape {features.shape}"
        )


def check_own(own: int | None, shadows: int, asked: Any) -> None:
    """Refuse rows of other models than the shadows, or beside shadows that did not answer the audited records."""
    if own is not None and (asked is not None or own != shadows):
        raise DataError(
            f"own must be rows of the same {counted(shadows, 'shadow')}, beside their answers to the audited records; it has "
            f"{counted(own, 'shadow')}"
        )


def check_people(people: Any, records: int, n: int) -> None:
    """Refuse people that are no whole numbers of all records, or of the n audited ones."""
    if people is not None and (people.dtype.kind not in "iu" or people.shape not in ((records,), (n,))):
        raise DataError(
            f"people must be one whole number per record, {records} or the {n:,} audited ones; got dtype {people.dtype} and "
            f"shape {people.shape}"
        )


def check_trace(trace: Any, n: int) -> None:
    """Refuse a trace that does not hold losses of the n audited records."""
    if trace is None:
        return
    if trace.ndim != 2 or len(trace) != n or not trace.shape[1]:
        raise DataError(f"trace must be (n, stages) losses of the {n:,} audited records, got shape {trace.shape}")
    if trace.dtype.kind not in "fiu" or not np.isfinite(trace).all() or (trace < 0).any():
        raise DataError("trace must hold losses: finite numbers from 0, -log of the probability of the record's class")


def check_probes(probes: Probes, n: int, rows: tuple[int, ...]) -> None:
    """Refuse answers to probes that are not about the n audited records and the shadows' rows."""
    shapes: dict[str, tuple[int, ...]] = {"distances": (n,), "shadow_distances": rows}
    if probes.votes is not None:
        q = probes.votes.shape[-1]
        if q == 0:
            raise DataError("probes.votes holds no vote; ask at least once about each record")
        shapes |= {"votes": (n, q), "shadow_votes": (*rows, q)}
    elif probes.shadow_votes is not None:
        raise DataError("probes.shadow_votes are of no use without the target's votes; give both")
    for name, shape in shapes.items():
        if (array := getattr(probes, name)) is not None:
            check_block(f"probes.{name}", array, shape)


def check_block(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array of another shape, or with numbers that are not finite."""
    if array.shape != shape:
        raise DataError(f"{name} must have shape {shape}, got {array.shape}")
    if not isinstance(array, Answers) and not np.isfinite(array).all():
        raise DataError(f"{name} holds NaN or infinite outputs; every output must be a finite number")


def check_signals(target: Any, shadows: Any, measure: Measure) -> None:
    """Refuse signals that are not one column, or log-likelihoods above 0."""
    if target.ndim != 2 or shadows.shape[2] != 1:
        raise DataError(f"signals are one number per answer, (n, 1); got {target.shape} and {shadows.shape}")
    if not measure.log_likelihood:
        return
    arrays = (target,) if isinstance(shadows, Answers) else (target, *shadows)  # others are read when asked for
    highest = max(float(rows.max(initial=-np.inf)) for rows in arrays)
    if highest > _ROUNDING:
        raise DataError(
            "log-likelihoods are at most 0, the logarithm of a probability or of a density relative to its maximum; got "
            f"{highest:.4g}. Subtract the logarithm of the highest density, or leave out log_likelihood"
        )


_ROUNDING = 1e-6  # by which the logarithm of a probability that was computed in float32 may exceed 0
