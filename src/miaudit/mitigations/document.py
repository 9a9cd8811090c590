"""The document of a grid: what every mitigation hides, from whom, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from miaudit.documents import Count, Document, Fraction, NonNegative
from miaudit.files import write_atomically
from miaudit.result import Accusations, CorrectedInterval, Difference, Interval, PointMetrics, TprAtFpr

Attacker = Literal["adaptive", "naive"]
Side = Literal["none", "output", "training", "both"]
Effect = Literal["lower", "higher", "inconclusive"]
Standing = Literal["below", "above", "inconclusive"]


class AttackFigures(Document):
    """What one attack finds behind a mitigation.

    ``attacker`` is adaptive where the shadow models carry the mitigation, and naive where they do not. ``auc_corrected`` holds
    at a level for all attacks of the row together. ``change`` is the AUC less that without a mitigation, with its interval at
    95 %, and ``effect`` what that interval shows: inconclusive where 0 lies in it. ``named`` is whom the attack can name at a
    share ``named.q`` of wrong names.
    """

    attack: str
    attacker: Attacker
    status: Literal["ran", "skipped", "failed"]
    reason: str | None = None
    pooled: PointMetrics | None = None
    auc: Interval | None = None
    auc_corrected: CorrectedInterval | None = None
    tpr_at_fpr: list[TprAtFpr] = []
    change: Difference | None = None
    effect: Effect | None = None
    named: Accusations | None = None


class Exposed(Document):
    """The slice of the records in which the leading attack finds most: by the lower end, which holds for all slices."""

    column: str
    group: str
    members: Count
    auc: Interval


class CanaryFigures(Document):
    """What the best placed attack finds of canaries: records with wrong labels, half of them trained on by a coin."""

    attack: str
    count: Count
    auc: Interval
    tpr_at_fpr: list[TprAtFpr]


class Privacy(Document):
    """The differential privacy of a training, by its accountant; ``note`` says what is outside of it."""

    epsilon: NonNegative
    delta: Fraction
    noise: NonNegative
    note: str | None = None


class MitigationRow(Document):
    """One mitigation, what it costs, and what attackers find behind it.

    ``bound`` is the highest AUC that any attacker may reach, at a level that holds for all attacks and rows together, whichever
    way round the score is read; null, with the reason, where no attack has one. ``standing`` says where that is to the grid's
    limit: ``below`` it, ``above`` by a lower end, or inconclusive. ``seconds`` is the mean time of training one model of those
    that answered here.
    """

    mitigation: str
    side: Side
    parts: list[dict[str, Any]]
    train_accuracy: Interval
    test_accuracy: Interval
    accuracy_change: Difference
    calibration_error: Interval
    seconds: NonNegative | None
    privacy: Privacy | None = None
    attacks: list[AttackFigures]
    bound: Fraction | None
    bound_reason: str | None = None
    standing: Standing
    exposed: Exposed | None = None
    canaries: CanaryFigures | None = None
    warnings: list[str] = []

    def figures(self, attack: str, attacker: Attacker = "adaptive") -> AttackFigures | None:
        """Return the figures of an attack that ran; None where it did not."""
        return next(
            (each for each in self.attacks if (each.attack, each.attacker, each.status) == (attack, attacker, "ran")),
            None,
        )


class Recommendation(Document):
    """Which row to take: ``mitigation`` is null where none is below the limit, or nothing can be told.

    ``kind`` is ``enough`` where the model is below the limit without a mitigation, ``take`` where a row is, ``none`` where
    every row is above it, ``inconclusive`` where intervals reach over it, and ``confounded`` where the sides differ by
    themselves. ``equals`` names rows below the limit that are not shown to cost more.
    """

    kind: Literal["enough", "take", "none", "inconclusive", "confounded"]
    mitigation: str | None
    text: str
    equals: list[str] = []


class Grid(Document):
    """Mitigations by attacks, over one store. ``limit`` is the AUC that no attacker is to reach."""

    schema_version: int = 1
    title: str
    limit: Fraction
    attacks: list[str]
    members: Count
    nonmembers: Count
    shadows: Count
    rows: list[MitigationRow]
    recommendation: Recommendation
    warnings: list[str] = []
    provenance: dict[str, Any] = {}

    def row(self, mitigation: str) -> MitigationRow:
        """Return the row of a mitigation by its label.

        Raises
        ------
        KeyError
            If there is none.
        """
        for row in self.rows:
            if row.mitigation == mitigation:
                return row
        raise KeyError(f"no mitigation {mitigation!r} in this grid; it has {[row.mitigation for row in self.rows]}")

    def to_json(self) -> str:
        """Return the document as JSON text."""
        return self.model_dump_json(indent=2) + "\n"

    def save(self, folder: str | Path) -> Path:
        """Write ``mitigations.json`` into a folder and return its path."""
        path = Path(folder) / "mitigations.json"
        write_atomically(path, self.to_json().encode())
        return path
