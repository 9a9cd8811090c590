"""The page of the paper is made of the committed outcomes."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from miaudit.paper import EXPERIMENTS, SETTINGS
from miaudit.paper.outcomes import identity
from miaudit.paper.reproducing import stored

ROOT = Path(__file__).parents[2]
OUTCOMES = stored(ROOT / "bench" / "results" / "paper")


def test_the_page_is_what_the_outcomes_say_and_has_every_table_and_figure():
    build = runpy.run_path(str(ROOT / "bench" / "paper_page.py"))
    page = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    assert build["built"](page, OUTCOMES) == page, "run python bench/paper_page.py"
    assert sorted(mark["name"] for mark in build["MARKED"].finditer(page)) == sorted([*EXPERIMENTS, "cost"])


def test_committed_outcomes_are_small_and_of_settings_there_are():
    for name, each in OUTCOMES.items():
        assert name in SETTINGS
        assert len({outcome.shadows for outcome in each}) == 1, f"seeds of {name} differ in shadow models"
        for outcome in each:
            assert abs(outcome.members - outcome.nonmembers) <= 0.01 * outcome.members  # but for copies left out
            figures = outcome.figures
            implied = identity(figures["precision"], figures["recall"])
            assert implied == pytest.approx(figures["accuracy"], abs=2e-5)
            assert outcome.simulated == name.startswith("purchase-")
    assert all(path.stat().st_size < 25_000 for path in (ROOT / "bench" / "results" / "paper").glob("*.json"))
