"""What Python and the terminal say of an audit: ids, slices, progress, the notebook, quiet commands, completion."""

from __future__ import annotations

import re

import joblib
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.pipeline import make_pipeline

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


KEY_OF_A_PLAN = re.compile(
    r"\b(data|split|target|recipe|shadows|figures|engine)\.[a-z_]+|--[a-z]+|problems in the plan"
)


@pytest.mark.parametrize(
    "options",
    [
        {"train": 1000, "test": 1000},
        {"train": 200, "test": 200, "design": "overlapping"},
        {"unit": "person"},
        {"unit": "person", "groups": (np.arange(80), np.arange(80), None)},
        {"unit": "house"},
        {"threshold": -3, "delta": 7},
        {"design": "nested", "bystanders": -1},
        {"shadows": 2, "bystanders": 3},
        {"outside": 10_000},
        {"task": "ranking"},
        {"groups": [np.zeros(80), np.ones(80), np.arange(140)], "design": "overlapping", "train": 30},
        {"holdout": 0.3},
        {"population": None, "design": "disjoint"},
        {"outputs": "nothing"},
        {"columns": ["a"]},
        {"positive": 3},
    ],
    ids=lambda options: ",".join(options),
)
def test_errors_of_a_call_name_its_keywords_and_no_keys_of_a_plan(options):
    with pytest.raises(miaudit.MiauditError) as refusal:
        miaudit.audit(MODEL, **{**SIDES, **QUICK, **options})
    assert not KEY_OF_A_PLAN.search(re.sub("in a plan,[^,.;)]*", "", str(refusal.value))), refusal.value


def test_errors_of_a_plan_keep_its_keys_in_python_too(tmp_path):
    np.savez(tmp_path / "d.npz", X=X, y=Y)
    plan = {"data": {"path": str(tmp_path / "d.npz")}, "split": {"members": 80, "nonmembers": 80}}
    plan |= {"recipe": {"estimator": "sklearn.naive_bayes.GaussianNB"}, "shadows": {"count": 2, "train": 500}}
    with pytest.raises(miaudit.MiauditError, match=r"shadows\.train"):
        miaudit.audit(plan)


def test_a_folder_that_cannot_be_used_is_told_without_an_option_of_a_command(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(miaudit.MiauditError, match="output folder") as refusal:
        miaudit.audit(MODEL, **SIDES, **QUICK, out=tmp_path / "file" / "below")
    assert "--" not in str(refusal.value)
    (tmp_path / "store.json").write_text('{"schema_version": 99}')
    with pytest.raises(miaudit.MiauditError, match="choose another output folder"):
        miaudit.audit(MODEL, **SIDES, **QUICK, out=tmp_path)


def test_a_frame_of_one_column_of_texts_keeps_its_index():
    pandas = pytest.importorskip("pandas")
    words = [" ".join(f"w{i}" for i in row) for row in np.random.default_rng(0).integers(0, 60, (160, 8))]
    frame = pandas.DataFrame({"text": words}, index=[f"note {i}" for i in range(160)])
    labels = pandas.Series(np.arange(160) % 2, index=frame.index)
    model = make_pipeline(CountVectorizer(), BernoulliNB()).fit(words[:80], labels[:80])
    sides = {"members": (frame[:80], labels[:80]), "nonmembers": (frame[80:], labels[80:])}
    result = miaudit.audit(model, **sides, **QUICK)
    assert result.records.columns["id"][[0, -1]].tolist() == ["note 0", "note 159"]
    shuffled = labels[:80][::-1]
    for beside in ("ids", "groups"):
        with pytest.raises(DataError, match=f"{beside}: members has the index of the records in another order"):
            miaudit.audit(model, **sides, **QUICK, **{beside: (shuffled, labels[80:])})


def test_stored_outputs_have_no_plan_whose_keys_an_error_could_name(tmp_path):
    answers, labels = np.random.default_rng(0).dirichlet(np.ones(3), 80), np.arange(80) % 3
    np.savez(tmp_path / "o.npz", target=answers, labels=labels, member=np.arange(80) < 40)
    with pytest.raises(PlanError, match="^unit: .*name them in the array group$"):
        miaudit.score(tmp_path / "o.npz", unit="person")
