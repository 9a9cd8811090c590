"""What an audit assumes, what was odd about it, and what it leaves open: sentences for its readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from miaudit.attacks import Attack
from miaudit.auditing.case import Case
from miaudit.data import Split
from miaudit.evidence import Capability
from miaudit.findings import UnitName, question
from miaudit.result import AttackResult

ANSWERED = {
    "logits": "a logit per class",
    "probabilities": "a probability per class",
    "rounded": "a rounded probability per class",
    "topk": "the probabilities of a few classes",
    "labels": "the predicted class alone",
    "signal": "one number, a signal of membership",
    "log-likelihood": "one number, the log-likelihood of the record",
}
"""What a record is answered with, by what the target can be attacked with."""


_STAGES = ", and for loss-trace the model itself, which answers after each stage of its training"


def threat_model(
    case: Case, capability: Capability, outside: int, *, unit: UnitName = "record", traced: bool = False
) -> list[str]:
    """Return what the attacker is taken to know and to be able to do."""
    probing = max((sum(question.queries for question in each.questions) for each in case.attacks or ()), default=0)
    often = f"; up to {probing:,} further queries a record, of which the labels are read" if probing else ""
    training = (
        "the same training recipe as the target's" if case.target is None else "a recipe believed to be the target's"
    )
    further = f"; {outside:,} further records of the population were asked about" if outside else ""
    of_audited = _apart(case.split)
    if case.design == "overlapping":
        of_audited += " The audited records themselves, too: each shadow model is trained on a random half of them."
    return [
        question(unit),
        f"Access: the target's prediction interface{_STAGES if traced else ' only'}; one query per record, answered with "
        f"{ANSWERED[capability]}"
        f"{further}{often}.",
        f"Knowledge of the training: {training}.",
        _of_data(case, of_audited),
        "Membership is equally likely before the attack: members and non-members are evaluated in equal numbers.",
    ]


def _apart(split: Split) -> str:
    """Say how far the population is disjoint from the audited records, as the comparison of their values found."""
    copies = split.copies
    if copies is None:
        return "disjoint from the target's members and non-members by their record numbers; values were not compared."
    if copies.trained:
        return (
            f"other ones than the target's members and non-members, although {copies.trained:,} of them have the same values "
            "as an audited record, as happens where records have few different values."
        )
    lost = copies.left_out.get("population", 0)
    without = f" once {lost:,} copies of audited records were left out" if lost else ""
    return (
        f"disjoint from the target's members and non-members by their values{without}: none has the same values. Copies "
        "with rounding, noise or a few changed columns were looked for only as far as they stand out from chance, so some may "
        "be left."
    )


def _of_data(case: Case, of_audited: str) -> str:
    n, figures = len(case.split.population), case.synthesis
    if figures is None:
        return f"Knowledge of the data: {n:,} records of the same population, {of_audited}"
    if figures["method"] == "model-based":
        return (
            "Knowledge of the data: the format of a record alone. The shadow models were trained on "
            f"{n:,} records made from {figures['queries']['total']:,} answers of the target."
        )
    if figures["method"] == "marginals":
        drawn = f"The shadow models were trained on {n:,} records drawn from them."
        return f"Knowledge of the data: the marginal of each feature. {drawn}"
    rate, noise = figures["options"]["rate"], figures["options"]["noise"]
    return (
        f"Knowledge of the data: {n:,} imperfect records of the same population, with {rate:.0%} of the features "
        f"changed ({noise}), {of_audited}"
    )


def not_tested(ran: Sequence[Attack], capability: Capability) -> list[str]:
    """Return what the attacks that ran leave open."""
    left = []
    if not any("overlapping" in attack.needs for attack in ran):
        left.append(
            "Attacks that compare a record with models trained with and without it (LiRA, RMIA), which find more at low "
            "false-positive rates."
        )
    elif not any(getattr(attack, "mode", "") == "online" for attack in ran):
        left.append(
            "Attacks that compare a record with models trained on it, too (online LiRA and RMIA), which find more at low "
            'false-positive rates; shadows.design = "overlapping" makes room for them.'
        )
    if capability == "labels":
        left.append("Attackers who see probabilities, weights or gradients.")
    elif capability in ("signal", "log-likelihood"):
        left.append(
            "Attackers who see all that the target answers, not this one number of it, or weights or gradients."
        )
    elif capability in ("topk", "rounded"):
        left.append("Attackers who see all probabilities in full, labels alone, or weights or gradients.")
    else:
        left.append(
            "Attackers who see only labels, a few classes or rounded probabilities, and those who see weights or gradients."
        )
    return [
        *left,
        "Attackers who may change the training data, and records made to be worst cases (canaries).",
        "Other leaks: attribute inference, reconstruction, property inference, and what all members of the population "
        "share.",
        "Other training runs: the figures are of this one target; their intervals cover the choice of records, not the "
        "seed.",
    ]


def oddities(contact: Mapping[str, Any] | None) -> list[str]:
    """Return what first contact with an endpoint found that a reader must know of."""
    found = []
    if contact and not contact["deterministic"]:
        found.append(
            f"The target is randomised: asked twice about the same {contact['records']} records, its answers differ by up to "
            f"{contact['repeat_difference']:.2g}. Every record was asked about once; an attacker who asks again and "
            "averages sees more than these attacks do."
        )
    if contact and not contact["batch_consistent"]:
        found.append(
            f"The target's answer to a record differs when it is asked alone (by up to {contact['batch_difference']:.2g}): it "
            "depends on the other records of a request, or the target changes or is random. target.http.batch = 1 asks an "
            "endpoint about each record alone."
        )
    if contact and contact["unchanged"] is None:
        found.append(
            f"Whether the target was one and the same model all the time is not known: {contact['unchanged_reason']}. "
            "Members and non-members were asked about in a random order, so that a change would not tell them apart."
        )
    return found


def mismatches(
    train: float, test: float, shadow_train: float | None, shadow_test: float | None, *, trained_here: bool = False
) -> list[str]:
    """Return what can be seen, by their accuracies, of a target and shadows that were not trained alike."""
    found = []
    for what, ours, theirs in (("training", train, shadow_train), ("test", test, shadow_test)):
        if theirs is not None and abs(ours - theirs) > 0.1:
            found.append(
                f"The target's {what} accuracy is {ours:.3f}, the shadow models' is {theirs:.3f}: they do not seem to be "
                "trained alike (recipe, size or records differ), which weakens the attack and may understate the leak."
            )
    if not trained_here and train + 0.02 < test:
        found.append(
            f"The target does better on the non-members ({test:.3f}) than on the members ({train:.3f}): check that the "
            "members are the records it was trained on."
        )
    return found


def unscored(attacks: Sequence[AttackResult]) -> list[str]:
    """Return which attacks could not score all records."""
    missing = [f"{attack.missing} by {attack.name}" for attack in attacks if attack.missing]
    if not missing:
        return []
    return [f"Records that could not be scored: {', '.join(missing)}; the attacks' notes say why."]
