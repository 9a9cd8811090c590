"""Training functions and commands as recipes."""

from __future__ import annotations

import functools
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit.auditing import case_of_plan
from miaudit.auditing.export import draws
from miaudit.cli import main
from miaudit.errors import PlanError, PoolError
from miaudit.recipes import CommandRecipe, TrainingRecipe, as_recipe, device_name, fingerprint_of_recipe, placed
from miaudit.shadows.pool import recipe_name


def train(X, y, seed):
    return DecisionTreeClassifier(random_state=seed).fit(X, y)


def with_predict(X, y, seed):
    noise = [random.random(), np.random.random()]  # noqa: NPY002
    return (train(X, y, seed), noise), lambda model, X: model[0].predict_proba(X) * 0.9 + 0.1 * 0.1


def sides():
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order][:900], y[order][:900]
    return {"members": (X[:150], y[:150]), "nonmembers": (X[150:300], y[150:300]), "population": (X[300:], y[300:])}


QUICK = {"shadows": 2, "attacks": ["rmia"], "jobs": 0}


@pytest.mark.parametrize("recipe", [train, with_predict, TrainingRecipe(train), functools.partial(train)])
def test_a_training_function_trains_shadow_models_as_an_estimator_does(recipe):
    given = sides()
    model = train(*given["members"], 0)
    result = miaudit.audit(model, **given, recipe=recipe, **QUICK)
    assert result.shadows.train_accuracy == 1.0
    assert result.warnings == [] or not any("reproducible" in warning for warning in result.warnings)


def test_what_a_function_is_offered_and_what_it_returns():
    def offered(X, y, seed, *, classes, device):
        return lambda X: np.full((len(X), classes), 1 / classes) if device == "cuda:1" else None

    X = np.zeros((5, 2))
    model = TrainingRecipe(offered, device="cuda:1").fit(X, np.zeros(5, int), classes=4, seed=1)
    assert model(X).shape == (5, 4)
    predict = TrainingRecipe(lambda X, y, seed: "model", lambda model, X: [model] * len(X))
    assert predict.fit(X, [], classes=2, seed=0)(X) == ["model"] * 5
    some = TrainingRecipe(train, lambda model, X: model.predict_proba(X)).fit(np.eye(3), [0, 3, 3], classes=5, seed=0)
    assert some(np.eye(3)).tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 0]]
    with pytest.raises(PlanError, match="returned nothing"):
        TrainingRecipe(lambda X, y, seed: None).fit(X, [], classes=2, seed=0)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: TrainingRecipe(lambda X, y: 0), r"called as train\(X, y, seed\)"),
        (lambda: TrainingRecipe(DecisionTreeClassifier), "which is no function"),
        (lambda: TrainingRecipe(train, lambda X: X), r"called as predict\(model, X\)"),
        (lambda: TrainingRecipe(train, files=("nowhere.pt",)), "no file nowhere.pt"),
        (lambda: as_recipe(object()), "own training function"),
        (lambda: placed(TrainingRecipe(train), dtype="bfloat16"), "type of numbers of its own"),
        (lambda: CommandRecipe("train {records}"), "needs {answers}"),
        (lambda: CommandRecipe("train {train} {answers}"), "needs {answers}"),
        (lambda: CommandRecipe("train {record} {answers}"), "no {record}"),
        (lambda: CommandRecipe("train '{records} {answers}"), "split into words"),
        (lambda: CommandRecipe("train {records} {answers}", folder="nowhere"), "no folder"),
        (lambda: CommandRecipe("train {records} {answers}", timeout=0), "timeout"),
    ],
)
def test_what_cannot_be_is_refused_at_once(make, text):
    with pytest.raises(PlanError, match=text):
        make()


def test_a_pair_whose_function_does_not_take_the_model_says_how_it_is_called():
    def bound(X, y, seed):
        model = train(X, y, seed)
        return model, model.predict_proba  # whose second parameter is no record

    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    with pytest.raises(
        PlanError, match=r"predict_proba\(X.*\) does not take that: it is called as predict\(model, X\)"
    ):
        TrainingRecipe(bound).fit(X, y, classes=2, seed=0)


def test_another_body_or_file_is_another_recipe(tmp_path):
    (tmp_path / "first.pt").write_text("1")
    one, other = TrainingRecipe(train), TrainingRecipe(with_predict)
    assert fingerprint_of_recipe(one).sha256 != fingerprint_of_recipe(other).sha256
    assert "sklearn" in fingerprint_of_recipe(one).packages
    before = recipe_name(TrainingRecipe(train, files=(tmp_path / "first.pt",)))
    (tmp_path / "first.pt").write_text("2")
    assert recipe_name(TrainingRecipe(train, files=(tmp_path / "first.pt",))).parts != before.parts
    assert before.unknown == ()


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from helper import DEPTH
from sklearn.tree import DecisionTreeClassifier
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
data = np.load(arguments["--data"])
model = DecisionTreeClassifier(max_depth=DEPTH, random_state=int(arguments["--seed"])).fit(data["X"], data["y"])
np.save(arguments["--out"], model.predict_proba(data["asked"]))
"""
COMMAND = "python train.py --data {records} --seed {seed} --out {answers}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("mine", None)
    given = sides()
    for name, (X, y) in given.items():
        np.savez(tmp_path / f"{name}.npz", X=X, y=y)
    (tmp_path / "helper.py").write_text("DEPTH = None\n")
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "mine.py").write_text(
        "from sklearn.tree import DecisionTreeClassifier\n"
        "def train(X, y, seed): return DecisionTreeClassifier(random_state=seed).fit(X, y)\n"
        "def predict(model, X): return model.predict_proba(X)\n"
    )
    return tmp_path


def plan_in(folder: Path, recipe: str, more: str = "") -> Path:
    path = folder / "plan.toml"
    text = '[data]\nmembers = "members.npz"\nnonmembers = "nonmembers.npz"\npopulation = "population.npz"\n'
    path.write_text(f'attacks = ["rmia"]\n{text}[recipe]\n{recipe}\n[shadows]\ncount = 2\n{more}')
    return path


def audited(plan: Path):
    return miaudit.audit(plan, allow_code=True, jobs=0, out=plan.parent / "out")


@pytest.mark.slow
def test_a_command_gives_the_figures_of_the_function_that_does_the_same(folder):
    by_function = audited(plan_in(folder, 'train = "mine.py:train"\npredict = "mine.py:predict"'))
    by_command = audited(plan_in(folder, f'command = "{COMMAND}"'))
    assert [a.auc for a in by_command.attacks] == [a.auc for a in by_function.attacks]
    assert by_command.shadows.train_accuracy == by_function.shadows.train_accuracy == 1.0
    assert audited(folder / "plan.toml").provenance.shadow_cost.trained_now == 0
    (folder / "helper.py").write_text("DEPTH = 1\n")  # what the script imports
    again = audited(folder / "plan.toml")
    assert again.provenance.shadow_cost.trained_now == 3
    assert again.shadows.train_accuracy < 0.5


@pytest.mark.parametrize("recipe", ['train = "mine.py:train"', f'command = "{COMMAND}"'])
def test_code_of_a_plan_needs_consent(folder, recipe):
    with pytest.raises(PlanError, match="--allow-code"):
        case_of_plan(plan_in(folder, recipe))


def test_keys_of_code_belong_to_it(folder):
    for recipe in ('train = "mine.py:train"\ntimeout = 3', 'estimator = "a.b"\nfiles = ["x"]'):
        with pytest.raises(PlanError, match="belongs to"):
            miaudit.Plan.load(plan_in(folder, recipe))


def run(command: str, folder: Path, X=None, asked=None, **options):
    X = np.zeros((4, 2)) if X is None else X
    asked = np.arange(6.0).reshape(3, 2) if asked is None else asked
    recipe = CommandRecipe(command, folder, **options)
    return recipe.fit_for(X, np.array([0, 1, 0, 1]), asked, classes=2, seed=7)


def test_tables_and_texts_go_out_and_numbers_come_back(tmp_path):
    (tmp_path / "a.py").write_text(
        "import sys, csv\n"
        "train, asked, out = sys.argv[1:]\n"
        "rows = list(csv.reader(open(train))); print(rows)\n"
        "n = len(list(csv.reader(open(asked)))) - 1\n"
        "assert rows[0] == ['a', 'b', 'label'] and rows[2] == ['2', '', '1'], rows\n"
        "open(out, 'w').write('0.25,0.75\\n' * n)\n"
    )
    X = pd.DataFrame({"a": [1, 2, 3, 4], "b": ["x", None, "y", "z,"]})
    model = run("python a.py {train} {asked} {answers}", tmp_path, X, X[:2])
    assert model(X[1:2]).tolist() == [[0.25, 0.75]]
    with pytest.raises(PlanError, match="keeps a model"):
        model(X[2:])
    with pytest.raises(PlanError, match=r"\.csv files"):
        run("python a.py {records} {answers}", tmp_path, X, X)
    texts = np.array(["a", "b b", "c", "d"], dtype=object)
    (tmp_path / "b.py").write_text(
        "import sys, numpy as np\n"
        "data = np.load(sys.argv[1]); np.savez(sys.argv[2], p=(data['asked'] == data['X'][1]).astype(float))\n"
    )
    assert run("python b.py {records} {answers}", tmp_path, texts, texts[1:])(texts[1:]).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("import sys; print('out of coffee'); sys.exit(3)", "exit code 3; its last words: out of coffee"),
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("", "without writing"),
        ("import sys; open(sys.argv[2], 'w').write('a,b')", "cannot be read"),
        ("import sys; open(sys.argv[2], 'w').write('1')", "asked about 3 records and wrote 1"),
    ],
)
def test_what_goes_wrong_in_a_command_is_told(tmp_path, body, text):
    (tmp_path / "a.py").write_text(body)
    with pytest.raises(PoolError, match=text):
        run("python a.py {records} {answers}", tmp_path)
    with pytest.raises(PoolError, match="cannot be started"):
        run("./nothing {records} {answers}", tmp_path)


def test_a_command_that_takes_too_long_is_ended_with_what_it_started(tmp_path):
    (tmp_path / "a.sh").write_text(f"{sys.executable} -c 'import time; time.sleep(60)' & echo $! > pid; wait\n")
    began = time.monotonic()
    with pytest.raises(PoolError, match="after 3 seconds"):
        run("sh a.sh {records} {answers}", tmp_path, timeout=3)
    assert time.monotonic() - began < 20
    pid = (tmp_path / "pid").read_text().strip()
    state, end = "R", time.monotonic() + 20
    while state[:1] not in ("", "Z") and time.monotonic() < end:  # a busy machine takes a while to end what was killed
        ps = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False)
        state = ps.stdout.strip()
        time.sleep(0.05)
    assert state[:1] in ("", "Z")


def test_functions_that_take_the_gpu_are_one_process():
    assert device_name(TrainingRecipe(train, device="cuda")) == "cuda"
    assert device_name(TrainingRecipe(train)) == "cpu"


NAMED = ["rmia", "calibration", "lira offline"]


@pytest.mark.parametrize("design", ["disjoint", "overlapping"])
def test_shadows_trained_elsewhere_give_the_figures_of_a_run(folder, design):
    more = f'design = "{design}"\n'
    plan = plan_in(folder, 'train = "mine.py:train"', more)
    model = train(*[np.load(folder / "members.npz")[key] for key in ("X", "y")], 0)
    case = case_of_plan(plan, permissions=miaudit.plan.permissions.Permissions(allow_code=True))
    ran = miaudit.audit(
        model,
        **sides(),
        recipe=train,
        shadows=2,
        jobs=0,
        design=design,
        attacks=NAMED,
    )
    file = folder / "draws.npz"
    outcome = CliRunner().invoke(main, ["draws", str(plan), "--out", str(file), "--json"])
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)["draw_train"] == [2, 150]
    drawn = dict(np.load(file))
    assert {*drawn} == {*draws(plan)}
    X, y = case.dataset.X, case.dataset.y
    answers = [
        train(X[who], y[who], seed).predict_proba(X[asked])
        for who, asked, seed in zip(drawn["draw_train"], drawn["draw_asked"], drawn["draw_seeds"].tolist(), strict=True)
    ]
    beside = {}
    if "draw_bystanders" in drawn:
        about = X[drawn["draw_audited"]]
        beside["bystanders"] = np.stack([train(X[w], y[w], 0).predict_proba(about) for w in drawn["draw_bystanders"]])
    np.savez(
        folder / "outputs.npz",
        **drawn,
        **beside,
        target=model.predict_proba(X[drawn["draw_audited"]]),
        population_target=model.predict_proba(X[drawn["draw_outside"]]),
        shadows=np.stack(answers),
    )
    scored = miaudit.score(folder / "outputs.npz", attacks=NAMED)
    figures = [{a.name: a.auc.value for a in r.attacks if a.status == "ran" and a.auc} for r in (ran, scored)]
    assert {*NAMED} <= {*figures[0]}
    assert figures[1] == pytest.approx(figures[0], abs=1e-6)
