"""The page shows the mitigations that lie beside a result."""

from __future__ import annotations

import json
import re

import pytest

from miaudit.mitigations import Grid
from miaudit.report import write
from miaudit.report.frontier import frontier
from miaudit.report.page.grid import grid_of, read_grid
from miaudit.result import Interval


def interval(value, half=0.02):
    return {"value": value, "low": value - half, "high": value + half}


def row(name, side, accuracy, areas, bound, **more):
    attacks = [
        {"attack": attack, "attacker": "adaptive", "status": "ran", "auc": interval(v), "auc_corrected": wide(v)}
        for attack, v in areas.items()
    ]
    naive = {"attack": "rmia", "attacker": "naive", "status": "ran", "auc": interval(0.51)}
    return {
        "mitigation": name,
        "side": side,
        "parts": [],
        "train_accuracy": interval(0.9),
        "test_accuracy": interval(accuracy),
        "accuracy_change": interval(accuracy - 0.9),
        "calibration_error": interval(0.1),
        "seconds": None,
        "attacks": [*attacks, naive],
        "bound": bound,
        "standing": "above",
        **more,
    }


def wide(value):
    return interval(value, 0.05) | {"confidence": 0.99}


GRID = {
    "title": "forest",
    "limit": 0.55,
    "attacks": ["rmia", "threshold", "gap"],
    "members": 100,
    "nonmembers": 100,
    "shadows": 4,
    "recommendation": {"kind": "none", "mitigation": None, "text": "No mitigation is below 0.55 <b>."},
    "rows": [
        row("none", "none", 0.9, {"rmia": 0.9, "threshold": 0.8}, 0.93),
        row("labels only", "output", 0.9, {"gap": 0.6}, 0.7),
        row("<script>", "training", 0.8, {"rmia": 0.6}, None, bound_reason="no attack has one"),
    ],
}


def test_access_is_the_adaptive_attacker_by_what_is_answered():
    grid = grid_of(Grid.model_validate(GRID))
    assert grid.attacks == ["rmia", "threshold", "gap"]
    assert [(name, [cell.text for cell in cells]) for name, cells in grid.access] == [
        ("none", ["0.900", "0.800", "\u2013"]),
        ("labels only", ["\u2013", "\u2013", "0.600"]),
    ]
    assert grid.access[0][1][0].shade == pytest.approx(0.8)
    assert str(grid.frontier).count("<circle") == 3
    assert "<style" not in str(grid.frontier)


def test_marks_that_lie_together_share_a_label_and_have_the_numbers_of_the_table():
    near, far, unknown = Interval(value=0.99, low=0.97, high=1.0), Interval(value=0.6, low=0.55, high=0.65), None
    points = [("a", 0.973, near), ("b", 0.9731, near), ("c", 0.95, unknown), ("d", 0.972, far), ("e", 0.9729, near)]
    drawing = str(frontier(points, limit=0.6, key="k"))
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", drawing)
    assert "1-2, 5" in texts
    assert {"4", "4: d"} <= {*texts}
    assert "3: c" not in texts
    ticks = [float(text) for text in texts if re.fullmatch(r"0\.9[0-9]+", text)]
    assert {0.97, 0.98} <= {*ticks}  # as they are, not rounded
    assert all(y >= 12 for y in map(float, re.findall(r'class="tick" x="[^"]*" y="([^"]*)"', drawing)))
    assert "4: d" not in str(frontier(points, limit=0.6, key="k", alone=False))


def test_the_page_shows_what_lies_in_the_folder_and_nothing_else(result, tmp_path, read_page):
    assert "mitigations" not in read_page(write(result, tmp_path).read_text()).sections
    (tmp_path / "mitigations.json").write_text(json.dumps(GRID))
    page = read_page(write(result, tmp_path).read_text())
    assert "No mitigation is below 0.55 <b>." in page.sections["mitigations"]
    rows = page.rows["mitigations"]
    assert rows[1][:2] == ["none", "0.900 0.880 to 0.920"]
    assert rows[-1][1:3] == ["<script>", "training"]


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": 1}', '{"rows": [{}], "limit": 1}'])
def test_what_cannot_be_read_is_said(result, tmp_path, text, read_page):
    (tmp_path / "mitigations.json").write_text(text)
    assert isinstance(grid_of(read_grid(tmp_path)), str)
    page = read_page(write(result, tmp_path).read_text())
    assert "mitigations.json is there and" in page.sections["mitigations"]
