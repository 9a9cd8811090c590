"""Why an attack works better on some classes: gap, share and precision of each, as section VI-D of the 2017 paper has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from miaudit import stats
from miaudit.errors import PlanError
from miaudit.result import AttackResult

Figure = Literal["precision", "recall", "gap", "share"]


@dataclass(frozen=True)
class ClassRow:
    """One class: what the attack reaches in it, and what the target is right on in training (``train``) and else (``test``).

    ``share`` is the class's part of the members that were evaluated. Figures are None where they are undefined.
    """

    name: str
    precision: float | None
    recall: float | None
    share: float
    train: float | None
    test: float | None

    @property
    def gap(self) -> float | None:
        """Accuracy on members less that on others."""
        return None if self.train is None or self.test is None else self.train - self.test


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of two figures over the ``classes`` that have both; None where it is undefined."""

    first: Figure
    second: Figure
    value: float | None
    classes: int


@dataclass(frozen=True)
class ClassTable:
    """The classes of one audit, or of several with different numbers of classes together.

    `ClassTable.of` makes one of what an attack found; any attack that decides, of any audit.
    """

    rows: tuple[ClassRow, ...]

    @classmethod
    def of(cls, attack: AttackResult) -> ClassTable:
        """Return the table of an attack's classes.

        Raises
        ------
        PlanError
            If the attack decides nothing, or did not run, so that it has no figures of classes.
        """
        members = sum(each.members for each in attack.per_class)
        if not members:
            why = "decides on no record" if attack.status == "ran" else attack.status
            raise PlanError(
                f"{attack.name} has no figures of classes: it {why}; name an attack that decides, such as shokri or threshold"
            )
        return cls(
            tuple(
                ClassRow(
                    each.class_,
                    each.precision,
                    each.recall,
                    each.members / members,
                    each.train_accuracy,
                    each.test_accuracy,
                )
                for each in attack.per_class
            )
        )

    def figures(self, name: Figure) -> list[float | None]:
        """Return one figure of every class."""
        return [getattr(row, name) for row in self.rows]

    def correlations(self) -> list[Correlation]:
        """Return how precision and gap, precision and share, and gap and share go together over the classes."""
        return [
            self.correlation("precision", "gap"),
            self.correlation("precision", "share"),
            self.correlation("gap", "share"),
        ]

    def correlation(self, first: Figure, second: Figure) -> Correlation:
        """Return Spearman's correlation of two figures over the classes that have both."""
        pairs = [
            (a, b)
            for a, b in zip(self.figures(first), self.figures(second), strict=True)
            if a is not None and b is not None
        ]
        value = stats.spearman(*zip(*pairs, strict=True)) if len(pairs) > 2 else None
        return Correlation(first, second, value, len(pairs))

    def percentiles(
        self, name: Figure, shares: Sequence[float], *, undefined: stats.Undefined = "zero"
    ) -> list[float] | None:
        """Return percentiles of one figure over the classes; see `miaudit.stats.percentiles`."""
        return stats.percentiles(self.figures(name), shares, undefined=undefined)

    def distribution(self, name: Figure, *, undefined: stats.Undefined = "zero") -> stats.Distribution:
        """Return the distribution function of one figure over the classes."""
        return stats.distribution(self.figures(name), undefined=undefined)
