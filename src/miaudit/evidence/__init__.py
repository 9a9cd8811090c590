"""What every attack reads: answers, who was trained on what, and of what type the answers are."""

from miaudit.evidence.answers import OFFERS, Capability
from miaudit.evidence.evidence import Evidence
from miaudit.evidence.rows import Answers, Bools, Floats, Ints, Population, Probes, Variants
from miaudit.evidence.signal import Measure, Signal

__all__ = [
    "OFFERS",
    "Answers",
    "Bools",
    "Capability",
    "Evidence",
    "Floats",
    "Ints",
    "Measure",
    "Population",
    "Probes",
    "Signal",
    "Variants",
]
