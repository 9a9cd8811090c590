"""Measured: what was seen of a target and its shadow models, whatever way it came in, and all that is concluded from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks import Attack, Shokri
from miaudit.auditing.provenance import Origin
from miaudit.data import Copies, Features
from miaudit.evidence import Bools, Capability, Ints, Probes
from miaudit.evidence.answers import Type
from miaudit.findings import OPERATING, Operating, UnitName
from miaudit.shadows.pool import ShadowEvidence
from miaudit.shadows.training import Failure

Source = Literal["trained here", "given object", "given file", "given url", "stored outputs"]
Design = Literal["disjoint", "offline", "overlapping"]


@dataclass(frozen=True)
class TargetFacts:
    """What the target is, and of what kind its answers are.

    ``errors`` are a regression's mean absolute errors on members and on non-members. ``queries`` is None where the answers
    were made elsewhere and nobody counted; ``contact`` is what first contact found of a target that was asked here, and
    ``warnings`` what was odd about its answers.
    """

    description: str
    source: Source
    outputs: Type | Literal["signal"]
    outputs_reason: str | None
    capability: Capability
    decimals: int | None
    queries: int | None = None
    contact: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    errors: tuple[float, float] | None = None


@dataclass(frozen=True)
class SplitFacts:
    """Sizes and checks of the sides, as far as they are known.

    ``copies`` is what the comparison of the records by value found, None where they were not at hand; ``compared`` names the
    sides that were compared.
    """

    population: int
    copies: Copies | None
    compared: str = "members and non-members"
    duplicates: Mapping[str, int] = field(default_factory=dict)
    grouped_by: str | None = None
    shadow_train: int | None = None
    shadow_test: int | None = None
    draws_sha256: str | None = None


@dataclass(frozen=True)
class ShadowFacts:
    """How the shadow models were trained, as far as that is known; accuracies are None where no answer tells them.

    ``errors`` are those of a regression, as the target's.
    """

    recipe: str
    asked: int
    train_accuracy: float | None
    test_accuracy: float | None
    failures: tuple[Failure, ...] = ()
    data: str = "real"
    warnings: tuple[str, ...] = ()
    errors: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """What was seen, and with which options it is to be concluded from.

    A plan, Python objects and stored outputs all come to this; what only one of them knows is a value here, None where it is
    not known.

    Parameters
    ----------
    title, seed
        Heading of the result, and root of the draws of attacks and controls.
    evidence
        What attacks read, in both forms.
    member
        (n,) who is a member of the target's training set.
    classes
        Their names; none where the answers are signals.
    data
        The data set, as the result describes it.
    target, split, shadows
        What is known of each.
    origin
        When, from what and at which cost all this was measured.
    attacks, shokri
        What to run, None for all that can be; and the 2017 attack with the options it is to have.
    operating
        Where the threshold of PPV and epsilon comes from.
    unit
        What is counted; None: people where the evidence knows them.
    kept
        (n,) which audited records may be counted, None for all: others have copies on another side.
    contents
        (n,) equal for records that are equal with their class; None where records are not at hand.
    records
        (n, d) the audited records as numbers, for the control without a model; None with ``no_records``, the reason.
    probes
        What came of many questions about each record, by the question.
    ids
        (n,) what to call the audited records.
    slices
        (n,) groups in which to measure the leak, by the name of the column.
    no_bystanders
        Why no attack can be run on bystanders; None: each is where the evidence has any.
    synthesis
        Figures of the synthetic records that were the population.
    warnings
        What a reader must know of the data before believing the figures.
    """

    title: str
    seed: int
    evidence: ShadowEvidence
    member: Bools
    classes: tuple[str, ...]
    data: dict[str, Any]
    target: TargetFacts
    split: SplitFacts
    shadows: ShadowFacts
    origin: Origin
    attacks: tuple[Attack, ...] | None = None
    shokri: Shokri = field(default_factory=Shokri)
    operating: Operating = OPERATING
    unit: UnitName | None = None
    kept: Bools | None = None
    contents: Ints | None = None
    records: Features | None = None
    no_records: str | None = None
    probes: Mapping[str, Probes] = field(default_factory=dict)
    ids: NDArray[Any] | None = None
    slices: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    no_bystanders: str | None = None
    synthesis: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def design(self) -> Design:
        """Whether shadows were trained on audited records; ``"offline"``: they answered these alone and learned none."""
        own, direct = self.evidence
        if direct is not None and direct.inside.any():
            return "overlapping"
        return "offline" if own is direct else "disjoint"

    @property
    def outside(self) -> int:
        """How many records outside the audit the target was asked about."""
        population = self.evidence.own.population
        return 0 if population is None else len(population.labels)

    @property
    def of_classes(self) -> bool:
        """Whether the answers are about classes; else they are signals, one number a record."""
        return self.evidence.own.measure is None

    @property
    def known(self) -> Literal["class", "value"] | None:
        """What is known of an audited record beside itself: its class, or the value that a regression predicts."""
        if self.of_classes:
            return "class"
        return "value" if self.target.outputs == "value" else None

    @property
    def stored(self) -> bool:
        """Whether the answers were made elsewhere, so that nobody here asked the target."""
        return self.target.queries is None
