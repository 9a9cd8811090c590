"""What lowers a leak: mitigations of a model's answers and of its training, and the grid that measures them."""

from miaudit.mitigations.output import Composed, LabelOnly, Noise, OutputMitigation, Rounding, Temperature, TopK
from miaudit.mitigations.rows import held, label, mitigated

__all__ = [
    "Composed",
    "LabelOnly",
    "Noise",
    "OutputMitigation",
    "Rounding",
    "Temperature",
    "TopK",
    "held",
    "label",
    "mitigated",
]
