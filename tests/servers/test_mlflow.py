"""Audits of models of MLflow, and audits logged to it, against a real tracking store on this machine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.servers

PYTHON = Path(__file__).parents[2] / ".venv-servers" / "bin" / "python"
SOURCE = Path(__file__).parents[2] / "src"
TRAINING = """
import csv, mlflow, numpy as np
from sklearn.ensemble import RandomForestClassifier
rng = np.random.default_rng(0)
X = rng.normal(size=(600, 6))
y = (X[:, 0] + rng.normal(size=600) > 0).astype(int)
for name, rows in {"train": range(300), "test": range(300, 600)}.items():
    with open(name + ".csv", "w") as file:
        writer = csv.writer(file)
        writer.writerow([*"abcdef", "label"])
        writer.writerows([*map(float, X[i]), int(y[i])] for i in rows)
forest = RandomForestClassifier(20, random_state=0).fit(X[:300], y[:300])
with mlflow.start_run() as run:
    mlflow.sklearn.log_model(
        forest, name="forest", registered_model_name="churn", skops_trusted_types=["sklearn.tree._tree.Tree"]
    )
print(run.info.run_id)
"""
LOOK = """
import json, mlflow, sys
client = mlflow.MlflowClient()
run = client.get_run(sys.argv[1])
paths = [each.path for each in client.list_artifacts(sys.argv[1], "miaudit")]
page = mlflow.artifacts.load_text(f"runs:/{sys.argv[1]}/miaudit/result.json")
print(json.dumps([run.data.metrics, run.data.tags, paths, page, run.info.status]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def run(folder):
    return python(folder, "-c", TRAINING).stdout.split()[-1]


def python(folder: Path, *arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(SOURCE), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    done = subprocess.run(
        [PYTHON, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done


def audit(folder: Path, address: str, *, out: str, fails: bool = False) -> str:
    options = [
        "--label",
        "label",
        "--shadows",
        "2",
        "--jobs",
        "0",
        "--trusted",
        "sklearn.tree._tree.Tree",
        "--out",
        out,
    ]
    return python(folder, "-m", "miaudit", "audit", address, "train.csv", "test.csv", *options, fails=fails).stderr


def test_a_registered_model_is_audited_and_the_audit_logged_with_its_training(folder, run):
    audit(folder, "models:/churn/1", out="audit")
    result = json.loads((folder / "audit" / "result.json").read_text())
    assert result["provenance"]["plan"]["target"]["file"] == "models:/churn/1"
    assert result["provenance"]["hashes"]["target_file"]
    python(folder, "-m", "miaudit", "run", "audit/plan.toml", "--out", "again", "--trusted", "sklearn.tree._tree.Tree")
    again = json.loads((folder / "again" / "result.json").read_text())
    assert again["attacks"] == result["attacks"]

    python(folder, "-m", "miaudit", "report", "audit", "--mlflow-run", run)
    metrics, tags, paths, logged, _ = json.loads(python(folder, "-c", LOOK, run).stdout)
    threshold = next(attack for attack in result["attacks"] if attack["name"] == "threshold")
    assert metrics["auc.threshold"] == threshold["auc"]["value"]
    assert metrics["auc.threshold.low"] == threshold["auc"]["low"]
    assert not any("fpr_0.001" in name for name in metrics)  # 300 non-members do not resolve it
    assert tags["miaudit.verdict"] == result["verdict_kind"] == "leak"
    assert paths == ["miaudit/model-card.md", "miaudit/report.html", "miaudit/result.json"]
    assert not json.loads(logged)["provenance"]["plan"]

    told = python(folder, "-m", "miaudit", "report", "audit", "--mlflow", "audits").stderr
    *_, status = json.loads(python(folder, "-c", LOOK, told.split()[-1]).stdout)
    assert status == "FINISHED"


COUNTED = """
import mlflow, sys
plain = mlflow.artifacts.download_artifacts
def counted(**options):
    print("fetched", options["artifact_uri"])
    return plain(**options)
mlflow.artifacts.download_artifacts = counted
mlflow.MlflowClient().set_registered_model_alias("churn", "champion", 1)
from miaudit.cli import main
main(sys.argv[1:])
"""


def test_an_alias_is_audited_by_the_version_it_names_fetched_once_and_nothing_stays(folder, run, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    options = [
        "--label",
        "label",
        "--shadows",
        "2",
        "--jobs",
        "0",
        "--trusted",
        "sklearn.tree._tree.Tree",
        "--out",
        "alias",
    ]
    done = python(folder, "-c", COUNTED, "audit", "models:/churn@champion", "train.csv", "test.csv", *options)
    assert [line for line in done.stdout.splitlines() if line.startswith("fetched")] == ["fetched models:/churn/1"]
    result = json.loads((folder / "alias" / "result.json").read_text())
    assert result["provenance"]["plan"]["target"]["file"] == "models:/churn/1"
    assert 'file = "models:/churn/1"' in (folder / "alias" / "plan.toml").read_text()
    assert not list(tmp_path.glob("miaudit-*"))


def test_what_mlflow_does_not_have_and_what_lies_outside_a_model_is_refused(folder, run):
    assert "does not give the model models:/nothing/1" in audit(folder, "models:/nothing/1", out="none", fails=True)
    assert not (folder / "none").exists()
    (description,) = folder.glob("mlruns/**/MLmodel")
    text = description.read_text()
    try:
        description.write_text(text.replace("pickled_model: model.skops", "pickled_model: ../../outside.skops"))
        assert "lies outside its own folder" in audit(folder, f"runs:/{run}/forest", out="none", fails=True)
        description.write_text(text.replace("  sklearn:", "  prophet:"))
        assert "read are sklearn, xgboost" in audit(folder, f"runs:/{run}/forest", out="none", fails=True)
    finally:
        description.write_text(text)
