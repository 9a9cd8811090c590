"""From a saved model and two files to a verdict: the plan that is proposed, and what stands in its way."""

from __future__ import annotations

import tomllib

import joblib
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit.auditing.proposal import plan_text, proposal
from miaudit.cli import main
from miaudit.errors import DataError, PlanError, TargetError
from miaudit.plan import Plan
from miaudit.plan.permissions import Permissions

pd = pytest.importorskip("pandas")
CONSENT = Permissions(allow_pickle=True)


def people(n, seed):
    rng = np.random.default_rng(seed)
    age, work = rng.integers(18, 80, n), rng.choice(["private", "state", "none"], n)
    rich = age + 20 * (work == "private") + rng.normal(0, 15, n) > 60
    frame = pd.DataFrame({"age": age, "work": work, "hours": rng.integers(10, 60, n)})
    return frame.assign(income=np.where(rich, ">50K", "<=50K"))


def tree(**options):
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["work"]), remainder="passthrough")
    return make_pipeline(columns, DecisionTreeClassifier(random_state=0, **options))


class Categories(DecisionTreeClassifier):
    """As LightGBM and XGBoost do: refuses a frame whose categorical columns are others than it was fitted on."""

    def fit(self, X, y):
        self.categorical_ = list(X.select_dtypes("category"))
        super().fit(self._codes(X), y)
        return self

    def predict_proba(self, X):
        return super().predict_proba(self._codes(X))

    def _codes(self, X):
        if list(X.select_dtypes("category")) != self.categorical_:
            raise ValueError("train and valid dataset categorical_feature do not match")
        return X.assign(**{name: X[name].cat.codes for name in self.categorical_})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("front")
    train, test = people(150, 0), people(150, 1)
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    joblib.dump(tree().fit(train.drop(columns="income"), train["income"]), folder / "m.joblib")
    return folder


def call(*arguments):
    return CliRunner().invoke(main, [str(each) for each in arguments])


def proposed(folder, *files, model="m.joblib", **options):
    paths = [folder / file for file in files or ("train.csv", "test.csv")]
    return proposal(folder / model, *paths, permissions=CONSENT, **options)


def write(folder, name, frame):
    frame.to_csv(folder / name, index=False)
    return name


def test_one_command_goes_from_a_model_and_two_files_to_a_verdict_and_a_plan(folder, tmp_path):
    files = [folder / name for name in ("m.joblib", "train.csv", "test.csv")]
    audit = ["audit", *files, "--shadows", 8, "--out", tmp_path, "--allow-pickle", "--jobs", 0]
    outcome = call(*audit)
    assert outcome.exit_code == 0, outcome.output
    result = miaudit.Result.load(tmp_path)
    assert result.verdict_kind == "leak"  # a tree without a limit
    assert result.attack("quantile").reason == "there are no answers on records outside the audit"  # features there are
    assert "clone = true" in outcome.stderr
    assert 'label = "income"' in outcome.stderr
    again = call("run", tmp_path / "plan.toml", "--out", tmp_path, "--allow-pickle", "--jobs", 0)
    assert again.exit_code == 0, again.output
    assert miaudit.Result.load(tmp_path).attacks == result.attacks
    assert "8 of 8" in again.stderr
    assert call(*audit, "--holdout", 0.5).exit_code == 2  # the result of another plan is there


def test_a_plan_that_nobody_changed_gives_way_to_the_next_proposal(folder, tmp_path):
    files = [folder / name for name in ("m.joblib", "train.csv", "test.csv")]
    init = ["init", *files, "--out", tmp_path, "--allow-pickle"]
    assert call(*init).exit_code == 0
    assert call(*init, "--holdout", 0.5).exit_code == 0
    path = tmp_path / "plan.toml"
    assert Plan.load(path).split.holdout == 0.5
    path.write_text(path.read_text().replace("0.5", "0.4"))
    changed = call(*init)
    assert changed.exit_code == 2
    assert "another plan" in changed.stderr
    assert "holdout = 0.4" in path.read_text()


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (
            {"model": GaussianNB(), "at": 3},
            r"dict with estimators as its entries \['model'\].*save the trained model alone",
        ),
        (GaussianNB(), "not fitted: train it before the audit"),
    ],
)
def test_what_is_no_trained_model_is_refused_by_what_it_is(folder, thing, message):
    joblib.dump(thing, folder / "thing.joblib")
    with pytest.raises(PlanError, match=message):
        proposed(folder, model="thing.joblib")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: " " + labels, "differ in blanks or capitals alone"),
        (
            lambda labels: labels.map({">50K": "rich", "<=50K": "poor"}),
            "Write the data's labels as the model was trained on them",
        ),
    ],
)
def test_labels_by_other_names_than_the_models_are_refused_with_what_to_do(folder, change, message):
    frames = [pd.read_csv(folder / name) for name in ("train.csv", "test.csv")]
    names = [write(folder, f"renamed_{i}.csv", f.assign(income=change(f["income"]))) for i, f in enumerate(frames)]
    with pytest.raises(PlanError, match=message):
        miaudit.auditing.case_of_plan(Plan.of(proposed(folder, *names)), permissions=CONSENT)


def test_a_plan_is_written_without_running_and_needs_consent_to_read_a_pickle(folder, tmp_path):
    files = [folder / name for name in ("m.joblib", "train.csv", "test.csv")]
    refused = call("init", *files, "--out", tmp_path / "no")
    assert refused.exit_code == 2
    assert "--allow-pickle" in refused.stderr
    assert not (tmp_path / "no").exists()
    out = tmp_path / "my audit"
    outcome = call("init", *files, "--out", out, "--allow-pickle")
    assert outcome.exit_code == 0
    plan = Plan.load(out / "plan.toml")
    assert (plan.recipe.clone, plan.data.frame, plan.data.label) == (True, True, "income")
    assert f"miaudit run '{out / 'plan.toml'}' --out '{out}' --allow-pickle" in outcome.stdout, "a shell reads it so"
    assert [path.name for path in out.iterdir()] == ["plan.toml"]


@pytest.mark.parametrize(("name", "values"), [("codes", lambda n: [f"{i % 7:03d}" for i in range(n)]), ("kind", None)])
def test_a_model_that_fails_on_what_csv_loses_says_what_to_do(tmp_path, name, values):
    train, test = people(150, 0), people(150, 1)
    frames = [frame.assign(work=frame["work"].astype("category")) for frame in (train, test)]
    if values is not None:
        frames = [frame.assign(work=values(len(frame))) for frame in (train, test)]
    model = tree() if values is not None else Categories()
    joblib.dump(model.fit(frames[0].drop(columns="income"), frames[0]["income"]), tmp_path / "m.joblib")
    files = [write(tmp_path, file, frame) for file, frame in zip(("train.csv", "test.csv"), frames, strict=True)]
    plan = proposed(tmp_path, *files) | {"shadows": {"count": 2}, "engine": {"jobs": 0}}
    with pytest.raises(TargetError, match=r"records are what pandas \S+ read_csv makes .* data\.texts .* Parquet"):
        miaudit.audit(plan, allow_pickle=True)
    if name == "codes":
        plan["data"]["texts"] = ["work"]
        assert miaudit.audit(plan, allow_pickle=True).target.train_accuracy > 0.9


def test_records_of_a_class_that_the_model_does_not_know_are_told_of(folder, tmp_path):
    test = people(150, 1)
    test.loc[:9, "income"] = "unknown"
    write(tmp_path, "test.csv", test)
    plan = proposed(folder, "train.csv", tmp_path / "test.csv", label="income")
    result = miaudit.audit(plan | {"shadows": {"count": 2}, "engine": {"jobs": 0}}, allow_pickle=True)
    assert any("does not know the class 'unknown' of 10 non-members" in warning for warning in result.warnings)


def test_attacks_are_chosen_by_their_names(folder, tmp_path):
    options = ("--allow-pickle", "--out", tmp_path / "a", "--attack", "threshold", "--attack", "lira offline")
    outcome = call("init", folder / "m.joblib", folder / "train.csv", folder / "test.csv", *options)
    assert 'attacks = ["threshold", "lira offline"]' in outcome.stdout
    assert Plan.load(tmp_path / "a/plan.toml").attacks == ["threshold", "lira offline"]
    unknown = call(
        "audit", folder / "m.joblib", folder / "train.csv", folder / "test.csv", *options, "--attack", "lyra"
    )
    assert (unknown.exit_code, "attacks.2" in unknown.stderr, "did you mean" in unknown.stderr) == (2, True, True)


def test_python_guesses_alike(folder):
    paths = {"members": folder / "train.csv", "nonmembers": folder / "test.csv"}
    result = miaudit.audit(folder / "m.joblib", **paths, allow_pickle=True, shadows=2, seed=3, jobs=0)
    assert (result.split.members, result.split.nonmembers) == (147, 145)  # without copies
    few = {"attacks": ["salem", {"name": "threshold"}], "allow_pickle": True, "shadows": 2}
    forecast = miaudit.forecast(folder / "m.joblib", **paths, **few)
    assert forecast.attacks == 3  # with the gap
    with pytest.raises(PlanError, match="are paths of files here: leave out design"):
        miaudit.audit(folder / "m.joblib", **paths, allow_pickle=True, design="disjoint")
    with pytest.raises(PlanError, match="label names a column of files"):
        miaudit.audit(GaussianNB(), members=([[0]], [0]), nonmembers=([[1]], [1]), label="y")


def test_columns_that_the_model_was_not_fitted_on_are_dropped(folder):
    frames = [pd.read_csv(folder / name).assign(row=range(150)) for name in ("train.csv", "test.csv")]
    names = [write(folder, f"wide_{i}.csv", frame) for i, frame in enumerate(frames)]
    assert proposed(folder, *names)["data"] == proposed(folder, *names, label="income")["data"]  # of its classes
    assert proposed(folder, *names)["data"]["drop"] == ["row"]
    twice = [write(folder, f"twice_{i}.csv", frame.assign(was=frame["income"])) for i, frame in enumerate(frames)]
    with pytest.raises(DataError, match="which column is the label.*not fitted on: 'income', 'row', 'was'"):
        proposed(folder, *twice)
    called = [
        write(folder, f"called_{i}.csv", frame.rename(columns={"income": "Class"})) for i, frame in enumerate(frames)
    ]
    assert proposed(folder, *called)["data"]["label"] == "Class"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="income"), "changed.csv has no column 'income' with the labels"),
        (lambda frame: frame.assign(row=1), "changed.csv has other columns than"),
        (lambda frame: frame.drop(columns="age"), "changed.csv has other columns than"),
    ],
)
def test_files_that_differ_are_an_error_of_one_sentence(folder, change, message):
    name = write(folder, "changed.csv", change(pd.read_csv(folder / "test.csv")))
    with pytest.raises(DataError, match=message) as error:
        miaudit.auditing.case_of_plan(Plan.of(proposed(folder, "train.csv", name)), permissions=CONSENT)
    assert "\n" not in str(error.value)


def test_files_with_the_columns_of_the_model_in_another_order_are_audited_in_its_order(folder):
    orders = {"train.csv": ["work", "income", "age", "hours"], "test.csv": ["hours", "work", "age", "income"]}
    names = [write(folder, f"turned_{n}", pd.read_csv(folder / n)[order]) for n, order in orders.items()]
    plan = proposed(folder, *names, shadows=2)
    assert plan["data"]["order"] == ["age", "work", "hours"]
    further = [write(folder, f"wide_{n}.csv", pd.read_csv(folder / name).assign(row=1)) for n, name in enumerate(names)]
    assert proposed(folder, *further, shadows=2, label="income")["data"] == plan["data"] | {
        "members": str(folder / further[0]),
        "nonmembers": str(folder / further[1]),
        "label": "income",
        "drop": ["row"],
    }
    turned, straight = (
        miaudit.audit(Plan.of(each), allow_pickle=True, jobs=0) for each in (plan, proposed(folder, shadows=2))
    )
    assert any("turned_test.csv has its columns in another order than" in text for text in turned.warnings)
    assert [each.area for each in turned.attacks] == [each.area for each in straight.attacks]
    assert turned.target == straight.target


def test_frames_with_the_columns_of_the_model_in_another_order_are_audited_in_its_order(folder):
    frames = [pd.read_csv(folder / name) for name in ("train.csv", "test.csv")]
    model = GaussianNB().fit(frames[0][["age", "hours"]], frames[0]["income"])
    turned, straight = (
        miaudit.audit(
            model,
            members=(frames[0][columns], frames[0]["income"]),
            nonmembers=(frames[1][["age", "hours"]], frames[1]["income"]),
            shadows=0,
        )
        for columns in (["hours", "age"], ["age", "hours"])
    )
    note = "members has its columns in another order than the model; they were matched by their names."
    assert note in turned.warnings
    assert not any("another order" in text for text in straight.warnings)
    assert [each.area for each in turned.attacks] == [each.area for each in straight.attacks]
    sides = {
        side: (frame[["age", "hours"]].rename(columns={"hours": "Hours"}), frame["income"])
        for side, frame in zip(("members", "nonmembers"), frames, strict=True)
    }
    with pytest.raises(
        DataError, match=r"^members: the frame lacks columns .*: \['hours'\]; it has \['age', 'Hours'\]"
    ):
        miaudit.audit(model, **sides, shadows=0)


def test_columns_of_frames_that_the_model_was_not_fitted_on_are_left_out_and_may_be_slices(folder):
    frames = [
        pd.read_csv(folder / name).assign(half=lambda frame: frame.index % 2) for name in ("train.csv", "test.csv")
    ]
    model = GaussianNB().fit(frames[0][["age", "hours"]], frames[0]["income"])
    narrow, wide = (
        miaudit.audit(
            model,
            members=(frames[0][columns], frames[0]["income"]),
            nonmembers=(frames[1][columns], frames[1]["income"]),
            shadows=2,
            attacks=["threshold", "shokri"],
            slices=slices,
        )
        for columns, slices in ((["age", "hours"], []), (["half", "hours", "income", "age"], ["half"]))
    )
    assert [each.area for each in wide.attacks] == [each.area for each in narrow.attacks]
    note = "2 columns of the frames were left out because the model was not fitted on them: half, income."
    assert note in wide.warnings
    assert [each.column for each in wide.groups] == ["class", "half"]


def test_files_that_do_not_fit_the_model_are_refused(folder):
    names = [
        write(folder, f"changed_{n}", pd.read_csv(folder / n).drop(columns="age")) for n in ("train.csv", "test.csv")
    ]
    with pytest.raises(DataError, match=r"lacks columns that the model was fitted on: \['age'\]; it has none that"):
        proposed(folder, *names)
    blank = write(folder, "blank.csv", pd.read_csv(folder / "train.csv").rename(columns={"age": " age"}))
    with pytest.raises(DataError, match=r"\['age'\]; it has \[' age'\] that the model was not"):
        proposed(folder, blank, blank)
    with pytest.raises(DataError, match="no column 'Income' with the labels.* It has .*'income'"):
        proposed(folder, label="Income")
    with pytest.raises(DataError, match="'age', so it is a feature"):
        proposed(folder, label="age")


def test_a_model_of_arrays_has_its_label_named_and_its_columns_counted(folder):
    frame = pd.read_csv(folder / "train.csv").drop(columns="work")
    joblib.dump(GaussianNB().fit(frame[["age", "hours"]].to_numpy(), frame["income"]), folder / "array.joblib")
    name = write(folder, "numbers.csv", frame)
    assert proposed(folder, name, name, model="array.joblib")["data"]["label"] == "income"
    joblib.dump(GaussianNB().fit(frame[["age", "hours"]].to_numpy(), frame["age"] > 30), folder / "flags.joblib")
    flags = write(folder, "flags.csv", frame.assign(income=(frame["age"] > 30).astype(int)))
    with pytest.raises(DataError, match="which column is the label"):
        proposed(folder, flags, flags, model="flags.joblib")
    assert proposed(folder, name, name, model="array.joblib", label="income")["data"].get("frame") is None
    with pytest.raises(DataError, match="3 columns beside the label, and the model was fitted on 2"):
        proposed(folder, model="array.joblib", label="income")
    texts = write(folder, "texts.csv", pd.read_csv(folder / "train.csv").drop(columns="hours"))
    with pytest.raises(DataError, match=r"columns \['work'\] hold texts"):
        proposed(folder, texts, texts, model="array.joblib", label="income")


@pytest.mark.parametrize(
    "classes", [[1, 2], [False, True], [0, 1], ["b", "a"], [1.0, 2.0], ["None", "b"], ["NA", "nan"]]
)
def test_classes_are_read_as_the_model_names_them(tmp_path, classes):
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame(rng.normal(size=(80, 2)), columns=["a", "b"]) for _ in range(2)]
    frames = [frame.assign(label=np.array(classes)[(frame["a"] > 0).astype(int)]) for frame in frames]
    model = DecisionTreeClassifier(max_depth=2, class_weight=dict(zip(classes, (1, 2), strict=True)))
    joblib.dump(model.fit(frames[0][["a", "b"]], frames[0]["label"]), tmp_path / "m.joblib")
    names = [write(tmp_path, f"{i}.csv", frame) for i, frame in enumerate(frames)]
    of = miaudit.auditing.case_of_plan(Plan.of(proposed(tmp_path, *names)), permissions=CONSENT)
    answers = of.target.answer(of.dataset.X).values.argmax(axis=1)
    assert (answers == of.dataset.y).mean() > 0.95
    assert of.recipe.fit(of.dataset.X, of.dataset.y, classes=2, seed=0)


def test_texts_of_numbers_are_names_where_the_model_says_so(tmp_path):
    frame = pd.DataFrame({"a": np.arange(80.0)}).assign(label=np.array(["02", "01"])[np.arange(80) % 2])
    joblib.dump(DecisionTreeClassifier().fit(frame[["a"]], frame["label"]), tmp_path / "m.joblib")
    names = [write(tmp_path, f"{i}.csv", frame.assign(a=frame["a"] + i / 2)) for i in range(2)]
    of = miaudit.auditing.case_of_plan(Plan.of(proposed(tmp_path, *names)), permissions=CONSENT)
    assert of.dataset.classes == ("01", "02")


def test_a_regression_is_told_by_the_model_and_arrays_come_from_npz(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    joblib.dump(LinearRegression().fit(X, X[:, 0]), tmp_path / "m.joblib")
    np.savez(tmp_path / "a.npz", X=X, y=X[:, 0])
    np.savez(tmp_path / "b.npz", X=X + 1, y=X[:, 0])
    content = proposed(tmp_path, "a.npz", "b.npz")
    assert (content["data"]["label"], content["recipe"]) == ("y", {"clone": True, "task": "regression"})
    assert miaudit.auditing.case_of_plan(Plan.of(content), permissions=CONSENT).dataset.values is not None


def test_clones_need_a_file_that_says_how_it_was_trained(tmp_path, folder):
    with pytest.raises(PlanError, match="clone trains clones of the model in target.file, and there is none"):
        Plan.of({"data": {"members": "a.csv", "nonmembers": "b.csv"}, "recipe": {"clone": True}})
    joblib.dump({"weights": [1]}, tmp_path / "m.joblib")
    frame = people(40, 1)
    search = GridSearchCV(tree(), {"decisiontreeclassifier__max_depth": [1, 2]}, cv=2, refit=False)
    joblib.dump(search.fit(frame.drop(columns="income"), frame["income"]), folder / "search.joblib")
    with pytest.raises(PlanError, match="neither predict_proba nor predict.*refit=True"):
        proposal(folder / "search.joblib", folder / "train.csv", folder / "test.csv", permissions=CONSENT)
    with pytest.raises(PlanError, match="holds a dict, which is no scikit-learn estimator"):
        proposal(tmp_path / "m.joblib", folder / "train.csv", folder / "test.csv", permissions=CONSENT)


def test_the_text_of_a_plan_holds_what_was_proposed(tmp_path):
    odd = tmp_path / 'a "quoted" \x7f \\ name'
    odd.mkdir()
    content = {
        "title": "line\nline é",
        "data": {
            "members": str(odd / "a.csv"),
            "nonmembers": str(odd / "b.csv"),
            "label": 'a"\U0001f600',
            "drop": ["x", "y"],
        },
        "target": {"file": str(odd / "m.skops")},
        "recipe": {"clone": True},
        "split": {"holdout": 0.25},
    }
    text = plan_text(content, tmp_path / "out", "miaudit run\nx")
    read = tomllib.loads(text)
    assert read["data"]["label"] == content["data"]["label"]
    assert read["data"]["members"] == '../a "quoted" \x7f \\ name/a.csv'
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plan.toml").write_text(text, encoding="utf-8")
    assert Plan.load(tmp_path / "out" / "plan.toml").data.drop == ["x", "y"]
