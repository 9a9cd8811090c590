"""Records that are no table: tokens of any length, and paths or numbers of records that the user's own code looks up."""

from __future__ import annotations

import json
import textwrap

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.naive_bayes import MultinomialNB
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit.auditing.export import draws
from miaudit.cli import main
from miaudit.data import Schema, as_records, content_hash, features, row_hashes, same_records, stack_records
from miaudit.errors import DataError, PlanError
from miaudit.recipes import CommandRecipe, Network

N, WORDS = 240, 30
QUICK = {"shadows": 2, "jobs": 0, "outside": 120, "attacks": ["calibration", "attack-p", "quantile"]}


def documents():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, N)
    return [rng.integers(0, 20 + 10 * label, rng.integers(4, 14)).tolist() for label in y], y


def counts(X):
    """Bag of tokens."""
    return np.stack([np.bincount(np.asarray(record, dtype=int), minlength=WORDS) for record in X])


class Bag:
    def __init__(self, X, y):
        self.model = MultinomialNB(alpha=1e-3).fit(counts(X), y)

    def predict_proba(self, X):
        return self.model.predict_proba(counts(X))


def train(X, y, seed):
    return Bag(X, y)


def three(X, y, form=list):
    names = ("members", "nonmembers", "population")
    cuts = (slice(0, 60), slice(60, 120), slice(120, N))
    return {name: (form(X[cut]), y[cut]) for name, cut in zip(names, cuts, strict=True)}


def series(X):
    return pytest.importorskip("pandas").Series(X)


def arrays(X):
    return [np.array(each, np.int32) for each in X]


def objects(X):
    array = np.empty(len(X), object)
    array[:] = [tuple(each) for each in X]
    return array


@pytest.mark.parametrize(
    "form", [list, *(pytest.param(form, marks=pytest.mark.slow) for form in (tuple, series, arrays, objects))]
)
def test_lists_of_tokens_are_handed_over_as_they_are(form):
    X, y = documents()
    sides = three(X, y, form)
    result = miaudit.audit(Bag(X[:60], y[:60]), **sides, recipe=train, **QUICK)
    bare = miaudit.audit(Bag(X[:60], y[:60]), **three(X, y), recipe=train, **QUICK)
    assert result.verdict == bare.verdict
    assert result.target.train_accuracy == np.mean(Bag(X[:60], y[:60]).predict_proba(X[:60]).argmax(1) == y[:60])
    assert result.controls.blind.auc.value is not None
    assert {attack.name for attack in result.attacks if attack.status == "ran"} >= {*QUICK["attacks"]}


def test_tokens_are_told_apart_by_content_whatever_holds_them():
    X, _ = documents()
    one, two = as_records(X), as_records(arrays(X))
    assert content_hash(one) == content_hash(two) != content_hash(one[::-1])
    assert (row_hashes(one) == row_hashes(two)).all()
    assert (same_records(one) == same_records(two)).all()
    assert len(np.unique(same_records(as_records([[1, 2], [12], [1, 2], []])))) == 3
    assert Schema.infer(one).columns[0].name == "tokens"
    numbers = features(one).numbers
    assert numbers.shape[0] == N
    assert numbers.shape[1] > WORDS


def test_one_side_whose_lists_have_one_length_is_of_tokens_too():
    X, y = documents()
    X[60:120] = [[i % 20, i // 20, 3, 4] for i in range(60)]
    sides = three(X, y)
    assert as_records(sides["nonmembers"][0]).ndim == 2
    case = miaudit.audit(Bag(X[:60], y[:60]), **sides, recipe=train, **QUICK)
    assert len(case.records) == 120


def test_arrays_of_tokens_may_all_have_one_length():
    X = np.array([np.arange(3), np.arange(3), None], object)[:2]
    assert as_records(X).tolist() == [(0, 1, 2)] * 2


@pytest.mark.parametrize(
    "records",
    [
        [[0.5], [1.0, 2.0]],
        [[1], ["two", 3]],
        [[1, 2], [True]],
        [np.zeros((2, 3)), np.zeros((4, 3))],
    ],
)
def test_other_records_of_different_shapes_are_refused_with_what_to_do(records):
    with pytest.raises(DataError, match=r"only lists of whole numbers.*padding.*features="):
        as_records(records)


def test_tokens_and_texts_are_not_mixed():
    with pytest.raises(DataError, match="texts on another"):
        stack_records([as_records([[1], [2, 3]]), as_records(["a", "b"])])


def test_a_command_is_handed_tokens_with_blanks_between_them(tmp_path):
    (tmp_path / "train.py").write_text(
        textwrap.dedent("""
        import sys
        import numpy as np
        with np.load(sys.argv[1]) as file:
            asked = [list(map(int, text.split())) for text in file["asked"].tolist()]
        share = np.array([min(len(each), 9) / 10 for each in asked])
        np.save(sys.argv[2], np.column_stack([share, 1 - share]))
        """)
    )
    X, y = documents()
    recipe = CommandRecipe(f"python {tmp_path / 'train.py'} {{records}} {{answers}}")
    result = miaudit.audit(Bag(X[:60], y[:60]), **three(X, y), recipe=recipe, **QUICK)
    assert result.shadows.trained == 2


def test_networks_say_what_to_do_with_tokens():
    torch = pytest.importorskip("torch")
    X, y = documents()
    sides = three(X, y)
    bag = torch.nn.Sequential(torch.nn.EmbeddingBag(WORDS, 4), torch.nn.Linear(4, 2))
    for model, recipe in ((Bag(X[:60], y[:60]), Network(epochs=1)), (bag, train)):
        with pytest.raises(miaudit.MiauditError, match="tokens.*(pad|function)"):
            miaudit.audit(model, **sides, recipe=recipe, **QUICK)


# --- by reference


RNG = np.random.default_rng(1)
IMAGES = RNG.normal(size=(N, 5))
Y = (IMAGES[:, 0] > 0).astype(int)


def looked_up(X):
    """Contents of records of which X holds the numbers."""
    return IMAGES[X[:, 0]]


class Tree:
    def __init__(self, X, y):
        self.model = DecisionTreeClassifier(random_state=0).fit(looked_up(X), y)

    def predict_proba(self, X):
        return self.model.predict_proba(looked_up(X))


def grow(X, y, seed):
    return Tree(X, y)


def test_features_of_what_numbers_refer_to_are_read_in_place_of_the_numbers():
    X = np.arange(N)[:, None]
    sides = three(X, Y, np.asarray)
    model = Tree(*sides["members"])
    by_number = miaudit.audit(model, **sides, recipe=grow, **QUICK)
    assert by_number.controls.blind.confounded  # for the numbers are in order
    result = miaudit.audit(model, **sides, recipe=grow, features=looked_up, **QUICK)
    assert not result.controls.blind.confounded
    assert result.controls.blind.features == "looked_up"
    assert any("'looked_up'" in sentence and "copies" in sentence for sentence in result.threat_model)
    contents = {name: (looked_up(records), labels) for name, (records, labels) in sides.items()}
    plain = miaudit.audit(model.model, **contents, recipe=DecisionTreeClassifier(random_state=0), **QUICK)
    assert result.controls.blind.auc == plain.controls.blind.auc
    assert {a.name: a.auc for a in result.attacks}["quantile"] == {a.name: a.auc for a in plain.attacks}["quantile"]


def test_what_confounds_is_called_features_and_not_raw_records():
    X = np.arange(N)[:, None]
    sides = three(X, Y, np.asarray)
    result = miaudit.audit(Tree(*sides["members"]), **sides, recipe=grow, features=lambda X: X * 1.0, **QUICK)
    assert result.controls.blind.confounded
    assert "features of the records by '<lambda>' alone tell members" in result.verdict
    assert "raw records" not in result.verdict


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda X: X[:3], "returned 3 rows for 120 records"),
        (lambda X: [["a"]] * len(X), "returned texts or objects"),
        (lambda X: np.full((len(X), 2), np.inf), "infinite"),
        (lambda X: 1 / 0, "failed on 120 of them: ZeroDivisionError"),
    ],
)
def test_a_function_that_makes_no_numbers_is_an_error_that_names_it(function, message):
    sides = three(np.arange(N)[:, None], Y, np.asarray)
    with pytest.raises(DataError, match=message):
        miaudit.audit(Tree(*sides["members"]), **sides, recipe=grow, features=function, **QUICK)


def test_features_are_a_function():
    sides = three(np.arange(N)[:, None], Y, np.asarray)
    with pytest.raises(PlanError, match="features: must be a function"):
        miaudit.audit(Tree(*sides["members"]), **sides, recipe=grow, features="looked_up", **QUICK)


def test_a_plan_of_paths_names_its_features_and_needs_consent(tmp_path):
    for i, image in enumerate(IMAGES):
        np.save(tmp_path / f"{i}.npy", image)
    lines = [f"{tmp_path / f'{i}.npy'},{label}" for i, label in enumerate(Y)]
    (tmp_path / "d.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    (tmp_path / "paths_of_mine.py").write_text(
        textwrap.dedent("""
        import numpy as np
        from sklearn.tree import DecisionTreeClassifier

        def contents(X):
            return np.stack([np.load(path) for path in X])

        def train(X, y, seed):
            model = DecisionTreeClassifier(random_state=seed % 1000).fit(contents(X), y)
            return lambda X: model.predict_proba(contents(X))
        """)
    )
    (tmp_path / "plan.toml").write_text(
        textwrap.dedent("""
        attacks = ["calibration", "quantile"]
        [data]
        path = "d.csv"
        label = "label"
        text = "path"
        features = "paths_of_mine.py:contents"
        [split]
        members = 60
        nonmembers = 60
        [recipe]
        train = "paths_of_mine.py:train"
        [shadows]
        count = 2
        """)
    )
    run = ["run", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--json"]
    refused = CliRunner().invoke(main, run)
    assert refused.exit_code == 2
    assert "data.features" in refused.output
    outcome = CliRunner().invoke(main, [*run, "--allow-code"])
    assert outcome.exit_code == 0, outcome.output
    (tmp_path / "paths_of_mine.py").write_text("raise SystemExit('run')")
    drawn = draws(tmp_path / "plan.toml")  # runs nothing, so that features are not known
    assert "features" not in drawn
    assert len(drawn["member"]) == 120
    document = json.loads(outcome.stdout)
    assert document["controls"]["blind"]["features"] == "contents"
    assert document["provenance"]["plan"]["data"]["features"].endswith("paths_of_mine.py:contents")
