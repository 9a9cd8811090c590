"""From scores to findings: figures of each attack, controls, groups, stability, and one sentence for all."""

from miaudit.findings.claims import CONFIDENCE, FPRS, power
from miaudit.findings.classes import ClassRow, ClassTable, Correlation, Figure
from miaudit.findings.controls import blind_control, class_control, judged, null_control, pattern_control
from miaudit.findings.examine import Findings, examine
from miaudit.findings.figures import FIGURES, Run, balanced, run_attack, skipped
from miaudit.findings.recount import recount, uncountable
from miaudit.findings.trials import Perform, Task, Trial, Trials
from miaudit.findings.unit import Unit, UnitName, accuracies, question, unit_of
from miaudit.findings.verdict import verdict_of

__all__ = [
    "CONFIDENCE",
    "FIGURES",
    "FPRS",
    "ClassRow",
    "ClassTable",
    "Correlation",
    "Figure",
    "Findings",
    "Perform",
    "Run",
    "Task",
    "Trial",
    "Trials",
    "Unit",
    "UnitName",
    "accuracies",
    "balanced",
    "blind_control",
    "class_control",
    "examine",
    "judged",
    "null_control",
    "pattern_control",
    "power",
    "question",
    "recount",
    "run_attack",
    "skipped",
    "uncountable",
    "unit_of",
    "verdict_of",
]
