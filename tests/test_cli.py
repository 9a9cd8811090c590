"""The command line as a user has it: separate processes, exit codes, kills, bad input."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

from miaudit.cli import main
from miaudit.result import Result

FEW = 'attacks = ["shokri", "threshold"]\n'
PLAN = """
title = "A test"
seed = 3
[data]
name = "digits"
[split]
members = 200
nonmembers = 200
[recipe]
estimator = "sklearn.ensemble.RandomForestClassifier"
params = { n_estimators = 8 }
[shadows]
count = 4
[engine]
jobs = 0
"""


def run(tmp_path: Path, plan: str = PLAN, *options: str, out: str = "out"):
    (tmp_path / "plan.toml").write_text(plan)
    return CliRunner().invoke(main, ["run", str(tmp_path / "plan.toml"), "--out", str(tmp_path / out), *options])


def fails(tmp_path: Path, plan: str, *options: str) -> str:
    result = run(tmp_path, plan, *options)
    assert result.exit_code == 2, result.output
    assert not (tmp_path / "out" / "result.json").exists()
    return result.stderr


def document(folder: Path) -> dict:
    """Return result.json without times and provenance."""
    content = json.loads((folder / "result.json").read_text())
    del content["provenance"]
    return content


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run by all attacks: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("first")
    return folder / "out", run(folder, PLAN, "--json")


@pytest.fixture
def out(first, tmp_path):
    """A folder with what that run left, to change."""
    return shutil.copytree(first[0], tmp_path / "out")


def test_a_run_writes_result_records_and_report_and_prints_a_summary(tmp_path):
    result = run(tmp_path, FEW + PLAN)
    assert result.exit_code == 0, result.output
    assert "(leads)" in result.stdout
    assert "report.html" in result.stdout
    assert "training the target and shadow models: 5 of 5" in result.stderr
    for name in ("result.json", "records.csv", "report.html", "draws.safetensors"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    assert Result.load(tmp_path / "out").title == "A test"


def test_json_puts_the_product_on_stdout_and_talk_on_stderr(first):
    folder, result = first
    assert json.loads(result.stdout) == json.loads((folder / "result.json").read_text())
    assert "report" in result.stderr


def test_the_stable_keys_of_the_document_are_there(first):
    content = json.loads((first[0] / "result.json").read_text())
    assert content["schema_version"] == 1
    assert set(content) >= {"target", "split", "attacks", "controls", "provenance"}
    assert set(content["target"]) >= {"train_accuracy", "test_accuracy", "classes", "outputs", "queries"}
    assert set(content["split"]) >= {"members", "nonmembers", "population", "shadows"}
    attack = content["attacks"][0]
    assert set(attack) >= {"name", "status", "reason", "pooled", "per_class", "auc", "tpr_at_fpr", "confidence"}
    assert set(attack["pooled"]) >= {"precision", "recall", "accuracy", "n"}
    assert set(attack["per_class"][0]) >= {"class", "precision", "recall", "accuracy", "n"}
    assert set(attack["auc"]) >= {"value", "low", "high"}
    assert set(attack["tpr_at_fpr"][0]) >= {"fpr", "tpr", "low", "high", "resolvable"}
    assert set(content["controls"]["blind"]) >= {"auc", "confounded"}
    assert set(content["provenance"]) >= {"versions", "seeds", "hashes", "plan", "started", "seconds"}


def test_the_result_fits_its_published_schema(first):
    schema = json.loads(CliRunner().invoke(main, ["schema"]).stdout)
    content = json.loads((first[0] / "result.json").read_text())
    assert set(content) == set(schema["properties"])
    assert set(schema["required"]) <= set(content)
    assert set(json.loads(CliRunner().invoke(main, ["schema", "--plan"]).stdout)["properties"]) >= {"data", "recipe"}


def test_a_second_run_trains_nothing_and_ends_with_the_same_result(tmp_path, out):
    before = document(out)
    rows = {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()}
    again = run(tmp_path)
    assert "5 from the store" in again.stderr
    assert document(out) == before
    assert {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()} == rows


@pytest.mark.slow
def test_two_audits_in_one_folder_share_a_row_only_if_it_is_the_same(tmp_path):
    run(tmp_path)
    rows = set((tmp_path / "out" / "rows").iterdir())
    assert len(rows) == 5  # the target and four shadows
    alone = run(tmp_path, PLAN.replace("n_estimators = 8", "n_estimators = 9"), out="alone")
    assert alone.exit_code == 0
    run(tmp_path, PLAN.replace("n_estimators = 8", "n_estimators = 9"))
    assert len(set((tmp_path / "out" / "rows").iterdir())) == 10
    assert document(tmp_path / "out") == document(tmp_path / "alone")
    more = run(tmp_path, PLAN.replace("count = 4", "count = 5"))
    assert "5 from the store" in more.stderr
    assert len(set((tmp_path / "out" / "rows").iterdir())) == 11


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["group", "program"])
def test_killed_at_any_moment_the_next_run_ends_with_the_same_bytes(tmp_path, whom):
    plan = PLAN.replace("n_estimators = 8", "n_estimators = 150").replace("count = 4", "count = 12")
    plan = plan.replace("jobs = 0", "jobs = 2")
    assert run(tmp_path, plan, out="whole").exit_code == 0
    rows = tmp_path / "out" / "rows"
    for kept in (1, 4):  # killed twice, at different moments
        program = subprocess.Popen(
            [sys.executable, "-m", "miaudit", "run", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 100
        while not rows.exists() or len(list(rows.glob("*.safetensors"))) < kept:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if whom == "program":
            program.kill()
        else:
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    before = {path.name: path.stat().st_mtime_ns for path in rows.glob("*.safetensors")}
    assert len(before) >= 4
    last = run(tmp_path, plan)
    assert last.exit_code == 0
    after = {path.name: path.stat().st_mtime_ns for path in rows.glob("*.safetensors")}
    assert before.items() <= after.items()  # nothing finished was trained again
    assert len(after) == 13
    names = ("result.json", "records.csv")
    whole, resumed = ([(tmp_path / out / name).read_text() for name in names] for out in ("whole", "out"))
    cut = re.compile(r'"provenance": .*', re.DOTALL)
    assert [cut.sub("", text) for text in whole] == [cut.sub("", text) for text in resumed]


def test_a_time_limit_stops_with_exit_code_4_keeps_all_and_says_what_is_missing(tmp_path):
    plan = PLAN.replace("n_estimators = 8", "n_estimators = 300").replace("count = 4", "count = 60")
    result = run(tmp_path, plan, "--time-limit", "2")
    assert result.exit_code == 4
    said = re.search(r"with (\d+) of 61 models in the store; (\d+) are missing. Run the same command", result.stderr)
    assert said, result.stderr
    kept = int(said[1])
    assert (0 < kept < 61, kept + int(said[2])) == (True, 61)
    assert len(list((tmp_path / "out" / "rows").glob("*.safetensors"))) == kept  # the target's among them
    assert not (tmp_path / "out" / "result.json").exists()


def test_the_estimate_stands_beside_the_truth(first):
    folder, result = first
    assert re.search(
        r"shadow models: about \d:\d\d for 5 models and \d:\d\d for the attacks, \d:\d\d in all; [\d,]+ MiB of memory",
        result.stderr,
    )
    cost = json.loads((folder / "result.json").read_text())["provenance"]["shadow_cost"]
    assert (cost["trained_now"], cost["from_store"], cost["estimated"]["models"]) == (5, 0, 5)
    assert cost["estimated"]["disk_bytes"] == (4 * (400 + 400 + 200) + 400 + 200) * 10 * 4  # own, audited, outside
    assert cost["actual_seconds"] > 0


def test_report_renders_again_from_the_document(tmp_path, out):
    page = out / "report.html"
    before = page.read_text()
    page.unlink()
    result = CliRunner().invoke(main, ["report", str(out)])
    assert result.exit_code == 0
    assert page.read_text() == before
    missing = CliRunner().invoke(main, ["report", str(tmp_path / "nowhere")])
    assert missing.exit_code == 2
    assert "no result.json" in missing.stderr


def test_every_attack_is_listed_with_what_it_needs_and_on_request_with_what_would_run():
    from miaudit.attacks import ATTACKS

    def rows(*options):
        return {
            row["name"]: row for row in json.loads(CliRunner().invoke(main, ["attacks", "--json", *options]).stdout)
        }

    everything = rows()
    assert {name.split()[0] for name in everything} == set(ATTACKS)
    assert all(row["use"] and row["paper"] and row["needs_text"] and row["runs"] is None for row in everything.values())
    assert everything["lira"]["needs_text"] == "probabilities or a signal, 4 shadow models of the overlapping design"
    few = rows("--shadows", "3", "--design", "overlapping")
    assert few["lira"]["reason"] == "it needs at least 4 shadow models, there are 3"
    assert [name for name, row in few.items() if row["strongest"]] == ["rmia"]
    assert [name for name, row in rows("--outputs", "labels").items() if row["strongest"]] == ["gap"]
    options = ["--design", "overlapping", "--shadows", "3"]
    wide = CliRunner().invoke(main, ["attacks", *options], env={"COLUMNS": "160", "NO_COLOR": "1"}).stdout
    assert re.search(r"rmia .* yes, the strongest documented", wide)
    assert "\x1b" not in wide
    assert CliRunner().invoke(main, ["attacks", "--outputs", "scores"]).exit_code == 2


def test_lists_of_attacks_and_data_sets():
    attacks = CliRunner().invoke(main, ["attacks"]).stdout
    assert all(name in attacks for name in ("shokri", "threshold", "gap", "Shokri et al. 2017"))
    data = CliRunner().invoke(main, ["data"]).stdout
    assert all(name in data for name in ("location30", "purchase100", "texas100", "diabetes130"))


def test_a_pipe_that_closes_early_is_no_error():
    code = f"{sys.executable} -m miaudit schema | head -1"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "{"
    assert "Traceback" not in done.stderr


# ---- bad input: a clear message, nothing lost, exit code 2 --------------------------------------------------------


def test_an_unknown_key_and_other_errors_are_listed_at_once(tmp_path):
    said = fails(tmp_path, PLAN.replace("seed = 3", "sede = 3\n") + "[attack]\nvariant = 'pooled'\n")
    assert "2 problems" in said
    assert "sede: unknown key; did you mean 'seed'?" in said
    moved = 'attack: the options of the 2017 attack stand in the list of attacks now: attacks = [{ name = "shokri", variant ='
    assert f'{moved} "pooled" }}]' in said


def test_sizes_that_do_not_fit_say_what_would(tmp_path):
    said = fails(tmp_path, PLAN.replace("members = 200", "members = 2000"))
    assert "1797" in said.replace(",", "")
    assert re.search(r"at most|fit", said)


def files(folder: Path, X: np.ndarray, y: np.ndarray, *, name: str = "records") -> str:
    np.savez(folder / f"{name}.npz", X=X, y=y)
    return f"{name}.npz"


DIGITS = load_digits(return_X_y=True)


def own_data(tmp_path: Path, X: np.ndarray, y: np.ndarray) -> str:
    files(tmp_path, X, y)
    return PLAN.replace('name = "digits"', 'path = "records.npz"')


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda X, y: (X, y * 2), "labels"),
        (lambda X, y: (X, y - 1), "labels"),
        (lambda X, y: (X, y * 0), "one class"),
        (lambda X, y: (np.where(X == X[7, 20], np.inf, X), y), "infinit"),
        (lambda X, y: (X[:-1], y), "1796"),
        (lambda X, y: (X[:0], y[:0]), "there is nothing in the records"),
    ],
)
def test_spoiled_records_are_explained(tmp_path, spoil, said):
    assert re.search(said, fails(tmp_path, own_data(tmp_path, *spoil(*DIGITS))))


def test_overlapping_index_files_are_refused(tmp_path):
    for name, numbers in {"m": range(200), "n": range(150, 350), "p": range(350, 1700)}.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(map(str, numbers)))
    plan = PLAN.replace(
        "members = 200\nnonmembers = 200", 'members = "m.txt"\nnonmembers = "n.txt"\npopulation = "p.txt"'
    )
    assert "members and nonmembers share 50 records" in fails(tmp_path, plan)
    (tmp_path / "n.txt").write_text("\n".join(map(str, range(200, 350))))
    assert run(tmp_path, FEW + plan).exit_code == 0
    (tmp_path / "n.txt").write_text("")
    assert "n.txt holds no record numbers" in run(tmp_path, plan, out="other").stderr


def test_a_missing_data_set_says_where_to_get_it(tmp_path):
    said = fails(tmp_path, PLAN.replace("digits", "purchase100"), "--data", str(tmp_path))
    assert "dataset_purchase" in said
    assert "privacytrustlab/datasets" in said


def test_a_folder_that_cannot_be_written_is_refused_before_work_starts(tmp_path):
    (tmp_path / "out").write_text("a file in the way")
    result = run(tmp_path)
    assert result.exit_code == 2
    assert (tmp_path / "out").read_text() == "a file in the way"


def test_a_store_of_a_newer_schema_is_refused_and_left_alone(tmp_path, out):
    (out / "store.json").write_text('{"schema_version": 7}')
    before = document(out)
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "schema version 7" in result.stderr
    assert document(out) == before


def test_a_damaged_row_is_trained_again_and_said_to_be(tmp_path, out):
    before = document(out)
    row = min((out / "rows").glob("*.safetensors"))
    row.write_bytes(row.read_bytes()[:100])
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "1 damaged, trained again" in result.stderr
    assert document(out) == before


# ---- a model of the user's own -------------------------------------------------------------------------------------


TREES = ("--trusted", "sklearn.tree._tree.Tree")


def own_model(tmp_path: Path, model) -> str:
    skops = pytest.importorskip("skops.io")
    X, y = DIGITS
    model.fit(X[:300], y[:300])
    skops.dump(model, tmp_path / "model.skops")
    files(tmp_path, X[:300], y[:300], name="m")
    files(tmp_path, X[300:600], y[300:600], name="n")
    files(tmp_path, X[600:], y[600:], name="p")
    return f"""{FEW}
[data]
members = "m.npz"
nonmembers = "n.npz"
population = "p.npz"
[target]
file = "model.skops"
[recipe]
estimator = "sklearn.ensemble.RandomForestClassifier"
params = {{ n_estimators = 8 }}
[shadows]
count = 4
[engine]
jobs = 0
"""


def test_a_saved_model_is_audited_from_its_file(tmp_path):
    result = run(tmp_path, own_model(tmp_path, RandomForestClassifier(8, random_state=0)), *TREES)
    assert result.exit_code == 0, result.output
    content = document(tmp_path / "out")
    assert content["target"]["source"] == "given file"
    assert content["target"]["train_accuracy"] > 0.95


def test_types_that_skops_does_not_trust_are_listed(tmp_path):
    plan = own_model(tmp_path, RandomForestClassifier(8, random_state=0))
    assert "sklearn.tree._tree.Tree. If you trust them, give each by --trusted TYPE" in fails(tmp_path, plan)


def test_a_model_of_another_width_is_refused(tmp_path):
    plan = own_model(tmp_path, RandomForestClassifier(8, random_state=0))
    X, y = DIGITS
    for name, part in {"m": slice(0, 300), "n": slice(300, 600), "p": slice(600, None)}.items():
        files(tmp_path, X[part, :50], y[part], name=name)
    assert "trained on 64 features, the records have 50" in fails(tmp_path, plan, *TREES)


def test_a_pickled_model_needs_consent(tmp_path):
    import joblib

    plan = own_model(tmp_path, RandomForestClassifier(8, random_state=0)).replace("model.skops", "model.joblib")
    joblib.dump(
        RandomForestClassifier(8, random_state=0).fit(DIGITS[0][:300], DIGITS[1][:300]), tmp_path / "model.joblib"
    )
    assert "--allow-pickle" in fails(tmp_path, plan)
    assert run(tmp_path, plan, "--allow-pickle").exit_code == 0
