"""What a result means and what to do next, in plain words: renderings of its figures, which add no judgement to them."""

from __future__ import annotations

from miaudit.result import AttackResult, PersonFigures, Result

_OVERFITTED = 0.05  # gap of the accuracies from which overfitting is named


def headline(result: Result) -> AttackResult | None:
    """Return the attack that the verdict's figures are of: the highest AUC of those above chance, or of all."""
    ran = [a for a in result.attacks if (area := a.of_unit.auc) is not None and area.value is not None]
    return max((a for a in ran if a.above_chance), key=_auc, default=max(ran, key=_auc, default=None))


def meaning(result: Result) -> str | None:
    """Return what the headline attack's figures mean for the people in the data; None where they mean nothing."""
    best = headline(result)
    if best is None or result.verdict_kind not in (None, "leak"):
        return None
    figures = best.of_unit
    area = figures.auc
    assert area is not None
    assert area.value is not None
    of = " (people, all records of each together)" if isinstance(figures, PersonFigures) else ""
    pairs = (
        f"of 100 pairs of a member and a non-member{of} '{best.name}' tells {100 * area.value:.0f} right (guessing: 50)"
    )
    points = [
        p for p in figures.tpr_at_fpr if p.resolvable and p.tpr is not None and p.low is not None and p.low > p.fpr
    ]
    if not points:
        return pairs
    point = min(points, key=lambda p: p.fpr)
    assert point.tpr is not None
    return (
        f"{pairs}; wrongly accusing {100 * point.fpr:g} % of the non-members, it finds {100 * point.tpr:.1f} % of the members "
        f"(guessing: {100 * point.fpr:g} %)"
    )


def next_step(result: Result) -> str:
    """Return what to do about the verdict."""
    match result.verdict_kind:
        case "leak" | None:
            gap = result.target.train_accuracy - result.target.test_accuracy
            less = f"less overfitting (the gap is {gap:.2f}), " if gap > _OVERFITTED else ""
            return (
                f"records.csv ranks the records by risk; to lower a leak: {less}regularisation, answers without probabilities, "
                "differential privacy; then audit again"
            )
        case "inverted":
            return "compare the records given as members with those the target was trained on, and the sides with each other"
        case "confounded":
            return (
                "draw members and non-members at random from one population, or leave out the columns that tell them apart "
                "(dates, numbers, texts), and audit again"
            )
        case "broken":
            return "use no figure of this run; check who is said to be in which shadow model's training set"
        case "inconclusive":
            return "audit more records of each side"
    return _power(result)


def _power(result: Result) -> str:
    power = next((a.power for a in result.attacks if a.power is not None and a.power.auc is not None), None)
    more = 'more records, more shadow models and shadows.design = "overlapping" show smaller ones'
    if power is None:
        return f"smaller leaks may be there: {more}"
    return (
        f"smaller leaks may be there. One that raises all members' scores alike shows in {100 * power.power:g} of 100 such "
        f"audits from an AUC of {power.auc:.3f} on, one of a few members may not: {more}"
    )


def _auc(attack: AttackResult) -> float:
    area = attack.of_unit.auc
    return -1.0 if area is None or area.value is None else area.value
