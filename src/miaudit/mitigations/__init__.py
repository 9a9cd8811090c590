"""What lowers a leak: mitigations of a model's answers and of its training, and the grid that measures them."""

from miaudit.mitigations.document import Grid, MitigationRow
from miaudit.mitigations.lab import grid, suggest
from miaudit.mitigations.output import Composed, LabelOnly, Noise, OutputMitigation, Rounding, Temperature, TopK
from miaudit.mitigations.rows import held, label, mitigated
from miaudit.mitigations.training import (
    DPSGD,
    L2,
    Bagging,
    Distillation,
    Dropout,
    EarlyStopping,
    Knob,
    LabelSmoothing,
    Mixup,
    RelaxLoss,
    SplitDistillation,
    TrainingMitigation,
)

__all__ = [
    "DPSGD",
    "L2",
    "Bagging",
    "Composed",
    "Distillation",
    "Dropout",
    "EarlyStopping",
    "Grid",
    "Knob",
    "LabelOnly",
    "LabelSmoothing",
    "MitigationRow",
    "Mixup",
    "Noise",
    "OutputMitigation",
    "RelaxLoss",
    "Rounding",
    "SplitDistillation",
    "Temperature",
    "TopK",
    "TrainingMitigation",
    "grid",
    "held",
    "label",
    "mitigated",
    "suggest",
]
