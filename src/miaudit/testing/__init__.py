"""Shipped tests: a gate for a test suite; worlds of known answers, and checks of attacks, recipes, targets and formats."""

from miaudit.testing import worlds
from miaudit.testing.checks import check_attack
from miaudit.testing.contracts import check_recipe, check_target
from miaudit.testing.formats import check_format
from miaudit.testing.release import assert_no_leak

__all__ = ["assert_no_leak", "check_attack", "check_format", "check_recipe", "check_target", "worlds"]
