"""What all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run marked tests when asked for by -m; those marked `data` also when MIAUDIT_DATA names a folder."""
    asked = config.getoption("-m") or ""
    left_out = {
        mark for mark in ("slow", "browser", "gpu", "hosts", "servers", "trainers", "docs") if mark not in asked
    }
    if "MIAUDIT_DATA" not in os.environ and "data" not in asked:
        left_out.add("data")
    deselected = [item for item in items if left_out & {mark.name for mark in item.iter_markers()}]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


@pytest.fixture(autouse=True)
def _no_modules_of_other_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget modules that a test wrote and imported: the next one may have others of the same name."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(vars(sys.modules[name]).get("__file__") or "").startswith(str(tmp_path_factory.getbasetemp())):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def _no_threads_of_other_tests() -> Iterator[None]:
    """Forget threads that models of a test left: a command that a later test runs here would end the process for them."""
    yield
    guard = sys.modules.get("miaudit.shadows.guard")
    if guard is not None:
        guard.left_threads.clear()
