"""What stands beside figures from which nothing is taken off where the sides differ by themselves."""

from __future__ import annotations

from collections.abc import Sequence

from miaudit.result import AttackResult, BlindControl, PatternControl, VerdictKind


def caution_of(
    results: Sequence[AttackResult], blind: BlindControl, kind: VerdictKind, pattern: PatternControl | None = None
) -> str | None:
    """Return why PPV, epsilon, groups and the list of accusations are no leak by themselves; None where nothing says so.

    They are of all that tells the sides apart. Only the verdict takes off what bystanders show.
    """
    if blind.confounded:
        why = f"the {blind.read} alone tell members from non-members"
    elif pattern is not None and pattern.confounded:
        why = "records of one side carry a pattern of their classes that the others lack"
    elif kind == "confounded" or any(r.checked and r.bystander and r.bystander.tells_sides for r in results):
        why = "members and non-members differ in how hard they are for any model"
    else:
        return None
    return f"{why}, which is not taken off here: no measure of what this model gives away"
