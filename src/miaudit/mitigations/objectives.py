"""Losses of mitigations: what `miaudit.recipes.Descending` recipes descend on. Torch is loaded when they are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from miaudit.recipes.objective import CrossEntropy

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Mixup(CrossEntropy):
    """Zhang et al. (2018): a batch is mixed with itself in another order, by one share for all of it."""

    alpha: float

    def batch(
        self, rows: torch.Tensor, targets: torch.Tensor, generator: torch.Generator, /
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mixtures."""
        import numpy as np
        import torch

        bits = int(torch.randint(2**62, (1,), generator=generator))
        share = float(np.random.default_rng(bits).beta(self.alpha, self.alpha))
        order = torch.randperm(len(rows), generator=generator).to(rows.device)
        return rows * share + rows[order] * (1 - share), targets * share + targets[order] * (1 - share)


@dataclass(frozen=True)
class Relax(CrossEntropy):
    """RelaxLoss (Chen, Yu and Fritz 2022, algorithm 1).

    In even epochs the distance of the mean cross-entropy from the level. In odd epochs the cross-entropy where it is above the
    level; else, of records answered wrongly, the cross-entropy with their own confidence on the class and the rest spread
    evenly over the others (held fixed), and of every record its own cross-entropy taken off, which is ascended. The code of the
    paper lets gradients through those targets; here they are held fixed, as the paper has it.
    """

    level: float

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, epoch: int, /) -> torch.Tensor:
        """Return the relaxed loss."""
        import torch
        from torch.nn import functional

        each = functional.cross_entropy(logits, targets, reduction="none")
        mean = each.mean()
        if epoch % 2 == 0:
            return (mean - self.level).abs()
        if mean > self.level:
            return mean
        with torch.no_grad():
            sure = (torch.softmax(logits, 1) * targets).sum(1, keepdim=True)
            others = (1 - targets) / (targets.shape[1] - 1)
            soft = targets * sure + others * (1 - sure)
            wrong = (logits.argmax(1) != targets.argmax(1)).to(each.dtype)
        flat = functional.cross_entropy(logits, soft, reduction="none")
        return (wrong * flat - each).mean()
