"""When, where, from what and at which cost a result was made."""

from __future__ import annotations

from typing import Any

from miaudit.documents import Count, Document, Facts, NonNegative


class Platform(Facts):
    """The operating system, the kind of machine, and the cores that could be used."""

    system: str
    machine: str
    cores: Count | None = None


class Cost(Document):
    """What a run was expected to cost, or has cost: all workers together."""

    models: Count
    seconds: NonNegative
    peak_bytes: Count
    disk_bytes: Count


class ShadowCost(Document):
    """What the models cost: those ``trained_now`` and ``from_store``, and the names of those ``found`` in the store.

    The first results say neither the names nor the ``actual`` cost.
    """

    trained_now: Count
    from_store: Count
    found: list[str] | None = None
    estimated: Cost | None
    actual: Cost | None = None
    actual_seconds: NonNegative
    peak_bytes_of_this_process: Count | None


class Retrained(Document):
    """Stored rows that were trained again, and how far they differ from what lay in the store, and may."""

    models: list[str]
    identical: Count
    largest_difference: NonNegative
    tolerance: NonNegative


class Provenance(Facts):
    """When, where, from what and at which cost a result was made.

    ``recipe``, ``plan`` and ``target`` hold what others named: parameters, options, counts of a server's ledger.
    """

    started: str | None = None
    seconds: dict[str, NonNegative] = {}
    versions: dict[str, str] = {}
    platform: Platform | None = None
    jobs: Count | None = None
    shadow_cost: ShadowCost | None = None
    device: str | None = None
    retrained: Retrained | None = None
    seeds: dict[str, int] = {}
    hashes: dict[str, str | None] = {}
    recipe: Any = None
    plan: dict[str, Any] = {}
    target: dict[str, Any] = {}
