"""Servers that no format speaks to as it is: own functions, templates, jobs, compressed bodies, records that are refused."""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

import miaudit
from miaudit.errors import PlanError, StoreError, TargetError
from miaudit.targets import connect, keep

rng = np.random.default_rng(0)
X = rng.normal(size=(240, 4)).round(3)
Y = (X[:, 0] + rng.normal(size=240) > 0).astype(int)
SIDES = {"members": (X[:60], Y[:60]), "nonmembers": (X[60:120], Y[60:120]), "population": (X[120:], Y[120:])}
NAMES = ["no", "yes"]
MODEL = GaussianNB().fit(X[:60], Y[:60])
JSON = {"rows": "$records"}


def truth(records):
    return MODEL.predict_proba(np.asarray(records, float))


@contextmanager
def serving(answer):
    """Serve ``answer(path, headers, body)``: what JSON can hold, bytes, or a pair of a status and one of these."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            reply = answer(self.path, self.headers, body)
            status, content = reply if isinstance(reply, tuple) else (200, reply)
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):
            self.do_POST()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def asked(serve, records=X[:40], **options):
    with serving(serve) as url:
        target = connect(url, **{"format": "json", "classes": NAMES, "batch": 16} | options)
        try:
            return target.query(records).values
        finally:
            target.close()


def packed(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return base64.b64encode(buffer.getvalue())


def unpacked(body):
    return np.load(io.BytesIO(base64.b64decode(body)))


def test_functions_of_ones_own_write_the_body_and_read_the_answer():
    def answer(path, headers, body):
        return packed(truth(unpacked(body)))

    values = asked(answer, format=None, encode=packed, decode=lambda content, n: unpacked(content))
    np.testing.assert_array_equal(values, truth(X[:40]))
    with pytest.raises(TargetError, match="decode failed on the target's answer: KeyError: 'p'"):
        asked(answer, format=None, encode=packed, decode=lambda content, n: {}["p"])
    with pytest.raises(TargetError, match="encode failed on 5 records"):
        asked(answer, encode=lambda records: records.nonsense, body=json.dumps(JSON))
    with pytest.raises(TargetError, match="asked about 5 records and answered 1"):
        asked(answer, format=None, encode=packed, decode=lambda content, n: unpacked(content)[:1])


def test_a_plan_names_such_functions_and_they_need_consent(tmp_path):
    (tmp_path / "wire.py").write_text(
        "import json\n"
        "def encode(X): return {'cells': X.ravel().tolist(), 'width': X.shape[1]}\n"
        "def decode(content, n): return [row['p'] for row in json.loads(content)['of']]\n"
    )
    for side, (records, labels) in SIDES.items():
        np.savez(tmp_path / f"{side}.npz", X=records, y=labels)

    def answer(path, headers, body):
        content = json.loads(body)
        return {"of": [{"p": row.tolist()} for row in truth(np.reshape(content["cells"], (-1, content["width"])))]}

    with serving(answer) as url:
        plan = {
            "data": {side: tmp_path / f"{side}.npz" for side in SIDES},
            "target": {
                "url": url,
                "http": {"encode": f"{tmp_path}/wire.py:encode", "decode": f"{tmp_path}/wire.py:decode"},
            },
            "recipe": {"estimator": "sklearn.naive_bayes.GaussianNB"},
            "shadows": {"count": 2},
            "attacks": ["rmia"],
        }
        with pytest.raises(PlanError, match="target.http.encode: .*--allow-code"):
            miaudit.audit(plan, jobs=0)
        result = miaudit.audit(plan, jobs=0, allow_code=True)
    assert result.target.outputs == "probabilities"
    assert result.target.train_accuracy == pytest.approx((truth(X[:60]).argmax(1) == Y[:60]).mean())


def test_a_body_names_columns_one_by_one():
    frame = pytest.importorskip("pandas").DataFrame(X[:20], columns=list("abcd"))

    def answer(path, headers, body):
        content = json.loads(body)
        return {"p": truth([[content["a"], content["rest"]["b"], content["rest"]["c"], content["d"]]])[0].tolist()}

    body = '{"a": "$record.a", "rest": {"b": "$record.b", "c": "$record.c"}, "d": "$record.d"}'
    np.testing.assert_array_equal(asked(answer, frame, body=body, answer="p"), truth(X[:20]))
    with pytest.raises(miaudit.MiauditError, match="no column 'z'"):
        asked(answer, frame, body=body.replace("$record.a", "$record.z"), answer="p")
    with pytest.raises(PlanError, match="one place for the records"):
        asked(answer, frame, body='{"a": "$record.a", "all": "$record"}')


def test_answers_that_come_in_another_order_are_put_in_order_by_their_numbers():
    def answer(path, headers, body):
        items = json.loads(body)["items"]
        rows = [{"key": str(item["n"]), "probs": truth([item["x"]])[0].tolist()} for item in items]
        return {"results": rows[::-1]}

    options = {"body": '{"items": "$each"}', "each": '{"n": "$id", "x": "$record"}'}
    for path in ("results.*.probs", "results"):
        values = asked(answer, **options, answer=path, id="key")
        np.testing.assert_array_equal(values, truth(X[:40]))
    with pytest.raises(TargetError, match="no list of objects with 'row' each"):
        asked(answer, **options, answer="results", id="row")
    with pytest.raises(PlanError, match="each: must have a place for the record"):
        asked(answer, body='{"items": "$each"}', each='{"n": "$id"}')


def test_a_hugging_face_endpoint_is_one_format_whatever_order_its_labels_come_in():
    def answer(path, headers, body):
        content = json.loads(body)
        assert content["parameters"] == {"top_k": None}
        rows = truth(content["inputs"])
        return [[{"label": f"LABEL_{j}", "score": float(row[j])} for j in np.argsort(-row)] for row in rows]

    np.testing.assert_array_equal(asked(answer, format="huggingface"), truth(X[:40]))


def test_bodies_are_compressed_and_numbers_scaled_where_that_is_said():
    def answer(path, headers, body):
        assert headers["content-encoding"] == "gzip"
        return (1000 * truth(json.loads(gzip.decompress(body))["rows"])).tolist()

    values = asked(answer, body=json.dumps(JSON), gzip=True, scale=1000)
    np.testing.assert_allclose(values, truth(X[:40]), rtol=1e-12)


def jobs(*, fails=False, where="/jobs/{}"):
    """A server that takes a job, and has its answers at the third look."""
    looks, number, waiting = {}, itertools.count(), {}

    def answer(path, headers, body):
        if path == "/submit":
            job = str(next(number))
            waiting[job] = truth(json.loads(body)["rows"]).tolist()
            return 202, {"job": {"id": where.format(job)}}
        job = path.rsplit("/", 1)[1]
        looks[job] = looks.get(job, 0) + 1
        if path.startswith("/out/"):
            return {"output": waiting[job]}
        if looks[job] < 3:
            return {"status": "Running"}
        return {"status": "FAILED", "why": "no room"} if fails else {"status": "Succeeded", "output": waiting[job]}

    return answer


def by_job(answer, **job):
    with serving(answer) as url:
        job = {key: value.replace("URL", url) if isinstance(value, str) else value for key, value in job.items()}
        options = {"format": "json", "body": json.dumps(JSON), "answer": "output", "classes": NAMES, "batch": 16}
        target = connect(f"{url}/submit", **options, job={"id": "job.id", "every": 0.01, **job})
        try:
            return target.query(X[:20]).values, target.ledger.spent
        finally:
            target.close()


def test_a_job_is_waited_for():
    for where, job in (
        ("/jobs/{}", {}),
        ("{}", {"status": "URL/jobs/{job}"}),
        ("{}", {"status": "URL/jobs/{job}", "result": "URL/out/{job}"}),
    ):
        values, spent = by_job(jobs(where=where), **job)
        np.testing.assert_array_equal(values, truth(X[:20]))
        assert spent == 20 + 6  # looks at a job's state ask about no record
    with pytest.raises(TargetError, match="the job of a request is FAILED: .*no room"):
        by_job(jobs(fails=True))
    with pytest.raises(TargetError, match="another server, to which credentials are not sent"):
        by_job(jobs(where="http://127.0.0.2:1/{}"))
    with pytest.raises(TargetError, match="still 'Running' after wait"):
        by_job(jobs(), wait=0.001)
    with pytest.raises(PlanError, match=r"job.status: must hold \{job\}"):
        by_job(jobs(), status="URL/jobs")


POISON = X[3]


def picky(path, headers, body):
    """Refuse any request that holds one record; answer null for another."""
    rows = json.loads(body)["rows"]
    if any(np.array_equal(row, POISON) for row in rows):
        return 422, {"detail": "value is not a valid integer"}
    return [None if np.array_equal(row, X[70]) else truth([row])[0].tolist() for row in rows]


def test_a_record_that_fails_ends_no_run_and_is_counted_nowhere(tmp_path):
    options = {"recipe": GaussianNB(), "shadows": 2, "jobs": 0, "attacks": ["rmia", "attack-p"], "out": tmp_path}
    with serving(picky) as url:
        target = connect(url, format="json", body=json.dumps(JSON))
        result = miaudit.audit(target, **SIDES, **options)
        target.close()
    assert any("no answer to 1 member and 1 non-member: they are left out" in text for text in result.warnings)
    rmia = result.attack("rmia")
    assert result.finding.n.members == result.finding.n.nonmembers == 59
    rows = {record["id"]: record for record in result.records}
    assert rows[3]["rmia"] is rows[70]["rmia"] is None
    assert rows[4]["rmia"] is not None
    sides = {}
    for name, left_out in (("members", 3), ("nonmembers", 10)):
        sides[name] = tuple(np.delete(of, left_out, 0) for of in SIDES[name])
    with serving(lambda path, headers, body: truth(json.loads(body)["rows"]).tolist()) as url:
        small = connect(url, format="json", body=json.dumps(JSON))
        alone = miaudit.audit(small, **sides, population=SIDES["population"], **options | {"out": None})
        small.close()
    assert rmia.auc.value == pytest.approx(
        alone.attack("rmia").auc.value, abs=0.03
    )  # other shadow models, same records


def test_a_record_that_fails_is_looked_for_without_a_wait_at_every_half(monkeypatch):
    monkeypatch.setattr("miaudit.targets.client._FIRST_WAIT", 0.001)
    sizes = []

    def broken(path, headers, body):
        rows = json.loads(body)["rows"]
        sizes.append(len(rows))
        return (500, {"error": "bad"}) if X[21].tolist() in rows else truth(rows).tolist()

    with serving(broken) as url:
        target = connect(url, format="json", body=json.dumps(JSON), classes=2, retries=2, batch=16, concurrency=1)
        target.make_contact(X)
        target.expect([X[16:32]])
        sizes.clear()
        target.answer(X[16:32])
        target.close()
    assert sorted(sizes, reverse=True) == [16, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1, 1, 1]
    assert target.lacking(X[16:32]).tolist() == [i == 5 for i in range(16)]


def test_too_many_failing_records_end_it_and_first_contact_forgives_none():
    def broken(path, headers, body):
        rows = json.loads(body)["rows"]
        return (400, {"error": "bad"}) if any(row[0] > 0 for row in rows) else truth(rows).tolist()

    with serving(broken) as url:
        target = connect(url, format="json", body=json.dumps(JSON), failing=3)
        sides = {**SIDES, "population": (X[120:][X[120:, 0] <= 0], Y[120:][X[120:, 0] <= 0])}
        with pytest.raises(TargetError, match="4 records got no answer, and failing = 3 is the most"):
            miaudit.audit(target, **sides, recipe=GaussianNB(), shadows=2, jobs=0, attacks=["rmia"])
        target.close()
        target = connect(url, format="json", body=json.dumps(JSON), classes=2)
        with pytest.raises(TargetError, match="answers status 400"):
            target.make_contact(X)
        target.close()


CLIENT = """
import json, pathlib
import numpy as np
from sklearn.naive_bayes import GaussianNB
HERE = pathlib.Path(__file__).parent
DATA = np.load(HERE / "members.npz")
MODEL = GaussianNB().fit(DATA["X"], DATA["y"])
def predict(X):
    log = HERE / "log.txt"
    calls = len(log.read_text().splitlines()) if log.exists() else 0
    with log.open("a") as file: file.write(f"{len(X)}\\n")
    if calls == 5: raise ConnectionError("a hiccup")
    if (HERE / "down").exists(): raise ConnectionError("down")
    return MODEL.predict_proba(X)
"""


def test_a_function_of_a_plan_has_a_ledger(tmp_path):
    (tmp_path / "client.py").write_text(CLIENT)
    for side, (records, labels) in SIDES.items():
        np.savez(tmp_path / f"{side}.npz", X=records, y=labels)
    target = {"function": f"{tmp_path}/client.py:predict", "limits": {"batch": 20, "price": 10.0}}
    plan = {
        "data": {side: tmp_path / f"{side}.npz" for side in SIDES},
        "target": target,
        "recipe": {"estimator": "sklearn.naive_bayes.GaussianNB"},
        "shadows": {"count": 2},
        "attacks": ["rmia"],
    }
    foreseen = miaudit.forecast(plan, allow_code=True, jobs=0)
    assert foreseen.queries.cost == pytest.approx(foreseen.queries.to_send / 100)
    assert not (tmp_path / "log.txt").exists()
    result = miaudit.audit(plan, allow_code=True, jobs=0, out=tmp_path / "out")
    assert not any("no answer" in text for text in result.warnings)  # asked in halves, it answered
    first = sum(map(int, (tmp_path / "log.txt").read_text().split()))
    again = miaudit.audit(plan, allow_code=True, jobs=0, out=tmp_path / "out")
    assert sum(map(int, (tmp_path / "log.txt").read_text().split())) - first < 30  # first contact alone
    assert again.attack("rmia").auc == result.attack("rmia").auc
    (tmp_path / "down").touch()
    with pytest.raises(TargetError, match="down"):
        miaudit.audit(plan, allow_code=True, jobs=0, out=tmp_path / "other")
    (tmp_path / "down").unlink()
    small = {**plan, "target": {**target, "limits": {"budget": 50}}}
    with pytest.raises(TargetError, match="the budget of 50 queries is spent"):
        miaudit.audit(small, allow_code=True, jobs=0, out=tmp_path / "small")
    with pytest.raises(PlanError, match="limits belong to function"):
        miaudit.Plan.of({**plan, "target": {"limits": {"budget": 5}, "file": "m.onnx"}})


def test_answers_are_locked_only_while_they_are_asked_for(tmp_path):
    first, second = (keep(truth, name="m", folder=tmp_path / str(i)) for i in (1, 2))
    first.answer(X[:5])
    with pytest.raises(StoreError, match="is in use"):
        keep(truth, name="m", folder=tmp_path / "1")
    first.rest()
    other = keep(truth, name="m", folder=tmp_path / "1")
    assert other.known(X[:6]).sum() == 5
    other.close()
    first.answer(X[:8])  # which takes them up again
    assert first.ledger.spent == 8
    first.close()
    second.close()
