"""What Python and the terminal say of an audit: ids, slices, progress, the notebook, quiet commands, completion."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.naive_bayes import GaussianNB

import miaudit
from miaudit.cli import main
from miaudit.errors import DataError, PlanError

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 3)).round(3)
Y = (X[:, 0] + rng.normal(size=300) > 0).astype(int)
MODEL = GaussianNB().fit(X[:80], Y[:80])
CUTS = {"members": slice(0, 80), "nonmembers": slice(80, 160), "population": slice(160, 300)}
SIDES = {side: (X[cut], Y[cut]) for side, cut in CUTS.items()}
QUICK = {"shadows": 2, "jobs": 0, "attacks": "rmia"}


def test_records_have_the_users_ids_and_are_a_frame(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abc"), index=[f"p{i}" for i in range(300)])
    model = GaussianNB().fit(frame[:80], Y[:80])
    result = miaudit.audit(model, **{side: (frame[cut], Y[cut]) for side, cut in CUTS.items()}, **QUICK, out=tmp_path)
    assert result.records[0]["id"] == "p0"
    table = result.records.to_pandas()
    assert table.index[:2].tolist() == ["p0", "p1"]
    assert table.loc["p3", "rmia"] == result.records[3]["rmia"]
    assert (tmp_path / "report.html").exists()
    assert miaudit.Result.load(tmp_path).records[1]["id"] == "p1"
    own = miaudit.audit(MODEL, **SIDES, **QUICK, ids=(np.arange(80) + 500, np.arange(80) + 700))
    assert [own.records[0]["id"], own.records[80]["id"]] == [500, 700]
    with pytest.raises(DataError, match="ids: members has 80 records and values of shape"):
        miaudit.audit(MODEL, **SIDES, **QUICK, ids=([1, 2], np.arange(80)))


def test_slices_are_columns_or_arrays():
    sites = [np.where(np.arange(cut.stop - cut.start) % 2, "north", "south") for cut in CUTS.values()]
    result = miaudit.audit(MODEL, **SIDES, **QUICK, slices={"site": sites})
    assert {"class", "site"} <= {grouping.column for grouping in result.groups}
    by_column = miaudit.audit(MODEL, **SIDES, **QUICK, slices=["x0"])
    assert "x0" in {grouping.column for grouping in by_column.groups}
    with pytest.raises(PlanError, match=r"slices: must be a list of names.*\['x0'\]"):
        miaudit.audit(MODEL, **SIDES, **QUICK, slices="x0")


def test_the_path_of_a_model_goes_with_pairs_of_records(tmp_path):
    joblib.dump(MODEL, tmp_path / "m.joblib")
    result = miaudit.audit(tmp_path / "m.joblib", **SIDES, **QUICK, allow_pickle=True)
    assert result.attack("rmia").auc == miaudit.audit(MODEL, **SIDES, **QUICK).attack("rmia").auc
    with pytest.raises(miaudit.MiauditError, match="allow.pickle"):
        miaudit.audit(tmp_path / "m.joblib", **SIDES, **QUICK)


def test_near_misses_are_suggested_whatever_their_case():
    with pytest.raises(PlanError, match="did you mean 'lira'"):
        miaudit.audit(MODEL, **SIDES, **QUICK | {"attacks": "LiRA"})


def test_progress_is_told_where_it_is_asked_for_and_counts_attacks(capsys):
    assert miaudit.audit(MODEL, **SIDES, **QUICK).verdict
    assert capsys.readouterr().err == ""  # no terminal and no notebook
    miaudit.audit(MODEL, **SIDES, **QUICK, progress=True)
    assert (
        "attacking: 5 of 5" in capsys.readouterr().err
    )  # three attacks, and what learns on shuffled memberships and halves
    steps = []
    miaudit.audit(MODEL, **SIDES, **QUICK, tell=lambda text, progress: steps.append((text, progress)))
    counts = [progress.done for text, progress in steps if text == "attacking" and progress is not None]
    assert counts == [1, 2, 3, 4, 5]


def test_quiet_commands_print_the_verdict_alone(tmp_path):
    np.savez(tmp_path / "all.npz", X=X, y=Y)
    (tmp_path / "plan.toml").write_text(
        'attacks = ["rmia"]\n[data]\npath = "all.npz"\n[split]\nmembers = 80\n'
        '[recipe]\nestimator = "sklearn.naive_bayes.GaussianNB"\n[shadows]\ncount = 2\n'
    )
    out = tmp_path / "out"
    outcome = CliRunner().invoke(main, ["run", str(tmp_path / "plan.toml"), "--out", str(out), "--jobs", "0", "-q"])
    assert outcome.exit_code == 0
    assert outcome.stdout == miaudit.Result.load(out).verdict + "\n"
    assert "training" not in outcome.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell):
    assert "_MIAUDIT_COMPLETE" in CliRunner().invoke(main, ["completion", shell]).stdout
