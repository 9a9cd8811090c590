"""A wire format: records and answers as numbers between pipes, a line each."""

import numpy as np

from miaudit.errors import TargetError
from miaudit.targets.wire import Format


def _encode(wire, X):
    return "\n".join("|".join(repr(float(value)) for value in row) for row in np.asarray(X)).encode()


def _decode(wire, content, n, names):
    rows = [[float(cell) for cell in line.split("|")] for line in content.decode().splitlines()]
    if len(rows) != n:
        raise TargetError(f"got answers to {len(rows)} records, asked about {n}")
    return np.asarray(rows)


PIPES = Format(
    _encode, _decode, path=lambda wire: f"/{wire.model or 'ask'}", takes=("model",), content_type="text/plain"
)
