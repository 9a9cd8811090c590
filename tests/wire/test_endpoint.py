"""Endpoints against a scripted server: every answer, every failure, and the counts of both sides."""

from __future__ import annotations

import json
import logging
import ssl
from pathlib import Path

import numpy as np
import pytest
from scripted import Script, serving

from miaudit.errors import BudgetError, PlanError, StoreError, TargetError
from miaudit.targets import connect
from miaudit.targets.ledger import Ledger, Limits

X = np.random.default_rng(0).integers(0, 2, size=(300, 12)).astype(np.float64)
X = np.unique(X, axis=0)[:200]
W = np.random.default_rng(1).normal(size=(12, 4))
NAMES = ["ant", "bee", "cat", "dog"]


def logits(records):
    return (np.asarray(records)[:, :, None] * W).sum(axis=1)  # the same to the last bit in any batch


def probabilities(records):
    powers = np.exp(logits(records))
    return powers / powers.sum(axis=1, keepdims=True)


def target_of(url, **options):
    return connect(url, **{"format": "instances", "model": "m", "classes": NAMES, "batch": 16} | options)


ALL = {
    "v2": ("", {"format": "v2", "model": "m"}),
    "instances": ("", {"format": "instances", "model": "m"}),
    "mlflow": ("", {"format": "mlflow"}),
    "mlflow columns": ("", {"format": "mlflow", "send": "dataframe_split"}),
    "azure": ("/score", {"format": "mlflow", "send": "input_data"}),
    "sagemaker csv": ("", {"format": "sagemaker-csv"}),
    "sagemaker json": ("", {"format": "sagemaker-json"}),
    "sagemaker features": ("", {"format": "sagemaker-json", "send": "features"}),
    "template": ("/own", {"format": "json", "body": '{"rows": "$records"}', "answer": "result.items.*.p"}),
    "one": ("/own", {"format": "json", "body": '{"record": "$record"}', "answer": "result.items.*.p"}),
}


@pytest.mark.parametrize("name", ALL)
def test_every_format_gives_the_models_own_answers(name):
    path, options = ALL[name]
    script = Script(probabilities)
    with serving(script) as url:
        target = target_of(url + path, **{"model": None} | options)
        outputs = target.query(X)
    np.testing.assert_array_equal(outputs.values, probabilities(X))  # JSON keeps every digit
    assert (outputs.kind, outputs.capability) == ("probabilities", "probabilities")
    assert target.contact.deterministic
    assert target.contact.batch_consistent
    assert sum(script.answered.values()) == target.ledger.spent == target.queries
    assert sum(count > 1 for count in script.answered.values()) == 5  # the records of first contact, and no others


@pytest.mark.parametrize(
    ("script", "kind", "capability", "decimals", "expected"),
    [
        (Script(probabilities, decimals=2), "probabilities", "rounded", 2, probabilities(X).round(2)),
        (Script(logits), "logits", "logits", None, logits(X)),
        (Script(lambda r: probabilities(r).argmax(1)), "labels", "labels", None, probabilities(X).argmax(1)),
        (
            Script(lambda r: probabilities(r).argmax(1), names=NAMES),
            "labels",
            "labels",
            None,
            probabilities(X).argmax(1),
        ),
        (Script(probabilities, names=NAMES), "probabilities", "probabilities", None, probabilities(X)),
        (
            Script(probabilities, top=2, names=NAMES),
            "topk",
            "topk",
            None,
            np.where(probabilities(X) >= np.sort(probabilities(X))[:, -2:-1], probabilities(X), 0),
        ),
    ],
    ids=["rounded", "logits", "labels", "named labels", "named", "topk"],
)
def test_what_the_target_answers_is_found_at_first_contact(script, kind, capability, decimals, expected):
    with serving(script) as url:
        target = target_of(url)
        outputs = target.query(X)
    assert (outputs.kind, outputs.capability, outputs.decimals) == (kind, capability, decimals)
    assert target.contact.answers == kind
    np.testing.assert_allclose(outputs.values, expected, atol=1e-12)


def test_a_randomised_target_and_one_that_heeds_its_batch_are_told():
    random = np.random.default_rng(3)

    def noisy(records):
        values = probabilities(records) * random.uniform(0.9, 1.1, size=(len(records), 4))
        return values / values.sum(axis=1, keepdims=True)

    with serving(Script(noisy)) as url:
        target = target_of(url)
        target.query(X)
    assert not target.contact.deterministic
    assert 0 < target.contact.repeat_difference < 0.2
    with serving(Script(lambda r: probabilities(r - np.mean(r, axis=0)))) as url:
        target = target_of(url)
        target.query(X)
    assert target.contact.deterministic
    assert not target.contact.batch_consistent


@pytest.mark.parametrize(
    "trouble",
    [
        {"statuses": [(429, {"Retry-After": "0"})] * 6},
        {"statuses": [(429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})] * 6},
        {"statuses": [(408, {"Retry-After": "0"}), (425, {"Retry-After": "0"})] * 3},
        {"statuses": [(503, {"Retry-After": "0"})] * 6},
        {"statuses": [(503, {})]},
        {"statuses": [(500, {}), (502, {}), (504, {})]},
        {"drops": 3},
        {"drops": 3, "drop_after": True},
    ],
    ids=["429", "429 date", "408 425", "503 later", "503", "5xx", "drops", "drops after"],
)
def test_a_troubled_server_is_asked_again_and_nothing_is_counted_twice(trouble, monkeypatch):
    monkeypatch.setattr("miaudit.targets.client._FIRST_WAIT", 0.01)
    script = Script(probabilities, **trouble)
    with serving(script) as url:
        target = target_of(url)
        outputs = target.query(X)
        np.testing.assert_array_equal(outputs.values, probabilities(X))
        ledger = target.ledger
        assert sum(script.seen.values()) == ledger.sent
        assert ledger.spent == ledger.sent - ledger.refused
        answered = sum(script.answered.values())
        assert answered == ledger.spent - (0 if trouble.get("drop_after") else ledger.lost)
        if "drops" not in trouble:
            assert sum(count > 1 for count in script.answered.values()) == 5


def test_retry_after_is_waited_out():
    script = Script(probabilities, statuses=[(429, {"Retry-After": "1"})])
    with serving(script) as url:
        target_of(url).query(X[:20])
    assert script.times[1] - script.times[0] >= 1.0


@pytest.mark.parametrize(
    ("trouble", "options", "said"),
    [
        ({"statuses": [(401, {})] * 9}, {}, "status 401.*check the credential"),
        ({"statuses": [(404, {})] * 9}, {}, "status 404.*Busy, or not for you.*check url"),
        ({"statuses": [(400, {})] * 9}, {}, "status 400"),
        (
            {"statuses": [(307, {"Location": "http://127.0.0.1/other?key=1"})] * 9},
            {},
            "answers at http://127.0.0.1/other, give that as url",
        ),
        ({"statuses": [(301, {"Location": "http://[no-address"})] * 9}, {}, "status 301.*set another url"),
        ({"statuses": [(500, {})] * 9}, {"retries": 2}, "status 500.*3 times"),
        ({"drops": 9}, {"retries": 1}, "does not answer.*2 times"),
        ({"delay": 1.0}, {"retries": 0, "timeout": 0.05}, "ReadTimeout"),
        ({"statuses": [(429, {"Retry-After": "3600"})] * 9}, {}, "more than patience = 300"),
        ({"statuses": [(529, {"Retry-After": "3600"})] * 9}, {"slow_down": [529]}, "more than patience = 300"),
        ({"body": b"<html>Sign in</html>"}, {}, "an HTML page: '<html>Sign in</html>'"),
        ({"body": b'{"predictions": [[NaN, 0, 0, 1]]}'}, {"contact": 1}, "nan.*not finite"),
        ({"body": b'{"predictions": [[0.5, 0.5]]}'}, {"contact": 1}, r"shape \(1, 2\)"),
        ({"body": b'{"predictions": [[0.1111, 0.2, 0.2, 0.2]]}'}, {"contact": 1}, "1 of 1 row does not sum to one"),
        ({"body": b'{"predictions": [[0, 0, 0, 1]]}'}, {"contact": 2}, "asked about 2 records and answered 1"),
        ({"body": b'{"error": "model is not loaded"}'}, {}, "no predictions: it says error: 'model is not loaded'"),
        ({"body": b'{"predictions": ["eel"]}'}, {"contact": 1}, r"\['eel'\] are not classes"),
    ],
)
def test_what_cannot_be_used_ends_with_a_sentence(trouble, options, said, monkeypatch):
    monkeypatch.setattr("miaudit.targets.client._FIRST_WAIT", 0.01)
    with serving(Script(probabilities, **trouble)) as url, pytest.raises(TargetError, match=said):
        target_of(url, **options).query(X[:20])


def test_connections_are_kept_and_bounded():
    script = Script(probabilities, delay=0.01)
    with serving(script) as url:
        target_of(url, concurrency=4, batch=4).query(X)
    assert script.most_at_once <= 4
    assert script.connections <= 4
    assert script.requests > 40


def test_the_rate_is_not_exceeded():
    script = Script(probabilities)
    with serving(script) as url:
        target_of(url, rate=200, batch=10, concurrency=8, contact=1).query(X[:60])
    assert script.times[-1] - script.times[0] >= 0.9 * (63 - 10) / 200  # times of arrival, not of sending


def test_identical_records_are_asked_about_once():
    script = Script(probabilities)
    with serving(script) as url:
        outputs = target_of(url, contact=1).query(X[[0, 1, 0, 1, 2]])
    np.testing.assert_array_equal(outputs.values, probabilities(X[[0, 1, 0, 1, 2]]))
    assert sorted(script.answered.values()) == [1, 1, 3]


def test_answers_are_kept_for_the_next_run(tmp_path):
    script = Script(probabilities, decimals=3)
    with serving(script) as url:
        first = target_of(url, folder=tmp_path)
        first.query(X[:50])
        with pytest.raises(StoreError, match="in use: another audit"):
            target_of(url, folder=tmp_path).query(X)
        first.close()
        asked = script.requests
        again = target_of(url, folder=tmp_path)
        np.testing.assert_array_equal(again.query(X[:50]).values, probabilities(X[:50]).round(3))
        assert script.requests == asked + 1  # whether it is still the same model
        assert (again.queries, again.decimals) == (first.queries + 5, 3)
        assert (again.contact.later, again.contact.unchanged) == (1, True)
        again.query(X)
        assert sum(script.answered.values()) == again.ledger.spent == len(X) + 11
        again.close()
        other = target_of(url, model="other", folder=tmp_path)  # another target: nothing is known of it
        other.query(X[:5])
        assert other.ledger.sent == 11
        other.close()


@pytest.mark.parametrize(
    ("script", "options", "named"),
    [
        (Script(probabilities), {}, False),
        (Script(probabilities, names=NAMES), {}, True),
        (Script(probabilities, names=[str(i) for i in range(4)]), {}, False),  # by numbers, whose order is the model's
        (Script(lambda X: logits(X).argmax(axis=1)), {}, False),
        (Script(lambda X: logits(X).argmax(axis=1), names=NAMES), {}, True),
        (Script(probabilities), {"columns": NAMES[::-1]}, True),
        (Script(probabilities), {"classes": NAMES}, True),
    ],
    ids=["numbers", "objects", "numbered objects", "class numbers", "labels", "columns", "classes of connect"],
)
def test_whether_the_order_of_the_classes_is_known(script, options, named, tmp_path):
    with serving(script) as url:
        for _ in range(2):  # the second time from what was kept
            target = target_of(url, **{"classes": None, "folder": tmp_path} | options).for_classes(4, tuple(NAMES))
            target.answer(X[:20])
            assert target.named is named
            target.close()


class Backward:
    """A server that lists its two classes in another order than ours, or the label of each record, beside its numbers."""

    def __init__(self, labels=False, failing=()):
        self.labels, self.failing, self.sizes = labels, failing, []

    def __call__(self, records):
        self.sizes.append(len(records))
        values = probabilities(np.asarray(records))[:, :2]
        values = values / values.sum(axis=1, keepdims=True)
        if self.labels:
            return {"predictions": values.tolist(), "labels": [NAMES[i] for i in values.argmax(axis=1)]}
        rows = [
            None if tuple(row) in self.failing else value for row, value in zip(records, values.tolist(), strict=True)
        ]
        return {"predictions": [row and row[::-1] for row in rows], "classes": NAMES[1::-1]}


@pytest.mark.parametrize("batch", [2, 3])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("format", ["instances", "json"])
def test_no_size_of_a_batch_says_in_which_order_classes_are(batch, labels, format):
    server, few = Backward(labels), X[:11]
    options = {"body": '{"rows": "$records"}', "answer": "predictions", "model": None} if format == "json" else {}
    expected = probabilities(few)[:, :2] / probabilities(few)[:, :2].sum(axis=1, keepdims=True)
    with serving(Script(lambda r: r, whole=server)) as url:
        target = target_of(url, classes=NAMES[:2], batch=batch, format=format, concurrency=1, budget=40, **options)
        np.testing.assert_allclose(target.query(few).values, expected, atol=1e-12)
    assert server.sizes.count(2) == 1  # whose answer is not read


def test_records_without_an_answer_do_not_say_in_which_order_classes_are():
    lost = tuple(X[6])
    server = Backward(failing=(lost,))
    with serving(Script(lambda r: r, whole=server)) as url:
        target = target_of(url, classes=NAMES[:2], batch=3, concurrency=1, failing=1)
        target.expect([X[:11]])
        outputs = target.query(X[:11])
        assert target.lacking(X[:11]).tolist() == [i == 6 for i in range(11)]
    rows, two = np.arange(11) != 6, probabilities(X[:11])[:, :2]
    np.testing.assert_allclose(outputs.values[rows], (two / two.sum(axis=1, keepdims=True))[rows], atol=1e-12)


def test_a_square_answer_that_lists_no_labels_costs_nothing():
    with serving(script := Script(probabilities)) as url:
        target_of(url, batch=4, concurrency=1).query(X[:20])
    assert script.requests == 2 * 2 + 1 + 4  # five records twice, one alone, and the other fifteen


def test_an_order_that_was_noted_or_never_looked_at_is_not_said_to_be_unknown(tmp_path):
    def known(folder, before=False):
        target = target_of(url, classes=None).for_classes(4, tuple(NAMES))
        if before:  # first contact is made before there is a folder
            target.answer(X[:20])
        target.open(folder, None, print)
        target.answer(X[:20])
        target.close()
        return target.named, target.resumed

    with serving(Script(probabilities, names=NAMES)) as url:
        assert known(tmp_path / "objects", before=True)[0]
        assert known(tmp_path / "objects") == (True, True)
    with serving(Script(probabilities)) as url:
        assert known(tmp_path / "numbers") == (False, False)
        (base,) = (tmp_path / "numbers").glob("**/answers.sqlite")
        ledger = Ledger(base.parent, Limits())
        ledger.note("state", {key: of for key, of in ledger.fact("state").items() if key != "named"})  # as of old
        ledger.close()
        assert known(tmp_path / "numbers") == (True, True)


def test_a_budget_below_first_contact_is_told_as_such(tmp_path):
    with serving(Script(probabilities)) as url:
        target = target_of(url, budget=7)
        with pytest.raises(
            BudgetError, match="7 queries is spent.* before first contact was made, which takes up to 11;"
        ):
            target.answer(X)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_budget_is_spent_to_the_last_query_and_never_exceeded(tmp_path, concurrency):
    script = Script(probabilities, delay=0.002)
    options = {"batch": 7, "concurrency": concurrency, "folder": tmp_path}
    with serving(script) as url:
        target = target_of(url, budget=100, **options)
        with pytest.raises(BudgetError, match=r"budget of 100 .* 106 are missing.*budget of at least 206") as caught:
            target.query(X)
        assert caught.value.exit_code == 4
        assert sum(script.seen.values()) == 100
        target.close()
        again = target_of(url, budget=100, **options)
        with pytest.raises(BudgetError):
            again.query(X)
        again.close()
        assert sum(script.seen.values()) == 100
        whole = target_of(url, budget=206, **options)
        np.testing.assert_array_equal(whole.query(X).values, probabilities(X))
        assert sum(script.seen.values()) == 206
        whole.close()


def test_lost_queries_are_spent_too(tmp_path, monkeypatch):
    monkeypatch.setattr("miaudit.targets.client._FIRST_WAIT", 0.01)
    script = Script(probabilities, drops=4)
    with serving(script) as url, pytest.raises(BudgetError):
        target_of(url, budget=100, batch=10).query(X)
    assert sum(script.seen.values()) <= 100


def test_the_estimate_says_queries_time_and_cost(tmp_path):
    with serving(Script(probabilities)) as url:
        target = target_of(url, budget=120, rate=1000, price=2.5)
        target.query(X[:40])
        estimate = target.estimate(X)
    assert (estimate.records, estimate.cached, estimate.to_ask, estimate.affordable) == (200, 40, 160, 74)
    assert (estimate.seconds, estimate.cost) == (0.16, 0.4)
    assert str(estimate) == (
        "160 queries to send (40 of 200 answered before), at least 0 s at the rate limit, cost 0.40, the budget covers "
        "only 74"
    )


SECRET = "s3cr3t-pa55phrase"


def test_the_secret_is_sent_and_is_in_no_file_log_or_error(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SOME_TOKEN", SECRET)

    def sign(method, url, headers, body):
        return {"X-Signature": f"{SECRET}-{len(body)}", "X-Date": "today"}

    script = Script(probabilities)
    with serving(script) as url:
        target = target_of(url, headers={"Authorization": "Bearer env:SOME_TOKEN"}, sign=sign, folder=tmp_path)
        target.query(X)
        script.body = f"<html>bad token {SECRET}</html>".encode()
        with pytest.raises(TargetError, match=r"bad token \*\*\*") as unusable:
            target.query(X + 2)
        script.statuses = [(403, {})]
        script.body = None
        with pytest.raises(TargetError) as refused:
            target.query(X + 3)
        shown = [repr(target), str(target.facts()), str(vars(target.wire)), target.description, caplog.text]
        target.close()
    assert script.headers["Authorization"] == f"Bearer {SECRET}"
    assert script.headers["X-Signature"].startswith(SECRET)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 2
    assert all(SECRET.encode() not in content for content in files)
    assert all(SECRET not in text for text in [*shown, str(unusable.value), str(refused.value)])


@pytest.mark.parametrize("secret", ["k3y" * 60, 'quo"te\\d-secret-0123456789'], ids=["long", "quoted"])
def test_no_part_of_a_secret_is_shown_where_the_server_sends_it_back(secret, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", secret)
    echo = json.dumps({"error": f"no such key: {secret}"}).encode()
    for script in (Script(probabilities, body=echo), Script(probabilities, body=b"bad " + secret.encode())):
        with serving(script) as url, pytest.raises(TargetError, match=r"\*\*\*") as caught:
            target_of(url, headers={"Authorization": "env:SOME_TOKEN"}).query(X)
        assert secret[:6] not in str(caught.value)


def test_first_contact_that_was_interrupted_goes_on(tmp_path):
    script = Script(probabilities)
    with serving(script) as url:
        for budget in (3, 8, 10):
            target = target_of(url, folder=tmp_path, budget=budget)
            with pytest.raises(BudgetError):
                target.query(X)
            target.close()
            assert sum(script.seen.values()) == budget
        target = target_of(url, folder=tmp_path)
        target.query(X)
        target.close()
    assert sorted(script.seen.values())[-6:] == [1, 2, 2, 2, 2, 3]


def test_the_log_holds_counts_and_no_records(tmp_path):
    script = Script(probabilities, statuses=[(429, {"Retry-After": "0"})])
    with serving(script) as url:
        target = target_of(url, folder=tmp_path, contact=2)
        target.query(X[:20])
        target.close()
    [log] = tmp_path.rglob("queries.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines[:4]] == ["send", "refused", "send", "done"]
    assert {key for line in lines for key in line} == {
        *("at", "event", "request", "attempt", "records", "hash", "status", "seconds")
    }
    assert sum(line["records"] for line in lines if line["event"] == "done") == 20 + 3


def test_a_log_cut_short_by_a_crash_is_read_as_far_as_it_goes(tmp_path):
    with serving(Script(probabilities)) as url:
        target = target_of(url, folder=tmp_path)
        target.query(X[:20])
        spent = target.ledger.spent
        target.close()
        [log] = tmp_path.rglob("queries.jsonl")
        with log.open("a") as file:
            file.write('{"at":1,"event":"send","request":99,"attempt":1,"records":7,"hash":"0"}\n{"at":1,"event":"se')
        again = target_of(url, folder=tmp_path)
        again.query(X[:30])
        again.close()
        assert again.ledger.spent == spent + 7 + 5 + 10  # the seven were on their way: the server may have seen them
        last = target_of(url, folder=tmp_path)
        assert last.ledger.spent == spent + 22
        last.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"headers": {"X-Api-Key": "abc"}}, "headers.X-Api-Key: is named like a credential.*env:VARIABLE"),
        ({"headers": {"Authorization": "Bearer env:NOT_THERE"}}, "NOT_THERE, which is not set"),
        ({"url": "ftp://host"}, "must be an address"),
        ({"url": "http://me:pw@host/x"}, "holds a user or a password"),
        ({"url": "http://host/x?api_key=1"}, r"holds a credential \(api_key\)"),
        ({"format": "v3"}, "format: unknown format 'v3'; did you mean 'v2'"),
        ({"format": "mlflow", "model": "m"}, "model: does not belong to format 'mlflow'"),
        ({"format": "v2", "model": None}, "needs the model's name"),
        ({"format": "json", "model": None}, "body: missing"),
        ({"format": "json", "model": None, "body": "{"}, "body must be JSON"),
        ({"format": "json", "model": None, "body": "{}"}, "one place for the records"),
        ({"budget": 0}, "budget: must be at least 1; got 0"),
        ({"rate": 0}, "rate: must be above 0; got 0"),
        ({"batch": 0}, "batch: must be at least 1; got 0"),
        ({"timeout": 0}, "timeout: must be above 0; got 0"),
        ({"key": "k.pem"}, "key: belongs to certificate"),
        ({"proxy": "http://a:b@host"}, "proxy: holds a user or a password"),
        ({"url": "https://127.0.0.1/x", "certificate": "no.pem"}, "cannot be used"),
        ({"columns": ["ant", "bee", "cat", "eel"]}, r"does not have: \['eel'\]"),
    ],
)
def test_what_cannot_be_connected_to_is_told_before_anything_is_sent(options, said):
    with pytest.raises(PlanError, match=said):
        target_of(**{"url": "http://127.0.0.1:9"} | options)


CERTIFICATES = Path(__file__).parent / "certificates"


def test_certificates_are_checked_on_both_sides(monkeypatch):
    monkeypatch.setattr("miaudit.targets.client._FIRST_WAIT", 0.01)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATES / "server.pem", CERTIFICATES / "server.key")
    tls.load_verify_locations(CERTIFICATES / "ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    ours = {name: str(CERTIFICATES / f"client.{end}") for name, end in (("certificate", "pem"), ("key", "key"))}
    with serving(Script(probabilities), tls) as url:
        values = target_of(url, ca=str(CERTIFICATES / "ca.pem"), **ours).query(X).values
        np.testing.assert_array_equal(values, probabilities(X))
        with pytest.raises(TargetError, match="does not answer"):
            target_of(url, ca=str(CERTIFICATES / "ca.pem"), retries=0).query(X)  # without a certificate of its own
        with pytest.raises(TargetError, match="does not answer.*certificate"):
            target_of(url, retries=0).query(X)  # the authority is not known


def test_a_proxy_is_gone_through(monkeypatch):
    script = Script(probabilities)
    with serving(script) as proxy:
        monkeypatch.setenv("THE_PROXY", proxy)
        target = target_of("http://model.invalid/v1/models/m:predict", model=None, proxy="env:THE_PROXY")
        np.testing.assert_array_equal(target.query(X).values, probabilities(X))
    assert script.headers["Host"] == "model.invalid"


def test_columns_in_another_order_are_put_right():
    script = Script(lambda r: probabilities(r)[:, ::-1])
    with serving(script) as url:
        values = target_of(url, columns=NAMES[::-1]).query(X).values
    np.testing.assert_array_equal(values, probabilities(X))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with serving(Script(probabilities)) as url, pytest.raises(StoreError, match="cannot keep answers"):
        target_of(url, folder=tmp_path / "file").query(X)


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [({"Retry-After": "0.02"}, "asks to wait, waiting"), ({}, "does not say how long to wait, waiting")],
)
def test_a_wait_is_told(headers, sentence, monkeypatch):
    monkeypatch.setattr("miaudit.targets.client._TOLD_WAIT", 0.0)
    monkeypatch.setattr("miaudit.targets.client._FIRST_WAIT", 0.01)
    texts = []
    with serving(Script(probabilities, statuses=[(429, headers)])) as url:
        target = target_of(url)
        target.open(None, None, texts.append)
        target.answer(X[:2])
        target.close()
    assert sentence in texts[0]
    assert "status 429" in texts[0]


class Late:
    """A clock whose sleepers wake up late."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds + 0.004


def test_turns_that_are_taken_late_do_not_lower_the_rate(monkeypatch):
    clock = Late()
    monkeypatch.setattr("miaudit.targets.ledger.time", clock)
    ledger = Ledger(None, Limits(rate=100))
    times = []
    for _ in range(200):
        ledger.pace(1)
        times.append(clock.now)
    assert times[-1] - times[0] <= 199 * 0.01 + 0.004
    assert (
        max(np.searchsorted(times, at + 0.5) - i for i, at in enumerate(times)) <= 52
    )  # of any half second, two too many
    clock.now += 60  # a pause earns nothing
    ledger.pace(1)
    ledger.pace(1)
    assert clock.now - times[-1] >= 60.01


def test_turns_are_dealt_anew_after_all_were_held_back(monkeypatch):
    clock = Late()
    monkeypatch.setattr("miaudit.targets.ledger.time", clock)
    ledger = Ledger(None, Limits(rate=10))
    ledger.pace(1)
    ledger.hold(5)
    ledger.hold(1)  # a shorter wait does not end a longer one
    ledger.pace(1)
    assert 1005 <= clock.now <= 1005.1
    ledger.hold(0.01)
    ledger.pace(1)
    assert clock.now >= 1005.1  # the rate holds after a short wait, too
