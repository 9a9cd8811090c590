"""Arrays and frames of other libraries as plain values, for fingerprints; none of the libraries is imported here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse


def is_foreign(thing: Any) -> bool:
    """Whether a thing is an array or a frame of scipy, pandas, polars or torch."""
    library = type(thing).__module__.partition(".")[0]
    module = sys.modules.get(library)
    if library == "scipy":
        return bool(sparse.issparse(thing))
    if module is None or library not in _PARTS:
        return False
    names = {"pandas": ("DataFrame", "Series", "Index", "Categorical"), "polars": ("DataFrame", "Series")}
    kinds = [getattr(module, name, ()) for name in names.get(library, ("Tensor",))]
    return isinstance(thing, tuple(kind for kind in kinds if isinstance(kind, type)))


def _sparse_parts(thing: Any) -> list[Any]:
    csr = sparse.csr_array(thing).copy()
    csr.sum_duplicates()
    csr.eliminate_zeros()
    return [thing.format, csr.shape, csr.data, csr.indices.astype(np.int64), csr.indptr.astype(np.int64)]


def _pandas_parts(thing: Any) -> list[Any]:
    pandas = sys.modules["pandas"]
    if isinstance(thing, pandas.DataFrame):
        columns = [thing.iloc[:, i] for i in range(thing.shape[1])]
        return [list(thing.columns), thing.index, *columns]
    if isinstance(thing, pandas.Series):
        return [thing.name, thing.index, str(thing.dtype), _values(thing.array)]
    if isinstance(thing, pandas.RangeIndex):
        return ["range", thing.name, thing.start, thing.stop, thing.step]
    if isinstance(thing, pandas.Index):
        return ["index", list(thing.names), str(thing.dtype), _values(thing.array if thing.nlevels == 1 else thing)]
    return [_values(thing)]


def _values(array: Any) -> Any:
    if hasattr(array, "categories"):
        return [_values(array.categories.array), bool(array.ordered), np.asarray(array.codes)]
    values = np.asarray(array)
    return values if values.dtype.kind in "biufcmMSU" else [_cell(value) for value in values.tolist()]


def _cell(value: Any) -> Any:
    return "missing" if type(value).__name__ in ("NAType", "NaTType") else value


def _polars_parts(thing: Any) -> list[Any]:
    if hasattr(thing, "columns"):
        return [list(thing.columns), *(thing.to_series(i) for i in range(thing.width))]
    return [thing.name, str(thing.dtype), thing.to_list()]


def _torch_parts(thing: Any) -> list[Any]:
    return [str(thing.dtype), tuple(thing.shape), bool(thing.requires_grad), bytes_of(thing)]


def bytes_of(tensor: Any) -> bytes:
    """Return the bytes of a tensor's values, also of types that NumPy lacks; of a sparse one those of places and values."""
    torch = sys.modules["torch"]
    plain = tensor.detach().cpu()
    if plain.layout != torch.strided:
        entries = plain.to_sparse().coalesce()
        return bytes_of(entries.indices()) + bytes_of(entries.values())
    content: bytes = plain.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return content


_PARTS: dict[str, Callable[[Any], list[Any]]] = {
    "scipy": _sparse_parts,
    "pandas": _pandas_parts,
    "polars": _polars_parts,
    "torch": _torch_parts,
}


def foreign_parts(thing: Any) -> list[Any]:
    """Return the values that such a thing consists of, whatever its layout in memory."""
    return _PARTS[type(thing).__module__.partition(".")[0]](thing)
