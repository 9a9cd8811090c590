"""Strikes credentials out of texts, in whatever form they come back: quoted, in an address, in HTML, in base64, cut."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from miaudit.targets.credentials import STRUCK

_PART = 6  # so many characters of a longer credential in a row are struck, for texts are cut


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
        rest = [
            STRUCK if (out and not cut[i - 1]) or (out and i == 0) else "" if out else text[i]
            for i, out in enumerate(cut)
        ]
        return "".join(rest)


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
