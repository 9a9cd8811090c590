"""Credentials: which names and values look like one, at whatever depth of an address, a header or a body they stand.

A plan and a result are kept and shown, so a credential is written ``env:NAME`` and read from the environment. A server
may send it back: in a page of errors, a label, a redirect. Every text that is printed or kept is struck first (`strike`).
"""

from __future__ import annotations

import base64
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from miaudit.errors import PlanError

ENV = re.compile(r"(?<![A-Za-z0-9_-])env:([A-Za-z_][A-Za-z0-9_]*)")

STRUCK = "***"

_WORDS = (
    "access|auth|authorization|authentication|assertion|bearer|cert|cookie|credentials?|creds?|csrf|hmac|jwt|keys?|nonce|oauth|"
    "otp|pass|passcode|passphrase|passwd|password|pin|private|pwd?|refresh|sas|secrets?|security|session|sessionid|sess|sid|sig|"
    "signature|ssid|sso|ticket|tkn|tokens?|totp|xsrf"
)
_WORD = re.compile(rf"(?:^|[^a-z])(?:{_WORDS})(?:$|[^a-z])|^code$|(?:^|[^a-z])(?:auth|function|host)[^a-z]*code$")
_WITHIN = re.compile(
    "auth|apikey|accesskey|token|secret|cookie|passw|passphrase|passcode|signature|credential|jwt|session|bearer"
)
_HARMLESS = re.compile(
    r"(?:content|accept)-(?:type|encoding|language|charset|length)|accept|user-agent|traceparent|[\w-]*version|authority|host|(?:x-amz-)?date|authors?"
    r"|signature[_-]?name|(?:x-)?(?:model|serving)[_-]signature|(?:x-)?(?:sort|primary|partition|foreign|idempotency)[_-]?keys?|(?:\w+[_-])?tokens?[_-](?:type|ids?|count|limit)\w*|tokenizer\w*|(?:max|min|num|top|stop|pad|eos|bos)\w*tokens?",
    re.IGNORECASE,
)
_SWITCH = re.compile("true|false|null|none|yes|no|on|off", re.IGNORECASE)
_SHAPES = re.compile(
    r"(?i:\b(?:bearer|basic|digest|token|apikey|negotiate|hmac|sharedaccesssignature|aws4-hmac-sha256)\s+(?!env:)\S{4,})"
    r"|eyJ[A-Za-z0-9_-]{8,}\.|\b(?:sk|pk|rk|hf|xox[a-z]|gh[pousr]|glpat|dapi|github_pat)[-_]?(?=\w*\d)\w{16,}"
    r"|\bA[KS]IA[A-Z0-9]{12,}|\bAIza[\w-]{20,}|-----BEGIN"
    r"|\bbot\d{6,}:[\w-]{20,}|/services/T\w+/B\w+/\w{16,}"
)
_RUN = re.compile(r"[A-Za-z0-9+=]{20,}")
_ADVICE = "and plans and results are kept: put it into an environment variable and write"
_PLACES = {
    f"${place}"
    for place in ("record", "records", "object", "objects", "columns", "name", "labels", "classes", "seed", "params")
}

_MARK = "\ue000"  # stands for a variable in a text that is looked into
_PAIR = re.compile(
    r"""(?<![\w.$-])(?:([\w.$-]+)\]*=|\\*["']([\w.$-]+)\\*["']\s*[:=])[\\"'\s]*(?=([^\\"'&;\#,{}\[\]][^\\"'&;\#,{}\[\]]*))"""
)
_FIELD = re.compile(r"""(?:^|[?&\#=,;\n"'])\s*([\w-]+):\s*(?=([^\\"'&;\#,/{}\[\]\s][^&;\#,\n]*))""")  # of a header
_LOGIN = re.compile(
    r"""//+([^/?\#\s"'\\]+)@|(?<![\w.%+~-])(?!(?:mailto|sips?|acct|xmpp):)([\w.%+~\ue000-]+:[^\s/?\#@:"',;&]+)@[\w\[\ue000]"""
)
_MOST_READINGS = 200  # of one text, which may be a server's: "%252525..." has half as many as letters
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}")


def names_credential(name: str) -> bool:
    """Whether a header, a parameter or a key of that name holds a credential, by its words."""
    if _HARMLESS.fullmatch(name):
        return False
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    return _WORD.search(re.sub(r"\d", "-", spaced)) is not None or (
        _WITHIN.search(re.sub(r"[^a-z]", "", name.lower())) is not None
    )


def is_credential(value: str) -> bool:
    """Whether a value has the shape of a credential: a scheme with one, a known prefix, or a long run of digits and letters."""
    if _SHAPES.search(value):
        return True
    rest = ENV.sub("", value)
    return any(re.search("[A-Za-z]", run) and sum(map(str.isdigit, run)) >= 3 for run in _RUN.findall(rest))


def header_problems(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what is wrong with headers that hold a credential in clear."""
    return [
        (
            f"headers.{name}",
            f'{_likeness(value)}, {_ADVICE} {name} = "env:VARIABLE" (or "Bearer env:VARIABLE")',
        )
        for name, value in headers.items()
        if _in_clear(name, ENV.sub(_MARK, value))
    ]


def query_problem(url: str) -> str | None:
    """Return what is wrong with an address that holds a credential in clear, or None.

    It is looked for in the login, the path and its parameters, the query and the fragment, and in what any of them hold: an
    address, a query, JSON, base64, each encoded as often as may be. A variable counts only where it is filled in, as it stands.
    """
    parts = urlsplit(ENV.sub(_MARK, url))
    if "@" in parts.netloc:
        return (
            "url holds a user or a password, and plans and results are kept: send them by headers, such as Authorization = "
            '"Basic env:VARIABLE"'
        )
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    place = next((name for name, value in pairs if _in_clear(name, value)), None) or _within(ENV.sub(_MARK, url))
    if place is not None:
        return f"url holds a credential ({printable(place)}), {_ADVICE} {printable(place)}=env:VARIABLE, or send it by headers"
    if any(_SHAPES.search(text) for text in _readings(parts.path)) or any(map(is_credential, parts.query.split("&"))):
        return f"url holds a credential in its path or its query, {_ADVICE} env:VARIABLE in its place"
    if parts.fragment:
        return "url has a fragment (what follows #), which is never sent: leave it out"
    return None


def proxy_problem(proxy: str) -> str | None:
    """Return what is wrong with a proxy's address that holds a credential in clear, or None."""
    text = ENV.sub(_MARK, proxy)
    if _within(text) is None and ("@" not in text or _MARK in text):
        return None
    return 'holds a user or a password, or another credential: put the address into a variable and write proxy = "env:VARIABLE"'


def body_problems(template: Any, path: str = "body", name: str = "") -> list[tuple[str, str]]:
    """Return what is wrong with the values of a body's template that hold a credential in clear.

    An item of a list has the name of the list. The value in an object such as ``{"name": "token", "value": ...}`` has that
    name, and in another object that has a credential's name, that one.
    """
    problems: list[tuple[str, str]] = []
    number = isinstance(template, int) and not isinstance(template, bool) and template >= 10_000
    if isinstance(template, Mapping):
        for key, value in template.items():
            here = f"{path}.{STRUCK if is_credential(str(key)) else printable(str(key))}"
            problems += (
                [(here, _clear(str(key)))]
                if is_credential(str(key))
                else body_problems(value, here, _named(template, str(key), name))
            )
    elif isinstance(template, list):
        pair = len(template) == 2 and isinstance(template[0], str) and names_credential(template[0])
        for i, value in enumerate(template):
            problems += body_problems(value, f"{path}.{i}", template[0] if pair and i else name)
    elif (isinstance(template, str) or number) and _in_clear(name, ENV.sub(_MARK, str(template))):
        problems.append((path, _clear(str(template))))
    return problems


def _clear(value: str) -> str:
    return f'{_likeness(value)}, {_ADVICE} "env:VARIABLE"'


def _likeness(value: str) -> str:
    """Say what of a value is like a credential: its own form, or that of what it holds; else it is its name alone."""
    text = ENV.sub(_MARK, value)
    return (
        "looks like a credential" if is_credential(text) or _within(text) is not None else "is named like a credential"
    )


def _named(template: Mapping[str, Any], key: str, name: str) -> str:
    """Return the name of what stands at a key of an object that has a name itself."""
    if key.lower() in ("value", "values"):
        beside = [str(template[other]) for other in template if str(other).lower() in ("name", "key", "id", "header")]
        return next((text for text in [*beside, name] if names_credential(text)), key)
    return name if key.lower() in ("data", "raw", "text", "content") and names_credential(name) else key


def _in_clear(name: str, value: str) -> bool:
    """Whether a value under a name is a credential, or holds one; variables in it are marked."""
    if not value or value in _PLACES:
        return False
    own = _has_form(name, value) or (_MARK not in value and _secret(name, value))
    return own or _within(value) is not None


def _has_form(name: str, value: str) -> bool:
    """Whether a value has the form of a credential; digits and letters, however many, are none under a harmless name."""
    return _SHAPES.search(value) is not None if _HARMLESS.fullmatch(name) else is_credential(value)


def _secret(name: str, value: str) -> bool:
    """Whether a value under a name may be a secret: no switch is one, as in ``refresh=true``."""
    return names_credential(name) and _SWITCH.fullmatch(value) is None


def _within(text: str) -> str | None:
    """Return the name of the first credential in clear that a text holds in a pair or as a login, at any depth, or None."""
    for reading in _readings(text):
        for name, value in _pairs(reading):
            clear = _has_form(name, value) or (_MARK not in value and _secret(name, value))
            if clear and value and value not in _PLACES:
                return name
        for match in _LOGIN.finditer(reading):
            user, colon, password = (match[1] or match[2]).partition(":")
            if (password if colon else user).strip(_MARK):
                return "login"
    return None


def _pairs(text: str) -> list[tuple[str, str]]:
    """Return the names and values in a text: of pairs, of fields such as a header, and of steps in a path.

    A step of a path counts as the value of the one before only where that names a credential and this looks like one.
    """
    pairs = [(match[1] or match[2], match[3].strip()) for match in _PAIR.finditer(text)]
    pairs += [(match[1], match[2].strip()) for match in _FIELD.finditer(text)]
    steps = pairwise(re.split("[?#]", text)[0].split("/"))
    return pairs + [(name, value) for name, value in steps if names_credential(name) and is_credential(value)]


def _readings(text: str) -> list[str]:
    """Return a text as it is, and decoded: percent signs, code points in JSON, wide letters, base64 of plain text."""
    readings, texts = [text], {text}
    for reading in readings:  # grows
        codes = re.sub(r"\\+u00([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), reading)
        new = [unquote(reading), reading.replace("+", " "), codes, unicodedata.normalize("NFKC", reading)]
        codes64 = {code for run in _BASE64.findall(reading) for code in (run, *run.split("/"))}
        new += [plain for code in sorted(codes64) if (plain := _decoded(code)) is not None]
        for other in new:
            if other not in texts and len(readings) < _MOST_READINGS:
                texts.add(other)
                readings.append(other)
    return readings


def _decoded(code: str) -> str | None:
    """Return the text that base64 digits stand for, if it is one."""
    try:
        text = base64.b64decode(
            code.replace("-", "+").replace("_", "/") + "=" * (-len(code) % 4), validate=True
        ).decode("ascii")
    except ValueError:
        return None
    if re.fullmatch(r"""[^\s:/=&"'{]+:(?!//)\S+""", text):  # of Basic authentication
        return "//user:password@"
    return text if text.isprintable() else None


def chosen_values(headers: Mapping[str, str], url: str, body: str | None) -> list[list[str]]:
    """Return the variables that stand where no credential does, with their values: they choose who answers, or what."""
    texts = [value for name, value in headers.items() if not names_credential(name)]
    texts += re.split("[/?&;]", url)
    with suppress(ValueError, RecursionError):  # told where the template is checked
        leaves = [] if body is None else list(_leaves(json.loads(body)))
        texts += [value for name, value in leaves if not names_credential(name)]
    texts = [
        text for text in texts if not any(names_credential(name) and "env:" in value for name, value in _pairs(text))
    ]
    names = sorted({match[1] for text in texts for match in ENV.finditer(text)})
    return [[name, os.environ.get(name, "")] for name in names]


def _leaves(template: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts of a template, each with its name, as `body_problems` has it."""
    if isinstance(template, Mapping):
        for key, value in template.items():
            yield from _leaves(value, _named(template, str(key), name))
    elif isinstance(template, list):
        for value in template:
            yield from _leaves(value, name)
    elif isinstance(template, str):
        yield name, template


def printable(text: str) -> str:
    """Return a short text without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)[:60]


def of_no_address(text: str) -> str:
    """Return what may be shown of a text that is no address: nothing before a sign of a login, nor after what may be a user."""
    text = re.split(r"[?#;=&]|%(?:25)*(?:3[bdf]|2[36])", text, flags=re.IGNORECASE)[0]
    scheme, separator, rest = text.rpartition("://")
    rest = re.split("@|%(?:25)*40|\uff20", rest, flags=re.IGNORECASE)[-1]
    return printable(scheme + separator + _path_shown(re.sub(r":(?!\d*(?:/|$)).*", f":{STRUCK}", rest)))


def without_login(url: str) -> str:
    """Return an address without user, password, parameters of the path, query and fragment."""
    try:
        parts = urlsplit(url)
        netloc = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=netloc, path=_path_shown(parts.path), query="", fragment=""))
    except ValueError:
        return STRUCK


def _path_shown(path: str) -> str:
    """Return a path without parameters of its segments, and without segments that look like a credential or hold one."""
    segments = [re.split("(?i);|%(?:25)*3b", segment)[0] for segment in path.split("/")]
    struck = [any(map(_SHAPES.search, _readings(segment))) or _within(segment) is not None for segment in segments]
    return "/".join(STRUCK if strike else segment for segment, strike in zip(segments, struck, strict=True))


def variable(name: str, where: str) -> str:
    """Return the value of an environment variable.

    Raises
    ------
    PlanError
        If it is not set.
    """
    value = os.environ.get(name, "")
    if not value:
        raise PlanError(f"{where} takes its value from the environment variable {name}, which is not set")
    return value
