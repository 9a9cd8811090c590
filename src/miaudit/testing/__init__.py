"""Shipped tests for authors of attacks, recipes, targets and wire formats: worlds of known answers, checks of promises."""

from miaudit.testing import worlds
from miaudit.testing.checks import check_attack
from miaudit.testing.contracts import check_recipe, check_target
from miaudit.testing.formats import check_format

__all__ = ["check_attack", "check_format", "check_recipe", "check_target", "worlds"]
