"""A small audit of a forest on the digits, gathered once."""

from __future__ import annotations

from pathlib import Path

import pytest
from mitigated_plan import PLAN

from miaudit.auditing import Case, Engine, Measured, case_of_plan, gather
from miaudit.auditing.asking import quiet
from miaudit.auditing.provenance import Clock
from miaudit.mitigations import held
from miaudit.store import Store


def measured_of(case: Case, folder: Path) -> Measured:
    workers, _ = Engine(jobs=0).start(case.engine, case.recipe)
    return gather(case, Store(folder), workers, clock=Clock(), tell=quiet)


@pytest.fixture(scope="session")
def forest_case() -> Case:
    return case_of_plan(PLAN)


@pytest.fixture(scope="session")
def forest(forest_case: Case, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return held(measured_of(forest_case, tmp_path_factory.mktemp("forest")))
