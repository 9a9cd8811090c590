"""Ours beside the paper's, on worlds that take seconds."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from miaudit.cli import main
from miaudit.errors import DataError
from miaudit.findings import ClassRow, ClassTable
from miaudit.paper import EXPERIMENTS, Outcome, compare, reproducing
from miaudit.paper.comparison import markdown, text
from miaudit.paper.outcomes import compact, identity, load
from miaudit.paper.published import Experiment, Row, stated
from miaudit.paper.purchases import Purchases, clustered
from miaudit.paper.records import records_of
from miaudit.paper.settings import SETTINGS, Setting, _mitigated

FOREST = {"estimator": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 5}}
DIGITS = Setting("digits/forest", "digits", FOREST, 200, 2)
SMALL = {each.name: each for each in (DIGITS, *_mitigated(DIGITS))}
TABLE = Experiment(
    "table-of-digits",
    "A table of digits",
    (
        Row("none", "digits/forest", stated(test_accuracy=0.72, accuracy=0.9)),
        Row("label only", "digits/forest/label", stated(test_accuracy=0.1, accuracy=0.6)),
        Row("top 3", "digits/forest/top-3", stated(accuracy=0.9)),
        Row("elsewhere", None, stated(accuracy=0.5), wanted="a file"),
    ),
    ("test_accuracy", "accuracy", "precision", "recall"),
    "mitigations",
    "accuracy",
    ("a choice",),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MIAUDIT_DATA", raising=False)  # digits need no file
        for name, setting in SMALL.items():
            patch.setitem(SETTINGS, name, setting)
        patch.setitem(EXPERIMENTS, TABLE.name, TABLE)
        command = ["reproduce", TABLE.name, "--out", str(folder), "--jobs", "0", "--json"]
        run = CliRunner().invoke(main, [*command, "--no-repeats"])
        assert run.exit_code == 0, run.stderr
        again = CliRunner().invoke(main, command)
    return folder, json.loads(run.stdout), json.loads(again.stdout), again.stderr


def test_a_table_is_measured_once_and_laid_beside_the_papers(folder):
    path, first, again, said = folder
    assert first == again
    assert "training" not in said
    lines = {line["label"]: line for line in first[0]["lines"]}
    assert lines["elsewhere"]["state"] == "no data at hand"
    assert lines["none"]["state"] == "compared"
    cells = {cell["figure"]: cell for cell in lines["none"]["cells"]}
    assert cells["accuracy"]["difference"] == pytest.approx(cells["accuracy"]["ours"] - 0.9)
    assert (path / f"{TABLE.name}.md").read_text().count("| none |") == 1


def test_a_target_of_another_accuracy_is_another_task_and_no_level_is_compared(folder):
    _, first, _, _ = folder
    line = next(line for line in first[0]["lines"] if line["label"] == "label only")
    assert line["state"] == "another task"
    assert {cell["figure"]: cell["difference"] for cell in line["cells"]}["accuracy"] is None
    assert first[0]["order"]["other_tasks"] == 1


def test_accuracy_follows_from_precision_and_recall_in_every_row(folder):
    path, *_ = folder
    outcomes = [load(each) for each in sorted((path / "outcomes").glob("*.json"))]
    assert len(outcomes) == 3
    for outcome in outcomes:
        figures = outcome.figures
        if figures["precision"]:
            assert identity(figures["precision"], figures["recall"]) == pytest.approx(figures["accuracy"], abs=2e-5)
        assert outcome.members == outcome.nonmembers
        assert outcome.null_auc is None
        assert any("shuffled" in warning for warning in outcome.warnings)  # says what was left out
    assert next(o for o in outcomes if o.setting == "digits/forest").classes
    assert len(compact(outcomes[0]).encode()) < 20_000


def test_a_figure_is_drawn(folder):
    pytest.importorskip("matplotlib")
    path, *_ = folder
    assert (path / f"{TABLE.name}.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (path / f"{TABLE.name}.svg").read_text()


def test_without_matplotlib_tables_stand_and_a_sentence_says_what_is_missing(folder, monkeypatch):
    path, *_ = folder
    for name, setting in SMALL.items():
        monkeypatch.setitem(SETTINGS, name, setting)
    monkeypatch.setitem(EXPERIMENTS, TABLE.name, TABLE)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run = CliRunner().invoke(main, ["reproduce", TABLE.name, "--out", str(path), "--jobs", "0"])
    assert run.exit_code == 0
    assert "A table of digits" in run.stdout
    assert "No figure was drawn" in run.stderr
    assert "miaudit[plots]" in run.stderr


def test_texts_say_what_is_simulated_and_not_run():
    outcome = _outcome("purchase-100/network", test_accuracy=0.66, simulated=True)
    comparison = compare(EXPERIMENTS["table-2"], {"purchase-100/network": [outcome]})
    for shown in (markdown(comparison), text(comparison)):
        assert "simulated" in shown
        assert "not run: about" in shown
        assert "no data at hand" in shown


def test_more_seeds_are_a_mean_and_a_range():
    outcomes = [
        _outcome("location/network", seed=s, test_accuracy=0.66 + 0.01 * s, precision=0.7 + 0.1 * s) for s in (0, 1)
    ]
    line = compare(EXPERIMENTS["figure-8"], {"location/network": outcomes}).lines[0]
    cell = next(cell for cell in line.cells if cell.figure == "precision")
    assert (cell.ours, cell.low, cell.high) == pytest.approx((0.75, 0.7, 0.8))


def _outcome(setting: str, *, seed: int = 0, simulated: bool = False, **figures: float) -> Outcome:
    return Outcome(
        setting=setting,
        scale="paper",
        seed=seed,
        simulated=simulated,
        data="d",
        members=10,
        nonmembers=10,
        shadows=2,
        shadows_of_paper=20,
        target="t",
        figures=figures,
        intervals={},
    )


def test_class_tables_rank_what_goes_together():
    rows = tuple(ClassRow(str(i), 0.5 + i / 20, 1.0, (5 - i) / 15, 1.0, 1 - i / 5) for i in range(5))
    found = {(each.first, each.second): each.value for each in ClassTable(rows).correlations()}
    assert found == {("precision", "gap"): 1.0, ("precision", "share"): -1.0, ("gap", "share"): -1.0}
    assert ClassTable(rows[:2]).correlations()[0].value is None


def test_simulated_purchases_are_the_first_of_more_and_are_parted():
    few, many = (Purchases().draw(n, seed=1) for n in (300, 9_000))
    np.testing.assert_array_equal(few, many[:300])
    assert 0.2 < many.mean() < 0.33
    labels = clustered(many[:2_000], 10, seed=1)
    assert sorted(np.unique(labels)) == list(range(10))


def test_nothing_to_run_is_refused():
    run = CliRunner().invoke(main, ["reproduce", "table-2", "--row", "nowhere"])
    assert run.exit_code == 2
    assert "no setting begins with nowhere" in run.stderr
    assert reproducing._groups([SETTINGS["purchase-100/network-256"], SETTINGS["purchase-100/network-256/label"]])[0][
        1:
    ]


def test_the_list_says_what_is_missing():
    run = CliRunner().invoke(main, ["reproduce", "--list", "--json"])
    assert run.exit_code == 0
    texas = [row for entry in json.loads(run.stdout) for row in entry["rows"] if row["label"] == "TX hospital stays"]
    assert all("texas100" in row["missing"] for row in texas)


def test_a_file_of_purchases_is_used_in_the_place_of_simulated_ones(tmp_path):
    bits = Purchases(styles=4, products=30, directions=5).draw(400, seed=1)
    file, setting = tmp_path / "dataset_purchase", SETTINGS["purchase-2/network"]
    file.write_text("\n".join(f"{1 + i % 2},{','.join(map(str, row))}" for i, row in enumerate(bits)) + "\n")
    records = records_of(setting, tmp_path / "out", tmp_path, scale="quick", seed=3)
    with np.load(records.section["path"]) as arrays:
        assert np.array_equal(np.unpackbits(arrays["X_packed"], axis=1, count=30), bits)
    assert not records.simulated
    file.write_text("1,0,1\n1,0\n")  # damaged: nothing is simulated in silence
    with pytest.raises(DataError, match="dataset_purchase"):
        records_of(setting, tmp_path / "out", tmp_path, scale="quick", seed=3)


def test_outcomes_of_simulated_records_do_not_stand_for_those_of_a_file(tmp_path):
    (tmp_path / "data").mkdir()
    outcome = _outcome("purchase-2/network", simulated=True)
    outcome.save(tmp_path / "outcomes")
    setting = SETTINGS["purchase-2/network"]
    assert reproducing._stored(tmp_path, setting, "paper", 0, outcome.shadows, tmp_path / "data") is not None
    (tmp_path / "data" / "dataset_purchase").write_text("1,0\n")
    assert reproducing._stored(tmp_path, setting, "paper", 0, outcome.shadows, tmp_path / "data") is None
