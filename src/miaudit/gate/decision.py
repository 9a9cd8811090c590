"""What a gate decides: one entry per thing that was judged, and the outcome of all."""

from __future__ import annotations

from typing import Literal

from miaudit.documents import Count, Document

Outcome = Literal["pass", "fail", "inconclusive"]
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "fail": 1, "inconclusive": 3}


class Check(Document):
    """One thing that was judged.

    ``limit`` is what of the policy, ``about`` whose figure it is (an attack or a slice), where it is one's. ``low`` and
    ``high`` are the ends that were judged, each one-sided: ``low`` with an error of ``low_error``, its part of the
    policy's, ``high`` with that of ``high_error``. ``beyond`` and ``margin`` are the policy's. ``needed`` is about how many
    members, and as many non-members, would have shown the figure to be below the margin, with a probability of 80 %, had
    nothing leaked.
    """

    limit: str
    about: str | None = None
    outcome: Outcome
    value: float | None = None
    low: float | None = None
    high: float | None = None
    low_error: float | None = None
    high_error: float | None = None
    beyond: float | None = None
    margin: float | None = None
    needed: Count | None = None
    sentence: str

    @property
    def short(self) -> bool:
        """Whether the figure lies between the limits and only its upper end does not lie below the margin."""
        if self.value is None or self.low is None or self.high is None or self.margin is None or self.limit == "rise":
            return False
        return self.value < self.margin <= self.high and (self.beyond is None or self.low <= self.beyond)

    @property
    def name(self) -> str:
        """Its name among the checks of a decision."""
        return self.limit if self.about is None else f"{self.limit}: {self.about}"


class Decision(Document):
    """Whether a result may pass a policy.

    It fails where a check fails, is inconclusive where none fails and one is inconclusive, and else passes: so there is no
    pass without every check's own evidence. ``members`` and ``nonmembers`` are counted in ``unit``; ``remarks`` are what
    a reader must know beside it; ``needed`` is the largest number that a check asks for.
    """

    title: str
    policy: str
    purpose: str
    outcome: Outcome
    unit: Literal["person", "record"]
    members: Count
    nonmembers: Count
    needed: Count | None = None
    checks: list[Check]
    remarks: list[str] = []

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return EXIT_CODES[self.outcome]

    def those(self, outcome: Outcome) -> list[Check]:
        """Return the checks with an outcome."""
        return [check for check in self.checks if check.outcome == outcome]
