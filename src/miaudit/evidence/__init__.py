"""What every attack reads: answers, who was trained on what, and of what type the answers are."""

from miaudit.evidence.answers import Capability
from miaudit.evidence.evidence import Answers, Bools, Evidence, Floats, Ints, Population, Probes, Variants
from miaudit.evidence.signal import Signal

__all__ = [
    "Answers",
    "Bools",
    "Capability",
    "Evidence",
    "Floats",
    "Ints",
    "Population",
    "Probes",
    "Signal",
    "Variants",
]
