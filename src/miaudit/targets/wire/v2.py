"""Open Inference Protocol V2, as KServe, MLServer, Triton and Seldon speak it over HTTP.

The records are one tensor; a table is one tensor per column. Servers may answer several tensors; MLServer answers labels
(`predict`) unless the output `predict_proba` is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import Records
from miaudit.errors import DataError, PlanError, TargetError, counted
from miaudit.targets.wire.rows import (
    Answers,
    columns_of,
    dense,
    distinct,
    excerpt,
    finite,
    from_bytes,
    is_table,
    numbers,
    plain_column,
    said_error,
)
from miaudit.targets.wire.rows import to_bytes as _json

DATATYPES = {
    "BOOL": "bool",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    **{f"INT{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}
_NAME_OF = {dtype: name for name, dtype in DATATYPES.items()}


def encode(X: Records, *, input: str = "input-0", output: str | None = None, datatype: str | None = None) -> bytes:
    """Return an inference request.

    Parameters
    ----------
    X
        Records.
    input
        Name of the tensor of the records; a table's tensors are named as its columns.
    output
        Name of the one output to be answered; None leaves the choice to the server.
    datatype
        Type to send the numbers as, such as FP32; default: their own.

    Raises
    ------
    PlanError
        If the datatype is none of the protocol's.
    DataError
        If the records cannot be sent as it.
    """
    if datatype is not None and datatype not in DATATYPES:
        raise PlanError(f"datatype must be one of {', '.join(DATATYPES)}; got {datatype!r}")
    if is_table(X):
        request: dict[str, Any] = {
            "inputs": [_column(name, plain_column(X, i), datatype) for i, name in enumerate(distinct(columns_of(X)))],
            "parameters": {"content_type": "pd"},
        }
    else:
        array = dense(X)
        if array.dtype.name not in _NAME_OF:
            raise DataError(f"records of type {array.dtype} cannot be sent as a tensor; convert them to numbers")
        datatype = datatype or _NAME_OF[array.dtype.name]
        data = _values(array, datatype, "the records").ravel().tolist()
        request = {"inputs": [{"name": input, "shape": list(array.shape), "datatype": datatype, "data": data}]}
    if output is not None:
        request["outputs"] = [{"name": output}]
    return _json(request)


def _column(name: str, values: list[Any], datatype: str | None) -> dict[str, Any]:
    tensor: dict[str, Any] = {"name": name, "shape": [len(values), 1], "data": values}
    kinds = {"text" if isinstance(v, str) else "truth value" if isinstance(v, bool) else "number" for v in values}
    if len(kinds) > 1:
        raise DataError(
            f"column {name!r} holds {' and '.join(sorted(kinds))}s, and a tensor has one type: make all its values one of them"
        )
    if kinds == {"text"}:
        return tensor | {"datatype": "BYTES", "parameters": {"content_type": "str"}}
    array = np.array(values)
    if array.dtype.name not in _NAME_OF or array.tolist() != values:
        raise DataError(
            f"column {name!r} holds whole numbers that no tensor of one type holds exactly; give it as floats or texts"
        )
    datatype = datatype or _NAME_OF[array.dtype.name]
    return tensor | {"datatype": datatype, "data": _values(array, datatype, f"column {name!r}").tolist()}


def _values(array: NDArray[Any], datatype: str, what: str) -> NDArray[Any]:
    """Return numbers to be sent as a type, all their digits with them; the server rounds floats as its model takes them.

    Raises
    ------
    DataError
        If the type cannot hold them: a fraction or a large number in whole numbers, a number beyond a float's range, or a
        whole number that a float rounds to another.
    """
    dtype = np.dtype(DATATYPES[datatype])
    if dtype == array.dtype:
        return array
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
        differs = cast.astype(array.dtype) != array
        if dtype.kind == "b":
            differs |= (array != 0) & (array != 1)
        if dtype.kind in "iu" and array.dtype.kind in "iuf":  # a number out of range may wrap there and back
            info = np.iinfo(dtype)
            differs |= np.array([not info.min <= value <= info.max for value in array.ravel().tolist()], bool).reshape(
                array.shape
            )
        if dtype.kind == "f" and array.dtype.kind == "f":
            differs &= ~np.isfinite(cast) | ((cast == 0) & (array != 0)) | (array == np.round(array))
    if differs.any():
        value = array[differs].ravel()[0]
        raise DataError(
            f"{what} cannot be sent as {datatype}: {counted(int(differs.sum()), 'value')} would be changed, "
            f"such as {value!s}; leave datatype out, or choose one that holds them"
        )
    return array if dtype.kind == "f" and array.dtype.kind == "f" else cast


def decode(content: bytes, n: int, *, output: str | None = None, names: Sequence[str] | None = None) -> Answers:
    """Return the answers to n records in an inference response.

    Raises
    ------
    TargetError
        If it is no such response, holds another number of answers, or several outputs of which none was asked for.
    """
    answer = from_bytes(content)
    outputs = answer.get("outputs") if isinstance(answer, dict) else None
    if not isinstance(outputs, list) or not all(isinstance(item, dict) for item in outputs):
        raise TargetError(f"the target's answer is no V2 inference response: {said_error(answer)}")
    tensors = [item for item in outputs if output is None or item.get("name") == output]
    if len(tensors) != 1:
        listing = [item.get("name") for item in outputs]
        raise TargetError(
            f"the target answers the outputs {listing}; "
            + (f"{output!r} is not among them: " if output is not None else "")
            + "set output to the one with the probabilities"
        )
    return _tensor(tensors[0], n)


def _tensor(item: dict[str, Any], n: int) -> Answers:
    shape, data, datatype = item.get("shape"), item.get("data"), item.get("datatype")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise TargetError(f"the target's output {item.get('name')!r} has shape {shape!r}; expected a list of sizes")
    flat = _flat(data)
    if flat is None or len(flat) != math.prod(shape):
        number = "no list" if flat is None else counted(len(flat), "value")
        raise TargetError(f"the target's output {item.get('name')!r} has shape {shape} but holds {number}")
    if not shape or shape[0] != n:
        count = shape[0] if shape else "no"
        raise TargetError(f"the target was asked about {counted(n, 'record')} and answered {count}; it must answer all")
    if datatype == "BYTES":
        if math.prod(shape[1:]) != 1 or not all(isinstance(value, str) for value in flat):
            raise TargetError(f"the target answers texts of shape {shape}; expected one label per record")
        return np.array(flat, dtype=object)
    if datatype not in (*DATATYPES, "BF16"):
        raise TargetError(
            f"the target answers values of type {datatype!r}; expected one of {', '.join(DATATYPES)}, BYTES"
        )
    what = f"the target's output {item.get('name')!r}"
    if datatype == "BOOL" or not datatype.startswith(("FP", "BF")):
        if not all(isinstance(value, int) or (isinstance(value, float) and value.is_integer()) for value in flat):
            odd = next(v for v in flat if not isinstance(v, int) and not (isinstance(v, float) and v.is_integer()))
            raise TargetError(f"{what} says it is of type {datatype} and holds {excerpt(str(odd))}, no whole number")
        flat = [int(value) for value in flat]
        if any(not -(2**63) <= value < 2**63 for value in flat):
            raise TargetError(f"{what} holds numbers beyond 64 bits")
        values: NDArray[Any] = np.array(flat, dtype=np.int64)
    else:
        values = numbers(flat)
    return finite(values.reshape(n) if math.prod(shape[1:]) == 1 else values.reshape(n, *shape[1:]))


def _flat(data: Any) -> list[Any] | None:
    if not isinstance(data, list):
        return None
    flat: list[Any] = data
    while flat and all(isinstance(item, list) for item in flat):
        flat = [value for item in flat for value in item]
    return flat


def path(model: str | None, version: str | None = None) -> str:
    """Return the path of the inference call below a server's address."""
    if model is None:
        raise PlanError("format v2 needs the model's name where the url has no path of its own: set model")
    return f"/v2/models/{model}{f'/versions/{version}' if version else ''}/infer"
