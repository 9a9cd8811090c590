"""How to train one model of the target's kind, or many at once."""

from miaudit.recipes.building import (
    Task,
    as_recipe,
    device_name,
    estimator_from_function,
    function_of_file,
    innermost,
    labels_only,
    named_estimator,
    placed,
    recipe_of_plugin,
    shortened,
)
from miaudit.recipes.command import CommandRecipe
from miaudit.recipes.encoded import Encoded
from miaudit.recipes.estimator import EstimatorRecipe
from miaudit.recipes.fingerprint import Fingerprint, fingerprint, fingerprint_of_recipe
from miaudit.recipes.function import TrainingRecipe
from miaudit.recipes.module import ModuleModel, ModuleRecipe
from miaudit.recipes.network import Network, NetworkModel, load_weights, save_weights
from miaudit.recipes.recipe import (
    Choosing,
    Descending,
    Foreseeing,
    Forgetting,
    GroupRecipe,
    Loadable,
    Model,
    Modular,
    Openable,
    Placeable,
    Recipe,
    Shortenable,
    Soft,
    Turnable,
    Wrapping,
    choice_of,
    opened,
)
from miaudit.recipes.regressor import RegressorRecipe, is_regressor
from miaudit.recipes.service import ServiceModel, ServiceRecipe
from miaudit.recipes.standins import AmazonLike, GoogleLike, standin

__all__ = [
    "AmazonLike",
    "Choosing",
    "CommandRecipe",
    "Descending",
    "Encoded",
    "EstimatorRecipe",
    "Fingerprint",
    "Foreseeing",
    "Forgetting",
    "GoogleLike",
    "GroupRecipe",
    "Loadable",
    "Model",
    "Modular",
    "ModuleModel",
    "ModuleRecipe",
    "Network",
    "NetworkModel",
    "Openable",
    "Placeable",
    "Recipe",
    "RegressorRecipe",
    "ServiceModel",
    "ServiceRecipe",
    "Shortenable",
    "Soft",
    "Task",
    "TrainingRecipe",
    "Turnable",
    "Wrapping",
    "as_recipe",
    "choice_of",
    "device_name",
    "estimator_from_function",
    "fingerprint",
    "fingerprint_of_recipe",
    "function_of_file",
    "innermost",
    "is_regressor",
    "labels_only",
    "load_weights",
    "named_estimator",
    "opened",
    "placed",
    "recipe_of_plugin",
    "save_weights",
    "shortened",
    "standin",
]
