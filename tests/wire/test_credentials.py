"""Credentials: found by their names and shapes, sent as they are, and struck out of everything that is printed or kept."""

from __future__ import annotations

import base64
import html
import json
import logging
import sqlite3
from base64 import b64encode
from contextlib import closing
from urllib.parse import quote, quote_plus

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scripted import Script, serving

from miaudit.errors import PlanError, TargetError
from miaudit.targets import connect
from miaudit.targets.client import Client
from miaudit.targets.connection import Connection, check_url
from miaudit.targets.credentials import (
    body_problems,
    header_problems,
    is_credential,
    names_credential,
    of_no_address,
    proxy_problem,
    query_problem,
    without_login,
)
from miaudit.targets.strike import Strike

X = np.random.default_rng(0).normal(size=(20, 3))

NAMES = """
Authorization Proxy-Authorization X-Api-Key X-API-KEY apikey api_key apiKey Api_Key subscription-key
Ocp-Apim-Subscription-Key X-Session X-Session-Id sessionId X-JWT jwt id_token access_token accessToken
refresh_token X-Auth-Token X-Amz-Security-Token X-Goog-Api-Key X-Vault-Token Private-Token X-Access
x-csrf-token XSRF cookie Set-Cookie password passwd pwd pass passphrase pass_code pin otp totp client_secret
clientSecret SECRET sig signature X-Signature sas X-Amz-Signature credential credentials creds code auth
auth_code function_code key keys x-functions-key sid sso ticket nonce assertion bearer hmac oauth private_key
db_password2 X-Secret-1
"""
ORDINARY = """
Accept Accept-Encoding Content-Type User-Agent X-Model model version api-version deployment language
country_code top_k temperature max_tokens return_token_type_ids signature_name tokenizer author X-Request-Id
traffic-class rows explain threshold passenger keyboard monkey authors accuracy compass
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_a_credential_in_clear_is_refused_wherever_it_stands(name):
    assert names_credential(name)
    assert header_problems({name: "abc"})
    assert query_problem(f"http://h/x?{name}=abc")
    assert body_problems({"a": [{name: "abc"}]})
    assert not header_problems({name: "env:SOME"})
    assert not query_problem(f"http://h/x?{name}=env:SOME")
    assert not body_problems({"a": [{name: "env:SOME"}]})


@pytest.mark.parametrize("name", ORDINARY.split())
def test_ordinary_names_are_left_alone(name):
    assert not names_credential(name)
    assert not header_problems({name: "resnet50-v2"})


@pytest.mark.parametrize(
    "value",
    [
        "Bearer abcdef",
        "Basic dXNlcjpwYXNz",
        "token 12345678",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "sk-proj0123456789abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "hf_abcdefghij0123456789",
        "ghp_abcdefghij0123456789",
        "0123456789abcdef0123456789abcdef",
        "-----BEGIN RSA PRIVATE KEY-----",
        "bot123456789:abcdefghijklmnopqrst-uvwx",
        "hmac ann:abcd",
    ],
)
def test_a_value_with_the_shape_of_a_credential_is_refused_under_any_name(value):
    assert is_credential(value)
    assert header_problems({"X-Model": value})
    assert query_problem(f"http://h/x?model={quote_plus(value)}")
    assert value[0].isdigit() or query_problem(f"http://h/{quote(value)}/x")


@pytest.mark.parametrize(
    "address",
    [
        "http://ann:{}%40host/x",
        "http://ann:{}\uff20host/x",
        "http://ann:{}",
        "http://ann:{}/x",
        "http:/ann:{}@host/x",
        "ann:{}@host/x",
        "//ann:{}@host",
        "ftp://ann:{}@host/x",
        "http://ann:{}@ho st/x",
        "http://ann:{}@[::1/x",
        "http://ann:{}@host:port/x",
        "http://host:0/x?code={}",
    ],
)
def test_what_is_no_address_is_refused_without_its_login(address):
    for refuse in (check_url, lambda text: Connection(proxy=text)):
        with pytest.raises(PlanError) as refusal:
            refuse(address.format("hunter2s"))
        assert "hunter2s" not in str(refusal.value)


@pytest.mark.parametrize("proxy", ["http://ann:hunter2s@127.0.0.1:9", "ann:hunter2s@127.0.0.1:9"])
def test_the_login_of_the_environments_proxy_is_struck(proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    with closing(Client("http://h/x", content_type="application/json", connection=Connection())) as client:
        assert "hunter2s" not in client.redacted("no ann:hunter2s here, nor hunter2s")
        assert b64encode(b"ann:hunter2s").decode() not in client.redacted(
            f"Basic {b64encode(b'ann:hunter2s').decode()}"
        )


@pytest.mark.parametrize("value", ["resnet50-v2-20240101", "3fa85f64-5717-4562-b3fc-2c963f66afa6", "a/json", ""])
def test_ordinary_values_are_left_alone(value):
    assert not is_credential(value)


words = st.text("abcdefghijklmnopqrstuvwxyzABCDEFG!*~-.", min_size=7, max_size=12).filter(lambda s: s[0].isalpha())
HOLDERS = {
    "query": "https://x/p?a=1&{name}={secret}",
    "first of a query": "{name}={secret}&a=1",
    "path": "https://x/p;a=1;{name}={secret}/q",
    "fragment": "https://x/p#{name}={secret}",
    "login": "https://ann:{secret}@x/p",
    "user": "https://{secret}@x/p",
    "login without a scheme": "ann:{secret}@x:8080",
    "json": '{{"a": [{{"{name}": "{secret}"}}]}}',
    "python": "{{'{name}': '{secret}'}}",
    "cookie": "a=1; {name}={secret}; Path=/",
    "signature": "SharedAccessSignature sr=x&{name}={secret}&se=1",
    "header": "{name}: {secret}",
    "parameters of a header": 'rows a="1", {name}="{secret}"',
}
WRAPPINGS = {
    "address": lambda text: quote(text, safe=""),
    "address, slashes kept": quote,
    "form": quote_plus,
    "value": lambda text: f"https://y/r?next={quote(text, safe='')}",
    "parameter": lambda text: f"https://y/r;next={quote(text, safe='')}/z",
    "fragment": lambda text: f"https://y/r#next={quote(text, safe='')}",
    "json": lambda text: json.dumps({"url": text}),
    "code points": lambda text: json.dumps(text).replace("=", "\\u003d").replace("&", "\\u0026"),
    "base64": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
}


def refusals(text):
    """Return what refuses a text, wherever an address, a header, a body or a proxy can have it."""
    inner = quote(text, safe="")
    for place in ("?next={}", "?{}", ";next={}", "/a;next={}/b", "#next={}"):
        yield query_problem(f"https://h/p{place.format(inner)}")
    yield str(header_problems({"X-Next": text}))
    yield str(body_problems({"next": [text]}))
    yield proxy_problem(f"http://h:1/?next={inner}")


@settings(deadline=None, max_examples=60)
@given(
    holder=st.sampled_from(sorted(HOLDERS)),
    name=st.sampled_from(["token", "jsessionid", "api_key", "access_token", "X-Amz-Signature", "sig", "code", "pwd"]),
    secret=words,
    wrappings=st.lists(st.sampled_from(sorted(WRAPPINGS)), max_size=3),
)
def test_a_credential_is_refused_at_any_depth(holder, name, secret, wrappings):
    text = HOLDERS[holder].format(name=name, secret=secret)
    for wrapping in wrappings:
        text = WRAPPINGS[wrapping](text)
    for refusal in refusals(text):
        assert refusal
        assert "env:" in refusal
        assert secret not in refusal
    inner = quote(text, safe="")
    for address in (f"htp://h/p?{inner}", f"htp://h/p;next={inner}/q", f"htp://h/p%3Bnext={inner}", f"//ann:{inner}@h"):
        assert secret not in of_no_address(address) + without_login(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://h/p;token=env:A/q?next=https://x/?token=env:B&a=1",
        "https://h/v1;q=2/model:predict?next=https%3A%2F%2Fx%2Fdone%3Frow%3D1&filter=%7B%22row%22%3A%205%7D",
        "https://h/endpoints/0123456789abcdef0123456789abcdef?user=ann@example.org&to=mailto:ann@example.org",
        "https://h/token/refresh/v1=2?at=12:30&state=cm93PTE",
        "https://h/keys/list/models:predict?order=name:asc&scope=urn:a:b",
        "https://h/predict?private=true&refresh=on&cookies=no&sort_key=age&partition-key=region",
    ],
)
def test_ordinary_addresses_and_variables_in_them_are_left_alone(address):
    assert query_problem(address) is None


def test_a_switch_under_the_name_of_a_credential_is_none_and_a_value_of_its_shape_is_one_under_any_name():
    assert not header_problems({"X-Session-Affinity": "true", "X-Partition-Key": "region", "X-Auth-Required": "false"})
    assert not body_problems({"refresh": "false", "sort_keys": "age", "model_signature": "predict", "session": True})
    assert query_problem("https://h/p?sort_key=ghp_abcdefghij0123456789")
    assert query_problem("https://h/p?refresh=trueish")


@pytest.mark.parametrize(
    "body",
    [
        {"keys": ["abc"]},
        {"auth": {"value": "abc"}},
        {"headers": [{"name": "Authorization", "value": "abc"}]},
        {"next": "https://ann:abc@x"},
        {"fields": [["token", "abc"], ["a", "b"]]},
        {"ghp_abcdefghij0123456789": 1},
    ],
)
def test_a_credential_is_refused_wherever_a_body_has_it(body):
    problems = str(body_problems(body))
    assert "env:" in problems
    assert "abc" not in problems
    assert not body_problems({"name": "token", "rows": "$records", "key": "$name", "values": [1, 2], "text": "a=b"})


def test_a_variable_counts_only_where_it_is_filled_in(monkeypatch):
    assert query_problem("https://h/p?token=env%3ATOK")
    assert query_problem("https://h/p?next=https%3A%2F%2Fx%2F%3Ftoken%3Denv:TOK")
    for proxy in ("http://ann:abc@env:HOST", "http://env:A@h:1/?token=abc"):
        with pytest.raises(PlanError, match="env:VARIABLE"):
            Connection(proxy=proxy)
    monkeypatch.setenv("TOK", "abc def")
    script = Script(answers)
    with serving(script) as url:
        target = connect(f"{url}/own;token=env:TOK/x?next=http://x/?sig=env:TOK", **JSON, classes=3)
        target.query(X[:2])
        assert "abc" not in str(target.facts()) + target.identity
        target.close()
    assert script.path == "/own;token=abc%20def/x?next=http://x/?sig=abc%20def"


secrets = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=8, max_size=60).filter(
    lambda s: s == s.strip() and len(set(s)) > 4 and "env:" not in s and s != s[::-1]
)
FORMS = {
    "plain": lambda s: s,
    "json": lambda s: json.dumps({"a": s}),
    "python": lambda s: repr([s]),
    "address": lambda s: quote(s, safe=""),
    "path": quote,
    "form": quote_plus,
    "html": html.escape,
    "hex": lambda s: s.encode().hex(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 in a login": lambda s: base64.b64encode(b"me:" + s.encode()).decode(),
    "base64 in a header": lambda s: base64.b64encode(b"Bearer " + s.encode() + b" and more").decode(),
    "base64 of an address": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    "upper": str.upper,
    "cut": lambda s: "bad key " + s[: max(7, len(s) // 2)],
}


@settings(deadline=None, max_examples=25)
@given(secret=secrets, before=st.text(max_size=5), after=st.text(max_size=5))
@pytest.mark.parametrize("form", FORMS)
def test_a_credential_is_struck_in_whatever_form_it_comes_back(form, secret, before, after):
    text = FORMS[form](secret)
    left = Strike([secret])(before + text + after)
    assert secret not in left
    if form != "cut":
        for piece in {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()}:
            assume(piece not in before + after)
            assert piece not in left
    assert not [
        i for i in range(len(secret) - 6) if secret[i : i + 7] in left and secret[i : i + 7] not in before + after
    ]


def test_what_is_no_credential_is_left_as_it_is():
    strike = Strike(["hunter2-hunter2"])
    assert strike("the target answered 3 records") == "the target answered 3 records"
    assert Strike()("x") == "x"
    assert Strike(["x"])("Bearer x, expected") == "Bearer ***, expected"  # a short one only where it stands alone


JSON = {"format": "json", "body": '{"rows": "$records"}', "answer": "result.items.*.p"}


def answers(records):
    powers = np.exp(np.asarray(records))
    return powers / powers.sum(axis=1, keepdims=True)


WAYS = {
    "header": {"headers": {"Authorization": "Bearer env:TOK"}},
    "query": {"query": "?code=env:TOK"},
    "path": {"query": "/env:TOK"},
    "body": {"body": '{"rows": "$records", "auth": {"api_key": "env:TOK"}}'},
    "odd header": {"headers": {"X-Anything": "env:TOK"}},
    "signature": {"sign": lambda method, url, headers, body: {"X-Mine": __import__("os").environ["TOK"]}},
}


@pytest.mark.parametrize(
    "secret",
    [
        'k/+=" <&\\9z-0123456789',
        pytest.param("hunter2-hunter2", marks=pytest.mark.slow),
        pytest.param("77001122334455", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_no_exit_lets_a_credential_out(way, secret, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TOK", secret)
    options = dict(WAYS[way])
    query, body = options.pop("query", ""), options.pop("body", '{"rows": "$records"}')
    shown = []
    echoes = [
        (200, {}, json.dumps({"error": f"no such key {secret}"}).encode()),
        (200, {}, json.dumps([secret] * 5).encode()),
        (200, {}, json.dumps([{secret: 0.5, "b": 0.5}] * 5).encode()),
        (200, {}, f"<html>{quote(secret, safe='')}".encode()),
        (401, {}, base64.b64encode(f"Bearer {secret}".encode())),
        (301, {"Location": f"http://h/{quote(secret, safe='')}?t={quote(secret, safe='')}"}, b""),
        (500, {}, f"bad {secret} {secret[:9]}".encode()),
    ]
    for i, (status, headers, content) in enumerate([*echoes, (200, {}, None)]):
        with serving(Script(answers)) as url:
            target = connect(
                f"{url}/own{query}",
                format="json",
                body=body,
                answer="result.items.*.p" if content is None else None,
                classes=["a", "b", "c"],
                **options,
                retries=0,
                folder=tmp_path / str(i),
            )
            with serving(Echo(answers, status=status, echo=headers, body=content)) as other:
                if content is not None:
                    target._client._url = target._client._url.replace(url, other)
                try:
                    target.query(X)
                except TargetError as error:
                    shown.append(str(error))
                shown += [str(target.facts()), target.description, target.identity, str(target.contact)]
                target.close()
    assert len(shown) == len(echoes) + 4 * (len(echoes) + 1)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for form in (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode(), json.dumps(secret)[1:-1]):
        assert not [text for text in [*shown, caplog.text] if form in text]
        assert form.encode() not in kept


class Echo(Script):
    """A server that answers one status and body to everything."""

    def __init__(self, model, *, status, echo, body):
        super().__init__(model, body=body)
        if status != 200:
            self.statuses, self.error = [(status, echo)] * 99, body


def test_variables_are_sent_in_query_and_body_and_kept_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("TOK", "a b&c")
    script = Script(answers)
    with serving(script) as url:
        body = '{"record": "$record", "api_key": "env:TOK", "note": "Bearer env:TOK"}'
        target = connect(
            f"{url}/own?code=env:TOK", format="json", body=body, answer="result.items.*.p", classes=3, folder=tmp_path
        )
        target.query(X[:2])
        target.close()
    assert script.path == "/own?code=a%20b%26c"
    assert json.loads(script.sent)["api_key"] == "a b&c"
    assert json.loads(script.sent)["note"] == "Bearer a b&c"
    assert "TOK" in target.url


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"X-Model": "B"}},
        {"url": "http://127.0.0.1:9/y"},
        {"url": "http://127.0.0.1:9/x?v=2"},
        {"body": '{"rows": "$records", "model": "B"}'},
        {"proxy": "http://127.0.0.1:8"},
        {"certificate": "tests/wire/certificates/client.pem", "key": "tests/wire/certificates/client.key"},
        {"ca": "tests/wire/certificates/ca.pem"},
        {"columns": ["b", "a"]},
        {"sign": lambda *request: {}},
    ],
)
def test_what_decides_an_answer_is_in_the_identity(change, tmp_path):
    base = {"url": "http://127.0.0.1:9/x", "format": "json", "body": '{"rows": "$records"}', "classes": ["a", "b"]}
    one = connect(**base, folder=tmp_path)
    assert connect(**base, folder=tmp_path).identity == one.identity
    assert connect(**base | change, folder=tmp_path).identity != one.identity


def test_a_renewed_credential_is_the_same_target_and_another_model_by_a_variable_is_not(monkeypatch, tmp_path):
    base = {
        "url": "http://127.0.0.1:9/x;token=env:TOK?m=env:MODEL&next=http://x/?sig=env:TOK",
        "format": "instances",
        "classes": 2,
        "folder": tmp_path,
    }
    base["headers"] = {"Authorization": "Bearer env:TOK"}
    seen = []
    for token, model in (("one", "A"), ("two", "A"), ("two", "B")):
        monkeypatch.setenv("TOK", token)
        monkeypatch.setenv("MODEL", model)
        seen.append(connect(**base).identity)
    assert seen[0] == seen[1] != seen[2]


def test_two_models_behind_one_address_do_not_share_answers(tmp_path):
    script = Script(answers)
    with serving(script) as url:
        for name, count in (("A", 26), ("B", 52)):
            target = connect(url, format="instances", model="m", headers={"X-Model": name}, classes=3, folder=tmp_path)
            target.query(X)
            target.close()
            assert sum(script.answered.values()) == count
    for path in (bases := list(tmp_path.rglob("answers.sqlite"))):
        with closing(sqlite3.connect(path)) as base:
            assert base.execute("SELECT count(*) FROM answers").fetchone() == (26,)
    assert len(bases) == 2


def test_a_value_of_a_variable_that_no_header_can_have_is_refused(monkeypatch):
    monkeypatch.setenv("TOK", "a\r\nX-B: c")
    with pytest.raises(PlanError, match="TOK of headers.X-A holds characters"):
        connect("http://127.0.0.1:9/x", format="instances", headers={"X-A": "env:TOK"})


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, None),
        ({"X-Key-Version": "3"}, None),
        ({"X-Api-Key": "abc"}, "is named like a credential"),
        ({"X-Deployment": "Bearer abcdefgh"}, "looks like a credential"),
        ({"X-Version": "Bearer abcdefgh"}, "looks like a credential"),
    ],
)
def test_what_is_like_a_credential_is_said(headers, problem):
    problems = header_problems(headers)
    assert [problem] * len(problems) == [text[: len(problem or "")] for _, text in problems]
    assert bool(problems) == (problem is not None)
