"""The paper of 2017, reproduced: its tables and figures as settings with published numbers beside them."""

from miaudit.paper.comparison import Comparison, compare
from miaudit.paper.experiments import EXPERIMENTS, experiments
from miaudit.paper.outcomes import Outcome
from miaudit.paper.published import Experiment, Published, Row
from miaudit.paper.purchases import Purchases, clustered
from miaudit.paper.reproducing import Reproduction, reproduce
from miaudit.paper.settings import SETTINGS, Setting

__all__ = [
    "EXPERIMENTS",
    "SETTINGS",
    "Comparison",
    "Experiment",
    "Outcome",
    "Published",
    "Purchases",
    "Reproduction",
    "Row",
    "Setting",
    "clustered",
    "compare",
    "experiments",
    "reproduce",
]
