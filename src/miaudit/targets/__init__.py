"""The model under audit, seen through its prediction interface.

What asks an endpoint, and reads a model's file, is imported on first use: a process that trains needs neither, and would load
the client and the plan with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miaudit.libraries import on_first_use
from miaudit.targets.at_hand import as_target
from miaudit.targets.outputs import Outputs
from miaudit.targets.target import Target, class_columns

if TYPE_CHECKING:
    from miaudit.targets.endpoint import Endpoint as Endpoint
    from miaudit.targets.files import load_model as load_model
    from miaudit.targets.kept import keep as keep
    from miaudit.targets.servers import connect as connect

_HOME = {
    "Endpoint": "miaudit.targets.endpoint",
    "connect": "miaudit.targets.servers",
    "keep": "miaudit.targets.kept",
    "load_model": "miaudit.targets.files",
}

__all__ = ["Endpoint", "Outputs", "Target", "as_target", "class_columns", "connect", "keep", "load_model"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # a type checker would take every name for one that is there

    def __getattr__(name: str) -> Any:
        return on_first_use(__name__, _HOME, name)
