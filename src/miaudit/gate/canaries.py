"""A canary audit against a limit on epsilon."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, ValidationError, model_validator

from miaudit import stats
from miaudit.documents import Count, Document, Fraction, first_problem
from miaudit.errors import StoreError, counted, noun
from miaudit.files import read_json
from miaudit.gate.decision import Check
from miaudit.gate.limits import EpsilonLimit

LEAST_GUESSES = 50
"""Fewer guesses on canaries, however few of them are right, pass no limit on epsilon."""


class CanaryFigures(Document):
    """What a gate reads of a canary audit (``audit.json`` of `miaudit canaries`)."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    canaries: Count
    guesses: Count
    correct: Count
    delta: Fraction
    warnings: list[str]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not 1 <= self.guesses <= self.canaries or self.correct > self.guesses:
            raise ValueError(
                f"{self.correct:,} right of {counted(self.guesses, 'guess', 'guesses')} on "
                f"{counted(self.canaries, 'canary', 'canaries')} are impossible"
            )
        return self

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read the audit of a folder of canaries.

        Raises
        ------
        StoreError
            If there is none, or it cannot be read.
        """
        path = Path(folder) / "audit.json"
        try:
            return cls.model_validate(read_json(path))
        except FileNotFoundError:
            raise StoreError(f"no audit.json in {folder}; run `miaudit canaries audit` first") from None
        except ValidationError as error:
            raise StoreError(
                f"{path} is no canary audit: {first_problem(cls, error)}; write it again with `miaudit canaries audit`"
            ) from error
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read as JSON: {error}; audit the canaries again") from error


def check_epsilon(canaries: CanaryFigures | None, limit: EpsilonLimit, *, low_error: float, high_error: float) -> Check:
    """Judge a canary audit.

    The lower bound is that of Steinke, Nasr and Jagielski (2023). Nothing bounds epsilon from above; what can be shown is that
    these guesses are right less often than e^m / (1 + e^m), which epsilon = m allows (Clopper-Pearson, as if each guess were
    one draw).
    """
    limits: dict[str, Any] = {
        "beyond": limit.beyond,
        "margin": limit.margin,
        "low_error": low_error,
        "high_error": high_error,
    }
    if canaries is None:
        sentence = "no canary audit was given, and the policy limits its epsilon"
        return Check(limit="epsilon", outcome="inconclusive", sentence=sentence, **limits)
    counts = (canaries.canaries, canaries.guesses, canaries.correct)
    bound = float(stats.epsilon_one_run(*counts, canaries.delta, 1 - low_error))
    share = stats.clopper_pearson(canaries.correct, canaries.guesses, 1 - 2 * high_error)[1]
    allowed = 1 / (1 + math.exp(-limit.margin))
    guesses = (
        f"{canaries.correct:,} of {counted(canaries.guesses, 'guess', 'guesses')} on the canaries "
        f"{noun(canaries.correct, 'is', 'are')} right"
    )
    fields = {**limits, "low": bound, "value": bound}
    if canaries.warnings:
        sentence = f"{guesses}, but {canaries.warnings[0]}"
        return Check(limit="epsilon", outcome="inconclusive", sentence=sentence, **fields)
    if bound > limit.beyond:
        sentence = f"{guesses}: epsilon is at least {bound:.3f} at delta {canaries.delta:g}, above the limit {limit.beyond:.4g}"
        return Check(limit="epsilon", outcome="fail", sentence=sentence, **fields)
    if canaries.guesses < LEAST_GUESSES:
        sentence = f"{guesses}, and fewer than {LEAST_GUESSES} guesses say too little for a pass"
        return Check(limit="epsilon", outcome="inconclusive", sentence=sentence, **fields)
    if share < allowed:
        sentence = (
            f"{guesses}, a share of at most {share:.3f}, below the {allowed:.3f} that an epsilon of {limit.margin:.4g} allows: "
            "of these guesses, and no upper bound on epsilon"
        )
        return Check(limit="epsilon", outcome="pass", sentence=sentence, **fields)
    size = stats.guesses_size(allowed, confidence=1 - high_error)
    more = "" if size is None else f"; had nothing leaked, about {size:,} guesses would have shown it"
    sentence = (
        f"{guesses}, a share that may be up to {share:.3f}, not shown to be below the {allowed:.3f} that an epsilon of "
        f"{limit.margin:.4g} allows{more}"
    )
    return Check(limit="epsilon", outcome="inconclusive", sentence=sentence, **fields)
