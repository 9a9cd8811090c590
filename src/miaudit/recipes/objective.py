"""What a network descends on: the loss of its logits, and what becomes of a batch before it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Objective(Protocol):
    """A frozen value; `CrossEntropy` is what recipes do without one."""

    def batch(
        self, rows: torch.Tensor, targets: torch.Tensor, generator: torch.Generator, /
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (m, d) records and (m, classes) targets of an update, made of those that were drawn for it."""
        ...

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, epoch: int, /) -> torch.Tensor:
        """Return the number to descend on, of (m, classes) logits and targets; the first epoch is 0."""
        ...


class CrossEntropy:
    """Cross-entropy with the targets, which are shares of the classes."""

    def batch(
        self, rows: torch.Tensor, targets: torch.Tensor, generator: torch.Generator, /
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return them as they are."""
        return rows, targets

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, epoch: int, /) -> torch.Tensor:
        """Return the mean cross-entropy."""
        from torch.nn import functional

        return functional.cross_entropy(logits, targets)
