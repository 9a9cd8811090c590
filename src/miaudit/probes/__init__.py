"""Probes: many questions about each record, for attacks that need no more than the label of every answer."""

from __future__ import annotations

from miaudit.probes.hopskipjump import boundary_distance
from miaudit.probes.probing import Probed, probe
from miaudit.probes.variants import variant

__all__ = ["Probed", "boundary_distance", "probe", "variant"]
