"""Hashes of records, by their values: of all together, which names rows of the store, and of each, which finds equal ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.mapped import is_mapped, rows_of_a_block
from miaudit.data.on_disk import FrameOnDisk, TextsOnDisk
from miaudit.data.records import (
    Records,
    canonical,
    column_names,
    column_values,
    kind_of,
    n_columns,
    n_records,
    texts_on_disk,
)

_CHUNK = 1 << 12  # records hashed at a time, so that a strided array is never copied whole


def content_hash(X: Records) -> str:
    """Return the sha256 (hex) of the records.

    It depends on values, dtypes, shape and column names; not on memory layout, byte order, a pandas index, or how a
    sparse matrix orders its entries and whether it stores zeros.
    """
    kind = kind_of(X)
    digest = hashlib.sha256(f"{kind}|{tuple(X.shape)}|".encode())
    if kind == "sparse":
        X = _without_zeros(X)
        for array, dtype in ((X.indptr, "<i8"), (X.indices, "<i8"), (X.data, _little(X.data.dtype))):
            digest.update(f"{np.dtype(dtype).str}|".encode())
            digest.update(np.ascontiguousarray(array, dtype=dtype).data)
    elif kind == "array" and X.dtype.kind != "O":
        _feed(digest, X)
    else:
        names = column_names(X) or [""] * n_columns(X)
        for i, name in enumerate(names):
            digest.update(f"{len(name)}:{name}|".encode("utf-8", "surrogatepass"))
            if (on_disk := texts_on_disk(X, i)) is not None:
                _feed_texts(digest, on_disk)
                continue
            values = column_values(X, i)
            if values.dtype.kind in "biufmM":
                _feed(digest, values)
            else:
                codes, texts = _coded(values)
                digest.update(b"".join(f"{len(text)}:".encode() + text for text in texts))
                _feed(digest, codes)
    return digest.hexdigest()


def row_hashes(X: Records) -> NDArray[np.bytes_]:
    """Return a 16-byte digest per record, (n,) of dtype S16: equal if and only if the records are equal.

    Numbers are compared by value: 0.0 and -0.0 are the same, and so are a stored and an implied zero of sparse records.
    Digests of separate calls compare when form and dtypes agree.
    """
    kind, n = kind_of(X), n_records(X)
    if isinstance(X, TextsOnDisk):
        return np.concatenate([row_hashes(block) for block in X.blocks()])
    if isinstance(X, FrameOnDisk):
        return _frame_hashes(X)
    if is_mapped(X) and n > (step := rows_of_a_block(X)):
        return np.concatenate([row_hashes(np.asarray(X[start : start + step])) for start in range(0, n, step)])
    if kind == "sparse":
        X = _without_zeros(X)
        indices, data = np.asarray(X.indices, dtype="<i8"), np.ascontiguousarray(X.data)
        bounds = X.indptr.tolist()
        digests = [
            _digest(indices[start:stop].tobytes() + data[start:stop].tobytes()) for start, stop in pairwise(bounds)
        ]
        return np.frombuffer(b"".join(digests), dtype="S16")
    if kind == "array" and X.dtype.kind != "O":
        blocks = [_plain(X).reshape(n, -1)]
    else:
        blocks = [_block(column_values(X, i)) for i in range(n_columns(X))]
    return _joined_hashes(blocks, n)


def _frame_hashes(X: FrameOnDisk) -> NDArray[np.bytes_]:
    """Return the hashes of a frame's rows, of which some thousand are held at a time."""
    whole = {i: _block(column_values(X, i)) for i in range(n_columns(X)) if not X.stable(i)}
    hashes = []
    for start in range(0, len(X), X.step):
        rows = np.arange(start, min(start + X.step, len(X)))
        part = X.take(rows)
        blocks = [whole[i][rows] if i in whole else _block(column_values(part, i)) for i in range(n_columns(X))]
        hashes.append(_joined_hashes(blocks, len(rows)))
    return np.concatenate(hashes)


def _joined_hashes(blocks: Sequence[NDArray[Any]], n: int) -> NDArray[np.bytes_]:
    rows = [np.ascontiguousarray(block).view(np.uint8).reshape(n, -1) for block in blocks]
    table = np.ascontiguousarray(rows[0] if len(rows) == 1 else np.hstack(rows))  # (n, bytes)
    width, content = table.shape[1], table.reshape(-1).data
    digests = [_digest(content[start : start + width]) for start in range(0, n * width, width)] if width else []
    return np.frombuffer(b"".join(digests), dtype="S16")


def _without_zeros(X: Any) -> Any:
    X = canonical(X.tocsr())
    if len(X.data) and not X.data.all():
        X = X.copy()
        X.eliminate_zeros()
    return X


def _little(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")


def _feed(digest: Any, array: NDArray[Any]) -> None:
    dtype = _little(array.dtype)
    digest.update(f"{dtype.str}|".encode())
    for start in range(0, len(array), _CHUNK):
        digest.update(np.ascontiguousarray(array[start : start + _CHUNK], dtype=dtype).tobytes())


def _feed_texts(digest: Any, texts: TextsOnDisk) -> None:
    """Feed the different texts in the order of first appearance, and then the number of each; texts are read twice."""
    hashes = np.concatenate([_block(values) for values in texts.blocks()]).view("S16")  # (n,)
    _, first, number = np.unique(hashes, return_index=True, return_inverse=True)
    place, start = np.sort(first), 0
    for values in texts.blocks():
        here = place[np.searchsorted(place, start) : np.searchsorted(place, start + len(values))] - start
        digest.update(b"".join(f"{len(text)}:".encode() + text for text in _coded(values[here])[1]))
        start += len(values)
    _feed(digest, np.argsort(np.argsort(first))[number])


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers whose bytes are equal where the numbers are, or are missing."""
    if values.dtype.kind == "f":
        values = values + 0.0  # -0.0 + 0.0 is 0.0
        values[np.isnan(values)] = np.nan  # NaN has many forms
    return values.astype(_little(values.dtype), copy=False)


def _block(values: NDArray[Any]) -> NDArray[Any]:
    """Return one column as an (n,) array of fixed width whose bytes are equal where the values are."""
    if values.dtype.kind in "biufmM":
        return _plain(values)
    codes, texts = _coded(values)
    table = b"".join(hashlib.blake2b(text, digest_size=16).digest() for text in texts)
    return np.frombuffer(table, dtype="V16")[codes]


def _coded(values: NDArray[Any]) -> tuple[NDArray[np.int64], list[bytes]]:
    """Return the number of each value in the order of first appearance, and the distinct values with their types."""
    items = values.tolist()
    if set(map(type, items)) <= {str}:
        prefix = "str:"
    else:
        prefix, items = "", [f"{type(value).__name__}:{value}" for value in items]
    number: dict[str, int] = {}
    codes = np.fromiter((number.setdefault(item, len(number)) for item in items), dtype=np.int64, count=len(items))
    return codes, [(prefix + text).encode("utf-8", "surrogatepass") for text in number]
