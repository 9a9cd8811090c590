"""The formats: what is encoded is what was meant, what is decoded is what was answered, and all else is refused."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from scripted import read

from miaudit.errors import DataError, TargetError
from miaudit.targets.client import retry_after
from miaudit.targets.wire import Wire

FORMATS = {
    "v2": ("/v2/models/m/infer", Wire("v2", model="m")),
    "instances": ("/v1/models/m:predict", Wire("instances", model="m")),
    "mlflow": ("/invocations", Wire("mlflow")),
    "mlflow columns": ("/invocations", Wire("mlflow", send="dataframe_split")),
    "azure": ("/score", Wire("mlflow", send="input_data")),
    "sagemaker-csv": ("/invocations", Wire("sagemaker-csv")),
    "sagemaker-json": ("/invocations", Wire("sagemaker-json")),
    "sagemaker features": ("/invocations", Wire("sagemaker-json", send="features")),
    "json": ("/own", Wire("json", body='{"rows": "$records"}')),
}
NUMBERS = [np.float64, np.float32, np.int32, np.uint8, np.int8, np.bool_]
records = st.sampled_from(NUMBERS).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=5),
        elements={"allow_nan": False, "allow_infinity": False} if np.dtype(dtype).kind == "f" else None,
    )
)


@settings(deadline=None, max_examples=50)
@given(X=records)
@pytest.mark.parametrize("name", FORMATS)
def test_a_server_reads_the_very_numbers_that_were_sent(name, X):
    path, wire = FORMATS[name]
    if wire.format == "sagemaker-csv" and X.dtype == np.bool_:
        X = X.astype(np.uint8)  # CSV has no true and false
    got = np.array(read(path, wire.content_type, wire.encode(X)))
    np.testing.assert_array_equal(got.astype(X.dtype), X)


def test_sparse_records_are_sent_with_their_zeros_and_images_with_their_axes():
    X = np.array([[0.0, 2.0], [3.0, 0.0]])
    for path, wire in FORMATS.values():
        assert wire.encode(sparse.csr_matrix(X)) == wire.encode(X), path
    images = np.arange(24.0).reshape(2, 3, 4)
    for name in ("v2", "instances", "mlflow", "sagemaker-json", "json"):
        path, wire = FORMATS[name]
        np.testing.assert_array_equal(read(path, wire.content_type, wire.encode(images)), images)


TABLE = np.array([[1.5, "red", 3], [2.5, "blue, or so", 4]], dtype=object)


def test_tables_are_sent_by_column():
    v2 = json.loads(Wire("v2", model="m").encode(TABLE))
    assert v2["parameters"] == {"content_type": "pd"}
    assert [tensor["datatype"] for tensor in v2["inputs"]] == ["FP64", "BYTES", "INT64"]
    assert v2["inputs"][1]["data"] == ["red", "blue, or so"]
    assert json.loads(Wire("instances", model="m").encode(TABLE))["instances"][0] == {"0": 1.5, "1": "red", "2": 3}
    assert json.loads(Wire("mlflow").encode(TABLE)) == {
        "dataframe_split": {"columns": ["0", "1", "2"], "data": [[1.5, "red", 3], [2.5, "blue, or so", 4]]}
    }
    lines = list(csv.reader(io.StringIO(Wire("sagemaker-csv").encode(TABLE).decode())))
    assert lines == [["1.5", "red", "3"], ["2.5", "blue, or so", "4"]]
    template = Wire("json", body='{"columns": "$columns", "rows": "$records", "n": 1}')
    assert json.loads(template.encode(TABLE))["columns"] == ["0", "1", "2"]


def test_frames_are_sent_with_their_columns_names():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = {"age": [31, 45], "city": ["Oslo", "Bonn"]}
    for frame in (pandas.DataFrame(columns), polars.DataFrame(columns)):
        body = json.loads(Wire("mlflow").encode(frame))
        assert body == {"dataframe_split": {"columns": ["age", "city"], "data": [[31, "Oslo"], [45, "Bonn"]]}}
        objects = [{"age": 31, "city": "Oslo"}, {"age": 45, "city": "Bonn"}]
        assert json.loads(Wire("json", body='{"rows": "$objects"}').encode(frame)) == {"rows": objects}
        one = Wire("json", body='"$object"')
        assert one.one_at_a_time
        assert json.loads(one.encode(frame[:1])) == objects[0]
        assert [tensor["name"] for tensor in json.loads(Wire("v2", model="m").encode(frame))["inputs"]] == [
            "age",
            "city",
        ]
    for unit in ("s", "ns"):
        with pytest.raises(DataError, match=r"column 'born' holds .* which JSON has no form for"):
            Wire("mlflow").encode(pandas.DataFrame({"born": pandas.to_datetime(["2001-01-01"]).as_unit(unit)}))
    with pytest.raises(DataError, match="no form in JSON"):
        Wire("mlflow").encode(pandas.DataFrame({"age": [31.0, float("nan")]}))


def test_texts_are_sent_as_texts():
    texts = np.array(["one", "two"], dtype=object)
    assert json.loads(Wire("instances", model="m").encode(texts)) == {"instances": ["one", "two"]}
    assert json.loads(Wire("json", body='{"rows": "$records"}').encode(texts)) == {"rows": ["one", "two"]}
    assert json.loads(Wire("json", body='{"rows": "$objects"}').encode(texts)) == {
        "rows": [{"text": "one"}, {"text": "two"}]
    }


answers = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 5), st.integers(2, 5)),
    elements=st.floats(allow_nan=False, allow_infinity=False),
)


def tensor(values, name="p", **changes):
    values = np.asarray(values)
    one = {"name": name, "shape": list(values.shape), "datatype": "FP64", "data": values.ravel().tolist()}
    return json.dumps({"outputs": [one | changes]}).encode()


@settings(deadline=None)
@given(values=answers)
def test_numbers_come_back_to_the_last_digit(values):
    n, rows = len(values), values.tolist()
    bodies = [
        (Wire("v2", model="m"), tensor(values)),
        (Wire("v2", model="m"), tensor(values, data=rows)),
        (Wire("v2", model="m", output="p"), tensor(values)),
        (Wire("instances", model="m"), json.dumps({"predictions": rows}).encode()),
        (Wire("instances", model="m", output="p"), json.dumps({"predictions": [{"p": row} for row in rows]}).encode()),
        (Wire("instances", model="m", output="p"), json.dumps({"outputs": {"p": rows}}).encode()),
        (Wire("mlflow"), json.dumps({"predictions": rows}).encode()),
        (Wire("mlflow"), json.dumps(rows).encode()),
        (Wire("sagemaker-csv"), "\n".join(",".join(map(repr, row)) for row in rows).encode()),
        (Wire("sagemaker-csv"), json.dumps({"predictions": [{"scores": row} for row in rows]}).encode()),
        (Wire("sagemaker-json", output="score"), json.dumps({"predictions": [{"score": r} for r in rows]}).encode()),
        (
            Wire("json", body='["$records"]', answer="a.0.*.p"),
            json.dumps({"a": [[{"p": row} for row in rows]]}).encode(),
        ),
    ]
    for wire, body in bodies:
        np.testing.assert_array_equal(wire.decode(body, n), values)


@pytest.mark.parametrize("labels", [[2, 0, 1], ["b", "a", "c"]])
def test_labels_come_back_as_labels(labels):
    kind = "INT64" if isinstance(labels[0], int) else "BYTES"
    rows = [[label] for label in labels]
    bodies = [
        (Wire("v2", model="m"), tensor(labels, datatype=kind)),
        (Wire("v2", model="m"), tensor(rows, datatype=kind)),
        (Wire("instances", model="m"), json.dumps({"predictions": labels}).encode()),
        (Wire("mlflow"), json.dumps({"predictions": rows}).encode()),
        (Wire("sagemaker-csv"), "\n".join(map(str, labels)).encode()),
        (
            Wire("sagemaker-json", output="predicted_label"),
            json.dumps([{"predicted_label": v} for v in labels]).encode(),
        ),
    ]
    for wire, body in bodies:
        assert wire.decode(body, 3).tolist() == labels


def test_a_score_beside_the_number_of_a_class_is_refused_with_what_to_set():
    wire, items = Wire("sagemaker-json"), [{"score": 0.9, "predicted_label": 1}, {"score": 0.2, "predicted_label": 0}]
    body = json.dumps({"predictions": items}).encode()
    with pytest.raises(TargetError, match='output = "score", and positive of the target.*output = "predicted_label"'):
        wire.decode(body, 2, names=["0", "1"])
    with pytest.raises(
        TargetError, match='(?<!class it is of; )to audit the labels alone, set output = "predicted_label"'
    ):
        wire.decode(body, 2, names=["0", "1", "2"])
    for output, values in (("score", [0.9, 0.2]), ("predicted_label", [1, 0])):  # as the message says
        assert Wire("sagemaker-json", output=output).decode(body, 2, names=["0", "1"]).tolist() == values
    assert wire.decode(body, 2, names=["score", "predicted_label"]).shape == (2, 2)


def test_answers_that_name_their_classes_are_put_in_order():
    wire, names = Wire("instances", model="m"), ["ant", "bee", "cat"]
    some = {"classes": ["cat", "ant"], "scores": [0.7, 0.2]}
    every = {"bee": 0.5, "ant": 0.25, "cat": 0.25}
    body = json.dumps({"predictions": [some, every]}).encode()
    np.testing.assert_array_equal(wire.decode(body, 2, names), [[0.2, 0, 0.7], [0.25, 0.5, 0.25]])
    numbered = json.dumps({"predictions": [{"2": 0.7, "0": 0.2}]}).encode()
    np.testing.assert_array_equal(wire.decode(numbered, 1, names), [[0.2, 0, 0.7]])
    with pytest.raises(TargetError, match=r"does not have: \['dog'\]"):
        wire.decode(json.dumps({"predictions": [{"dog": 1.0}]}).encode(), 1, names)


FORWARD, NAMED = [[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]], ["ant", "bee", "cat"]
BACKWARD = [row[::-1] for row in FORWARD]
OWN = {"format": "json", "body": '"$records"'}


@pytest.mark.parametrize(
    ("wire", "answer"),
    [
        (Wire("instances", model="m"), {"predictions": BACKWARD, "classes": ["cat", "bee", "ant"]}),
        (Wire("mlflow"), {"class_names": [2, 1, 0], "predictions": [{"probabilities": row} for row in BACKWARD]}),
        (
            Wire("mlflow", output="p"),
            {"labels": ["cat", "bee", "ant"], "predictions": [{"p": row} for row in BACKWARD]},
        ),
        (
            Wire("instances", model="m", output="p"),
            {"outputs": {"p": [FORWARD[0], BACKWARD[1]], "classes": [NAMED, ["cat", "bee", "ant"]]}},
        ),
        (Wire(**OWN, answer="data"), {"columns": ["cat", "bee", "ant"], "index": [0, 1], "data": BACKWARD}),
        (Wire(**OWN, answer="of.*.p"), {"classes": ["cat", "bee", "ant"], "of": [{"p": row} for row in BACKWARD]}),
        (
            Wire(**OWN, answer="of.p", id="i"),
            {"classes": ["cat", "bee", "ant"], "of": {"p": [{"i": i, "scores": BACKWARD[i]} for i in (1, 0)]}},
        ),
        (
            Wire("mlflow"),
            {
                "predictions": [
                    {"label": "ant", "probabilities": dict(zip("210", row, strict=True))} for row in BACKWARD
                ]
            },
        ),
        (Wire("mlflow", output="p"), {"predictions": [{"p": dict(zip(NAMED, row, strict=True))} for row in FORWARD]}),
        (Wire("mlflow"), {"predictions": FORWARD, "classes": ["ant", "cat"]}),  # what each record is called
        (Wire("mlflow"), {"predictions": FORWARD, "names": ["age", "job", "ant"]}),  # of something else
        (Wire("mlflow"), {"predictions": FORWARD, "classes": NAMED, "columns": [["x"], ["y"]]}),
    ],
)
def test_numbers_are_of_the_classes_that_the_answer_lists_beside_them(wire, answer):
    np.testing.assert_array_equal(wire.decode(json.dumps(answer).encode(), 2, NAMED), FORWARD)


def test_a_label_for_each_record_is_no_list_of_the_columns_classes():
    wire, rows = Wire("mlflow"), [[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]
    best = json.dumps({"predictions": rows, "labels": ["cat", "ant", "bee"]}).encode()
    np.testing.assert_array_equal(wire.decode(best, 3, NAMED), rows)
    order = json.dumps({"predictions": rows, "labels": ["bee", "cat", "ant"]}).encode()
    np.testing.assert_array_equal(wire.decode(order, 3, NAMED), np.array(rows)[:, [2, 0, 1]])


@pytest.mark.parametrize(
    ("wire", "body", "said"),
    [
        (Wire("v2", model="m"), b"<html>", "an HTML page"),
        (Wire("v2", model="m"), b"", "no JSON"),
        (Wire("v2", model="m"), b"\xff\xfe\x00", "no JSON"),
        (Wire("v2", model="m"), b'{"error": "no such model"}', "says error: 'no such model'"),
        (Wire("v2", model="m"), b"[1]", "no V2 inference response"),
        (Wire("v2", model="m"), tensor([[1, 2]], shape=[1, 3]), r"shape \[1, 3\] but holds 2 values"),
        (Wire("v2", model="m"), tensor([[1, 2]], shape=[-1, 2]), "expected a list of sizes"),
        (Wire("v2", model="m"), tensor([[1, 2], [3, 4]]), "asked about 1 record and answered 2"),
        (Wire("v2", model="m"), tensor([[1, 2]], data=[1, None]), "where a number is expected"),
        (Wire("v2", model="m"), tensor([[1, 2]], data=[1, "4.9%"]), "where a number is expected; .*encode and decode"),
        (Wire("v2", model="m"), tensor([[1, 2]], datatype="FP8"), "type 'FP8'"),
        (Wire("v2", model="m", output="q"), tensor([[1, 2]]), r"outputs \['p'\]; 'q' is not among them"),
        (Wire("v2", model="m"), b'{"outputs": [{"name": "a"}, {"name": "b"}]}', r"outputs \['a', 'b'\]; set output"),
        (Wire("mlflow"), b'{"predictions": []}', "asked about 1 record and answered 0"),
        (Wire("mlflow"), b'{"predictions": {"a": 1}}', "no list with one item per record"),
        (Wire("mlflow"), b'{"predictions": [[[1], [2]]]}', "shape"),
        (Wire("mlflow"), b'{"predictions": [null]}', "holds 'null' for a record"),
        (Wire("mlflow"), b'{"predictions": [[1, Infinity]]}', "inf.*not finite"),
        (Wire("mlflow"), b'{"predictions": [{"a": [1]}]}', "objects: it holds 'a'; set output"),
        (Wire("mlflow", output="b"), b'{"predictions": [{"a": [1]}]}', "no 'b': it holds 'a'"),
        (Wire("sagemaker-csv"), b"0.1,0.9\n0.2,0.8\n", "asked about 1 record and answered 2 lines"),
        (Wire("sagemaker-csv"), b"0.1,none\n", "number is expected"),
        (
            Wire("json", body='"$records"', answer="a.b"),
            b'{"a": {"c": 1}}',
            r"nothing at 'a.b': in the place of 'b' it holds 'c'; set answer",
        ),
        (Wire("json", body='"$records"', answer="a.3"), b'{"a": [1]}', r"in the place of '3' it is '\[1\]'"),
        (
            Wire("mlflow"),
            b'{"predictions": [], "error": "overloaded"}',
            "answered nothing; it says error: 'overloaded'",
        ),
        (Wire("json", body='"$records"', answer="a"), b'{"error": "expired"}', "it says error: 'expired'$"),
        (Wire("json", body='"$records"'), b"[0.1, 0.9]\n[0.2, 0.8]\n", "no JSON.*functions of your own"),
        (Wire("mlflow"), b'"[[0.1, 0.9]]"', "a text with JSON in it"),
        (Wire("mlflow"), b'{"probs": [[1, 0]]}', "it holds 'probs'; for another form set format to json"),
    ],
)
def test_what_is_no_answer_is_refused(wire, body, said):
    with pytest.raises(TargetError, match=said):
        wire.decode(body, 1)


@settings(deadline=None)
@given(body=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@pytest.mark.parametrize("name", FORMATS)
def test_no_body_does_worse_than_a_target_error(name, body):
    with suppress(TargetError):
        FORMATS[name][1].decode(body, 2, ["a", "b"])


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["outputs", "predictions", "name", "shape", "data", "datatype", "a"]), inner)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=40)
@given(value=json_values)
@pytest.mark.parametrize("name", FORMATS)
def test_no_json_does_worse_than_a_target_error(name, value):
    for body in (value, {"predictions": value}, {"outputs": [value]}):
        with suppress(TargetError):
            FORMATS[name][1].decode(json.dumps(body).encode(), 2, ["a", "b"])


@pytest.mark.parametrize(
    ("url", "wire", "address"),
    [
        ("http://h", Wire("v2", model="m"), "http://h/v2/models/m/infer"),
        ("http://h/", Wire("v2", model="m", version="2"), "http://h/v2/models/m/versions/2/infer"),
        ("http://h:1?a=b", Wire("instances", model="m"), "http://h:1/v1/models/m:predict?a=b"),
        ("http://h", Wire("mlflow"), "http://h/invocations"),
        ("http://h/score", Wire("mlflow", send="input_data"), "http://h/score"),
        ("http://h", Wire("json", body='"$records"'), "http://h"),
    ],
)
def test_a_bare_address_gets_the_path_of_its_format(url, wire, address):
    assert wire.address(url) == address


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("inf", None),
        ("nan", None),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_may_be_seconds_or_a_date(value, seconds):
    assert retry_after(value, datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)) == seconds


ROWS = [[0.1, 0.9], [0.7, 0.3], [0.5, 0.5]]


@pytest.mark.parametrize("key", ["id", "index", "row"])
@pytest.mark.parametrize("form", [int, str])
def test_answers_that_number_their_records_otherwise_than_the_request_are_refused(key, form):
    def content(numbers):
        return json.dumps(
            {"predictions": [{key: form(i), "scores": row} for i, row in zip(numbers, ROWS, strict=True)]}
        ).encode()

    wires = Wire("instances", model="m"), Wire("json", body='"$records"', answer="predictions.*.scores")
    for wire in wires:
        np.testing.assert_array_equal(wire.decode(content([0, 1, 2]), 3), ROWS)
        np.testing.assert_array_equal(wire.decode(content([7, 7, 7]), 3), ROWS)  # a request's number
        with pytest.raises(TargetError, match=f"'{key}' .2, 0, 1., another order"):
            wire.decode(content([2, 0, 1]), 3)


def test_an_answer_that_says_a_thing_twice_is_refused():
    content = b'{"predictions": [[0.1, 0.9]], "predictions": [[0.9, 0.1]]}'
    with pytest.raises(TargetError, match="'predictions' twice in one object"):
        Wire("instances", model="m").decode(content, 1)


def test_classes_that_were_kept_as_floats_are_read_by_their_numbers_and_texts_for_numbers_are_named():
    wire = Wire("instances")

    def answers(*items):
        return wire.decode(json.dumps({"predictions": items}).encode(), len(items), names=["0", "1", "2"])

    one = {"classes": [0.0, 1.0, 2.0], "scores": [0.1, 0.2, 0.7]}
    other = {"classes": [2.0, 0.0, 1.0], "scores": [0.5, 0.2, 0.3]}
    np.testing.assert_allclose(answers(one, other), [[0.1, 0.2, 0.7], [0.2, 0.3, 0.5]])
    with pytest.raises(TargetError, match=r"\['0.5'\]; the data's are"):
        answers({"classes": [0.5], "scores": [0.7]}, {"classes": [0.5], "scores": [0.7]})
    with pytest.raises(TargetError, match=r"the text '?0\.1'? for a class, where a number is expected"):
        answers({"0": "0.1", "1": "0.9"}, {"0": "0.1", "1": "0.9"})
