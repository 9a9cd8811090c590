"""Tables with texts that lie in a file: Arrow batches mapped into memory, of which the rows that are needed are read.

A frame on disk and texts on disk stand for the pandas frame, and the array of texts, that reading the file whole would give.
Records that a model is handed are that frame or array; everything else goes through the columns, those of texts in blocks.
"""

from __future__ import annotations

import json
import mmap
import weakref
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.mapped import on_mapping, on_temporary_disk, reopened, temporary_file
from miaudit.errors import DataError
from miaudit.files import close_temporary, identity_of, spare_descriptor
from miaudit.libraries import require

Ints = NDArray[np.int64]


def is_on_disk(X: Any) -> bool:
    """Whether records are texts or a frame on disk."""
    return isinstance(X, TextsOnDisk | FrameOnDisk)


class Batches:
    """Columns of a table in a temporary file, written batch by batch; the file goes when this does.

    Texts and categories are codes beside the different values of their batch, so that each lies there once.

    Parameters
    ----------
    schema
        The Arrow schema of the columns, as the file that they were read from states it.
    size
        About how many bytes they take: for the message where there is no room for them.
    """

    def __init__(self, schema: Any, size: int) -> None:
        descriptor, self.path = temporary_file(0)
        weakref.finalize(self, close_temporary, spare_descriptor(descriptor, self.path), self.path)
        self._identity, self._size = identity_of(self.path), size
        self.schema = schema
        self.missing: set[str] = set()
        self._writer: Any = None

    def write(self, batch: Any) -> None:
        """Add the records of an Arrow batch."""
        pa = _arrow()
        columns = [_packed(column, pa) for column in batch.columns]
        self.missing.update(name for name, column in zip(batch.schema.names, columns, strict=True) if column.null_count)
        packed = pa.record_batch(columns, names=batch.schema.names)
        with on_temporary_disk(self._size):
            if self._writer is None:
                self._writer = pa.ipc.new_stream(self.path, packed.schema)
            self._writer.write_batch(packed)

    def close(self) -> None:
        """End the writing."""
        with on_temporary_disk(self._size):
            self._writer.close()
        self._writer = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is sent to another process: where the records lie, not themselves."""
        return {
            **{name: vars(self)[name] for name in ("path", "schema", "missing", "_identity", "_size")},
            "_writer": None,
        }

    @cached_property
    def mapped(self) -> list[Any]:
        """The Arrow batches, mapped."""
        pa = _arrow()
        with reopened(self.path, self._identity) as file, on_mapping():
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return list(pa.ipc.open_stream(pa.BufferReader(pa.py_buffer(content))))

    def __len__(self) -> int:
        return sum(batch.num_rows for batch in self.mapped)


class Rows:
    """Some records of the batches of one or more files, one after the other.

    Parameters
    ----------
    sources
        The batches of each file.
    rows
        (n,) numbers of the records; default: all.
    """

    def __init__(self, sources: Sequence[Batches], rows: Ints | None = None) -> None:
        self.sources, self.rows = tuple(sources), rows

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.rows is None else len(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return {"sources": self.sources, "rows": self.rows}

    @cached_property
    def _batches(self) -> list[tuple[Batches, Any]]:
        return [(source, batch) for source in self.sources for batch in source.mapped]

    @cached_property
    def _ends(self) -> Ints:
        return np.cumsum([batch.num_rows for _, batch in self._batches])

    @property
    def step(self) -> int:
        """How many records are read at a time: those of a batch."""
        return max(1, int(self._ends[-1]) // len(self._batches))

    def select(self, rows: Ints) -> Rows:
        """Return these of the records."""
        return Rows(self.sources, self._numbers(rows))

    def _numbers(self, rows: Ints) -> Ints:
        """Return the numbers of records in the files; as in an array, negative ones count from the end."""
        if self.rows is not None:
            return self.rows[rows]
        n = len(self)
        if beyond := rows[(rows < -n) | (rows >= n)].tolist():
            raise IndexError(f"record {beyond[0]} is asked for, of {n:,} counted from 0")
        return np.where(rows < 0, rows + n, rows)

    def read(self, rows: Ints, names: Sequence[str]) -> tuple[list[tuple[Batches, list[Any]]], Ints]:
        """Return columns of records as Arrow batches of each file, and (n,) their place in what was asked for."""
        rows = self._numbers(rows)
        order = np.argsort(rows, kind="stable")
        ordered, pa = rows[order], _arrow()
        bounds = np.searchsorted(ordered, [0, *self._ends.tolist()])
        parts = []
        for i in np.flatnonzero(np.diff(bounds)).tolist():
            source, batch = self._batches[i]
            own = ordered[bounds[i] : bounds[i + 1]] - (self._ends[i] - batch.num_rows)
            batch = batch.select(names)
            whole = len(own) == own[-1] - own[0] + 1 and (np.diff(own) == 1).all()
            parts.append((source, batch.slice(int(own[0]), len(own)) if whole else batch.take(pa.array(own))))
        files = [(source, [batch for _, batch in of]) for source, of in groupby(parts, key=lambda part: part[0])]
        return files, np.argsort(order, kind="stable")


class TextsOnDisk:
    """Texts that are read as they are needed, where an (n,) array of objects would hold them all.

    Parameters
    ----------
    table, name
        The records, and the column of texts.
    blank
        Whether a missing text is an empty one, and not None.
    """

    dtype = np.dtype(object)
    ndim = 1

    def __init__(self, table: Rows, name: str, *, blank: bool = False) -> None:
        self._table, self._name, self._blank = table, name, blank

    def __len__(self) -> int:
        return len(self._table)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return (len(self),)

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, int | np.integer):
            return self[[range(len(self))[rows]]][0]
        if isinstance(rows, slice) or np.asarray(rows).dtype.kind == "b":
            index = np.arange(len(self))[rows]
        else:
            index = np.asarray(rows, dtype=np.int64)
        files, place = self._table.read(index, [self._name])
        parts = [_objects(batch.column(0)) for _, batches in files for batch in batches]
        texts = np.concatenate(parts)[place] if parts else np.empty(0, object)
        if self._blank:
            texts = np.array(["" if _is_blank(text) else text for text in texts.tolist()], dtype=object)
        return texts

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.concatenate([*self.blocks()]).astype(dtype or object)

    def blocks(self) -> Iterator[NDArray[np.object_]]:
        """Yield the texts, some thousand at a time; equal ones of a block are one object."""
        for start in range(0, len(self), self._table.step):
            yield self[slice(start, start + self._table.step)]

    def tolist(self) -> list[str | None]:
        """Return all texts."""
        return [text for block in self.blocks() for text in block]

    def select(self, rows: Ints) -> TextsOnDisk:
        """Return the texts of these records, on disk."""
        return TextsOnDisk(self._table.select(rows), self._name, blank=self._blank)

    def filled(self) -> TextsOnDisk:
        """Return the texts as records: empty where they are missing or blank."""
        return TextsOnDisk(self._table, self._name, blank=True)

    @classmethod
    def joined(cls, parts: Sequence[TextsOnDisk]) -> TextsOnDisk:
        """Return the texts of several files, one after the other."""
        sources = [source for part in parts for source in part._table.sources]
        return cls(Rows(sources), parts[0]._name, blank=parts[0]._blank)

    @classmethod
    def of(cls, batches: Batches, name: str) -> TextsOnDisk:
        """Return a column of a file."""
        return cls(Rows([batches]), name)


class FrameOnDisk:
    """A frame that is read as it is needed, with the types that pandas gives the columns of the whole.

    Parameters
    ----------
    table
        The records.
    like
        A frame without records, as pandas reads the columns.
    texts
        Columns that are read as texts, as written.
    """

    def __init__(self, table: Rows, like: Any, texts: Collection[str] = ()) -> None:
        self._table, self._plain, self._texts = table, like, frozenset(texts)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the frame."""
        return len(self), len(self.columns)

    @property
    def columns(self) -> Any:
        """The names of the columns, as of the frame."""
        return self._plain.columns

    @cached_property
    def like(self) -> Any:
        """The frame without any record."""
        return self._plain.astype(dict.fromkeys(self._texts, "str"))

    @property
    def dtypes(self) -> Any:
        """The types of the columns, as of the frame."""
        return self.like.dtypes

    @property
    def step(self) -> int:
        """How many records are read at a time."""
        return self._table.step

    def select(self, rows: Ints) -> FrameOnDisk:
        """Return the frame of these records, on disk."""
        return FrameOnDisk(self._table.select(rows), self._plain, self._texts)

    def take(self, rows: Ints, names: Sequence[str] | None = None) -> Any:
        """Return the frame of these records, and of these columns, in memory."""
        pandas = require("pandas", extra="frames", what="a frame", error=DataError)
        names = list(self.columns) if names is None else list(names)
        files, place = self._table.read(rows, names)
        frames = [self._frame(source, batches, names) for source, batches in files]
        frame = frames[0] if len(frames) == 1 else pandas.concat(frames or [self.like[names]], ignore_index=True)
        return frame if (np.diff(place) == 1).all() else frame.iloc[place].reset_index(drop=True)

    def column(self, i: int) -> Any:
        """Return a frame of one column, of all records."""
        return self.take(np.arange(len(self)), [self.columns[i]])

    def texts(self, i: int) -> TextsOnDisk | None:
        """Return a column as texts on disk, None where missing; None where it does not hold texts."""
        name = self.columns[i]
        of_texts = all(is_text(source.schema.field(name).type) for source in self._table.sources)
        cast = name in self._texts and any(name in source.missing for source in self._table.sources)
        return TextsOnDisk(self._table, name) if of_texts and not cast else None

    def stable(self, i: int) -> bool:
        """Whether a part of the column has the values that it has in the whole, as numpy types them."""
        return isinstance(self.dtypes.iloc[i], np.dtype) or self.texts(i) is not None

    def _frame(self, source: Batches, batches: Sequence[Any], names: Sequence[str]) -> Any:
        pa = _arrow()
        table = pa.Table.from_batches([_decoded(batch, source.schema, pa) for batch in batches])
        frame = table.replace_schema_metadata(without_index(source.schema.metadata)).to_pandas()
        for name in names:
            column, dtype = frame[name], self._plain[name].dtype
            if hasattr(dtype, "categories"):  # types with one order of categories or another count as equal
                if hasattr(column.dtype, "categories"):
                    frame[name] = column.cat.set_categories(dtype.categories, ordered=dtype.ordered)
            elif column.dtype != dtype:
                frame[name] = column.astype(dtype)
        return as_texts(frame, [name for name in names if name in self._texts])


def as_texts(frame: Any, names: Collection[str]) -> Any:
    """Return a frame with columns as texts; a missing value stays one, of which pandas before 3 makes the text "None"."""
    return frame.assign(**{name: frame[name].astype("str").where(frame[name].notna()) for name in names})


def is_text(kind: Any) -> bool:
    """Whether an Arrow type is of texts."""
    types = _arrow().types
    return bool(types.is_string(kind) or types.is_large_string(kind) or str(kind) == "string_view")


def without_index(metadata: dict[bytes, bytes] | None) -> dict[bytes, bytes] | None:
    """Return what pandas wrote beside the columns of a table, without a row index."""
    if not metadata or b"pandas" not in metadata:
        return None
    try:
        content = {**json.loads(metadata[b"pandas"]), "index_columns": []}
    except (ValueError, TypeError, RecursionError):
        return None
    return {b"pandas": json.dumps(content).encode()}


def codes_of(column: Any) -> Ints:
    """Return the (n,) places of a dictionary column's values among those that it names, -1 where they are missing."""
    codes: Ints = column.indices.cast(_arrow().int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return codes


def _packed(column: Any, pa: Any) -> Any:
    """Return texts and categories as codes of the values that the batch holds."""
    if is_text(column.type):
        return column.dictionary_encode()
    if not pa.types.is_dictionary(column.type):
        return column
    codes = codes_of(column)
    used = np.unique(codes[codes >= 0])
    own = pa.array(np.searchsorted(used, codes).astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(own, column.dictionary.take(pa.array(used)), ordered=column.type.ordered)


def _decoded(batch: Any, schema: Any, pa: Any) -> Any:
    """Return a batch whose texts are laid out, with categories as they are."""
    columns = [
        column.dictionary_decode()
        if pa.types.is_dictionary(column.type) and not pa.types.is_dictionary(schema.field(name).type)
        else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.record_batch(columns, names=batch.schema.names)


def _objects(column: Any) -> NDArray[np.object_]:
    """Return the texts of codes, None where missing; those that no code names are not read."""
    used, own = np.unique(codes_of(column), return_inverse=True)
    values = column.dictionary.take(_arrow().array(used[used >= 0])).to_pylist()
    values = [*([None] if len(used) and used[0] < 0 else []), *values]
    distinct = np.empty(len(values), dtype=object)
    distinct[:] = values
    return distinct[own]


def _is_blank(text: str | None) -> bool:
    return text is None or not text.strip()


def _arrow() -> Any:
    return require("pyarrow", extra="parquet", what="a table on disk", error=DataError)
