"""The parts of a policy: what must have been tried and checked, and how large each figure may be."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from miaudit.documents import Document

Control = Literal["shuffled", "records", "bystanders"]
Share = Annotated[float, Field(gt=0, lt=1)]
GRID = 8
"""Steps of rates, from a margin to 1, between which the share that can be named is looked for."""


class EvidenceNeeded(Document):
    """What a result must hold for a pass.

    ``attacks`` is how many must have been run; ``strongest`` asks for the strongest documented one for such answers and shadow
    models, and ``required`` for those of these names, in any configuration. ``controls`` are those that must have been
    possible: ``shuffled`` membership, the raw ``records`` alone, and ``bystanders``, models trained on neither side.
    """

    attacks: Annotated[int, Field(ge=1)] = 1
    strongest: bool = True
    required: tuple[str, ...] = ()
    controls: tuple[Control, ...] = ("shuffled", "records", "bystanders")


class Limit(Document):
    """A lower end above ``limit`` (default: the margin) fails, an upper end below ``margin`` passes."""

    margin: float
    limit: float | None = None

    @property
    def beyond(self) -> float:
        """Beyond which a figure fails."""
        return self.margin if self.limit is None else self.limit

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.beyond > self.margin:
            raise ValueError(
                f"limit is {self.beyond:g}, above the margin {self.margin:g}: a figure between them would fail and pass"
            )
        return self


class AreaLimit(Limit):
    """Of the AUC of every attack."""

    margin: Annotated[float, Field(gt=0.5, lt=1)]
    limit: Annotated[float, Field(ge=0.5, lt=1)] | None = None


class RateLimit(Limit):
    """Of the TPR of every attack at a rate ``fpr`` of false positives, as a multiple of that rate: 1 is guessing."""

    fpr: Annotated[float, Field(gt=0, lt=0.5)]
    margin: Annotated[float, Field(gt=1)]
    limit: Annotated[float, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _within_reach(self) -> Self:
        if self.margin * self.fpr >= 1:
            raise ValueError(f"{self.margin:g} times the rate {self.fpr:g} is 1 or more, and no attack exceeds it")
        return self


class NamedLimit(Document):
    """Of the share of the members that an attacker can name with this ``precision``, where half of those tried are members."""

    margin: Share
    precision: Annotated[float, Field(gt=0.5, lt=1)] = 0.9

    @property
    def gain(self) -> float:
        """TPR over FPR at which this precision is reached at even odds."""
        return self.precision / (1 - self.precision)

    @model_validator(mode="after")
    def _can_be_shown(self) -> Self:
        if self.gain <= self.margin ** (-1 / GRID):
            least = 1 / (1 + self.margin ** (1 / GRID))
            problem = f"precision is {self.precision:g}, too near to guessing to be judged"
            raise ValueError(f"{problem}: it must exceed {least:.3f} for a margin of {self.margin:g}")
        return self


class SliceLimit(AreaLimit):
    """Of the leading attack's AUC in every slice; a pass is asked of those with at least ``least`` records on both sides."""

    least: Annotated[int, Field(ge=2)]


class EpsilonLimit(Limit):
    """Of the epsilon of a canary audit, which bounds it from below only.

    A bound above ``limit`` fails. For a pass the guesses on the canaries are right less often than an epsilon of ``margin``
    allows, and there are at least 50 of them.
    """

    margin: Annotated[float, Field(gt=0)]
    limit: Annotated[float, Field(ge=0)] | None = None


class RiseLimit(Limit):
    """Of every attack's AUC less that of the baseline: by default any significant rise fails."""

    margin: Share = 0.1
    limit: Annotated[float, Field(ge=0, lt=1)] | None = 0.0
