"""Whether a folder still holds the deletion audit that was made."""

from __future__ import annotations

from os import PathLike
from typing import Any

from miaudit.auditing.verification import Verification, Way
from miaudit.auditing.verification import verify as verify_audit
from miaudit.result import Result
from miaudit.unlearning import audit, wording
from miaudit.unlearning.stored import score


def verify(folder: str | PathLike[str], subject: Any = None, /, **options: Any) -> Verification:
    """Compare a deletion audit with the hashes, the table and the rows beside it: `miaudit.auditing.verification.verify`.

    Parameters
    ----------
    folder
        Of a deletion audit.
    subject, options
        As there; where the audit was of a model in Python, its other arguments are those of `miaudit.unlearning.audit`.
    """
    return verify_audit(folder, subject, **options, way=_DELETIONS)


def _sentence(result: Result) -> str:
    assert result.deletion is not None
    assert result.finding is not None
    return wording.verdict(result.deletion, result.finding)


_DELETIONS = Way(_sentence, audit, score, "miaudit.unlearning.score")
