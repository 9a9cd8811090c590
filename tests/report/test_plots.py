"""Plots for notebooks hold the numbers of the result."""

from __future__ import annotations

import numpy as np
import pytest

from miaudit.errors import PlanError
from miaudit.result import RocBand, ScoreCounts


@pytest.fixture(scope="module")
def drawn(result):
    """Return a result whose first attack has a band and counts of scores."""
    pytest.importorskip("matplotlib")
    band = RocBand(fpr=[0.001, 0.1, 1.0], low=[0.0, 0.3, 1.0], high=[0.2, 0.6, 1.0])
    first = result.attacks[0]
    counts = ScoreCounts(edges=[0.0, 1.0, 2.0], members=[1, 3], nonmembers=[4, 0])
    first = first.model_copy(update={"roc": first.roc.model_copy(update={"band": band}), "scores": counts})
    return result.model_copy(update={"attacks": [first, *result.attacks[1:]]})


def test_roc_draws_curves_and_the_band_of_the_first(drawn):
    (axes,) = drawn.plot_roc().axes
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {"guessing", "shokri", "threshold", "gap"}
    assert lines["shokri"].get_ydata()[-1] == 1.0
    assert len(axes.collections) == 1
    assert [line.get_label() for line in drawn.plot_roc(["gap"]).axes[0].lines] == ["guessing", "gap"]


def test_scores_are_shares_of_each_side(drawn):
    (axes,) = drawn.plot_scores().axes
    heights = [patch.get_data().values.tolist() for patch in axes.patches]
    assert heights == [[1.0, 0.0], [0.25, 0.75]]


def test_records_have_their_place_and_its_span(drawn):
    (axes,) = drawn.plot_records(5).axes
    *spans, dots = axes.lines
    rows = sorted((row for row in drawn.records if row["member"]), key=lambda row: row["risk_rank"])[:5]
    assert dots.get_xdata().tolist() == [row["risk_rank"] for row in rows]
    assert [list(span.get_xdata()) for span in spans] == [[row["risk_low"], row["risk_high"]] for row in rows]


def test_slices_are_sorted_by_the_leak_that_is_shown(drawn):
    (axes,) = drawn.plot_slices(most=7).axes
    values = np.array(axes.lines[-1].get_xdata(), float)
    assert len(values) == 7
    assert (np.diff(values) <= 0).all()


def test_a_notebook_shows_a_figure_without_pyplot(drawn):
    assert drawn.plot_slices()._repr_png_().startswith(b"\x89PNG")


def test_names_are_no_formulas(drawn):
    figure = drawn.model_copy(update={"title": "$\\frac{1}{0}$ \x1b[31m" + "x" * 300}).plot_roc()
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda r: r.plot_scores("gap"), "'gap' has no scores in this result; these have: shokri"),
        (lambda r: r.plot_roc(["nobody"]), "'nobody' has no roc in this result"),
        (lambda r: r.plot_slices("age"), "no slices by 'age'; it has class"),
        (lambda r: r.model_copy(update={"groups": []}).plot_slices(), "no figures of classes or slices"),
        (lambda r: r.model_copy(update={"records": r.records[:0]}).plot_records(), "no table of ranked records"),
    ],
)
def test_what_is_not_there_is_refused(drawn, ask, message):
    with pytest.raises(PlanError, match=message):
        ask(drawn)
