"""result.json and records.csv: written whole or not at all, and read back as they were."""

from __future__ import annotations

import errno
import json
import os
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from miaudit import stats
from miaudit.errors import StoreError
from miaudit.files import write_files
from miaudit.report.share import shared
from miaudit.result import (
    SCHEMA_VERSION,
    AttackResult,
    CorrectedInterval,
    Interval,
    PointMetrics,
    Records,
    Result,
    TnrAtFnr,
    TprAtFpr,
)
from miaudit.result.table import shown


def test_a_saved_result_comes_back_equal_with_its_records(result, tmp_path):
    assert result.save(tmp_path / "out") == tmp_path / "out" / "result.json"
    back = Result.load(tmp_path / "out")
    assert back == result
    assert back.to_json() == result.to_json()
    assert back.records == result.records
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["records.csv", "result.json"]


def test_the_table_has_one_row_per_record_and_the_columns_of_the_contract(result, tmp_path):
    lines = result.save(tmp_path).with_name("records.csv").read_text(encoding="utf-8").splitlines()
    assert (
        lines[0]
        == "id,class,member,shokri,shokri_in,threshold,threshold_in,gap,gap_in,risk_rank,risk_low,risk_high,accused"
    )
    assert len(lines) == 2401
    first = result.records[0]
    assert lines[1].startswith(f"r0,{first['class']},1,{first['shokri']!r},{int(first['shokri_in'])},")


def test_a_table_of_several_parts_is_written_and_read_as_one(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    names = np.array(["a,b", "=1", "c"], object)
    columns = {
        "id": np.array([1, 1.0, True, None, *("x" * 19)], object),
        "class": names[rng.integers(0, 3, 23)],
        "member": rng.random(23) < 0.5,
        "loss": rng.normal(size=23),
        "loss_in": np.array([None, True, False] * 7 + [None, True], object),
    }
    whole = Records(columns).to_csv()
    assert [line.split(",")[0] for line in whole.splitlines()[1:5]] == ["1", "1.0", "True", ""]
    monkeypatch.setattr("miaudit.result.table._ROWS", 5)
    parts = list(Records(columns).csv_parts())
    assert len(parts) == 6  # the head, and five of rows
    assert "".join(parts) == whole
    write_files(tmp_path, {"records.csv": (part.encode() for part in parts)})
    back = Records.load(tmp_path / "records.csv")
    np.testing.assert_array_equal(back.columns["loss"], columns["loss"])
    assert back.columns["loss_in"].tolist() == columns["loss_in"].tolist()
    assert back.columns["class"].tolist() == columns["class"].tolist()


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
number = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture
def there_and_back(result, tmp_path):
    def run(records):
        result.model_copy(update={"records": Records.of(records)}).save(tmp_path)
        return Result.load(tmp_path).records

    return run


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@example([("", ";@0", None, None)])
@given(st.lists(st.tuples(text, text, st.none() | st.booleans(), number), min_size=1, max_size=5))
def test_any_record_comes_back_bit_for_bit(there_and_back, rows):
    records = [{"id": i, "class": c, "member": m, "a": s, "a_in": m} for i, c, m, s in rows]
    assert there_and_back(records) == [{**r, "id": shown(r["id"]), "class": shown(r["class"])} for r in records]


def test_awkward_names_and_numbers_come_back(there_and_back):
    scores = [0.1 + 0.2, 5e-324, -0.0, 1e308]
    names = ["a,b", 'say "x"', "'quoted'", "=1+1", "-5", "line\\r", ""]
    records = [{"id": n, "class": n, "member": True, "a": s, "a_in": False} for n in names for s in scores]
    back = there_and_back(records)
    assert back == records
    assert [repr(row["a"]) for row in back] == [repr(row["a"]) for row in records]


def test_numpy_values_and_missing_scores_are_written(result, tmp_path):
    records = [
        {"id": np.int64(4), "class": np.str_("a"), "member": np.True_, "a": np.float32(0.1), "a_in": np.int64(0)},
        {"id": 5, "class": 2, "member": None, "a": float("nan")},
    ]
    copy = result.model_copy(update={"records": Records.of(records)})
    assert copy.save(tmp_path).with_name("records.csv").read_text().splitlines() == [
        "id,class,member,a,a_in",
        "4,a,1,0.10000000149011612,0",
        "5,2,,,",
    ]


def test_a_result_without_records_leaves_no_stale_table(result, tmp_path):
    result.save(tmp_path)
    result.model_copy(update={"records": Records()}).save(tmp_path)
    assert Result.load(tmp_path).records == []


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_full_disk_leaves_both_old_files_and_no_temporary_ones(result, tmp_path, monkeypatch, fails_at):
    result.save(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    syncs = iter(range(1, 10))

    def fsync(descriptor):
        if next(syncs) == fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    changed = result.model_copy(update={"title": "other", "records": result.records[:3]})
    with pytest.raises(StoreError, match=r"no space left on the disk of"):
        changed.save(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_an_error_that_says_what_to_do(result, tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="choose an output folder that you may write to"):
            result.save(place)
    (tmp_path / "result.json").mkdir()  # something in the way of the file itself
    with pytest.raises(StoreError, match="cannot write to"):
        write_files(tmp_path, {"result.json": b"{}"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "result.json"]


def test_results_of_the_first_versions_are_read(result, tmp_path):
    """Before rows were named, costs measured and thresholds of epsilon told; places were written as 1.0."""
    result.save(tmp_path)
    content = json.loads((tmp_path / "result.json").read_text())
    cost = {
        "trained_now": 5,
        "from_store": 0,
        "actual_seconds": 1.0,
        "peak_bytes_of_this_process": 9,
        "estimated": None,
    }
    content["provenance"]["shadow_cost"] = cost
    interval = {"value": 1.0, "low": 0.5, "high": 2.0, "reason": None}
    epsilon = {
        "name": "empirical epsilon-equivalent",
        "value": 1.0,
        "delta": 1e-5,
        "ceiling": 3.0,
        "credible": interval,
    }
    content["attacks"][0]["epsilon"] = epsilon
    (tmp_path / "result.json").write_text(json.dumps(content))
    frame = pd.read_csv(tmp_path / "records.csv", dtype=str)
    frame.assign(risk_rank=frame["risk_rank"] + ".0").to_csv(tmp_path / "records.csv", index=False)
    back = Result.load(tmp_path)
    assert back.records == result.records
    assert isinstance(back.records[0]["risk_rank"], int)
    assert shared(back).attacks[0].epsilon.operating_point is None


def test_a_summary_is_text_in_a_notebook_too(result, monkeypatch):
    text = result.summary()
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert result.summary() == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not a miaudit result: its schema_version is None"),
        ("{", "cannot be read as JSON"),
        (json.dumps({"schema_version": SCHEMA_VERSION + 1}), "upgrade miaudit"),
        (json.dumps({"schema_version": SCHEMA_VERSION}), "not a miaudit result"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, content, message):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(StoreError, match=message):
        Result.load(tmp_path)


@pytest.mark.parametrize("key", ["headline", "highest", "controls.bystander"])
def test_a_result_that_names_an_attack_it_does_not_have_is_refused(result, tmp_path, key):
    result.save(tmp_path)
    content = json.loads((tmp_path / "result.json").read_text())
    if key == "controls.bystander":
        content["controls"]["bystander"] = {"auc": 0.5, "attack": "lara"}
    else:
        content[key] = "lara"
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match=f"{key} names the attack 'lara', which is not among"):
        Result.load(tmp_path)


@pytest.mark.parametrize("name", [None, "shokri"])
def test_a_bystander_control_without_the_figures_behind_it_is_refused(result, tmp_path, name):
    result.save(tmp_path)
    content = json.loads((tmp_path / "result.json").read_text())
    content["controls"]["bystander"] = {"auc": 0.5, "attack": name}
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"controls.bystander has an area, and no attack with figures"):
        Result.load(tmp_path)


def test_a_missing_result_and_a_broken_table_are_refused(result, tmp_path):
    with pytest.raises(StoreError, match=r"no result\.json"):
        Result.load(tmp_path)
    result.save(tmp_path)
    for broken in ("id,class,member,a\n1,2,1,word\n", "id,class,member,a\n1,2,1,0.5,9\n", "id,class,member,a\n1,2\n"):
        (tmp_path / "records.csv").write_text(broken)
        with pytest.raises(StoreError, match=r"records\.csv cannot be read"):
            Result.load(tmp_path)


IMPOSSIBLE = {
    "an area above 1": ("attacks.0.auc.value", 2.0),
    "an area below 0": ("controls.blind.auc.low", -0.2),
    "a rate above 1": ("attacks.0.tpr_at_fpr.0.tpr", 1.5),
    "a point of the curve above 1": ("attacks.0.roc.tpr.1", 7.0),
    "an accuracy of the target above 1": ("target.train_accuracy", 99.0),
    "an accuracy of shadow models below 0": ("shadows.test_accuracy", -1.0),
    "a level above 1": ("attacks.0.confidence", 95.0),
    "an end above its figure": ("attacks.0.auc.low", 0.999),
    "an end of a rate above the other": ("attacks.0.tpr_at_fpr.0.low", 1.0),
    "a figure above its end": ("attacks.0.pooled.precision", 1.0),
    "a negative count": ("attacks.0.pooled.n", -3),
    "a negative size": ("split.members", -400),
    "negative queries": ("target.queries", -1),
    "half a record": ("split.members", 0.5),
    "a curve of unequal lengths": ("attacks.0.roc.tpr", [0.0, 1.0]),
}


@pytest.mark.parametrize("edit", IMPOSSIBLE.values(), ids=list(IMPOSSIBLE))
def test_a_result_of_impossible_figures_is_refused_with_the_place(result, tmp_path, edit):
    path, value = edit
    result.save(tmp_path)
    document = json.loads((tmp_path / "result.json").read_text())
    *way, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    place = document
    for key in way:
        place = place[key]
    assert place[last] != value
    place[last] = value
    (tmp_path / "result.json").write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"is not a miaudit result: " + re.escape(".".join(path.split(".")[:2]))):
        Result.load(tmp_path)


def test_what_arithmetic_leaves_beside_0_and_1_is_0_and_1():
    area = Interval(value=1 + 1e-15, low=-1e-17, high=1.0)
    assert (area.value, area.low) == (1.0, 0.0)
    with pytest.raises(ValueError, match="less than or equal to 1"):
        Interval(value=1 + 1e-6, low=0.0, high=1.0)


def test_statistics_become_documents_by_the_names_of_their_attributes():
    ins, outs = np.arange(40.0) + 9, np.arange(30.0)
    point = stats.tpr_at_fpr(ins, outs, 0.1)
    document = TprAtFpr.of(point)
    assert {name: getattr(point, name) for name in TprAtFpr.model_fields} == document.model_dump()
    assert TprAtFpr.of(point, low=None, high=None, reason="people").low is None
    claims = stats.claims(ins, outs)
    attack = AttackResult.of(claims, name="a", title="A", paper="a", status="ran")
    assert attack.auc_corrected == CorrectedInterval(**claims.auc_corrected._asdict())  # documents within, too
    assert attack.exposed.most == claims.exposed.most < claims.exposed.above
    called, member = np.array([True, False, True]), np.array([True, True, False])
    points, rate = PointMetrics.of(stats.decisions(called, member)), stats.rate(1, 2)
    assert (points.recall, points.recall_low, points.recall_high) == (rate.value, rate.low, rate.high)
    assert PointMetrics.of(stats.decisions(~called, ~member, confidence=None)).recall_low is None
    with pytest.raises(ValueError, match="tnr\n"):
        TnrAtFnr.of(point, fnr=0.1)


def test_records_are_columns_that_cannot_be_changed(result):
    records = result.records
    assert len(records) == len(records.columns["gap"]) == len(list(records))
    assert records[-1] == list(records)[-1]
    assert [row["id"] for row in records[2:4]] == records.columns["id"][2:4].tolist()
    with pytest.raises(ValueError, match="read-only"):
        records.columns["gap"][0] = 1.0
    with pytest.raises(ValidationError, match="frozen"):
        result.records = Records()
    assert "records" not in json.loads(result.to_json()).keys() | json.loads(Result.schema_text())["properties"].keys()
