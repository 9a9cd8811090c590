"""Targets behind a URL, made of an address and the options of a plan's ``[target.http]``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from miaudit.documents import plain
from miaudit.errors import PlanError, nearest
from miaudit.plan import HTTPPlan, section_of
from miaudit.targets.connection import Sign
from miaudit.targets.endpoint import Endpoint

__all__ = ["connect", "endpoint_of"]


def connect(
    url: str,
    *,
    classes: int | Sequence[Any] | None = None,
    sign: Sign | None = None,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[bytes, int], Any] | None = None,
    folder: str | Path | None = None,
    description: str | None = None,
    **options: Any,
) -> Endpoint:
    """Return a target behind a URL, to be given to `miaudit.audit`. Nothing is sent yet.

    Parameters
    ----------
    url
        Where to post; with formats that know their paths, a server's bare address will do.
    classes
        Number or names of the data's classes; `miaudit.audit` says them itself.
    sign
        Adds headers to each attempt, such as a cloud's request signature.
    encode, decode
        In place of those of a format: from records to a body (bytes, a text, or what JSON can hold), and from the bytes that
        come back and the number of records to answers.
    folder
        Where answers and log are kept; default: the audit's ``out``, or nowhere.
    description
        What to call it in a report.
    options
        How the server is spoken to and reached, and what may be asked of it: the keys of ``[target.http]`` in a plan.

    Raises
    ------
    PlanError
        With every problem of the options.

    Examples
    --------
    >>> target = connect("http://localhost:8080", format="v2", model="m", output="predict_proba")  # doctest: +SKIP
    """
    for key in options:
        if key not in _OPTIONS:
            raise TypeError(f"connect takes no {key!r}; {nearest(key, _OPTIONS) or f'it takes {sorted(_OPTIONS)}'}")
    if options.get("columns") is not None:
        options["columns"] = [str(name) for name in options["columns"]]
    http = section_of(HTTPPlan, plain({key: value for key, value in options.items() if value is not None}, "options"))
    endpoint = endpoint_of(url, http, sign=sign, encode=encode, decode=decode, folder=folder, description=description)
    if classes is not None:
        names = None if isinstance(classes, int) else tuple(classes)
        endpoint.for_classes(classes if isinstance(classes, int) else len(classes), names)
        endpoint.named |= names is not None
    return endpoint


def endpoint_of(
    url: str,
    http: HTTPPlan,
    *,
    sign: Sign | None = None,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[bytes, int], Any] | None = None,
    folder: str | Path | None = None,
    description: str | None = None,
) -> Endpoint:
    """Return the target behind a URL with the options of a plan, and the functions that ``http`` names.

    Raises
    ------
    PlanError
        With every problem of the options.
    """
    if http.format is None and (encode is None or decode is None):
        raise PlanError([("format", 'missing: how the server is spoken to, such as "v2" or "instances"')])
    return Endpoint(url, http, sign=sign, encode=encode, decode=decode, folder=folder, description=description)


_OPTIONS = {key: of for key, of in HTTPPlan.model_fields.items() if key not in ("sign", "encode", "decode")}


def _signature() -> inspect.Signature:
    """Return the signature of `connect` with the options that a plan declares: how it is shown, and completed."""
    own = [each for each in inspect.signature(connect).parameters.values() if each.kind != each.VAR_KEYWORD]
    further = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=of.get_default(), annotation=of.annotation)
        for key, of in _OPTIONS.items()
    ]
    return inspect.Signature([own[0], *further, *own[1:]], return_annotation=Endpoint)


connect.__signature__ = _signature()  # type: ignore[attr-defined]
