"""What whoever runs a plan allows it, beyond reading the records it names, asking its target, and listed estimators.

A plan, a model file and an endpoint may come from somebody else; consent comes from the command line, or from the arguments
of a call, and never from a plan (docs/decisions/0006).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from miaudit.errors import PlanError
from miaudit.plan import Plan
from miaudit.plan.sections import Kind

_VARIABLE = re.compile(r"(?<![A-Za-z0-9_-])env:([A-Za-z_][A-Za-z0-9_]*)")
_CODE: dict[Kind, str] = {
    "function": "is a function of a file, which runs with your rights",
    "command": "is a command, which runs with your rights",
    "scheduler": "is a Dask scheduler, which sends this program pickles, and they run with your rights",
}


@dataclass(frozen=True)
class Permissions:
    """Consent.

    Parameters
    ----------
    allow_code
        To run what a plan names: functions of files, commands, estimators of packages that are not listed, a Dask scheduler.
    allow_pickle
        To read a model file that can run code of its author.
    env
        Names of the environment variables that a plan may send to the server it names.
    trusted
        Types outside skops' own list that a model file may hold.
    """

    allow_code: bool = False
    allow_pickle: bool = False
    env: Iterable[str] = ()
    trusted: Iterable[str] = ()

    def __post_init__(self) -> None:
        for name in ("env", "trusted"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))

    def check(self, plan: Plan) -> None:
        """Refuse a plan that asks for more; nothing of it is imported, read or run.

        Raises
        ------
        PlanError
            With everything it asks for, and the option that allows it.
        """
        problems = [] if self.allow_code else list(_code(plan))
        for path, name in _variables(plan):
            if name not in self.env:
                text = f"sends the environment variable {name} to {_servers(plan)}; if it may, run with --env {name}"
                problems.append((path, f"{text} (in Python, env=[{name!r}])"))
        if problems:
            raise PlanError(problems)


def _code(plan: Plan) -> Iterator[tuple[str, str]]:
    for kind, what in _CODE.items():
        for path, value in plan.naming(kind):
            yield path, f"{value!r} {what}; if you trust it, run with --allow-code (in Python, allow_code=True)"


def _variables(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the path and the name of every environment variable that reaches a server."""
    target, service = plan.target.model_dump(exclude={"description", "file", "module"}), plan.recipe.service
    yield from _variables_in(target, "target")
    if service is not None:
        yield from _variables_in(service.model_dump(), "recipe.service")


def _variables_in(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, of in value.items():
            yield from _variables_in(key, path)
            yield from _variables_in(of, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for i, of in enumerate(value):
            yield from _variables_in(of, f"{path}.{i}")
    elif isinstance(value, str):
        for name in dict.fromkeys(_VARIABLE.findall(value)):
            yield path, name
        with suppress(ValueError, RecursionError):  # a body is JSON, where "env:" can be written by its code points
            if (content := json.loads(value)) != value:
                yield from _variables_in(content, path)


def _servers(plan: Plan) -> str:
    """Return the servers that a plan names, without what else their addresses hold."""
    service = plan.recipe.service
    further = {} if service is None else service.model_dump()
    addresses = [plan.target.url, *(further.get(key) for key in ("train", "status", "predict"))]
    hosts = [address.partition("://")[2] for address in addresses if isinstance(address, str)]
    names = [re.split(r"[/?#;\\]", host)[0].rpartition("@")[2] for host in hosts]
    return ", ".join(dict.fromkeys(name or "its server" for name in names)) or "its server"
