"""Documents that ask for such audits: what of them each group of fields answers, by paragraph numbers where these are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LITERATURE = "26 November 2026"
"""Until when the list of attacks was compared with the literature."""
CLASSES = ("membership inference", "attribute inference", "extraction", "inversion", "reconstruction", "regurgitation")
"""Classes of attacks that an assessor asks about."""


@dataclass(frozen=True)
class Standard:
    """A document that an evidence file is for.

    Parameters
    ----------
    title, asks
        Its name, and what it asks in our words.
    source
        How surely that is known.
    policy
        The policy whose decision stands in the file; None: whoever reads the file decides.
    paragraphs
        What the numbered groups of fields answer.
    """

    title: str
    asks: str
    source: str
    policy: str | None
    paragraphs: Mapping[int, str] = field(default_factory=dict)


STANDARDS: dict[str, Standard] = {
    "edpb-28-2024": Standard(
        title="EDPB Opinion 28/2024",
        asks="It looks at the likelihood of extracting personal data from a model and of obtaining them by queries, at how "
        "tests fit the release, and at their documentation. It names no threshold.",
        source="Paragraphs are cited as others summarise them: compare with the original before this file is handed on.",
        policy="release",
        paragraphs={
            1: "para 58",
            2: "para 46; para 58 (e)",
            3: "para 58",
            4: "para 43; para 58 (c)",
            5: "para 55",
            6: "para 43; para 58 (e)",
            7: "para 58 (d), (e)",
            8: "para 55; para 58 (f)",
            9: "para 58 (d)",
            10: "para 58",
        },
    ),
    "aisvs-11.2.5": Standard(
        title="OWASP AISVS 1.0, requirement 11.2.5 (level 3)",
        asks="Membership-inference simulations show that attack accuracy does not exceed random guessing. Its notes want "
        "several attacks, fixed low false-positive rates, a blind baseline without the model, and subgroups, and suggest an "
        "AUC below 0.55.",
        source="Read in the standard's repository.",
        policy="aisvs-11.2.5",
        paragraphs={
            4: "11.2.2, 11.2.3",
            5: "11.2.5, several attacks",
            6: "11.2.5, low rates and subgroups",
            7: "11.2.5, blind baseline",
            8: "11.2.4, where differential privacy is claimed",
            9: "11.2.5, AUC below 0.55",
        },
    ),
    "tre": Standard(
        title="Release of a model from a trusted research environment",
        asks="Two people check what leaves; the risk is measured apart from the decision, which is theirs.",
        source="After the practice of SACRO.",
        policy=None,
        paragraphs={9: "left to the two who check"},
    ),
}
