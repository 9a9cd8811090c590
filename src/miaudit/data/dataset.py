"""Dataset: records, labels, ids and groups, under one hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.copies import same_records
from miaudit.data.features import Features, features, features_by
from miaudit.data.hashes import content_hash
from miaudit.data.mapped import Place, is_mapped
from miaudit.data.naming import check_people
from miaudit.data.records import Records, in_memory, n_records, select_records, take_records
from miaudit.data.schema import Schema


@dataclass(frozen=True, eq=False)
class Dataset:
    """Records with their labels.

    Parameters
    ----------
    X
        Records: an (n, ...) array, a scipy CSR matrix, or a pandas or polars frame. They are handed to models in this
        form; a frame and texts that are larger than memory lie on disk, and models are handed a frame and an array of the
        records they are asked about.
    y
        (n,) classes, contiguous integers from 0; of a regression the numbers of its ``classes``, the different labels.
    schema
        The columns of ``X``: names, kinds and domains.
    classes
        The name of each class, as the data has it.
    ids, groups
        (n,) record ids (for people to find a record again) and groups (a person with many records), or None.
    name
        What to call the data in a report.
    group_name
        What the groups are, as the data calls them; None without groups.
    alphabetical
        Whether the classes have names and are numbered in their order, because nothing says another.
    slices
        (n,) values of columns the leak is to be measured by, where they are no features; see `slices_of`.
    notes
        What was read otherwise than it may look like: sentences for the report.
    values
        (n,) labels that a regression predicts; None where records are of classes.
    reading
        What read the records and how, where a library of the user's side did, as ``pandas 3.1.1 read_csv, default
        settings``.
    features
        Makes numbers of records that say too little by themselves, such as paths of images: for the model-free check, and
        for attacks that learn from records. Not sent to other processes.
    """

    X: Records  # (n, ...)
    y: NDArray[np.int64]  # (n,)
    schema: Schema
    classes: tuple[str, ...]
    ids: NDArray[Any] | None = None  # (n,)
    groups: NDArray[Any] | None = None  # (n,)
    name: str = "data"
    group_name: str | None = None
    slices: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    alphabetical: bool = False
    notes: tuple[str, ...] = ()
    values: NDArray[np.float64] | None = None  # (n,)
    reading: str | None = None
    features: Callable[[Records], Any] | None = field(default=None, repr=False)
    _hashes: dict[str, str] = field(default_factory=dict, repr=False)

    @staticmethod
    def load(source: str | Path, **options: Any) -> Dataset:
        """Return the named data set (as ``"adult"``), or the one in a file.

        Options are those of :func:`~miaudit.data.named.load_named` or :func:`~miaudit.data.load.load`.
        """
        from miaudit.data.load import load
        from miaudit.data.named import NAMED, load_named

        if isinstance(source, str) and source in NAMED:
            return load_named(source, **options)
        return load(source, **options)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is sent to another process: of mapped records where they lie, not themselves."""
        place = Place.of(self.X) if is_mapped(self.X) else None
        return {**vars(self), "X": self.X if place is None else place, "features": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        X = state["X"]
        self.__dict__.update(state | {"X": X.read() if isinstance(X, Place) else X})

    def __len__(self) -> int:
        return n_records(self.X)

    def take(self, index: NDArray[np.int64] | Sequence[int]) -> Dataset:
        """Return the records at ``index``, in that order; schema and classes stay."""
        rows = np.asarray(index, dtype=np.int64)
        return replace(
            self,
            X=select_records(self.X, rows),
            y=self.y[rows],
            values=None if self.values is None else self.values[rows],
            ids=None if self.ids is None else self.ids[rows],
            groups=None if self.groups is None else self.groups[rows],
            slices={name: values[rows] for name, values in self.slices.items()},
            _hashes={},
        )

    def in_memory(self) -> Dataset:
        """Return the data set with all its records in the form that models are handed.

        Raises
        ------
        DataError
            If they do not fit into memory.
        """
        return replace(self, X=in_memory(self.X))

    def numbers(self, index: NDArray[np.int64], **options: Any) -> Features:
        """Return the records at ``index`` as numbers: what ``features`` makes of them, or else as `features` reads them.

        Raises
        ------
        DataError
            If the user's function fails, or returns something else than a row of numbers for each record.
        """
        X = take_records(self.X, index)
        return features(X, self.schema, **options) if self.features is None else features_by(self.features, X)

    @property
    def truth(self) -> NDArray[Any]:
        """(n,) what models are trained to answer: classes, or the labels of a regression."""
        return self.y if self.values is None else self.values

    @property
    def width(self) -> int:
        """How many numbers a model answers to a record: one per class, or one."""
        return len(self.classes) if self.values is None else 1

    def describe(self) -> dict[str, Any]:
        """Return what a result says of the data: name, size, columns, and what read them."""
        facts = {"name": self.name, "records": len(self), **self.schema.describe()}
        return facts if self.reading is None else facts | {"reading": self.reading}

    @cached_property
    def people(self) -> NDArray[np.int64] | None:
        """(n,) number of each record's group, in the order groups appear; None without groups.

        Raises
        ------
        DataError
            If a record names no group: all of those would count as one person.
        """
        if self.groups is None:
            return None
        names = self.groups.tolist()
        check_people(names, self.group_name or "group")
        number: dict[Any, int] = {}
        return np.array([number.setdefault(name, len(number)) for name in names], dtype=np.int64)

    @cached_property
    def contents(self) -> NDArray[np.int64]:
        """(n,) numbers, equal where a model sees the same record and the class is the same."""
        return same_records(self.X) * len(self.classes) + self.y

    @property
    def hash(self) -> str:
        """sha256 of records, labels, class names and schema; ids, groups, slices and the name do not count."""
        if "all" not in self._hashes:
            digest = hashlib.sha256(content_hash(self.X).encode())
            digest.update(np.ascontiguousarray(self.y).tobytes())
            digest.update(repr(self.classes).encode("utf-8", "surrogatepass"))
            digest.update(self.schema.fingerprint.encode())
            self._hashes["all"] = digest.hexdigest()
        return self._hashes["all"]
