"""Outputs: what a target answers. And the seam at which an audit meets the model: one method, and hooks.

The method is ``answer(X) -> Outputs``. The hooks do nothing unless a target has a use for them; `Target` and `Endpoint` have
all. An object that wraps another target, to change its answers, passes them on, by ``__getattr__`` or one by one:

* ``for_classes(classes, names)`` and ``declare(outputs)``: as of `Target`, before anything is asked;
* ``open(folder, deadline, tell)``: where answers are kept (None: nowhere), until when it may take (by `time.monotonic`), and
  whom to tell how far it is, before anything is asked;
* ``make_contact(X)``, ``confirm(resumed=...)`` and the attribute ``resumed``: as of `Target`;
* ``expect(parts, further=...)``: which records will be asked about; returns what that takes, or None;
* ``facts()``: counts and source for the provenance of a result; the attributes ``source`` and ``named`` are as of `Target`;
* ``lacking(X)``: which of some records got no answer, where a few may go without; they are left out of the figures;
* ``rest()``: nothing is asked for a while: let go of what keeps others from asking;
* ``cease()``: the audit has failed while another thread asks: ask nothing more, and take what is on its way;
* ``close()``: nothing more is asked. An audit closes only what it made itself.

A hook that a wrapper does not pass on is lost. Without ``open`` the time limit does not end its questions, and a stopped audit
asks them again. Without ``facts`` the result says nothing of what was sent. Without ``make_contact`` and ``confirm`` first
contact is made with the wrapper and again with what it wraps, whose queries ``target.queries`` of the result does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import TargetError
from miaudit.evidence.answers import (
    Capability,
    Decision,
    Kind,
    Type,
    capability_of,
    count_decimals,
    shown_decimals,
    softmax,
)

Source = Literal["trained here", "given object", "given file", "given url"]
"""Where the model under audit comes from."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """A model's answers to n records.

    ``values`` are (n, classes) numbers, or for labels (n,) class numbers, in the order of the data's classes; of a regression
    (n, 1) numbers. Of the top k, the classes that were not answered are 0 and rows need not sum to one. ``type`` is what was
    answered, where that is more than the kind tells, and ``reason`` how it is known.
    """

    values: NDArray[Any]  # (n, classes), or (n,) int64 for labels
    kind: Kind = "probabilities"
    classes: int | None = None  # for labels, of which values cannot tell
    type: Type | None = None
    reason: str | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) predicted classes; the first of those that tie."""
        if self.kind == "labels":
            return self.values
        answer: NDArray[np.int64] = self.values.argmax(axis=1)
        return answer

    @property
    def probabilities(self) -> NDArray[np.floating[Any]]:
        """(n, classes): logits through a softmax, labels as ones and zeros, all else as answered."""
        if self.kind == "labels":
            one_hot = np.zeros((len(self.values), self.classes or 0), dtype=np.float32)
            one_hot[np.arange(len(self.values)), self.values] = 1
            return one_hot
        return softmax(self.values) if self.kind == "logits" else self.values

    @property
    def decimals(self) -> int | None:
        """Most decimals of its probabilities; None if there are more than six, or they were not answered as such."""
        if self.kind not in ("probabilities", "topk") or self.type == "log-probabilities":
            return None
        return shown_decimals(count_decimals(self.values))

    @property
    def capability(self) -> Capability:
        """What can be attacked with."""
        return capability_of(self.kind, self.decimals)

    @property
    def decision(self) -> Decision:
        """What they are taken for, and why."""
        fits = self.type is not None and Decision(self.type, "").kind == self.kind
        return Decision(self.type if fits and self.type else self.kind, self.reason or "its outputs say so")

    def refuse_odd(self, n: int, classes: int, declared: Type | None, before: Decision | None) -> None:
        """Raise TargetError unless they are answers to n records for data of so many classes, of the kind of those before."""
        shape, kind = (n,) if self.kind == "labels" else (n, classes), self.kind
        if np.shape(self.values) != shape:
            raise TargetError(f"the target's outputs are {kind} of shape {np.shape(self.values)}; expected {shape}")
        if kind == "labels" and not ((self.values >= 0) & (self.values < classes)).all():
            raise TargetError(f"the target's outputs hold labels that are no class numbers below {classes}")
        if declared not in (None, self.decision.type):
            raise TargetError(f"the target was declared {declared}, and its outputs are {self.decision.type}")
        if before is not None and before.kind != kind and {before.kind, kind} != {"probabilities", "topk"}:
            raise TargetError(f"the target answered {before.kind} before, and {kind} now; it must answer all alike")
