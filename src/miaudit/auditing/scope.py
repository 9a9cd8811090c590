"""What an audit assumes, what was odd about it, and what it leaves open: sentences for its readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from miaudit import stats
from miaudit.attacks import Attack
from miaudit.auditing.measured import Measured
from miaudit.auditing.regression import LEVEL, MeanError, larger
from miaudit.data import Copies
from miaudit.errors import counted
from miaudit.evidence import Floats, Ints
from miaudit.findings import Unit, question
from miaudit.result import AttackResult
from miaudit.targets.contact import Contact

_MOST_ORDERED = 5_000  # classes above which no order is looked for: it takes the square of them in memory, and seconds
_LEAST_SORTED = 20  # records below which answers may all be sorted by chance

ANSWERED = {
    "logits": "a logit per class",
    "probabilities": "a probability per class",
    "rounded": "a probability per class, with few decimals",
    "topk": "the probabilities of a few classes",
    "labels": "the predicted class alone",
    "signal": "one number a record, a signal",
    "log-likelihood": "one number a record, a log-likelihood",
}
"""What a record is answered with, by what the target can be attacked with."""

_NOBODY = "Knowledge of the data: the audited records alone."
_NO_SHADOWS = "No shadow models."
_FULL = (
    "What shadow models add: attacks that compare each record with models trained with and without it (LiRA, RMIA), which find "
    "more, most of all at low false-positive rates; and the control on models trained on neither side, without which sides "
    "that differ in how hard they are look like a leak."
)
_STAGES = ", and for loss-trace the model itself, which answers after each stage of its training"
_TRACE = ", and the model's losses over its training for attacks that read them"


def threat_model(measured: Measured, unit: Unit) -> list[str]:
    """Return what the attacker is taken to know and to be able to do."""
    if measured.stored:
        knowledge = [_stored_access(measured), _stored_training(measured), _stored_data(measured)]
    else:
        knowledge = [_access(measured), _training(measured), _data(measured)]
    return [
        question(unit.name, answer_kind=measured.known),
        *knowledge,
        *_features(measured),
        "Membership is equally likely before the attack: members and non-members are evaluated in equal numbers.",
    ]


def _features(measured: Measured) -> list[str]:
    if measured.records is None or measured.records.source is None:
        return []
    return [
        f"Features of the records: those that the function {measured.records.source!r} makes. The model-free check and attacks "
        "that learn from records read them; copies were looked for among the records as they are handed to models."
    ]


def _access(measured: Measured) -> str:
    questions = [sum(question.queries for question in each.questions) for each in measured.attacks or ()]
    probing, outside = max(questions, default=0), measured.outside
    others = counted(outside, "further record of the population was", "further records of the population were")
    further = f"; {others} asked about" if outside else ""
    often = (
        f"; up to {counted(probing, 'further query', 'further queries')} a record, of which the labels are read"
        if probing
        else ""
    )
    traced = " only" if measured.evidence.own.trace is None else _STAGES
    return (
        f"Access: the target's prediction interface{traced}; one query per record, answered with "
        f"{_answered(measured)}{further}{often}."
    )


def _answered(measured: Measured) -> str:
    """Return what a record is answered with, and what attacks read off it where that is something else."""
    measure = measured.evidence.own.measure
    if measured.known == "value" and measure is not None:
        return f"a real number, of which the {measure.name} is read"
    return ANSWERED[measured.target.capability]


def _stored_access(measured: Measured) -> str:
    traced = "" if measured.evidence.own.trace is None else _TRACE
    measure = measured.evidence.own.measure
    called = "" if measure is None or measure.name == "signal" else f" ({measure.name})"
    return (
        f"Access: stored answers, {ANSWERED[measured.target.capability]}{called}{traced}. The model was not asked again: what "
        "the file says of answers, shadows and memberships is taken on trust."
    )


def _training(measured: Measured) -> str:
    if len(measured.evidence.own.models) == 0:
        return _NO_SHADOWS
    same = measured.target.source == "trained here"
    recipe = "the same training recipe as the target's" if same else "a recipe believed to be the target's"
    return f"Knowledge of the training: {recipe}."


def _stored_training(measured: Measured) -> str:
    m = len(measured.evidence.own.models)
    return f"Knowledge of the training: the answers of {counted(m, 'shadow model')}, as stored." if m else _NO_SHADOWS


def _data(measured: Measured) -> str:
    n, figures = measured.split.population, measured.synthesis
    if len(measured.evidence.own.models) == 0:
        return (
            f"Knowledge of the data: {counted(n, 'record')} of the same population, {_apart(measured.split.copies)}"
            if n
            else _NOBODY
        )
    if figures is not None and figures.method == "model-based":
        return (
            "Knowledge of the data: the format of a record alone. The shadow models were trained on "
            f"{counted(n, 'record')} made from {counted(figures.queries.total, 'answer')} of the target."
        )
    if figures is not None and figures.method == "marginals":
        source = f"The shadow models were trained on {counted(n, 'record')} drawn from them."
        return f"Knowledge of the data: the marginal of each feature. {source}"
    if measured.split.population_from == "members":
        return (
            f"Knowledge of the data: {n:,} further members, which are in every shadow model's training set as in the target's, "
            "and the audited records themselves, of which each shadow model is trained on a random half. An attacker who knows "
            "other records of the training set so well is a strong one."
        )
    if measured.design == "overlapping" and not n:
        return (
            "Knowledge of the data: the audited records themselves: each shadow model is trained on a random half of them, and "
            "on nothing else."
        )
    audited = _apart(measured.split.copies)
    if measured.design == "overlapping":
        audited += " The audited records themselves, too: each shadow model is trained on a random half of them."
    if figures is None:
        return f"Knowledge of the data: {counted(n, 'record')} of the same population, {audited}"
    rate, noise = figures.options["rate"], figures.options["noise"]
    return (
        f"Knowledge of the data: {counted(n, 'imperfect record')} of the same population, with {100 * rate:.0f} % of the "
        f"features changed ({noise}), {audited}"
    )


def _stored_data(measured: Measured) -> str:
    """Say what was compared by value: never what shadow models were trained on, which the file does not hold."""
    trust = "; what the shadow models were trained on is taken on trust to hold no copy of an audited record"
    if not len(measured.evidence.own.models):
        trust = ""
    if measured.split.copies is None:
        return f"Knowledge of the data: the file holds no features, so records were not compared by value{trust}."
    return (
        f"Knowledge of the data: {measured.split.compared} were compared by value, and copies left out (those with rounding, "
        f"noise or a few changed columns only as far as they stand out from chance){trust}."
    )


def _apart(copies: Copies | None) -> str:
    """Say how far the population is disjoint from the audited records, as the comparison of their values found."""
    if copies is None:
        return "disjoint from the target's members and non-members by their record numbers; values were not compared."
    if copies.trained:
        return (
            f"other ones than the target's members and non-members, although {copies.trained:,} of them have the same values "
            "as an audited record, as happens where records have few different values."
        )
    omissions = copies.left_out.get("population", 0)
    without = (
        f" once {counted(omissions, 'copy of an audited record was', 'copies of audited records were')} left out"
        if omissions
        else ""
    )
    return (
        f"disjoint from the target's members and non-members by their values{without}: none has the same values. Copies "
        "with rounding, noise or a few changed columns were looked for only as far as they stand out from chance, so some may "
        "be left."
    )


def not_tested(measured: Measured, ran: Sequence[Attack]) -> list[str]:
    """Return what the attacks that ran leave open."""
    if measured.stored:
        gaps = [
            "Whether the stored answers, and who is said to be a member, are true.",
            "Attacks marked as skipped, for lack of what their reasons name.",
            "Attackers who ask the model themselves, see weights or gradients, or may change the training data.",
        ]
    else:
        gaps = [
            *(_other_attacks(ran) if len(measured.evidence.own.models) else [_FULL]),
            _OTHER_ACCESS.get("value" if measured.known == "value" else measured.target.capability, _IN_PART),
            "Attackers who may change the training data, and records made to be worst cases (canaries).",
        ]
    return [
        *gaps,
        "Other leaks: attribute inference, reconstruction, property inference, and what all members of the population share.",
        "Other training runs: the figures are of this one target; their intervals cover the choice of records, not the seed.",
    ]


_FEW_DECIMALS = "Attackers who see more decimals, where there are more, labels alone, or weights or gradients."
_PARTIAL = "Attackers who see all probabilities in full, labels alone, or weights or gradients."
_NUMBER = "Attackers who see all that the target answers, not this one number of it, or weights or gradients."
_OTHER_ACCESS = {
    "labels": "Attackers who see probabilities, weights or gradients.",
    "topk": _PARTIAL,
    "rounded": _FEW_DECIMALS,
    "signal": _NUMBER,
    "log-likelihood": _NUMBER,
    "value": "Attackers who see weights or gradients, and those who read the errors otherwise.",
}
_IN_PART = (
    "Attackers who see only labels, a few classes or rounded probabilities, and those who see weights or gradients."
)


def _other_attacks(ran: Sequence[Attack]) -> list[str]:
    if not any("overlapping" in attack.needs for attack in ran):
        return [
            "Attacks that compare a record with models trained with and without it (LiRA, RMIA), which find more at low "
            "false-positive rates."
        ]
    if not any(getattr(attack, "mode", "") == "online" for attack in ran):
        return [
            "Attacks that compare a record with models trained on it, too (online LiRA and RMIA), which find more at low "
            'false-positive rates; design = "overlapping" makes room for them.'
        ]
    return []


def oddities(contact: Contact | None) -> list[str]:
    """Return what first contact with an endpoint found that a reader must know of."""
    warnings = []
    if contact and not contact.deterministic:
        warnings.append(
            f"The target is randomised: asked twice about the same {counted(contact.records, 'record')}, "
            "its answers differ by up to "
            f"{contact.repeat_difference:.2g}. Every record was asked about once; an attacker who asks again and "
            "averages sees more than these attacks do."
        )
    if contact and not contact.batch_consistent:
        warnings.append(
            f"The target's answer to a record differs when it is asked alone (by up to {contact.batch_difference:.2g}): it "
            "depends on the other records of a request, or the target changes or is random, or answers in another order "
            "than that of the records. With batch = 1 an endpoint is asked about each record alone."
        )
    if contact and contact.unchanged is None:
        warnings.append(
            f"Whether the target was one and the same model all the time is not known: {contact.unchanged_reason}. "
            "Members and non-members were asked about in a random order, so that a change would not tell them apart."
        )
    return warnings


def mismatches(
    target: tuple[float, float],
    shadows: tuple[Sequence[float], Sequence[float]],
    *,
    n: tuple[int, int],
    trained_here: bool = False,
) -> list[str]:
    """Return what can be seen, by their accuracies on both sides, of a target and shadows that were not trained alike.

    ``shadows`` are the accuracies of each model on what it was trained on, and on other records. ``n`` are the people, or
    records, that the target's rest on: what so few records, or so few models, explain by chance is no sign.
    """
    warnings = []
    train, test = target
    for what, ours, theirs, size in zip(("training", "test"), target, shadows, n, strict=True):
        if len(theirs) and _unlike_share(ours, np.asarray(theirs, np.float64), size):
            warnings.append(
                f"The target's {what} accuracy is {ours:.3f}, the shadow models' is {np.mean(theirs):.3f}: they do not seem "
                "to be trained alike (recipe, size or records differ), which weakens the attack and may understate the leak."
            )
    if not trained_here and train + 0.02 < test and _worse(target, n):
        warnings.append(
            f"The target does better on the non-members ({test:.3f}) than on the members ({train:.3f}): check that the "
            "members are the records it was trained on."
        )
    return warnings


def _unlike_share(share: float, shadows: Floats, n: int) -> bool:
    """Whether the target's accuracy differs by a tenth from the shadows' mean, and from one more of theirs by more than chance.

    By Student's t with Satterthwaite's freedom, of the share of n records, and of how far the shadow models, (m,), vary: not
    less than such shares do, and with one degree of freedom where there is one model.
    """
    m, mean = len(shadows), float(shadows.mean())
    if not n or abs(share - mean) <= 0.1:
        return False
    likely = (share * n + 1) / (n + 2)  # so that all right, or none, does not pass for certain
    own = likely * (1 - likely) / n
    others = max(own, float(shadows.var(ddof=1)) if m > 1 else 0.0) * (1 + 1 / m)
    freedom = (own + others) ** 2 / (others**2 / max(1, m - 1))
    return bool(abs(share - mean) > stdtrit(freedom, 1 - LEVEL / 2) * (own + others) ** 0.5)


def _worse(target: tuple[float, float], n: tuple[int, int]) -> bool:
    """Whether the first share is lower than the second by more than chance explains, by Fisher's exact test."""
    from scipy.stats import fisher_exact  # not at the top: it takes half a second

    right = [round(share * size) for share, size in zip(target, n, strict=True)]
    wrong = [size - count for size, count in zip(n, right, strict=True)]
    return bool(fisher_exact(np.array([right, wrong]), alternative="less").pvalue < LEVEL)


def unlike_choices(target: str | None, shadows: Sequence[str | None]) -> list[str]:
    """Return the warning of a recipe that chooses what it trains, where the models were not all given the same.

    ``target`` and ``shadows`` are what was chosen for each; None where nothing was, or it is not known.
    """
    counts = Counter(choice for choice in shadows if choice is not None)
    if target is None and len(counts) < 2:
        return []
    others = sum(number for choice, number in counts.items() if choice != target)
    if not others:
        return []
    listing = "; ".join(f"{number} of them: {choice}" for choice, number in counts.most_common(4))
    listing += f"; {len(counts) - 4:,} further choices" if len(counts) > 4 else ""
    if target is None:
        return [
            f"The recipe chooses what it trains, and the {counts.total():,} shadow models did not all get the same "
            f"({listing}); "
            "what the target got is not known. Shadows unlike the target weaken the attack and may understate the leak."
        ]
    return [
        f"The recipe chooses what it trains: the target got {target}, and {others:,} of {counts.total():,} shadow models got "
        f"something else ({listing}). Shadows unlike the target weaken the attack and may understate the leak."
    ]


def unlike_answers(target: str, shadows: Sequence[Mapping[str, Any] | None]) -> list[str]:
    """Return the warning of shadow models that answer labels alone where the target says more.

    ``target`` is the type of its answers, ``shadows`` what the answers of each were taken for; None where it is not known.
    """
    count = sum(each is not None and each["type"] == "labels" for each in shadows)
    if target == "labels" or not count:
        return []
    return [
        f"The target answers {target}, and {count:,} of {counted(len(shadows), 'shadow model')} labels alone: attacks that "
        "compare them may understate the leak. Let the recipe's models answer as the target does."
    ]


def unlike_errors(
    target: tuple[MeanError, MeanError],
    shadows: tuple[Sequence[float], Sequence[float]] | None,
    *,
    train: int | None,
    trained_here: bool = False,
) -> list[str]:
    """Return the same by the mean absolute errors of a regression on both sides, the target's and those of each shadow model.

    Nothing is said that chance explains: which records these are, and which model came of them. An error below a fiftieth of
    the largest counts as that much. ``train`` is on how many records each shadow model was trained.
    """
    warnings = []
    inside, outside = target
    least = 0.02 * max(inside.value, outside.value, *map(max, shadows or ()))
    for what, ours, theirs, size in zip(("training", "other"), target, shadows or (), (train, None), strict=False):
        if _unlike(ours, np.maximum(theirs, least), least, size):
            warnings.append(
                f"The target's mean absolute error on {what} records is {ours.value:.4g}, the shadow models' is "
                f"{np.mean(theirs):.4g}: they do not seem to be trained alike (recipe, size or records differ), which weakens "
                "the attack and may understate the leak."
            )
    if not trained_here and inside.value > 1.1 * outside.value and larger(inside, outside):
        warnings.append(
            f"The target errs more on the members ({inside.value:.4g}) than on the non-members ({outside.value:.4g}): check "
            "that the members are the records it was trained on."
        )
    return warnings


def _unlike(target: MeanError, shadows: Floats, least: float, size: int | None) -> bool:
    """Whether the target's error differs by a quarter from the shadows' mean, and from one more of theirs by more than chance.

    By Student's t of the logarithms, with the freedom of the shadow models, (m,); fewer than two say nothing of chance. How
    far these vary covers what records do to errors of as many, ``size``; of fewer records, or where ``size`` is None, the
    target's own varies more.
    """
    value, mean, m = max(target.value, least), float(np.mean(shadows)), len(shadows)
    if m < 2 or max(value, mean) <= 1.25 * min(value, mean):  # all zero, too
        return False
    logs = np.log(shadows)
    uncovered = 1.0 if size is None else max(0.0, 1 - target.n / size)
    variance = logs.var(ddof=1) * (1 + 1 / m) + uncovered * (target.spread / value) ** 2
    return bool(abs(np.log(value) - logs.mean()) > stdtrit(m - 1, 1 - LEVEL / 2) * np.sqrt(variance))


def unscored(attacks: Sequence[AttackResult]) -> list[str]:
    """Return which attacks could not score all records."""
    missing = [f"{attack.missing} by {attack.name}" for attack in attacks if attack.missing]
    if not missing:
        return []
    return [f"Records that could not be scored: {', '.join(missing)}; the attacks' notes say why."]


def shared_ids(measured: Measured, unit: Unit) -> list[str]:
    """Return that several of the records that count have one id; nothing where it is known whose records they are."""
    if measured.ids is None or measured.evidence.own.audited_people is not None:
        return []
    places: dict[str, list[int]] = {}
    for i in np.flatnonzero(unit.counted).tolist():
        places.setdefault(str(measured.ids[i]), []).append(i)
    several = {name: each for name, each in places.items() if len(each) > 1}
    if not several:
        return []
    name, first = next(iter(several.items()))
    both = sum(len(set(measured.member[each].tolist())) > 1 for each in several.values())
    sides = f", {both:,} of them among members and non-members" if both else ""
    return [
        f"{counted(len(several), 'id stands', 'ids stand')} for several audited records{sides}; the first is {name!r:.60}, for "
        f"{len(first):,}. Each record counts as one of its own, as if drawn without regard to the others. Where they belong "
        "to one person, say so (group of a plan's data or of stored outputs, groups in Python), and people are counted; "
        "where they are one record several times, give it once."
    ]


def other_order(measured: Measured) -> list[str]:
    """Return that the answers fit the labels in another order of the classes, as of columns in the model's own order."""
    if not measured.of_classes:
        return []
    evidence = measured.evidence.own
    fit = order_that_fits(np.asarray(evidence.predicted), np.asarray(evidence.audited_labels), len(measured.classes))
    if fit is None:
        return []
    order, as_read, in_order = fit
    names = ", ".join(measured.classes[k] for k in order[:5]) + (", ..." if len(order) > 5 else "")
    return [
        f"The target's answers fit the classes in another order: its class is right for {as_read:.3f} of the audited records "
        f"as columns were read, and for {in_order:.3f} if they are of {names}, an order taken from one half of them and tried "
        "on the other. If so, no figure of this audit measures the model: state the order of its columns (columns of [target] "
        "in a plan, columns= in Python), or store its answers in the order of the labels."
    ]


def order_that_fits(columns: Ints, labels: Ints, classes: int) -> tuple[Ints, float, float] | None:
    """Return the order of classes in which columns fit the labels, and the shares that are right as they stand and in it.

    The order is taken from each half of the records and tried on the other, so that what fits by chance does not count. None
    where the columns do not do worse than the most frequent class, no order does better by more than chance and a tenth, or
    none does better on the average class, as of models that are to miss few records of a rare one; and of too many classes.
    """
    right = columns == labels
    if right.mean() >= np.bincount(labels).max() / len(labels) or classes > _MOST_ORDERED:
        return None

    from scipy.optimize import linear_sum_assignment  # not at the top: it takes a fifth of a second

    def order_of(rows: slice) -> Ints:
        counts = np.bincount(columns[rows] * classes + labels[rows], minlength=classes**2).reshape(classes, classes)
        order: Ints = linear_sum_assignment(-(2 * counts + np.eye(classes)))[1]  # of equal ones that which stands
        return order

    moved = np.empty(len(columns), bool)
    for half, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        moved[half] = order_of(other)[columns[half]] == labels[half]
    gain, loss = int((moved & ~right).sum()), int((right & ~moved).sum())
    if len(np.unique(columns[moved])) < 2 or not gain:  # one column tells of no order
        return None
    if stats.clopper_pearson(gain, gain + loss, 0.999)[0] <= 0.5 or moved.mean() - right.mean() <= 0.1:
        return None
    if np.average(moved * 1.0 - right, weights=1 / np.bincount(labels)[labels]) <= 0:
        return None
    return order_of(slice(None)), float(right.mean()), float(moved.mean())


def sorted_answers(measured: Measured) -> list[str]:
    """Return that all answers are sorted by size, as of servers that do not keep the order of the classes.

    A model may answer so where its first class is the most frequent one, and a weak one whose answers are about the classes'
    frequencies. Neither is spoken of: the first class is then about as frequent as the largest numbers say. Nor is one that
    answers all records alike, which is told by itself.
    """
    if not measured.of_classes or measured.target.capability == "labels":
        return []
    evidence = measured.evidence.own
    answers = np.asarray(evidence.target)  # (n, c) probabilities
    steps = np.diff(answers, axis=1)
    order = [side for side, alike in (("largest", steps <= 0), ("smallest", steps >= 0)) if alike.all()]
    if steps.shape[1] < 2 or len(steps) < _LEAST_SORTED or len(order) != 1 or not steps.any(axis=1).all():
        return []
    if (answers == answers[0]).all():  # one answer to all is sorted by chance
        return []
    first = 0 if order == ["largest"] else steps.shape[1]
    share, stated = float((evidence.audited_labels == first).mean()), float(answers[:, first].mean())
    if share > 0.5 or stated - share <= max(0.1, 2 * np.sqrt(share * (1 - share) / len(answers))):
        return []
    return [
        f"The target's answer to every record is sorted, from the {order[0]} number on, so that it seems to be in order of "
        "size and not of the classes: no figure of this audit then measures the model. Let the target answer in the order "
        "of its classes, or name the class of each number."
    ]
