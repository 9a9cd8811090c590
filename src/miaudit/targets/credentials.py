"""Credentials: which names and values look like one, and how one is struck out of a text in whatever form it comes back.

A plan and a result are kept and shown, so a credential is written ``env:NAME`` and read from the environment. A server
may send it back: in a page of errors, a label, a redirect. Every text that is printed or kept is struck first.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit, urlunsplit

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
    r"(?:content|accept)-(?:type|encoding|language|charset|length)|accept|user-agent|authority|host|(?:x-amz-)?date|authors?"
    r"|signature[_-]?name|(?:\w+[_-])?tokens?[_-](?:type|ids?|count|limit)\w*|tokenizer\w*|(?:max|min|num|top|stop|pad|eos|bos)\w*tokens?",
    re.IGNORECASE,
)
_SHAPES = re.compile(
    r"(?i:\b(?:bearer|basic|digest|token|apikey|negotiate|sharedaccesssignature|aws4-hmac-sha256)\s+(?!env:)\S{4,})"
    r"|eyJ[A-Za-z0-9_-]{8,}\.|\b(?:sk|pk|rk|hf|xox[a-z]|gh[pousr]|glpat|dapi|github_pat)[-_]?(?=\w*\d)\w{16,}"
    r"|\bA[KS]IA[A-Z0-9]{12,}|\bAIza[\w-]{20,}|-----BEGIN"
)
_RUN = re.compile(r"[A-Za-z0-9+=]{20,}")
_PART = 6  # so many characters of a longer credential in a row are struck, for texts are cut


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
            "looks like a credential, and plans and results are kept: put it into an environment variable and write "
            f'{name} = "env:VARIABLE" (or "Bearer env:VARIABLE")',
        )
        for name, value in headers.items()
        if _in_clear(name, value)
    ]


def query_problem(url: str) -> str | None:
    """Return what is wrong with an address whose parameters hold a credential in clear, or None."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        return "url holds a user or a password, and plans and results are kept: send them by headers"
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if _in_clear(name, value):
            return (
                f"url holds a credential ({printable(name)}), and plans and results are kept: put it into an environment "
                f"variable and write {printable(name)}=env:VARIABLE, or send it by headers"
            )
    if _SHAPES.search(unquote(parts.path)):
        return (
            "url holds a credential in its path, and plans and results are kept: put it into an environment variable and write "
            "env:VARIABLE in its place"
        )
    if parts.fragment:
        return "url has a fragment (what follows #), which is never sent: leave it out"
    return None


def body_problems(template: Any, path: str = "body") -> list[tuple[str, str]]:
    """Return what is wrong with the values of a body's template that hold a credential in clear."""
    found: list[tuple[str, str]] = []
    if isinstance(template, Mapping):
        for key, value in template.items():
            here = f"{path}.{printable(str(key))}"
            number = isinstance(value, int) and not isinstance(value, bool) and value >= 10_000
            if (isinstance(value, str) or number) and _in_clear(str(key), str(value)):
                text = "looks like a credential, and plans and results are kept: put it into an environment variable and write"
                found.append((here, f'{text} "env:VARIABLE"'))
            else:
                found += body_problems(value, here)
    elif isinstance(template, list):
        for i, value in enumerate(template):
            found += body_problems(value, f"{path}.{i}")
    elif isinstance(template, str) and _SHAPES.search(template):
        found.append(
            (path, 'holds a credential in clear: put it into an environment variable and write "env:VARIABLE"')
        )
    return found


def _in_clear(name: str, value: str) -> bool:
    if not value or value.startswith(("$record", "$object")) or value == "$columns":
        return False
    if ENV.search(value):
        return is_credential(value)
    return names_credential(name) or is_credential(value)


def chosen_values(headers: Mapping[str, str], url: str, body: str | None) -> list[list[str]]:
    """Return the variables that stand where no credential does, with their values: they choose who answers, or what."""
    texts = [value for name, value in headers.items() if not names_credential(name)]
    parts = urlsplit(url)
    texts += [parts.path, *(value for name, value in parse_qsl(parts.query) if not names_credential(name))]
    with suppress(ValueError, RecursionError):  # told where the template is checked
        leaves = [] if body is None else list(_leaves(json.loads(body)))
        texts += [value for name, value in leaves if not names_credential(name)]
    names = sorted({match[1] for text in texts for match in ENV.finditer(text)})
    return [[name, os.environ.get(name, "")] for name in names]


def _leaves(template: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts of a template, each with the name of its key."""
    if isinstance(template, Mapping):
        for key, value in template.items():
            yield from _leaves(value, str(key))
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
    text = re.split("[?#]", text)[0]
    scheme, there, rest = text.rpartition("://")
    rest = re.split("@|%40|\uff20", rest, flags=re.IGNORECASE)[-1]
    return printable(scheme + there + re.sub(r":(?!\d*(?:/|$)).*", f":{STRUCK}", rest))


def without_login(url: str) -> str:
    """Return an address without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
    except ValueError:
        return STRUCK


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


class Strike:
    """Strikes credentials out of texts.

    Parameters
    ----------
    secrets
        Credentials, as they are sent.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._whole: re.Pattern[str] | None = None
        self._parts: set[str] = set()
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Take up further credentials."""
        new = {secret for secret in secrets if secret} - self._secrets
        if not new:
            return
        self._secrets = self._secrets | new
        forms = {form for secret in self._secrets for form in _forms(secret) if form}
        patterns = [
            re.escape(form) if len(form) > 3 else rf"(?<![^\W_]){re.escape(form)}(?![^\W_])"
            for form in sorted(forms, key=len, reverse=True)
        ]
        self._whole = re.compile("|".join(patterns), re.IGNORECASE)
        self._parts = {
            secret[i : i + _PART].lower()
            for secret in self._secrets
            if len(secret) > _PART
            for i in range(len(secret) - _PART + 1)
        }

    def __call__(self, text: str) -> str:
        """Return the text with every credential struck out, whole or in part."""
        if self._whole is None:
            return text
        text = self._whole.sub(STRUCK, text)
        lower, cut = text.lower(), [False] * len(text)
        if len(lower) == len(text):
            for i in range(len(text) - _PART + 1):
                if lower[i : i + _PART] in self._parts:
                    cut[i : i + _PART] = [True] * _PART
        if not any(cut):
            return text
        kept = [
            STRUCK if (out and not cut[i - 1]) or (out and i == 0) else "" if out else text[i]
            for i, out in enumerate(cut)
        ]
        return "".join(kept)


def _forms(secret: str) -> set[str]:
    """Return a credential as it is, and as JSON, Python, an address, HTML, base64 or hexadecimal digits would write it."""
    raw = secret.encode("utf-8", "surrogateescape")
    plain = {
        secret,
        secret[::-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
    }
    plain |= {json.dumps(secret)[1:-1].replace("/", "\\/"), html.escape(secret), html.escape(secret, quote=False)}
    plain |= {quote(raw, safe=""), quote(raw), quote_plus(raw), raw.hex(), quote(quote(raw, safe=""), safe="")}
    plain |= {json.dumps(form)[1:-1] for form in list(plain)} | {repr(form)[1:-1] for form in list(plain)}
    if len(raw) < 4:
        return plain
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        plain |= {encode(raw).decode(), encode(raw).decode().rstrip("=")}
        for before in (1, 2, 3):  # within a longer text: the digits that hold nothing else
            code = encode(bytes(before) + raw).decode().rstrip("=")
            end = (before + len(raw)) * 8 // 6
            core = code[-(-before * 8 // 6) : end]
            plain |= {core} if len(core) >= 6 else set()
    return plain | {quote(form, safe="") for form in list(plain)}
