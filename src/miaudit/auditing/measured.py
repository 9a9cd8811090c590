"""Measured: what was seen of a target and its shadow models, whatever way it came in, and all that is concluded from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks import Attack
from miaudit.auditing.provenance import Origin
from miaudit.data import Copies, Features
from miaudit.evidence import Bools, Capability, Floats, Ints
from miaudit.evidence.answers import Type
from miaudit.findings import FIGURES, UnitName
from miaudit.plan import FiguresPlan
from miaudit.result import SynthesisResult
from miaudit.shadows.pool import ShadowEvidence
from miaudit.shadows.training import Failure
from miaudit.targets.contact import Contact

Source = Literal["trained here", "given object", "given file", "given url", "stored outputs"]
Design = Literal["disjoint", "offline", "overlapping"]


@dataclass(frozen=True)
class TargetFacts:
    """What the target is, and of what kind its answers are: fields of the result's ``target``.

    ``queries`` is None where the answers were made elsewhere and nobody counted; ``contact`` is what first contact found of a
    target that was asked here.
    """

    description: str
    source: Source
    outputs: Type | Literal["signal"]
    outputs_reason: str | None
    capability: Capability
    decimals: int | None
    queries: int | None = None
    contact: Contact | None = None


@dataclass(frozen=True)
class SplitFacts:
    """Sizes and checks of the sides, as far as they are known: fields of the result's ``split``.

    ``copies`` is what the comparison of the records by value found, None where they were not at hand; ``compared`` names the
    sides that were compared; ``population_from`` is the side that the population was taken from, where none was given.
    """

    population: int
    copies: Copies | None
    compared: str = "members and non-members"
    duplicates: Mapping[str, int] = field(default_factory=dict)
    grouped_by: str | None = None
    shadow_train: int | None = None
    shadow_test: int | None = None
    draws_sha256: str | None = None
    population_from: Literal["members", "nonmembers"] | None = None


@dataclass(frozen=True)
class ShadowFacts:
    """How the shadow models were trained, as far as that is known: fields of the result's ``shadows``."""

    recipe: str
    asked: int
    accuracies: tuple[tuple[float, ...], tuple[float, ...]] = (
        (),
        (),
    )  # of each model that tells it, inside and outside
    failures: tuple[Failure, ...] = ()
    data: str = "real"
    errors: tuple[tuple[float, ...], tuple[float, ...]] | None = None  # of a regression's models, inside and outside
    seconds: float | None = None  # the mean that one took to train; None where they were not trained here

    @property
    def train_accuracy(self) -> float | None:
        """Mean accuracy on the records that each was trained on; None where no answer tells it."""
        return float(np.mean(self.accuracies[0])) if self.accuracies[0] else None

    @property
    def test_accuracy(self) -> float | None:
        """Mean accuracy on all other records; None where no answer tells it."""
        return float(np.mean(self.accuracies[1])) if self.accuracies[1] else None


@dataclass(frozen=True, eq=False)
class Measured:
    """What was seen, and with which options it is to be concluded from.

    A plan, Python objects and stored outputs all come to this; what only one of them knows is a value here, None where it is
    not known. Warnings are of the data, of the target's answers, and of how the shadow models came out.
    """

    title: str
    seed: int  # root of the draws of attacks and controls
    evidence: ShadowEvidence
    member: Bools  # (n,) who is a member of the target's training set
    classes: tuple[str, ...]  # none where the answers are signals
    data: dict[str, Any]  # the data set, as the result describes it
    target: TargetFacts
    split: SplitFacts
    shadows: ShadowFacts
    origin: Origin
    attacks: tuple[Attack, ...] | None = None  # what to run; None: all that can be
    operating: FiguresPlan = FIGURES
    unit: UnitName | None = None  # what is counted; None: people where the evidence knows them
    countable: Bools | None = None  # (n,) which records may be counted, None: all; others have copies on another side
    unanswered: Bools | None = None  # (n,) for which records no answer came; what stands for one is another's
    contents: Ints | None = None  # (n,) equal for records that are equal with their class
    errors: Floats | None = None  # (n,) absolute errors of the target, of a regression
    records: Features | None = None  # (n, d) for the control without a model
    no_records: str | None = None  # why they are not at hand
    ids: NDArray[Any] | None = None  # (n,)
    slices: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)  # (n,) each
    no_bystanders: str | None = None  # why no attack can be run on any
    repeats: bool = (
        True  # whether attacks that learn are run again, on shuffled memberships and on halves of the shadow models
    )
    processes: int = 1  # that may run attacks; fewer than two: they run in this one
    synthesis: SynthesisResult | None = None  # figures of the synthetic records that were the population
    warnings: tuple[str, ...] = ()
    target_warnings: tuple[str, ...] = ()
    shadow_warnings: tuple[str, ...] = ()
    deletion: bool = (
        False  # members were trained on and then deleted, or stay in a model that was made to forget others
    )

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
