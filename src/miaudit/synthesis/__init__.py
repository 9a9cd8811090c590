"""Shadow data without data: records made from a target's answers, from statistics, or from noisy real records."""

from miaudit.synthesis.climbing import Climbing, Climbs
from miaudit.synthesis.domain import Domain

__all__ = ["Climbing", "Climbs", "Domain"]
