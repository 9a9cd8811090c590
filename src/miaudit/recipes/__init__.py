"""How to train one model of the target's kind, or many at once.

Recipes of the kinds that `as_recipe` makes are imported here, others on first use: a process that trains needs only its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miaudit.libraries import on_first_use
from miaudit.recipes.building import (
    Task,
    as_recipe,
    device_name,
    estimator_from_function,
    function_of_file,
    innermost,
    is_staged,
    labels_only,
    named_estimator,
    placed,
    recipe_of_plugin,
    recipe_of_target,
    refuse_few,
    shortened,
    staged,
)
from miaudit.recipes.command import CommandRecipe
from miaudit.recipes.estimator import EstimatorRecipe
from miaudit.recipes.fingerprint import Fingerprint, content_of, fingerprint, fingerprint_of_recipe
from miaudit.recipes.function import TrainingRecipe
from miaudit.recipes.recipe import (
    Choosing,
    Composed,
    Continuing,
    Delegating,
    Descending,
    Foreseeing,
    Forgetting,
    GroupRecipe,
    Learner,
    Loadable,
    Model,
    Modular,
    Openable,
    Placeable,
    Portioned,
    Recipe,
    Relearning,
    Shortenable,
    Soft,
    Staged,
    Storable,
    Turnable,
    Work,
    Wrapping,
    choice_of,
    learners_of,
    opened,
    passes_of,
    work_of,
)
from miaudit.recipes.regressor import RegressorRecipe, is_regressor

if TYPE_CHECKING:
    from miaudit.recipes.class_sisa import ClassSISA as ClassSISA
    from miaudit.recipes.encoded import Encoded as Encoded
    from miaudit.recipes.module import ModuleModel as ModuleModel
    from miaudit.recipes.module import ModuleRecipe as ModuleRecipe
    from miaudit.recipes.network import Network as Network
    from miaudit.recipes.network import NetworkModel as NetworkModel
    from miaudit.recipes.network import load_weights as load_weights
    from miaudit.recipes.network import save_weights as save_weights
    from miaudit.recipes.service import ServiceModel as ServiceModel
    from miaudit.recipes.service import ServiceRecipe as ServiceRecipe
    from miaudit.recipes.sisa import SISA as SISA
    from miaudit.recipes.sisa import Sharded as Sharded
    from miaudit.recipes.sisa import expected_share as expected_share
    from miaudit.recipes.standins import AmazonLike as AmazonLike
    from miaudit.recipes.standins import GoogleLike as GoogleLike
    from miaudit.recipes.standins import standin as standin

_HOME = {
    "AmazonLike": "miaudit.recipes.standins",
    "ClassSISA": "miaudit.recipes.class_sisa",
    "Encoded": "miaudit.recipes.encoded",
    "GoogleLike": "miaudit.recipes.standins",
    "ModuleModel": "miaudit.recipes.module",
    "ModuleRecipe": "miaudit.recipes.module",
    "Network": "miaudit.recipes.network",
    "NetworkModel": "miaudit.recipes.network",
    "SISA": "miaudit.recipes.sisa",
    "ServiceModel": "miaudit.recipes.service",
    "ServiceRecipe": "miaudit.recipes.service",
    "Sharded": "miaudit.recipes.sisa",
    "expected_share": "miaudit.recipes.sisa",
    "load_weights": "miaudit.recipes.network",
    "save_weights": "miaudit.recipes.network",
    "standin": "miaudit.recipes.standins",
}

__all__ = [
    "SISA",
    "AmazonLike",
    "Choosing",
    "ClassSISA",
    "CommandRecipe",
    "Composed",
    "Continuing",
    "Delegating",
    "Descending",
    "Encoded",
    "EstimatorRecipe",
    "Fingerprint",
    "Foreseeing",
    "Forgetting",
    "GoogleLike",
    "GroupRecipe",
    "Learner",
    "Loadable",
    "Model",
    "Modular",
    "ModuleModel",
    "ModuleRecipe",
    "Network",
    "NetworkModel",
    "Openable",
    "Placeable",
    "Portioned",
    "Recipe",
    "RegressorRecipe",
    "Relearning",
    "ServiceModel",
    "ServiceRecipe",
    "Sharded",
    "Shortenable",
    "Soft",
    "Staged",
    "Storable",
    "Task",
    "TrainingRecipe",
    "Turnable",
    "Work",
    "Wrapping",
    "as_recipe",
    "choice_of",
    "content_of",
    "device_name",
    "estimator_from_function",
    "expected_share",
    "fingerprint",
    "fingerprint_of_recipe",
    "function_of_file",
    "innermost",
    "is_regressor",
    "is_staged",
    "labels_only",
    "learners_of",
    "load_weights",
    "named_estimator",
    "opened",
    "passes_of",
    "placed",
    "recipe_of_plugin",
    "recipe_of_target",
    "refuse_few",
    "save_weights",
    "shortened",
    "staged",
    "standin",
    "work_of",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # a type checker would take every name for one that is there

    def __getattr__(name: str) -> Any:
        return on_first_use(__name__, _HOME, name)
