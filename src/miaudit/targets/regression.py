"""A regression under audit: a target that answers one real number a record."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import PlanError, TargetError, counted
from miaudit.evidence.answers import Decision
from miaudit.targets.form import array_of, reads_by_name, width_of
from miaudit.targets.target import Target
from miaudit.targets.torch_modules import TorchQuestion, is_torch_module

_VALUE = Decision("value", "the task is a regression")


class RegressionTarget(Target):
    """A model behind ``predict``, its answers checked and its queries counted; see `Target`.

    Parameters
    ----------
    model
        An object with ``predict``, a torch module, or a function from records to (n,) or (n, 1) numbers.
    description
        What to call it in a report; default: the model's class.

    Raises
    ------
    PlanError
        If it is neither.
    """

    def __init__(self, model: Any, *, description: str | None = None) -> None:
        ask = getattr(model, "predict", TorchQuestion(model) if is_torch_module(model) else model)
        name = getattr(model, "__name__", type(model).__name__)
        if not callable(ask) or isinstance(model, type):
            raise PlanError(
                f"the target of a regression is an object with predict, a torch module, or a function; got {name}"
            )

        def answers(X: Any) -> NDArray[Any]:
            values = array_of(ask(X))
            return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values

        super().__init__(
            answers,
            classes=1,
            width=width_of(model),
            description=description or name,
            limit=getattr(ask, "limit", None),
        )
        self.decision, self._one, self.named, self.by_name = _VALUE, True, True, reads_by_name(model)

    def _checked(self, answer: NDArray[Any]) -> NDArray[np.float64]:
        """Return (n, 1) answers."""
        if answer.dtype.kind not in "fiub":
            raise TargetError(f"the target of a regression answers numbers; it answered values of type {answer.dtype}")
        values = answer.astype(np.float64)
        if bad := int((~np.isfinite(values)).sum()):
            raise TargetError(f"the target answered {bad} of {counted(len(values), 'record')} with NaN or infinity")
        return values[:, None]
