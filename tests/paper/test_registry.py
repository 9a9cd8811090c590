"""The registry of the paper's tables and figures: its numbers agree with each other, and every row can be run."""

from __future__ import annotations

import pytest

from miaudit.errors import PlanError
from miaudit.paper import EXPERIMENTS, SETTINGS, experiments
from miaudit.paper.drawing import _DRAWN
from miaudit.paper.outcomes import identity
from miaudit.plan import Plan

ROWS = [(each.name, row) for each in EXPERIMENTS.values() for row in each.rows]


def test_all_tables_and_figures_are_there():
    assert {"table-1", "table-2", "table-3", *(f"figure-{k}" for k in range(4, 13))} <= set(EXPERIMENTS)
    assert {each.kind for each in EXPERIMENTS.values()} == set(_DRAWN)


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}: {row.label}" for name, row in ROWS])
def test_the_papers_numbers_imply_each_other(name, row):
    """Accuracy follows from precision and recall with as many members as non-members, to the rounding of the table."""
    figures = {key: of.value for key, of in row.published.items()}
    if {"precision", "recall", "accuracy"} <= set(figures):
        assert identity(figures["precision"], figures["recall"]) == pytest.approx(figures["accuracy"], abs=0.0151)
    for key, value in figures.items():
        assert (-1 if key.startswith("spearman") else 0) <= value <= 1
    shares = [
        figures[key] for p in ("min", "p10", "p25", "p50", "p75", "p90") if (key := f"class_precision_{p}") in figures
    ]
    assert shares == sorted(shares)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_setting_is_a_plan(name):
    setting = SETTINGS[name]
    plan = Plan.of(setting.plan({"name": "digits"}, seed=0))
    assert plan.split.members == setting.members
    assert plan.split.outside == 0
    assert setting.models in SETTINGS
    quick = setting.sized("quick")
    assert quick.members <= 2_000
    assert quick.shadows <= 4
    assert setting.sized("paper", 7).shadows == 7


def test_rows_name_settings_or_what_is_wanted():
    for name, row in ROWS:
        assert (row.setting in SETTINGS) if row.setting is not None else row.wanted, (name, row.label)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(PlanError, match="did you mean 'table-3'"):
        experiments(("tabel-3",))
