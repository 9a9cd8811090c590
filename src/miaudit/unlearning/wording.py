"""What a deletion audit says: its verdict, a line for each question, and what was assumed and left open."""

from __future__ import annotations

from miaudit.errors import counted, noun
from miaudit.result import Deletion, DeletionWork, Question, Receipt, Relearning, Result, Verdict
from miaudit.result.estimate import estimate, rounded
from miaudit.unlearning.measured import DeletionMeasured

MEMBERS = (
    "This is a deletion audit: where figures below speak of members, they are the deleted records, and the target is the model "
    "after the deletion; shadow models were trained on half of the audited records and went through the same deletion."
)
QUESTIONS = {
    "before": "Was there anything to forget? Deleted records against ones never trained on, by the model before.",
    "after": "Are the deleted records still recognisable? Against ones never trained on, by the model afterwards alone.",
    "pair": "Does the change give them away? Both models together, as somebody sees them who kept the earlier one.",
    "others_before": "How exposed were records that stayed, before?",
    "others_after": "How exposed are records that stayed, afterwards?",
}


def verdict(of: Deletion, finding: Verdict) -> str:
    """Return the sentence of the verdict, with the line on whoever kept the earlier model."""
    return " ".join([_first(of, finding), *finding.caveats, of.earlier_model])


def _first(of: Deletion, finding: Verdict) -> str:
    after, n = of.after, _n(of.after)
    was = "" if of.before is None else f" Before the deletion: {_auc(of.before)}."
    match of.kind:
        case "confounded":
            why = f"{_interval(finding)} without any model"
            if finding.basis == "pattern":
                why = "records of one side carry a pattern of their classes that the others lack"
            return (
                f"Confounded: deleted records and ones never trained on differ by themselves ({why}), so that nothing can be "
                f"said of the deletion; {n}."
            )
        case "not valid":
            return f"Audit not valid here: {_failed_control(of)}; {n}."
        case "over-forgotten":
            return (
                "Over-forgotten: the deleted records are recognisable because the model treats them worse than records it "
                f"never saw ({_auc(after)}; by the loss threshold AUC {_of(after.population)}, where 0.5 is neither); {n}.{was}"
            )
        case "traces remain":
            return f"Traces remain: {_traces(of)}; {n}.{_still_in(of)}{was}"
        case "no trace found":
            untold = (
                ""
                if of.before is not None
                else (" Whether there was anything to forget is not known: the model before was not at hand.")
            )
            return (
                f"No trace found above AUC {rounded(after.limit) if after.limit is not None else '-'} at 95 % in the model "
                f"afterwards, with {n}.{was}{untold}{_unlike(of)} That the records are gone cannot be shown by answers."
            )
        case "nothing to see here":
            before = (
                f"before {_limit(of.before)}"
                if of.before is not None and of.before.limit is not None
                else "before not told, as that audit is inconclusive"
            )
            return (
                "Nothing to see here: no trace of these records was found before the deletion either, so that none afterwards "
                f"shows nothing (AUC that could hide: {before}, after {_limit(after)}); {n}.{was}"
            )
        case _:
            return f"Inconclusive: {finding.reason or 'what the attacks find may be chance, or come from the sides'}; {n}.{was}"


def _failed_control(of: Deletion) -> str:
    if of.likeness is None or not of.likeness.control_fails:
        return "a control fails, so that what the attacks find may not come from the deleted records"
    return (
        f"{counted(of.likeness.models, 'model', 'models')} retrained without "
        f"the records {noun(of.likeness.models, 'fails', 'fail')} it too "
        f"(mean AUC {_of(of.likeness.control)}), so that the two sides differ in how hard they are"
    )


def _by_answers(of: Deletion) -> bool:
    """Whether the answers to the removed class show traces, and attacks on the deleted records none."""
    return of.answered is not None and of.after.kind not in ("leak", "inverted")


def _traces(of: Deletion) -> str:
    if of.answered is None or not _by_answers(of):
        return f"the deleted records are told from never-used ones with {_auc(of.after)}"
    return (
        f"the model still answers the removed class to {100 * of.answered:.0f} % of inputs of it that nobody "
        f"was trained on. Of the deleted records themselves: {_found(of.after)}"
    )


def _still_in(of: Deletion) -> str:
    share = of.still_in
    if _by_answers(of) or share is None or share.value is None:
        return ""
    return (
        f" About {_percent(share.value)} ({_percent(share.low)} to {_percent(share.high)}) of them still answer "
        "as trained records do."
    )


def earlier_model(pair: Question | None, measured: DeletionMeasured) -> str:
    """Return the line on whoever kept the earlier model, which no verdict leaves out."""
    if pair is None:
        return (
            "Whoever kept the earlier model may tell who was deleted: that was not measured, because "
            f"{measured.unasked.get('pair', 'the model before the deletion is not at hand')}."
        )
    if pair.kind in ("leak", "inverted"):
        return f"Whoever kept the earlier model can tell who was deleted: {_auc(pair)} by both models together."
    if pair.kind == "none detected":
        return (
            "Whoever kept the earlier model: nothing found above AUC "
            f"{_limit(pair)} by the fall of each record's confidence; the earlier model itself still holds what it held."
        )
    return (
        f"Whoever kept the earlier model may tell who was deleted: {_auc(pair)} by both models together, which the controls "
        "leave open."
    )


def sentences(of: Deletion) -> list[str]:
    """Return a sentence for every further question."""
    texts = []
    if of.before is not None:
        texts.append(f"Before: {_found(of.before)}.")
    texts.append(f"Afterwards: {_found(of.after)}; by the loss threshold alone AUC {_of(of.after.population)}.")
    if of.others_after is not None:
        change = of.exposure
        if change is None or change.value is None or change.low is None or change.high is None:
            texts.append(f"Records that stayed: {_found(of.others_after)} afterwards.")
        else:
            more = (
                "more exposed than before"
                if change.low > 0
                else "less exposed than before"
                if change.high < 0
                else ("no more exposed than before as far as can be seen")
            )
            texts.append(
                f"Records that stayed are {more}: {_auc(of.others_after)}, a change of {change.value:+z.3f} "
                f"({change.low:+z.3f} to {change.high:+z.3f})."
            )
    if of.likeness is not None:
        texts.append(_likeness(of))
    if of.receipt is not None:
        texts.append(_receipt(of.receipt))
    texts.append(_cost(of))
    if of.cost.relearning is not None:
        never_saw_it = of.receipt is not None and of.receipt.of_target and of.receipt.holds
        texts.append(relearning(of.cost.relearning, never_saw_it=never_saw_it))
    if of.cost.work is not None:
        texts.append(_work(of.cost.work))
    return texts


def _receipt(of: Receipt) -> str:
    alike = (
        f"the same bit for bit, in {'answers and weights' if of.weights else 'answers'}, as ones trained on what stays"
    )
    whose = "models, the audited one among them," if of.of_target else "shadow models"
    if of.holds:
        end = "" if of.of_target else ". That holds of the procedure; the audited model is not among them"
        return f"Receipt: after the deletion {of.identical:,} of {of.models:,} {whose} are {alike}{end}."
    return (
        f"Receipt refuted: after the deletion only {of.identical:,} of {of.models:,} {whose} are {alike}; answers "
        "differ by up to "
        f"{of.difference:.2g}. Either something outlives the deletion, or a training does not repeat itself from its seed."
    )


def relearning(of: Relearning, *, never_saw_it: bool) -> str:
    """Return the sentence on how fast a removed class is learned again, by a model that never saw it by its receipt or not."""
    if of.updates is None or of.retrained is None or of.p_value is None:
        return f"How fast the class is learned again could not be measured: {of.reason}."
    faster = "faster than" if of.p_value <= 0.05 else "not shown to be faster than"
    before = "" if of.before is None else f"; the model before {of.before}"
    chance = ". By its receipt the model is one that never saw it, too, so that this is chance"
    end = chance if never_saw_it and of.p_value <= 0.05 else ""
    return (
        f"Learned again: the class takes {counted(of.updates, 'update')}, "
        f"{counted(of.models, 'retrained model')} {of.retrained:g} in the median "
        f"({of.fewest} to {of.most}){before}. That is {faster} a model that never saw it (p = {of.p_value:.3f}){end}."
    )


def _work(of: DeletionWork) -> str:
    formula = "" if of.expected is None else f"; the closed formula expects {100 * of.expected:.1f} %"
    return (
        f"Work, in record-epochs as planned (a training that stops early takes fewer): {of.deletion:,.0f} for a deletion where "
        f"retraining takes {of.retraining:,.0f}, a share of {100 * of.share:.1f} % in the mean of "
        f"{counted(of.models, 'model')}{formula}."
    )


def _unlike(of: Deletion) -> str:
    """Return the sentence on a model that is not like retrained ones, which no verdict of absent traces leaves out."""
    like = of.likeness
    return "" if like is None or like.p_value is None or like.p_value > 0.05 else f" {_likeness(of)}"


def _likeness(of: Deletion) -> str:
    like = of.likeness
    assert like is not None
    if like.p_value is None or like.least is None:
        return f"Likeness to retrained models could not be measured: {like.reason}."
    what = "the removed class's inputs" if like.compared == "inputs of the class" else "the deleted records"
    far = (
        f"The model answers {what} unlike {like.models:,} retrained ones (p = {like.p_value:.3f})"
        if like.p_value <= 0.05
        else f"On {what} the model is not told from {like.models:,} retrained ones (p = {like.p_value:.3f})"
    )
    weak = "" if like.least <= 0.05 else f"; with so few, no p below {like.least:.3f} is possible"
    apart = (
        ""
        if like.apart is None or like.expected is None
        else (
            f"; on {100 * like.apart:.0f} % of them it lies outside all of theirs; of a retrained one "
            f"{100 * like.expected:.0f} % is expected"
        )
    )
    return f"{far}{apart}{weak}."


def _cost(of: Deletion) -> str:
    cost = of.cost
    parts = []
    for name, each in (("before", cost.before), ("afterwards", cost.after), ("retrained", cost.retrained)):
        if each is not None:
            rates = [
                f"{value:.3f} {what}"
                for what, value in (("on deleted", each.deleted), ("never trained on", each.never), ("kept", each.kept))
                if value is not None
            ]
            parts.append(f"{name} {', '.join(rates)}")
    return f"Accuracy: {'; '.join(parts)}."


def threat_model(measured: DeletionMeasured, after: Result) -> list[str]:
    """Return what the attackers are taken to know."""
    access = (
        "the model afterwards alone"
        if measured.pair is None
        else ("(a) the model afterwards alone; (b) also the model before, for the third question")
    )
    return [
        "Question: was this record, whose true class is known, trained on and then deleted, or never trained on?",
        f"Access: {access}; one query per record and model, answered with {_answered(after)}.",
        "Knowledge: the training recipe, the deletion procedure, and how many records were deleted. Shadow models were trained "
        "on a random half of the audited records, and made to forget them by the same procedure.",
        "Each question holds at 95 % by itself; attacks within a question are corrected for their number.",
        "Deletion is equally likely before the attack: deleted and never trained records are evaluated in equal weight.",
    ]


def _answered(after: Result) -> str:
    capability = after.target.capability
    return {
        "labels": "the predicted class alone",
        "topk": "the probabilities of a few classes",
        "rounded": "a probability per class, with few decimals",
    }.get(capability or "", "a probability per class")


def not_tested(measured: DeletionMeasured) -> list[str]:
    """Return what a deletion audit leaves open."""
    first = (
        ["Whether the stored answers, and the states that the file gives, are true."]
        if measured.stored
        else [
            "Attackers who see weights or gradients: from two versions of the weights records themselves can be recovered."
        ]
    )
    return [
        *first,
        "Copies, caches and logs of the records, models distilled from the earlier one, and statistics it was trained with.",
        "Requests that depend on what the model answered before (adaptive deletions).",
        "Whether the records are gone: the same model can come from other data, so answers can refute a deletion and never "
        "prove one (Thudi et al. 2022).",
        "Other trainings and deletions: the figures are of this one target.",
    ]


def _found(question: Question) -> str:
    match question.kind:
        case "leak":
            return f"told from never-used ones with {_auc(question)}"
        case "inverted":
            return f"told from never-used ones the wrong way round, {_auc(question)}"
        case "none detected":
            return f"nothing found above AUC {_limit(question)} ({_auc(question)})"
        case other:
            return f"{other} ({_auc(question)})"


def _auc(question: Question) -> str:
    return f"AUC {_of(question.auc)} ('{question.attack}')" if question.attack else "no attack that could be measured"


def _of(area: object) -> str:
    return estimate(*(getattr(area, name) for name in ("value", "low", "high")))


def _interval(finding: Verdict) -> str:
    return "AUC -" if finding.figure is None else f"AUC {_of(finding.figure)}"


def _limit(question: Question | None) -> str:
    return "-" if question is None or question.limit is None else rounded(question.limit)


def _percent(value: float | None) -> str:
    """Return a share, whose estimate may lie below 0, where no share lies."""
    return "-" if value is None else f"{100 * max(value, 0.0):.0f} %"


def _n(question: Question) -> str:
    unit = "people" if question.n.unit == "person" else "records"
    return f"n = {question.n.members:,} deleted and {question.n.nonmembers:,} never trained {unit}"
