"""When, where, from what and at which cost a result was made."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from miaudit import __version__
from miaudit.recipes.origin import package_version
from miaudit.result import Cost, Provenance, ShadowCost
from miaudit.shadows.engine import Progress
from miaudit.shadows.training import peak_memory
from miaudit.threads import usable_cores

_PACKAGES = ("numpy", "scipy", "scikit-learn", "pydantic", "safetensors", "torch")


def versions(things: Iterable[Any] = ()) -> dict[str, str]:
    """Return the versions of miaudit, Python, installed libraries of figures and formats, and packages that define things."""
    installed = {"miaudit": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    for thing in things:
        package = type(thing).__module__.partition(".")[0]
        if package not in installed and (own := package_version(package)) is not None:
            installed[package] = own
    return installed


def system() -> dict[str, Any]:
    """Return the operating system, the kind of machine, and its number of cores."""
    return {"system": platform.platform(), "machine": platform.machine(), "cores": usable_cores()}


class Clock:
    """When an audit began, and the seconds that its stages took."""

    def __init__(self) -> None:
        self.began, self.monotonic = time.perf_counter(), time.monotonic()
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a block."""
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


@dataclass(frozen=True)
class Origin:
    """The clock of an audit, what its shadow models cost, and of what it was made: seeds, hashes, recipe, plan, target.

    ``stored`` names the models whose rows were found; none where nothing was trained. ``things`` are the recipe and attacks,
    whose packages have versions.
    """

    clock: Clock
    parts: Mapping[str, Any]
    progress: Progress | None = None
    stored: tuple[str, ...] = ()
    things: tuple[Any, ...] = ()

    def document(self) -> Provenance:
        """Return it as the provenance of a result that is finished now."""
        seconds = self.clock.seconds | {"total": time.perf_counter() - self.clock.began}
        return Provenance.of(
            self.clock,
            seconds={stage: round(duration, 2) for stage, duration in seconds.items()},
            versions=versions(self.things),
            platform=system(),
            **self._cost(),
            **self.parts,
        )

    def _cost(self) -> dict[str, Any]:
        progress = self.progress
        if progress is None:
            return {}
        cost = ShadowCost(
            trained_now=progress.done,
            from_store=progress.found,
            found=list(self.stored),
            estimated=None if progress.estimate is None else Cost.of(progress.estimate),
            actual=None if progress.actual is None else Cost.of(progress.actual),
            actual_seconds=round(progress.seconds, 2),
            peak_bytes_of_this_process=peak_memory(),
        )
        return {"jobs": progress.processes, "shadow_cost": cost}
