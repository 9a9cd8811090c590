"""Path objects of Python are taken wherever a plan or an argument takes the text of a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import miaudit
from miaudit.errors import PlanError
from miaudit.plan import Plan
from miaudit.result import Result

PLAN = {
    "data": {"name": "digits"},
    "split": {"members": 100},
    "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier"},
    "shadows": {"count": 1},
}


@dataclass(frozen=True)
class Place:
    """A path object that is not pathlib's."""

    text: str

    def __fspath__(self) -> str:
        return self.text


@pytest.mark.parametrize("path", [Path, Place])
@pytest.mark.parametrize(
    ("keys", "section"),
    [
        (("data", "path"), {"data": {}}),
        (("data", "members"), {"data": {"nonmembers": "b.npz", "population": "c.npz"}, "split": {}}),
        (("data", "population"), {"data": {"members": "a.npz", "nonmembers": "b.npz"}, "split": {}}),
        (("split", "members"), {"split": {}}),
        (("split", "population"), {"split": {"members": 100}}),
        (("target", "file"), {"target": {}, "split": {"members": "m.npy"}}),
        (("target", "module"), {"target": {"file": "m.safetensors"}, "split": {"members": "m.npy"}}),
        (("target", "http", "ca"), {"target": {"url": "https://x.test", "http": {}}, "split": {"members": "m.npy"}}),
        (("recipe", "function"), {"recipe": {}}),
        (("recipe", "service", "ca"), {"recipe": {"service": {"url": "https://x.test"}}}),
    ],
)
def test_every_path_of_a_plan_may_be_a_path_object(keys, section, path):
    text = "a/file.py:make" if keys[-1] in ("module", "function") else "a/file"

    def plan(value):
        content = {**PLAN, **section}
        place = content
        for key in keys[:-1]:
            place[key] = dict(place.get(key, {}))
            place = place[key]
        place[keys[-1]] = value
        return content

    def outcome(value):
        try:
            return Plan.of(plan(value)).model_dump(mode="json")
        except PlanError as error:
            return str(error)

    assert outcome(path(text)) == outcome(text)
    assert "PosixPath" not in str(outcome(path(text)))


def test_what_is_no_path_is_still_refused():
    with pytest.raises(PlanError, match=r"data\.path"):
        Plan.of({**PLAN, "data": {"path": 3}})
    with pytest.raises(PlanError, match=r"data\.path: a path must not be empty"):
        Plan.of({**PLAN, "data": {"path": Place("")}})


@pytest.mark.parametrize("path", [Path, Place])
def test_a_whole_audit_takes_path_objects(tmp_path, path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "all.npz", X=rng.normal(size=(300, 4)), y=rng.integers(0, 2, 300))
    plan = {
        **PLAN,
        "data": {"path": path(str(tmp_path / "all.npz"))},
        "attacks": [{"name": "threshold"}],
        "shadows": {"count": 1, "train": 60, "test": 30},
        "split": {"members": 60},
    }
    result = miaudit.audit(plan, out=path(str(tmp_path / "out")), jobs=0)
    assert Result.load(tmp_path / "out").verdict == result.verdict
    written = tmp_path / "plan.toml"
    written.write_text(
        '[data]\npath = "all.npz"\n[split]\nmembers = 60\n[recipe]\nestimator = "sklearn.tree.DecisionTreeClassifier"\n'
        "[shadows]\ncount = 1\ntrain = 60\ntest = 30\n"
    )
    assert Plan.load(path(str(written))).data.path == str(tmp_path / "all.npz")
    assert miaudit.audit(path(str(written)), jobs=0).attacks
