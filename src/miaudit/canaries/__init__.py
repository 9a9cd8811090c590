"""Canaries: records whose inclusion in the training data was decided by coins, for a bound on epsilon from one training."""

from __future__ import annotations

from miaudit.canaries.bound import CanaryAudit, audit_canaries, audit_folder
from miaudit.canaries.folder import load_planted, save_planted
from miaudit.canaries.ordinary import OrdinaryCheck
from miaudit.canaries.planting import Canaries, Planted, plant
from miaudit.canaries.running import run

__all__ = [
    "Canaries",
    "CanaryAudit",
    "OrdinaryCheck",
    "Planted",
    "audit_canaries",
    "audit_folder",
    "load_planted",
    "plant",
    "run",
    "save_planted",
]
