"""Shadow data without data: records made from a target's answers, from statistics, or from noisy real records."""

from miaudit.synthesis.climbing import Climbing, Climbs
from miaudit.synthesis.domain import Domain
from miaudit.synthesis.marginals import Marginals
from miaudit.synthesis.noise import noisy
from miaudit.synthesis.synthesis import Synthesis, asking, from_climbs, from_marginals, from_noise

__all__ = [
    "Climbing",
    "Climbs",
    "Domain",
    "Marginals",
    "Synthesis",
    "asking",
    "from_climbs",
    "from_marginals",
    "from_noise",
    "noisy",
]
