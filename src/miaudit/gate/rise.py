"""What attacks find against what they found in an earlier audit: no rise beyond what a policy bears."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from miaudit.gate.checks import Bench, near
from miaudit.gate.comparison import Pair, pairs, refuse_unlike
from miaudit.gate.decision import Check, Outcome
from miaudit.gate.limits import RiseLimit
from miaudit.gate.requirements import controls_hold
from miaudit.result import Result


def check_rise(bench: Bench, baseline: Result | None, limit: RiseLimit) -> Iterator[Check]:
    """Judge every attack of the baseline by its AUC now less its AUC then.

    An attack that the baseline does not have is judged by the other limits alone.

    Raises
    ------
    DataError
        If the audits cannot be compared.
    """
    if baseline is None:
        sentence = "no baseline was given, and the policy limits the rise since one"
        yield Check(limit="rise", outcome="inconclusive", sentence=sentence)
        return
    refuse_unlike(baseline, bench.result)
    by_name, unpaired = pairs(baseline, bench.result)
    if not controls_hold(baseline):
        sentence = "a control failed in the baseline, so that its figures say nothing of its model"
        yield Check(limit="rise", outcome="inconclusive", sentence=sentence)
        return
    then = [a.name for a in baseline.attacks if a.status == "ran" and a.area is not None]
    errors = bench.errors(len(then))
    differ = any(r.bystander is not None and r.bystander.tells_sides for r in bench.ran)
    if not then:
        yield Check(limit="rise", outcome="inconclusive", sentence="no attack of the baseline has figures")
    for name in then:
        pair = by_name[name]
        ends = None if isinstance(pair, str) else pair.difference(None, errors)
        fields: dict[str, Any] = {"limit": "rise", "about": name, "beyond": limit.beyond, "margin": limit.margin}
        fields |= {"low_error": errors.low, "high_error": errors.high}
        if ends is None or not isinstance(pair, Pair):
            why = pair if isinstance(pair, str) else "a result does not hold what its interval needs"
            sentence = f"the AUC of '{name}' cannot be compared with the baseline: {why}"
            yield Check(outcome="inconclusive", sentence=sentence, **fields)
            continue
        how = (
            "on the same records"
            if pair.scores is not None
            else f"unpaired: {unpaired or 'scores of single records do not tell'}"
        )
        subject = f"the AUC of '{name}' less that of the baseline is {ends.value:+z.3f} ({how})"
        outcome: Outcome
        counts = bench.sound and (not differ or bench.stands(pair.after))
        if ends.low > limit.beyond:
            outcome = "fail" if counts else "inconclusive"
            rest = f", at least {near(ends.low, limit.beyond)}: a rise beyond {limit.beyond:.4g}"
            rest += "" if counts else ", which what a control shows may explain"
        elif ends.high < limit.margin:
            outcome, rest = "pass", f", at most {near(ends.high, limit.margin)}, below the margin {limit.margin:.4g}"
        else:
            outcome = "inconclusive"
            rest = f" and may be up to {near(ends.high, limit.margin)}, not shown to be below the margin {limit.margin:.4g}"
        fields |= {"value": ends.value, "low": ends.low, "high": ends.high}
        yield Check(outcome=outcome, sentence=subject + rest, **fields)
