"""Synthesis: records that were made, their classes, and the figures of how they were made."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.data import Dataset
from miaudit.errors import DataError, PlanError, StoreError, counted
from miaudit.files import read_json, read_npz, write_files
from miaudit.result import SynthesisResult
from miaudit.synthesis.climbing import Ask, Climbs
from miaudit.synthesis.domain import Domain, Values
from miaudit.synthesis.marginals import Marginals
from miaudit.synthesis.noise import Noise, noisy
from miaudit.targets import Target

Method = Literal["model-based", "marginals", "noisy"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class Synthesis:
    """Records made without a sample of the population.

    Parameters
    ----------
    values
        (n, width) records as numbers; see `Domain.values`.
    y
        (n,) their classes.
    domain, classes
        The features, and the class names in order.
    figures
        How they were made and what it cost; what ``synthesis.json`` holds.
    """

    values: Values
    y: NDArray[np.int64]
    domain: Domain
    classes: tuple[str, ...]
    figures: SynthesisResult

    def dataset(self) -> Dataset:
        """Return the records in the form of the data they imitate, under the same schema and classes."""
        X = self.domain.records(self.values)
        return Dataset(X=X, y=self.y, schema=self.domain.schema, classes=self.classes, name="synthetic")

    def save(self, folder: str | Path) -> Path:
        """Write ``synthesis.npz`` and ``synthesis.json`` to a folder, both or neither; return the first's path.

        The arrays are ``X``, ``y``, ``classes`` and ``feature_names``, none of objects, as `[data]` reads them. A column of
        categories that are texts holds their numbers.

        Raises
        ------
        StoreError
            If the folder cannot be written.
        """
        X = self.domain.records(self.values)
        if not isinstance(X, np.ndarray) or X.dtype.kind == "O":
            X = self.values
        arrays = {
            "X": X,
            "y": self.y,
            "classes": np.array(self.classes),
            "feature_names": np.array(self.domain.names()),
        }
        write_files(Path(folder), {"synthesis.npz": npz_bytes(arrays), "synthesis.json": self.to_json().encode()})
        return Path(folder) / "synthesis.npz"

    @classmethod
    def load(cls, folder: str | Path, domain: Domain, classes: tuple[str, ...]) -> Synthesis | None:
        """Return what `save` wrote, or None if there is nothing that can be read."""
        try:
            figures = SynthesisResult.model_validate(read_json(Path(folder) / "synthesis.json"))
            arrays = read_npz(Path(folder) / "synthesis.npz")
            X, y = arrays["X"], arrays["y"]
            coded = X.ndim == 2 and not (isinstance(domain.like, np.ndarray) and domain.like.dtype.kind != "O")
            records = cls(X.astype(domain.dtype) if coded else domain.values(X), y, domain, classes, figures)
            return records if figures.sha256 == records.sha256 else None
        except (OSError, ValueError, KeyError, TypeError, IndexError, DataError):
            return None

    def to_json(self) -> str:
        """Return the figures as a JSON document."""
        return json.dumps(self.figures.model_dump(mode="json", by_alias=True), indent=2, allow_nan=False) + "\n"

    def summary(self) -> list[str]:
        """Return the figures as a few lines for people."""
        figures, queries = self.figures, self.figures.queries
        lines = [f"{figures.method}: {figures.records:,} of {counted(figures.wanted, 'record')}"]
        if figures.method == "model-based":
            if figures.records:
                lines.append(
                    f"{queries.per_record:.1f} queries per record, {queries.per_record_with_failed:.1f} with those of "
                    f"failed climbs; {queries.total:,} in all; mean confidence {figures.mean_confidence:.3f}"
                )
            else:
                lines.append(counted(queries.total, "query", "queries"))
        elif queries.total:
            lines.append(f"{counted(queries.total, 'query', 'queries')}, for the classes")
        for key, what in (("classes_failed", "no record of"), ("classes_short", "too few records of")):
            if names := getattr(figures, key):
                lines.append(
                    f"{what} {counted(len(names), 'class', 'classes')}: "
                    f"{', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
                )
        if figures.stopped:
            lines.append(f"stopped: {figures.stopped}")
        return lines

    @property
    def sha256(self) -> str:
        """Hash (hex) of records and classes."""
        return _sha256(self.values, self.y)


def npz_bytes(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Return arrays as the content of an ``.npz`` file.

    Raises
    ------
    StoreError
        For an array of objects, which would be pickled.
    """
    if objects := [name for name, array in arrays.items() if array.dtype.kind == "O"]:
        raise StoreError(f"arrays of objects are never written (they would be pickled): {objects}")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def asking(target: Target, domain: Domain) -> Ask:
    """Return how climbs ask a target: numbers in, probabilities out.

    Raises
    ------
    PlanError
        When the target answers labels alone: climbing follows its confidence.
    """

    def ask(values: Values) -> NDArray[np.floating[Any]]:
        outputs = target.answer(domain.records(values))
        if outputs.kind == "labels":
            raise PlanError(
                "model-based synthesis climbs by the target's confidence, and this target answers labels alone; use "
                '"synthetic:marginals" or "synthetic:noisy", or real records'
            )
        return outputs.probabilities

    return ask


def from_climbs(climbs: Climbs, classes: tuple[str, ...]) -> Synthesis:
    """Return the records that climbs have made so far, with success, queries and confidence of each class."""
    records = climbs.records()
    counts, goals = climbs.made, climbs.wanted
    unfinished = climbs.queries - int(climbs.made_queries.sum() + climbs.failed_queries.sum())
    confidence = np.bincount(records["klass"], records["confidence"], minlength=len(goals))  # (classes,) sums
    n, failed, queries = int(counts.sum()), int(climbs.failed.sum()), int(climbs.made_queries.sum())
    figures = {
        "options": asdict(climbs.options),
        "seed": climbs.seed,
        "wanted": int(goals.sum()),
        "mean_confidence": float(records["confidence"].mean()) if n else None,
        "queries": {
            "records": queries,
            "failed": int(climbs.failed_queries.sum()),
            "unfinished": unfinished,
            "total": climbs.queries,
            "per_record": queries / n if n else None,
            "per_record_with_failed": climbs.queries / n if n else None,
        },
        "climbs": {"made": n, "failed": failed, "unfinished": int(climbs.launched.sum()) - n - failed},
        "classes_short": [name for name, count, goal in zip(classes, counts, goals, strict=True) if 0 < count < goal],
        "per_class": [
            {
                "class": name,
                "wanted": int(goals[c]),
                "made": int(counts[c]),
                "failed": int(climbs.failed[c]),
                "queries_made": int(climbs.made_queries[c]),
                "queries_failed": int(climbs.failed_queries[c]),
                "mean_confidence": float(confidence[c] / counts[c]) if counts[c] else None,
            }
            for c, name in enumerate(classes)
        ],
    }
    return _synthesis("model-based", records["values"], records["klass"], climbs.domain, classes, figures)


def from_marginals(marginals: Marginals, n: int, *, seed: int, target: Target | None = None) -> Synthesis:
    """Return n records drawn from marginals.

    Parameters
    ----------
    marginals
        By class; or of all classes, and then the target's answers are the records' classes, one query each.
    seed
        Of the draws.
    target
        Whom to ask, with marginals of all classes.

    Raises
    ------
    PlanError
        If the marginals are of all classes, and there is no target to ask.
    """
    values, y = marginals.draw(n, np.random.default_rng(seed))
    if y is None:
        if target is None:
            raise PlanError(
                "marginals of all classes tell no record's class: give a target to ask, or marginals by class"
            )
        y = target.answer(marginals.domain.records(values)).labels.astype(np.int64)
    queries = 0 if target is None else n
    figures = {
        "options": {"labels": "class-conditional" if target is None else "target"},
        "seed": seed,
        "wanted": n,
        "queries": {"total": queries, "per_record": queries / n},
    }
    return _synthesis("marginals", values, y, marginals.domain, marginals.classes, figures)


def from_noise(dataset: Dataset, domain: Domain, n: int, *, rate: float, noise: Noise, seed: int) -> Synthesis:
    """Return n noisy copies of real records, in turn, with the records' own classes; see `noisy`."""
    rows = np.arange(n) % len(dataset)
    values = domain.values(dataset.X)
    records = noisy(values[rows], domain, rate=rate, noise=noise, rng=np.random.default_rng(seed))
    figures = {
        "options": {"rate": rate, "noise": noise},
        "seed": seed,
        "wanted": n,
        "queries": {"total": 0, "per_record": 0.0},
        "features_changed": float((records != values[rows]).mean()),
        "source_records": len(dataset),
    }
    return _synthesis("noisy", records, dataset.y[rows], domain, dataset.classes, figures)


def _synthesis(
    method: Method,
    values: Values,
    y: NDArray[np.int64],
    domain: Domain,
    classes: tuple[str, ...],
    figures: dict[str, Any],
) -> Synthesis:
    counts = np.bincount(y, minlength=len(classes))
    common = {
        "schema_version": SCHEMA_VERSION,
        "method": method,
        "records": len(values),
        **figures,
        "stopped": None,
        "sha256": _sha256(values, y),
    }
    common.setdefault("classes_failed", [name for name, count in zip(classes, counts, strict=True) if not count])
    common.setdefault(
        "per_class", [{"class": name, "made": int(count)} for name, count in zip(classes, counts, strict=True)]
    )
    return Synthesis(values, y, domain, classes, SynthesisResult.model_validate(common))


def _sha256(values: Values, y: NDArray[np.int64]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes())
    digest.update(np.ascontiguousarray(y, dtype="<i8").tobytes())
    return digest.hexdigest()
