"""The model under audit, seen through its prediction interface."""

from miaudit.targets.files import load_model
from miaudit.targets.target import Outputs, Target, as_target, class_columns

__all__ = ["Outputs", "Target", "as_target", "class_columns", "load_model"]
