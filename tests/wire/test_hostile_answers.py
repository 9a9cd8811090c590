"""Whatever a server, a damaged folder or an odd option holds: a value, or an error of ours; within its time and its bytes."""

from __future__ import annotations

import gzip
import json
import socket
import sqlite3
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Script, serving

from miaudit.errors import DataError, MiauditError, PlanError, StoreError, TargetError, TimeLimitError
from miaudit.store import Store
from miaudit.targets import connect
from miaudit.targets.client import retry_after
from miaudit.targets.wire import Wire

X = np.random.default_rng(0).normal(size=(20, 3))
NAMES = ["ant", "bee", "cat"]
WIRES = [
    Wire("v2", model="m"),
    Wire("instances", model="m"),
    Wire("instances", model="m", output="p"),
    Wire("mlflow"),
    Wire("sagemaker-csv"),
    Wire("sagemaker-json"),
    Wire("json", body='"$records"', answer="a.*.b"),
    Wire("json", body='"$records"'),
]
WORDS = "predictions outputs classes labels scores score label probabilities a b p name shape data datatype ant cat error 0 1"
KEYS = st.sampled_from(WORDS.split())
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(
        [1e308, -1e308, 10**400, 2**63, "FP32", "INT64", "BYTES", "BOOL", "ant", "LABEL_1", "NaN", [2, 3], "\ud800"]
    )
    | st.text(max_size=5)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def read(wire, content, n):
    try:
        answers = wire.decode(content, n, NAMES)
    except TargetError:
        return
    assert len(answers) == n
    assert answers.dtype.kind in "fiO"
    assert answers.dtype.kind != "f" or np.isfinite(answers).all()


@settings(deadline=None, max_examples=60)
@given(value=VALUES, n=st.integers(1, 3))
@pytest.mark.parametrize("wire", WIRES, ids=lambda w: f"{w.format} {w.output or w.answer or ''}")
def test_any_json_is_an_answer_or_a_target_error(wire, value, n):
    for whole in (
        value,
        {"predictions": value},
        {"outputs": [value]},
        {"a": value},
        [value] * n,
        {"predictions": [value] * n},
    ):
        read(wire, json.dumps(whole).encode(), n)


@settings(deadline=None, max_examples=60)
@given(content=st.binary(max_size=60) | st.text('0123456789.,[]{}"eE+-naNif \r\n', max_size=40).map(str.encode))
@pytest.mark.parametrize("wire", WIRES, ids=lambda w: f"{w.format} {w.output or w.answer or ''}")
def test_any_bytes_are_an_answer_or_a_target_error(wire, content):
    read(wire, content, 2)


@pytest.mark.parametrize(
    "content", [b"[" * 200_000, b'{"a":' * 100_000, b"[" * 5000 + b"]" * 5000, b"[1" + b"0" * 5000 + b"]"]
)
@pytest.mark.parametrize("wire", WIRES, ids=lambda w: f"{w.format} {w.output or w.answer or ''}")
def test_deep_and_long_answers_are_refused(wire, content):
    read(wire, content, 1)


def test_answers_are_read_by_their_classes_and_never_by_position():
    names = ["no", "yes"]
    pairs = [
        [{"label": "yes", "score": 0.9}, {"label": "no", "score": 0.1}],
        [{"label": "no", "score": 0.7}, {"label": "yes", "score": 0.3}],
    ]
    expected = [[0.1, 0.9], [0.7, 0.3]]
    body = json.dumps(pairs).encode()
    np.testing.assert_array_equal(Wire("json", body='"$records"').decode(body, 2, names), expected)
    np.testing.assert_array_equal(Wire("json", body='"$records"', answer="*").decode(body, 2, names), expected)
    np.testing.assert_array_equal(
        Wire("json", body='"$records"').decode(json.dumps(pairs[0]).encode(), 1, names), expected[:1]
    )
    numbered = body.replace(b'"no"', b'"LABEL_0"').replace(b'"yes"', b'"LABEL_1"')
    np.testing.assert_array_equal(Wire("mlflow").decode(numbered, 2, names), expected)
    lists = [{"labels": ["yes", "no"], "scores": [0.9, 0.1]}]
    for wire, content in (
        (Wire("json", body='"$records"', answer="*.*.score"), body),
        (Wire("json", body='"$records"', answer="*.0.score"), body),
        (Wire("json", body='"$records"', answer="*.scores"), json.dumps(lists).encode()),
        (Wire("instances", model="m", output="scores"), json.dumps({"predictions": lists}).encode()),
    ):
        with pytest.raises(TargetError, match="read by their\\s+classes"):
            wire.decode(content, len(json.loads(content)) if content[:1] == b"[" else 1, names)


def test_lists_of_unequal_length_are_never_cut():
    wire = Wire("instances", model="m")

    def read(item):
        return wire.decode(json.dumps({"predictions": [item]}).encode(), 1, ["0", "1"])

    best = {"probabilities": [0.9, 0.1], "classes": ["0"], "logits": [2.0, 0.0]}
    np.testing.assert_array_equal(read(best), [[0.9, 0.1]])  # all scores, and the best class
    np.testing.assert_array_equal(read(best | {"all_classes": ["1", "0"]}), [[0.1, 0.9]])
    for labels in (["1"], ["0", "1", "2"], ["0", "0"]):
        with pytest.raises(TargetError, match="classes|twice"):
            read({"probabilities": [0.9, 0.1], "classes": labels})


@pytest.mark.parametrize(
    ("values", "datatype"),
    [
        ([[0.7, 1.9]], "INT64"),
        ([[300, 1]], "INT8"),
        ([[-1, 1]], "UINT8"),
        ([[2.0**63, 1]], "INT64"),
        ([[-1.0, 1]], "UINT64"),
        ([[0.3, 2]], "BOOL"),
        ([[70000.0, 1]], "FP16"),
        ([[2049.0, 1]], "FP16"),
        ([[1e-9, 1]], "FP16"),
        ([[1e300, 1]], "FP32"),
        ([[2.0**24 + 1, 1]], "FP32"),
        ([[2**53 + 1, 1]], "FP64"),
    ],
)
def test_a_type_that_would_change_records_is_refused(values, datatype):
    with pytest.raises(DataError, match=f"cannot be sent as {datatype}.*would be changed"):
        Wire("v2", model="m", datatype=datatype).encode(np.array(values))


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", None])
def test_fractions_are_sent_with_all_their_digits(datatype):
    body = json.loads(Wire("v2", model="m", datatype=datatype).encode(X))
    np.testing.assert_array_equal(np.reshape(body["inputs"][0]["data"], X.shape), X)
    assert body["inputs"][0]["datatype"] == (datatype or "FP64")


@pytest.mark.parametrize("datatype", ["INT8", "INT64", "UINT8"])
def test_whole_numbers_are_sent_as_such(datatype):
    body = json.loads(Wire("v2", model="m", datatype=datatype).encode(np.array([[1.0, 100.0]])))
    assert body["inputs"][0]["data"] == [1, 100]


@pytest.mark.parametrize(
    "table",
    [
        np.array([[1], ["1"]], dtype=object),
        np.array([[True], [2]], dtype=object),
        np.array([[2**64], [1]], dtype=object),
        np.array([[2**63 + 1], [-1]], dtype=object),
    ],
)
def test_a_column_of_several_types_is_not_cast_to_one(table):
    with pytest.raises(DataError, match="column '0' holds"):
        Wire("v2", model="m").encode(table)


@pytest.mark.parametrize("datatype", ["INT64", "BOOL", "UINT8"])
def test_fractions_in_a_tensor_of_whole_numbers_are_not_cut(datatype):
    content = {"outputs": [{"name": "p", "shape": [1, 2], "datatype": datatype, "data": [0.9, 0.1]}]}
    with pytest.raises(TargetError, match="no whole number"):
        Wire("v2", model="m").decode(json.dumps(content).encode(), 1)


def answers(records):
    powers = np.exp(np.asarray(records))
    return powers / powers.sum(axis=1, keepdims=True)


@contextmanager
def raw(answer):
    """Yield the address of a server that reads a request and then does as ``answer(connection)`` says."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    def one(connection):
        try:
            connection.recv(65536)
            answer(connection)
        except OSError:
            pass
        finally:
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x"
    finally:
        server.close()


def trickle(connection, head, piece):
    connection.sendall(head)
    for _ in range(1000):
        connection.sendall(piece)
        time.sleep(0.1)


SLOW = {
    "head": lambda c: trickle(c, b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "body": lambda c: trickle(c, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
    "chunks": lambda c: trickle(c, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "error": lambda c: trickle(c, b"HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n", b" "),
    "silence": lambda c: time.sleep(60),
}


@pytest.mark.parametrize("way", SLOW)
def test_a_server_that_trickles_does_not_outlive_the_timeout(way):
    with raw(SLOW[way]) as url:
        began = time.monotonic()
        with pytest.raises(TargetError, match="Timeout"):
            connect(url, format="instances", classes=3, timeout=0.6, retries=0).query(X)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("way", SLOW)
def test_nor_the_time_limit(way):
    with raw(SLOW[way]) as url:
        target = connect(url, format="instances", classes=3, timeout=30, retries=5)
        target.deadline = time.monotonic() + 0.6
        with pytest.raises(TimeLimitError, match="every answer is kept"):
            target.query(X)
        assert time.monotonic() - target.deadline < 5


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_beyond_the_time_limit_ends_at_once(status):
    with serving(Script(answers, statuses=[(status, {"Retry-After": "60"})] * 9)) as url:
        target = connect(url, format="instances", model="m", classes=3)
        target.deadline = time.monotonic() + 20
        began = time.monotonic()
        with pytest.raises(TimeLimitError):
            target.query(X)
        assert time.monotonic() - began < 5
        assert target.ledger.spent == 0


@pytest.mark.parametrize("asked", ["0", "-5", "nan", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"])
def test_a_server_that_asks_for_no_wait_is_not_hammered(asked, monkeypatch):
    monkeypatch.setattr("miaudit.targets.client._FIRST_WAIT", 0.05)
    script = Script(answers, statuses=[(429, {"Retry-After": asked})] * 99)
    with serving(script) as url, pytest.raises(TargetError, match="more than patience"):
        connect(url, format="instances", model="m", classes=3, patience=1).query(X)
    assert 3 <= script.requests <= 8  # each wait twice as long as the one before


@pytest.mark.parametrize("value", ["9" * 400, "1e400", "inf", "Wed, 99 Foo 99999 99:99:99 +99999", ""])
def test_an_absurd_retry_after_is_none(value):
    assert retry_after(value) is None


def bomb(connection):
    content = gzip.compress(b" " * 2**27)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)


def endless(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")


@pytest.mark.parametrize("answer", [bomb, endless])
def test_an_answer_is_read_up_to_a_bound(answer):
    with raw(answer) as url, pytest.raises(TargetError, match="more than 16 MiB .after decompression"):
        connect(url, format="instances", classes=3, retries=0).query(X)


def test_of_an_endless_error_the_start_is_read():
    def no(connection):
        connection.sendall(b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    with raw(no) as url, pytest.raises(TargetError, match="status 400: 'xxx"):
        connect(url, format="instances", classes=3, retries=0).query(X)


@pytest.mark.parametrize(
    "options",
    [
        {"proxy": "garbage:://x"},
        {"proxy": "ftp://127.0.0.1:1"},
        {"proxy": "http://"},
        {"ca": str(Path(__file__).parent), "url": "https://127.0.0.1:9/x"},
        {"ca": __file__, "url": "https://127.0.0.1:9/x"},
        {"certificate": "\0", "url": "https://127.0.0.1:9/x"},
        {"headers": {"X A:": "b"}},
        {"headers": {"X-A": "a\r\nX-B: c"}},
        {"url": "http://127.0.0.1:99999/x"},
        {"url": "http://[::1/x"},
        {"url": "http:///x"},
        {"url": "http://127.0.0.1/x\r\ny"},
        {"url": "unix:/x"},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"body": "[" * 100_000, "format": "json"},
    ],
)
def test_odd_options_are_plan_errors(options):
    with pytest.raises(PlanError):
        connect(**{"url": "http://127.0.0.1:9/x", "format": "instances", "classes": 3} | options)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
@pytest.mark.parametrize("value", ["garbage:://x", "ftp://h:1", "socks9://h", "http://me:hunter2pass@127.0.0.1:1"])
def test_odd_proxies_of_the_environment_are_errors_without_their_passwords(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(MiauditError) as caught:
        connect("http://127.0.0.1:9/x", format="instances", classes=3, retries=0).query(X)
    assert "hunter2pass" not in str(caught.value)


@pytest.fixture
def kept(tmp_path):
    """Return a folder with a target's answers, and a function that asks it again."""
    script = Script(answers)
    with serving(script) as url:

        def ask():
            target = connect(url, format="instances", model="m", classes=3, folder=tmp_path)
            try:
                return target.query(X).values
            finally:
                target.close()

        ask()
        [base] = tmp_path.rglob("answers.sqlite")
        yield base, ask


DAMAGES = {
    "blob": "UPDATE answers SET answer = X'66313233'",
    "kind": "UPDATE answers SET answer = X'7a7a7a'",
    "text": "UPDATE answers SET answer = 'text'",
    "null": "UPDATE answers SET answer = NULL",
    "number": "UPDATE answers SET answer = 5",
    "nan": "UPDATE answers SET answer = X'66000000000000f87f000000000000f87f000000000000f87f'",
    "key": "UPDATE answers SET record = X'00' WHERE record = (SELECT min(record) FROM answers)",
    "contact": "UPDATE facts SET value = '{}'",
    "no json": "UPDATE facts SET value = 'nonsense'",
    "deep": f"UPDATE facts SET value = '{'[' * 100_000}'",
    "no table": "DROP TABLE answers",
    "other table": "DROP TABLE facts",
}


def attempt(ask):
    try:
        return ask(), ""
    except MiauditError as error:
        return None, str(error)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_a_value_or_an_error_of_ours(damage, kept):
    base, ask = kept
    with sqlite3.connect(base) as connection:
        connection.execute(DAMAGES[damage])
    connection.close()
    values, problem = attempt(ask)
    assert (
        "remove that folder" in problem or "choose another" in problem
        if values is None
        else (values == answers(X)).all()
    )


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_folder_that_is_no_database_is_told(content, kept):
    base, ask = kept
    for path in base.parent.glob("answers.sqlite*"):
        path.unlink()
    base.write_bytes(content)
    values, problem = attempt(ask)
    assert "damaged" in problem if values is None else (values == answers(X)).all()


def test_a_log_that_lies_frees_no_budget(kept):
    base, ask = kept
    log = base.with_name("queries.jsonl")
    before = log.read_bytes()
    lies = [b"\xff\x00{}", b"[1]", b'{"event":"send","records":1e400,"request":1}', b"[" * 100_000]
    lies += [b'{"event":"send","records":-100000,"request":1}', b'{"event":"send","records":true,"request":9}']
    log.write_bytes(before + b"\n".join(lies) + b"\n")
    ask()
    target = connect("http://127.0.0.1:9/v1/models/m:predict", format="instances", classes=3, folder=base.parent.parent)
    target.close()


@pytest.mark.parametrize("name", ["queries.jsonl", "answers.sqlite", "answers.sqlite-wal", "folder"])
def test_a_link_in_the_folder_is_not_followed(name, kept, tmp_path):
    base, ask = kept
    outside = tmp_path / "outside"
    if name == "folder":
        base.parent.rename(outside)
        base.parent.symlink_to(outside)
    else:
        place = base.with_name(name)
        content = place.read_bytes() if place.exists() else b""
        place.unlink(missing_ok=True)
        outside.write_bytes(content)
        place.symlink_to(outside)
    with pytest.raises(StoreError, match="is a link"):
        ask()
    if name != "folder":
        assert outside.read_bytes() == content


def test_a_journal_that_is_a_link_is_not_followed(tmp_path):
    store, outside = Store(tmp_path / "store"), tmp_path / "outside"
    outside.write_text("mine\n")
    (store.folder / "journal.jsonl").symlink_to(outside)
    with pytest.raises(StoreError, match="is a link"):
        store.note("event")
    assert outside.read_text() == "mine\n"
