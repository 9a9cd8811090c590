"""A deletion audit in words: what the first lines of the terminal and of the page say of it."""

from __future__ import annotations

from miaudit.result import Deletion, DeletionKind, Question

_HEADLINES: dict[DeletionKind, tuple[str, str]] = {
    "no trace found": ("none", "No trace of the deleted records found, as far as it could be seen."),
    "traces remain": ("considerable", "Traces of the deleted records remain."),
    "over-forgotten": (
        "considerable",
        "Over-forgotten: the deleted records stand out, treated worse than unseen ones.",
    ),
    "nothing to see here": ("void", "Nothing to see here: no leak was found before the deletion either."),
    "not valid": ("void", "No answer: a control of this audit fails."),
    "confounded": ("void", "No answer: deleted and never trained records differ by themselves."),
    "inconclusive": ("void", "No answer yet: these records do not tell."),
}
_NEXT: dict[DeletionKind, str] = {
    "no trace found": "read what was not tested; a trace below what could be seen may be left, and so may copies elsewhere",
    "traces remain": "delete by retraining without the records, or by sharded training, and audit again",
    "over-forgotten": "delete by retraining without the records, or with a weaker procedure, and audit again",
    "nothing to see here": (
        "audit the same procedure on records that the model does give away (the most exposed of an audit of memberships), or "
        "on more of them"
    ),
    "not valid": "draw deleted and never trained records at random from one population, and audit again",
    "confounded": "draw deleted and never trained records at random from one population, and audit again",
    "inconclusive": "audit the same procedure on more records at once (forget = 100 draws them), with more shadow models",
}
NAMES = {
    "before": "Before",
    "after": "Afterwards",
    "pair": "By both models",
    "others_before": "Others before",
    "others_after": "Others afterwards",
}


def headline(deletion: Deletion) -> tuple[str, str]:
    """Return the tone of the page's first line, and the line."""
    return _HEADLINES[deletion.kind]


def next_of(deletion: Deletion) -> str:
    """Return what to do about the verdict."""
    return _NEXT[deletion.kind]


def steps(deletion: Deletion) -> list[str]:
    """Return the three things to do next, as sentences."""
    first = next_of(deletion)
    return [
        f"{first[:1].upper()}{first[1:]}.",
        "Ask for the earlier model to be destroyed wherever it is kept: what it held, it still holds.",
        "Hold deletions to a limit that you set: miaudit gate DIR --policy leak-only.",
    ]


def questions(deletion: Deletion) -> list[tuple[str, Question]]:
    """Return the questions that were asked, each with a short name."""
    pairs = [(name, getattr(deletion, key)) for key, name in NAMES.items()]
    return [(name, question) for name, question in pairs if question is not None]
