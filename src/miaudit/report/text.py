"""Every figure of a result for the terminal, to be read, piped and pasted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from miaudit.errors import counted
from miaudit.report.plain import accuracies, as_pattern, bystanders, meaning, next_step, pattern_figures, who_is_named
from miaudit.result import AttackResult, Interval, PatternControl, Result, SplitResult, TargetResult, TprAtFpr
from miaudit.result.estimate import estimate, high_end, low_end, rounded
from miaudit.visible import visible

_SHOWN_WARNINGS = 4
_TABLE_WIDTH = 78  # narrower than this, figures would be cut: one line per figure instead
_WIDE = 136  # from this width on intervals stand beside their figures, else below them
_HEADERS = ("prec.", "recall", "acc.", "TPR@1%", "TPR@.1%")
_AUC = 3  # where the AUC comes in
_NO_INTERVAL = "none"
_FPRS = (0.01, 0.001)
_SHOWN_GROUPS = 6
_INDENT = 10  # of a labelled paragraph


def full(result: Result, console: Console) -> None:
    """Print verdict, target, all attacks, controls and warnings; undefined figures are ``-``, unresolvable ones ``*``.

    Parameters
    ----------
    result
        The audit's result.
    console
        Where to print; its width, colour and encoding are honoured.
    """
    say(console, result.title, style="bold")
    say(console, result.verdict)
    say(console, "")
    if result.deletion is not None:
        for sentence in result.deletion.sentences:
            item(console, "Deletion", sentence)
        say(console, "")
    for label, text in _models(result):
        item(console, label, text)
    say(console, "")
    ran = [attack for attack in result.attacks if attack.status == "ran"]
    _attacks(result, ran, console)
    for label, text in _not_run(result.attacks):
        item(console, label, text)
    say(console, "")
    for label, text in _further(result, ran):
        item(console, label, text)
    end(result, console, _controls(result), warnings=_SHOWN_WARNINGS)


def end(result: Result, console: Console, controls: str, *, warnings: int) -> None:
    """Print controls, meaning, next step, and so many warnings."""
    item(console, "Controls", controls)
    if means := meaning(result):
        item(console, "Means", means)
    item(console, "Next", next_step(result))
    for warning in result.warnings[:warnings]:
        item(console, "Warning", warning, style="yellow")
    if (more := len(result.warnings) - warnings) > 0:
        item(console, "Warning", f"{more:,} more in the report", style="yellow")


def _models(result: Result) -> list[tuple[str, str]]:
    """Return what the target and its shadow models are, and who was audited."""
    target, shadows = result.target, result.shadows
    queries = "queries not counted" if target.queries is None else counted(target.queries, "query", "queries")
    models = f"{shadows.trained:,} of {shadows.asked:,} trained{_shadow_accuracy(result)}; {shadows.recipe}"
    return [
        ("Target", f"{_accuracy(target, result.deletion is not None)}{target.outputs}, {queries}"),
        ("Shadows", f"{models}{_from_store(result)}" if shadows.asked else "none"),
        ("Audited", _audited(result.split)),
    ]


def _attacks(result: Result, ran: list[AttackResult], console: Console) -> None:
    """Print the figures of attacks by record and by person, and why some are missing or have no interval."""
    if console.width >= _TABLE_WIDTH:
        console.print(_table(ran, console), soft_wrap=False)
    else:
        _list(ran, console)
    if of_people := [attack for attack in ran if attack.person is not None]:
        say(console, "")
        counts = ", as the verdict counts" if result.split.unit == "person" else ""
        say(console, f"Per person, by all records together{counts}")
        for attack in of_people:
            item(console, attack.name, _of_person(attack))
        say(console, "")
    if any(_unresolvable(attack, fpr) for attack in ran for fpr in _FPRS):
        say(console, "* too few non-members, or tied scores, to resolve this false positive rate", style="dim")
    if reason := _no_interval(ran):
        say(console, f"no interval: {reason}", style="dim")
    if missing := "; ".join(f"'{each.name}' {each.missing:,}" for each in ran if each.missing):
        item(console, "Missing", f"records that an attack could not score, for lack of shadow models: {missing}")


def _accuracy(target: TargetResult, deletion: bool) -> str:
    if target.gap is None:
        if target.train_error is not None:
            return f"mean absolute error {target.train_error:.4g} on members, {target.test_error:.4g} on others; "
        return f"accuracy not known: {target.accuracy_reason}; "
    train, test = accuracies(target)
    if deletion:
        return f"accuracy {train} on deleted records, {test} on ones never trained on; {target.classes} classes, "
    return f"train accuracy {train}, test {test}, gap {target.gap:z.3f}; {target.classes} classes, "


def _shadow_accuracy(result: Result) -> str:
    shadows = result.shadows
    if shadows.train_error is not None:
        return (
            f", mean absolute error {shadows.train_error:.4g} on training records, {shadows.test_error:.4g} on others"
        )
    if result.target.gap is None:
        return ""
    return f", train accuracy {estimate(shadows.train_accuracy)}, test {estimate(shadows.test_accuracy)}"


def _from_store(result: Result) -> str:
    cost, again = result.provenance.shadow_cost, result.provenance.retrained
    count = None if cost is None else cost.from_store
    checked = f", {len(again.models)} of them trained again and found the same" if again else ""
    return f"; {counted(count, 'model was', 'models were')} found in the folder{checked}" if count else ""


def _audited(split: SplitResult) -> str:
    least, people = split.evaluated_per_side, split.people
    sides = f"{counted(split.members, 'member')} and {counted(split.nonmembers, 'non-member')}"
    if people is not None:
        sides += f"; {people['members']:,} and {counted(people['nonmembers'], 'person', 'people')}"
    return (
        sides if split.members == split.nonmembers == least else f"{sides}; decisions are judged on {least:,} of each"
    )


def _not_run(attacks: list[AttackResult]) -> list[tuple[str, str]]:
    """Return a line for each reason why attacks were skipped, and one for each failed attack."""
    by_reason: dict[str, list[str]] = {}
    for attack in attacks:
        if attack.status == "skipped":
            by_reason.setdefault(attack.reason or "no reason given", []).append(attack.name)
    failed = [
        (attack.name, f"failed: {attack.reason or 'no reason given'}")
        for attack in attacks
        if attack.status == "failed"
    ]
    return [("Skipped", f"{', '.join(names)}: {reason}") for reason, names in by_reason.items()] + failed


def _further(result: Result, ran: list[AttackResult]) -> list[tuple[str, str]]:
    """Return which attack leads and why, what its accusations are worth, groups, and whether ranks hold."""
    best = result.lead
    cautions = (each.caution for each in (best, result.accusations, *result.groups) if each is not None)
    caution = next((each for each in cautions if each), None)
    mark = " (see Caution)" if caution else ""
    lines = [("Caution", f"PPV, list, epsilon and groups: {caution}")] if caution else []
    if best is not None and result.headline_reason is not None and len(ran) > 1:
        why = f"it is {result.headline_reason}; that another scores higher here may be chance"
        lines.append(("Choice", f"'{best.name}' leads: {why}"))
    if best is not None and best.ppv:
        shares = ", ".join(f"{estimate(each.value, each.low)} at {100 * each.prior:g} %" for each in best.ppv)
        of = f"the {'people' if best.unit == 'person' else 'records'} that '{best.name}' accuses"
        lines.append(("PPV", f"share of members among {of}, by their share among those tried: {shares}{mark}"))
    if result.accusations is not None:
        lines.append(("List", who_is_named(result.accusations) + mark))
    if best is not None and best.epsilon is not None:
        e = best.epsilon
        name = f"{e.name} of '{best.name}' {e.value:.2f}"
        says = "a smaller epsilon would not allow an attack this good; 0 is none seen"
        lines.append(("Epsilon", f"{name}: {says}, {e.ceiling:.2f} the most that so many records could show{mark}"))
    for grouping in result.groups:
        above = [group.group for group in grouping.groups if group.above_chance]
        names = ", ".join(above[:_SHOWN_GROUPS]) + (", ..." if len(above) > _SHOWN_GROUPS else "")
        count = f"{len(above)} of {len(grouping.groups)} above chance after correction"
        lines.append(("Groups", f"by {grouping.column}: {count}{f' ({names})' if above else ''}{mark}"))
    return [*lines, *_ranks(result)]


def _ranks(result: Result) -> list[tuple[str, str]]:
    """Return whether two halves of the shadow models order the records alike, where that is known."""
    stability = result.stability
    own = None if stability is None else next((e for e in stability.shadows if e.attack == stability.attack), None)
    if own is None or own.spearman is None:
        return []
    halves = f"two halves of the shadow models order the records by '{own.attack}'"
    return [("Ranks", f"{halves} with a rank correlation of {own.spearman:z.2f} (1: the same order)")]


def _table(attacks: list[AttackResult], console: Console) -> Table:
    """One line an attack where there is room for intervals beside the figures, else two, with the intervals below."""
    wide = console.width >= _WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("attack", overflow="fold")
    for header in (*_HEADERS[:_AUC], _auc_header(attacks), *_HEADERS[_AUC:]):
        table.add_column(header, justify="right", no_wrap=True)
    for attack in attacks:
        figures = _figures(attack)
        cells = [each.inline(short=True) if wide else each.stacked() for each in figures]
        table.add_row(Text(encodable(attack.name, console)), *map(Text, cells))
    return table


def _list(attacks: list[AttackResult], console: Console) -> None:
    headers = ("precision", "recall", "accuracy", _auc_header(attacks), *_HEADERS[_AUC:])
    for attack in attacks:
        say(console, attack.name, style="bold")
        for header, figure in zip(headers, _figures(attack), strict=True):
            say(console, f"  {header} {figure.inline()}")


def _auc_header(attacks: list[AttackResult]) -> str:
    return f"AUC ({100 * (attacks[0].confidence if attacks else 0.95):g} %)"


class Figure(NamedTuple):
    """An estimate in a table, with its interval; ``mark`` is a star where its rate cannot be resolved."""

    value: float | None
    low: float | None
    high: float | None
    digits: int = 3
    mark: str = ""

    def alone(self) -> str:
        """Return the estimate without its interval."""
        return "-" if self.value is None else rounded(self.value, self.digits)

    def inline(self, *, short: bool = False, digits: int | None = None) -> str:
        """Return the estimate with its interval beside it, of so many digits."""
        if self.value is None:
            return "-" + _blank(self.mark)
        if self.low is None or self.high is None:
            return rounded(self.value, self.digits) + self.mark
        ends = self._ends(digits) if short else f"{low_end(self.low, self.digits)}-{high_end(self.high, self.digits)}"
        return f"{self.value:.{self.digits}f}{self.mark} ({ends})"

    def stacked(self) -> str:
        """Return the estimate with its interval below it."""
        if self.value is None:
            return "-" + _blank(self.mark)
        value = f"{self.value:.{self.digits}f}" if self.low is not None else rounded(self.value, self.digits)
        return f"{value}{self.mark}\n{self._ends(3) or _NO_INTERVAL}"

    def _ends(self, digits: int | None = None) -> str:
        """Return the interval without leading zeros, to save room; low rates keep all their digits."""
        if self.low is None or self.high is None:
            return ""
        digits = self.digits if digits is None or self.high < 0.1 else digits
        ends = low_end(self.low, digits), high_end(self.high, digits)
        return "-".join(end.removeprefix("0") for end in ends)


def _blank(mark: str) -> str:
    return " " * len(mark)  # keeps the digits of a column in line


def _figures(attack: AttackResult) -> list[Figure]:
    p, area = attack.pooled, attack.auc
    empty = Figure(None, None, None)
    decisions = (
        [empty] * 3
        if p is None
        else [
            Figure(p.precision, p.precision_low, p.precision_high),
            Figure(p.recall, p.recall_low, p.recall_high),
            Figure(p.accuracy, p.accuracy_low, p.accuracy_high),
        ]
    )
    return [*decisions, as_figure(area), *(rate_at(attack.tpr_at_fpr, fpr) for fpr in _FPRS)]


def _of_person(attack: AttackResult) -> str:
    assert attack.person is not None
    rates = [
        f"TPR {' '.join(rate_at([p], p.fpr).inline().split())} at {100 * p.fpr:g} %"
        for p in attack.person.tpr_at_fpr
        if p.tpr is not None
    ]
    return f"AUC {_interval(attack.person.auc)}; {', '.join(rates)}"


def as_figure(interval: Interval | None) -> Figure:
    """Return an interval as a figure of a table."""
    return Figure(None, None, None) if interval is None else Figure(interval.value, interval.low, interval.high)


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else estimate(interval.value, interval.low, interval.high)


def rate_at(points: Sequence[TprAtFpr], fpr: float) -> Figure:
    """Return the true positive rate at a false positive rate, with its interval."""
    for p in points:
        if p.fpr == fpr and p.tpr is not None:
            return Figure(p.tpr, p.low, p.high, 4, " " if p.resolvable else "*")
    return Figure(None, None, None, 4, " ")


def _no_interval(attacks: list[AttackResult]) -> str | None:
    """Return why decisions have no interval, where they have none."""
    return next((p.interval_reason for attack in attacks if (p := attack.pooled) and p.interval_reason), None)


def _unresolvable(attack: AttackResult, fpr: float) -> bool:
    return any(point.fpr == fpr and point.tpr is not None and not point.resolvable for point in attack.tpr_at_fpr)


def _controls(result: Result) -> str:
    null, nulls, blind = result.controls.null, result.controls.nulls, result.controls.blind
    shuffled = "not run"
    if null is not None:
        open_ = f"check not possible: {null.reason}"
        outcome = {True: "at chance", False: "NOT AT CHANCE", None: open_}[null.at_chance]
        shuffled = f"AUC {_interval(null.auc)}, {outcome}"
        broken = [each.attack for each in nulls if each.at_chance is False]
        if null.first_auc is not None:
            shuffled += f" when shuffled once more, after {_interval(null.first_auc)}"
        if nulls and null.at_chance is not None:
            shuffled += f" ({null.attack}; {len(nulls) - len(broken)} of {counted(len(nulls), 'other')} at chance)"
    open_ = f"check not possible: {blind.reason or 'no reason given'}"
    verdict = {True: "CONFOUNDED", False: "not confounded", None: open_}[blind.confounded]
    return (
        f"shuffled membership {shuffled}; {blind.subject} alone, no model: AUC {_interval(blind.auc)}, {verdict}; "
        f"{_pattern(result.controls.pattern)}{bystanders(result)}; baseline is {result.controls.baseline}"
    )


def _pattern(pattern: PatternControl | None) -> str:
    if pattern is None:
        return ""
    figure = f": {pattern_figures(pattern)}" if pattern.excess.value is not None else ""
    return f"pattern of the classes in the records of one side {as_pattern(pattern)}{figure}; "


def item(console: Console, label: str, text: str, *, style: str = "") -> None:
    """Print a labelled paragraph with a hanging indent."""
    indent = max(_INDENT, len(label) + 2)
    for i, line in enumerate(_lines(text, console, indent=indent)):
        head = Text(encodable("" if i else label, console).ljust(indent), style=style or "bold")
        console.print(Text.assemble(head, line))


def say(console: Console, text: str, *, style: str = "") -> None:
    """Print a paragraph of plain text."""
    for line in _lines(text, console):
        console.print(Text(line, style=style))


def _lines(text: str, console: Console, *, indent: int = 0) -> list[str]:
    """Return the lines of a paragraph, without blanks at their ends."""
    width = max(console.width - indent, 1)
    return [line.plain.rstrip() for line in Text(encodable(text, console)).wrap(console, width)] or [""]


def encodable(text: str, console: Console) -> str:
    """Write out what cannot be seen, and what the console's encoding cannot write."""
    return visible(text).encode(console.encoding, "backslashreplace").decode(console.encoding)
