"""A changed audit is told from the one that was made, and what may leave the house holds no single record."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import miaudit
from miaudit.auditing.scoring import score
from miaudit.auditing.verification import verify
from miaudit.cli import main
from miaudit.errors import PlanError, StoreError
from miaudit.plan import Plan
from miaudit.report.share import LEAST, shared
from miaudit.result import Result
from miaudit.result.cleaning import clean
from miaudit.result.difference import differences
from miaudit.result.seal import Seal, seal
from miaudit.store import Store

PLAN = {
    "title": "Digits",
    "data": {"name": "digits"},
    "split": {"members": 80, "nonmembers": 80, "population": 400, "outside": 0},
    "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier"},
    "shadows": {"count": 3},
    "attacks": ["calibration"],
}


@pytest.fixture(scope="module")
def audited(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("audited") / "audit"
    miaudit.audit(PLAN, out=folder, jobs=0)
    return folder


@pytest.fixture
def copy(audited, tmp_path) -> Path:
    return Path(shutil.copytree(audited, tmp_path / "copy"))


def change(folder: Path, edit) -> None:
    path = folder / "result.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def rewrite_row(folder: Path, number: int = 0) -> None:
    """Change a row as somebody would who knows the format: checksum and hash are right."""
    store = Store(folder)
    key = sorted(path.stem for path in (folder / "rows").iterdir())[number]
    row = store.get(key)
    row.arrays["outputs"] = np.roll(row.arrays["outputs"], 1, axis=0)
    store.put(key, row.arrays, row.facts)


def test_classes_and_ids_that_the_table_writes_out_are_as_they_were_made(tmp_path):
    rng = np.random.default_rng(0)
    names = ["line\nbreak", "\u202eturned", "a;=b", "'quoted", " blank"]
    frame = pd.DataFrame(
        {"x": rng.normal(size=200), "id": [f"{i}\t\u200f" for i in range(200)], "y": rng.choice(names, 200)}
    )
    frame.to_csv(tmp_path / "records.csv", index=False)
    data = {"path": str(tmp_path / "records.csv"), "label": "y", "ids": "id"}
    split = {"members": 50, "nonmembers": 50}
    miaudit.audit(PLAN | {"data": data, "split": split, "shadows": {"count": 2}}, out=tmp_path / "audit", jobs=0)
    done = verify(tmp_path / "audit")
    assert done.problems == []
    assert len(done.compared) == 3


def test_an_audit_that_nobody_touched_is_as_it_was_made(audited):
    before = {path: path.stat().st_mtime_ns for path in audited.rglob("*")}
    done = verify(audited, seal=Seal.load(audited).value)
    assert done.problems == []
    assert [remark.split(",")[0] for remark in done.remarks] == ["Pages and annexes are renderings of the result"]
    assert len(done.compared) == 3
    assert {path: path.stat().st_mtime_ns for path in audited.rglob("*")} == before


def set_auc(document):
    document["attacks"][0]["auc"]["value"] = document["attacks"][0]["auc"]["low"]


def set_limit(document):
    document["finding"]["limit"] = 0.5
    document["finding"]["n"]["members"] += 1


TAMPERED = {
    "a figure": lambda folder: change(folder, set_auc),
    "the verdict": lambda folder: change(folder, lambda d: d.update(verdict="No leak detected.")),
    "the finding": lambda folder: change(folder, set_limit),
    "a warning": lambda folder: change(folder, lambda d: d["warnings"].append("All is well.")),
    "a control": lambda folder: change(folder, lambda d: d["controls"]["blind"].update(confounded=None)),
    "an attack left out": lambda folder: change(folder, lambda d: d["attacks"].pop()),
    "an epsilon": lambda folder: change(folder, lambda d: d["attacks"][0]["epsilon"].update(value=9.5)),
    "the target's accuracy": lambda folder: change(folder, lambda d: d["target"].update(test_accuracy=0.99)),
    "a membership": lambda folder: edit_table(folder, 0, 2, "0"),
    "a score": lambda folder: edit_table(folder, 3, -2, "0.125"),
    "a rank": lambda folder: edit_table(folder, 3, 3, "160"),
    "an id": lambda folder: edit_table(folder, 5, 0, "somebody"),
    "a record left out": lambda folder: edit_lines(folder, lambda lines: lines[:-1]),
    "a row": rewrite_row,
    "two rows swapped": lambda folder: swap_rows(folder),
    "a row left out": lambda folder: sorted((folder / "rows").iterdir())[1].unlink(),
    "draws": lambda folder: (folder / "draws.safetensors").write_bytes(b"x"),
}
OF_FILES_ALONE = {"draws"}  # drawn anew by the seed, whatever the file says


def edit_lines(folder: Path, edit) -> None:
    path = folder / "records.csv"
    path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")


def edit_table(folder: Path, row: int, column: int, text: str) -> None:
    def edit(lines):
        cells = lines[row + 1].split(",")
        cells[column] = text
        return [*lines[: row + 1], ",".join(cells), *lines[row + 2 :]]

    edit_lines(folder, edit)


def swap_rows(folder: Path) -> None:
    one, other, *_ = sorted((folder / "rows").iterdir())
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


@pytest.mark.parametrize("kind", TAMPERED)
def test_every_kind_of_change_is_found_by_hashes(kind, copy):
    sealed = Seal.load(copy)
    assert list(sealed.changes(copy)) == []
    TAMPERED[kind](copy)
    assert list(sealed.changes(copy))


QUICK = ("a row", "the finding", "an id")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow)
        for kind in TAMPERED
        if kind not in OF_FILES_ALONE
    ],
)
def test_a_change_with_the_right_hashes_is_found_by_the_rows(kind, copy, audited):
    printed = Seal.load(audited).value
    TAMPERED[kind](copy)
    seal(copy)
    done = CliRunner().invoke(main, ["verify", str(copy), "--json"])
    if kind == "the target's accuracy":  # outside its own interval: no such document is read
        assert done.exit_code == 2
        return
    told = json.loads(done.stdout)
    if kind in ("a row left out", "two rows swapped"):  # then the rows cannot be read, and nothing else is wrong
        assert any("not there, or damaged" in text for text in told["remarks"]) or told["problems"]
    else:
        assert (done.exit_code, bool(told["problems"])) == (2, True), done.output
    assert any("the seal is" in text for text in verify(copy, seal=printed).problems)


def test_a_forgery_that_agrees_with_itself_differs_from_the_seal_and_from_models_trained_again(copy, audited):
    printed = Seal.load(audited).value
    for number in range(2):
        rewrite_row(copy, number)
    miaudit.audit(PLAN, out=copy, jobs=0)  # the figures of the forged rows, table and hashes with them
    assert verify(copy).problems == []
    assert any("--seal" in remark for remark in verify(copy).remarks)
    assert verify(copy, seal=printed).problems
    with pytest.raises(StoreError, match="not come out when trained again"):
        miaudit.audit(PLAN, out=copy, jobs=0, retrain=2)


def test_what_cannot_be_compared_is_said(audited, tmp_path):
    result = Result.load(audited)
    with pytest.raises(StoreError, match=r"no result\.json"):
        verify(tmp_path)
    result.save(tmp_path)
    done = verify(tmp_path)
    assert any("no seal.json" in problem for problem in done.problems)
    assert any("not there, or damaged" in remark for remark in done.remarks)
    change(tmp_path, lambda document: document["provenance"]["plan"]["target"].update(url="http://127.0.0.1:9/x"))
    assert any("would have to be asked" in remark for remark in verify(tmp_path).remarks)


def test_what_no_hash_speaks_of_is_said_and_a_seal_has_its_digits(audited, copy):
    assert not any("not in seal.json" in remark for remark in verify(audited).remarks)
    sealed = Seal.load(copy)
    rows = [name for name in sealed.files if name.startswith("rows/")]
    sealed.model_copy(update={"files": {k: v for k, v in sealed.files.items() if k not in rows}}).save(copy)
    remark = next(remark for remark in verify(copy).remarks if "not in seal.json" in remark)
    assert remark.startswith(f"{len(rows)} files beside the result are")
    for text in ("", "deadbeef", sealed.value[:-1] + "g"):
        with pytest.raises(PlanError, match="64 hexadecimal digits"):
            verify(audited, seal=text)
    assert verify(audited, seal=f" {sealed.value.upper()}\n").problems == []


def test_words_of_another_version_are_told_as_such_where_the_attacks_are_not_run_again(copy):
    def edit(document):
        document["verdict"] += " So it was once put."
        document["provenance"]["versions"]["miaudit"] = "0.0.1"

    change(copy, edit)
    shutil.rmtree(copy / "rows")
    seal(copy)
    sentence, versions = verify(copy).problems
    assert "sentence of the verdict" in sentence
    assert "versions differ, which may be why: miaudit 0.0.1 then" in versions


def test_stored_outputs_are_scored_again(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "target": rng.dirichlet(np.ones(3), 300),
        "labels": rng.integers(0, 3, 300),
        "member": np.arange(300) < 150,
    }
    np.savez(tmp_path / "outputs.npz", **arrays)
    score(tmp_path / "outputs.npz", out=tmp_path / "audit", attacks=["threshold"], title="Stored")
    done = verify(tmp_path / "audit", outputs=tmp_path / "outputs.npz")
    assert (done.problems, len(done.compared)) == ([], 3)
    assert any("give the file" in remark for remark in verify(tmp_path / "audit").remarks)
    np.savez(tmp_path / "outputs.npz", **arrays | {"labels": arrays["labels"][::-1]})
    assert any(
        "not the file" in remark for remark in verify(tmp_path / "audit", outputs=tmp_path / "outputs.npz").remarks
    )


def test_an_audit_of_a_model_in_python_is_run_again_with_its_objects(tmp_path):
    from sklearn.datasets import load_digits
    from sklearn.tree import DecisionTreeClassifier

    X, y = load_digits(return_X_y=True)
    model = DecisionTreeClassifier(random_state=0).fit(X[:200], y[:200])
    of = {"members": (X[:200], y[:200]), "nonmembers": (X[200:400], y[200:400]), "population": (X[400:], y[400:])}
    of |= {"shadows": 2, "attacks": ["calibration"]}
    miaudit.audit(model, **of, out=tmp_path, jobs=0)
    assert any("model in Python" in remark for remark in verify(tmp_path).remarks)
    done = verify(tmp_path, model, **of)
    assert (done.problems, len(done.compared)) == ([], 3)
    other = DecisionTreeClassifier(random_state=0, max_depth=3).fit(X[:200], y[:200])
    assert verify(tmp_path, other, recipe=DecisionTreeClassifier(random_state=0), **of).problems


def test_a_plan_comes_back_from_the_provenance_of_its_result(audited):
    document = Result.load(audited).provenance.plan
    assert Plan.of_document(document) == Plan.of(PLAN)


@given(st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3), st.lists, max_leaves=5))
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_document_does_not_differ_from_itself(value):
    assert list(differences({"key": value}, {"key": value})) == []
    assert len(list(differences({"key": value}, {"key": {"another": 1}}))) == 1


def test_files_about_people_are_their_owners_alone(audited):
    for path in (audited, *audited.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_what_is_shared_holds_no_record_and_no_small_slice(copy):
    folder = copy / "share"
    folder.mkdir()
    (folder / "records.csv").write_text("of an older version")
    done = CliRunner().invoke(main, ["report", str(copy), "--share", "--json"])
    assert done.exit_code == 0, done.output
    assert {path.name for path in folder.iterdir()} == {"result.json", "report.html"}
    assert "records.csv" not in (folder / "report.html").read_text().split("<pre")[0]
    result, whole = Result.load(folder), Result.load(copy)
    sizes = [(each.members, each.nonmembers) for grouping in result.groups for each in grouping.groups]
    assert all(min(of) >= LEAST for of in sizes)
    assert len(sizes) < sum(len(grouping.groups) for grouping in whole.groups)
    assert result.provenance.plan == {}
    assert (result.verdict, result.attacks[0].auc) == (whole.verdict, whole.attacks[0].auc)
    assert (folder / "report.html").exists()


def test_one_small_slice_takes_another_with_it(audited):
    result = Result.load(audited)
    grouping = result.groups[0]
    sizes = sorted(min(each.members, each.nonmembers) for each in grouping.groups)
    left = shared(result, least=sizes[0] + 1).groups
    assert len(left[0].groups if left else []) <= len(sizes) - 2


def test_cleaning_leaves_the_result_and_what_proves_it(copy):
    for answer in ("n\n", ""):  # a no, and nobody who answers
        refused = CliRunner().invoke(main, ["clean", str(copy)], input=answer)
        assert refused.exit_code == 2
        assert refused.output.endswith("nothing was removed; --yes removes without a question\n")
    assert (copy / "records.csv").exists()
    before = Seal.load(copy).value
    done = CliRunner().invoke(main, ["clean", str(copy), "--yes"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in copy.iterdir()) == ["report.html", "result.json", "seal.json"]
    after = verify(copy, seal=before)
    assert after.problems == []
    assert any("removed by miaudit clean" in remark for remark in after.remarks)
    change(copy, set_auc)
    assert verify(copy).problems
    assert clean(copy) == ["report.html"]
