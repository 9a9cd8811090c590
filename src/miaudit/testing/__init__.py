"""Shipped tests for authors of attacks: worlds with known answers, and a check that runs an attack over them."""

from miaudit.testing import worlds
from miaudit.testing.checks import check_attack

__all__ = ["check_attack", "worlds"]
