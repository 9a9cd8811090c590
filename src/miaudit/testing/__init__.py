"""Shipped tests for authors of attacks, recipes and targets: worlds with known answers, checks of what is promised."""

from miaudit.testing import worlds
from miaudit.testing.checks import check_attack
from miaudit.testing.contracts import check_recipe, check_target

__all__ = ["check_attack", "check_recipe", "check_target", "worlds"]
