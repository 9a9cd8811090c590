"""The model under audit, seen through its prediction interface."""

from miaudit.targets.at_hand import as_target
from miaudit.targets.endpoint import Endpoint
from miaudit.targets.files import load_model
from miaudit.targets.kept import keep
from miaudit.targets.outputs import Outputs
from miaudit.targets.servers import connect
from miaudit.targets.target import Target, class_columns

__all__ = ["Endpoint", "Outputs", "Target", "as_target", "class_columns", "connect", "keep", "load_model"]
