"""Checks that a wire format keeps its promises, for authors of formats."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import TargetError
from miaudit.targets.wire import Format, Wire
from miaudit.testing.contracts import require


def check_format(form: Format, wire: Wire, X: NDArray[Any], reply: bytes, answers: NDArray[Any]) -> None:
    """Put records into a body and a reply into answers, and see that a wire format does as `Format` promises.

    Parameters
    ----------
    form
        The format.
    wire
        Options to speak by; their own ``format`` is not looked at.
    X
        At least two records.
    reply
        What a server answers about them.
    answers
        What that reply says, (n, classes) or (n,) labels.

    Raises
    ------
    AssertionError
        If the body is not bytes, differs when it is made again, does not depend on the records, or changes them; if the
        reply is read as other answers, or as those to another number of records; or if an odd reply fails in another way than
        by an exception.
    """
    before, n = copy.deepcopy(X), len(X)
    body = form.encode(wire, X)
    require(isinstance(body, bytes), f"encode must return bytes; got {type(body).__name__}")
    require(body == form.encode(wire, X), "encode gives another body for the same records")
    require(body != form.encode(wire, X[::-1]), "encode gives the same body for records in another order")
    require(np.array_equal(X, before), "encode changes the records")
    choices = {field.name for field in fields(Wire)} - {"format"}
    require(set(form.takes) <= choices, f"takes names {sorted(set(form.takes) - choices)}, which no wire has")
    values = np.asarray(form.decode(wire, reply, n, None))
    require(
        values.shape == np.shape(answers), f"decode gives answers of shape {values.shape}; {np.shape(answers)} is right"
    )
    same = np.allclose(values, answers) if values.dtype.kind == "f" else np.array_equal(values, answers)
    require(bool(same), "decode gives other answers than the reply holds")
    for content, count in ((reply, n + 1), (reply, n - 1), (b"", n), (b"\xff{[", n)):
        try:
            form.decode(wire, content, count, None)
        except TargetError:
            continue
        except Exception as error:
            require(
                content is not reply,
                f"decode must raise a TargetError for a reply to {n} records of {count}: {error!r}",
            )
            continue
        raise AssertionError(f"decode takes {content[:20]!r} for the answers to {count} records")
