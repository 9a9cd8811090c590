"""Audit what a machine-learning model gives away about the records it was trained on.

Names are imported on first use, so that ``miaudit --help`` loads none of numpy, scipy, scikit-learn or torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from miaudit.auditing import audit as audit
    from miaudit.auditing import forecast as forecast
    from miaudit.auditing.scoring import score as score
    from miaudit.data.dataset import Dataset as Dataset
    from miaudit.errors import MiauditError as MiauditError
    from miaudit.evidence import Evidence as Evidence
    from miaudit.plan import Plan as Plan
    from miaudit.result import Result as Result

__version__ = "0.1.0"

_HOME = {
    "Dataset": "miaudit.data.dataset",
    "Evidence": "miaudit.evidence",
    "MiauditError": "miaudit.errors",
    "Plan": "miaudit.plan",
    "Result": "miaudit.result",
    "audit": "miaudit.auditing",
    "forecast": "miaudit.auditing",
    "score": "miaudit.auditing.scoring",
}

__all__ = ["Dataset", "Evidence", "MiauditError", "Plan", "Result", "audit", "forecast", "score"]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


if not TYPE_CHECKING:  # a type checker would take every name for one that is there

    def __getattr__(name: str) -> Any:
        from miaudit.libraries import on_first_use

        return on_first_use(__name__, _HOME, name)
