"""Results where nothing leaks, where all leaks, and of too few records to tell."""

from __future__ import annotations

import pytest
from scored_worlds import checked, scored

from miaudit.result import Result


@pytest.fixture(scope="session")
def noise() -> Result:
    return checked(scored("noise", 2400))


@pytest.fixture(scope="session")
def few() -> Result:
    return checked(scored("noise", 100))


@pytest.fixture(scope="session")
def leaky() -> Result:
    return checked(scored("leak", 800))
