"""A grid of mitigations: lines for a terminal, Markdown, and the frontier of leak against accuracy as SVG."""

from __future__ import annotations

from markupsafe import Markup

from miaudit.errors import counted
from miaudit.mitigations import Grid, MitigationRow
from miaudit.mitigations.document import Attacker, AttackFigures
from miaudit.report.decision import plain_markdown
from miaudit.report.frontier import frontier
from miaudit.result import Interval, PointMetrics
from miaudit.visible import visible

_HEAD = (
    "mitigation",
    "attacker",
    "test acc",
    "cal. error",
    "prec",
    "recall",
    "att. acc",
    "AUC",
    "TPR 1 %",
    "0.1 %",
    "named",
)
_LEARNED = "shokri"


def text(grid: Grid) -> str:
    """Return a grid as lines: one for each mitigation and attacker, as Table III of Shokri et al. (2017) has it."""
    rows = [_HEAD, *(_cells(grid, row, attacker) for row in grid.rows for attacker in _attackers(row))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    lines = [grid.title, "", *(_padded(row, widths) for row in rows), "", *_notes(grid), "", grid.recommendation.text]
    return "\n".join(visible(line) for line in lines) + "\n"


def markdown(grid: Grid) -> str:
    """Return a grid as a table in Markdown, with the interval of each AUC and what each mitigation costs."""
    lines = [
        f"# {plain_markdown(grid.title)}",
        "",
        plain_markdown(grid.recommendation.text),
        "",
        "| mitigation | attacker | test accuracy | costs (points) | cal. error | precision | recall | attack accuracy | "
        "AUC (95 %) | effect | TPR at 1 % | at 0.1 % | named | bound | most exposed slice | canaries | s a model |",
        "|---|---|" + "--:|" * 15,
    ]
    for row in grid.rows:
        lines += [f"| {' | '.join(map(plain_markdown, _wide(grid, row, attacker)))} |" for attacker in _attackers(row)]
    effect = (
        "effect: what the 95 % interval of that attack's change shows by itself; of many rows some show one by chance"
    )
    return "\n".join([*lines, "", *(f"* {plain_markdown(note)}" for note in (*_notes(grid), effect))]) + "\n"


def figure(grid: Grid, *, alone: bool = True) -> Markup:
    """Return the frontier: the AUC of the strongest attacker by test accuracy, with the interval that holds for all attacks.

    ``alone``: it is a file of its own, and not a part of the page.
    """
    loudest = [_loudest(row) for row in grid.rows]
    points = [
        (row.mitigation, row.test_accuracy.value, None if each is None else each.auc_corrected)
        for row, each in zip(grid.rows, loudest, strict=True)
    ]
    return frontier(points, limit=grid.limit, key="frontier", alone=alone)


def _attackers(row: MitigationRow) -> list[Attacker]:
    return ["adaptive", "naive"] if any(each.attacker == "naive" for each in row.attacks) else ["adaptive"]


def _loudest(row: MitigationRow, attacker: Attacker = "adaptive") -> AttackFigures | None:
    """Return the attack of the highest AUC, which only a corrected interval holds for."""
    ran = [
        each
        for each in row.attacks
        if each.attacker == attacker and each.auc is not None and each.auc.value is not None
    ]
    return max(ran, key=lambda each: (each.auc and each.auc.value) or 0.0, default=None)


def _cells(grid: Grid, row: MitigationRow, attacker: Attacker) -> tuple[str, ...]:
    reference, loudest = row.figures(_learned(grid), attacker), _loudest(row, attacker)
    first = attacker == "adaptive"
    pooled = None if reference is None else reference.pooled
    return (
        row.mitigation if first else "",
        attacker,
        _f(row.test_accuracy.value) if first else "",
        _f(row.calibration_error.value) if first else "",
        *_decisions(pooled),
        "-" if loudest is None or loudest.auc is None else f"{_interval(loudest)} {loudest.attack}",
        *_rates(loudest),
        _named(loudest),
    )


def _wide(grid: Grid, row: MitigationRow, attacker: Attacker) -> tuple[str, ...]:
    reference, loudest = row.figures(_learned(grid), attacker), _loudest(row, attacker)
    change = row.accuracy_change
    cost = "-" if change.value is None else f"{-100 * change.value:z.1f}"
    if change.low is not None and change.high is not None:
        cost += f" ({-100 * change.high:z.1f} to {-100 * change.low:z.1f})"
    exposed, canaries = row.exposed, row.canaries
    slice_ = "-" if exposed is None else f"{exposed.column} {exposed.group}: {_ends(exposed.auc)}"
    return (
        row.mitigation,
        attacker,
        _ends(row.test_accuracy),
        cost,
        _ends(row.calibration_error),
        *_decisions(None if reference is None else reference.pooled),
        "-" if loudest is None else f"{_interval(loudest)} {loudest.attack}",
        "-" if loudest is None or loudest.effect is None else loudest.effect,
        *_rates(loudest),
        _named(loudest),
        f"{_f(row.bound)} {row.standing}",
        slice_,
        "-" if canaries is None else f"{canaries.attack}: {_ends(canaries.auc)}",
        "-" if row.seconds is None else f"{row.seconds:.2g}",
    )


def _learned(grid: Grid) -> str:
    """Return the attack whose decisions are shown: the 2017 attack's where it ran, else those of the first that did."""
    out = _not_run(grid)
    ran = [name for name in grid.attacks if name not in out] or grid.attacks
    return next((name for name in ran if name.split()[0] == _LEARNED), ran[0])


def _not_run(grid: Grid) -> dict[str, str]:
    """Return why the attacks that ran in no row did not."""
    reasons = {each.attack: each.reason for row in grid.rows for each in row.attacks if each.status != "ran"}
    ran = {each.attack for row in grid.rows for each in row.attacks if each.status == "ran"}
    return {name: reasons.get(name) or "it has nothing to read here" for name in grid.attacks if name not in ran}


def _decisions(pooled: PointMetrics | None) -> tuple[str, str, str]:
    return ("-", "-", "-") if pooled is None else (_f(pooled.precision), _f(pooled.recall), _f(pooled.accuracy))


def _rates(attack: AttackFigures | None) -> tuple[str, str]:
    points = {} if attack is None else {point.fpr: point for point in attack.tpr_at_fpr}
    one, tenth = (points.get(fpr) for fpr in (0.01, 0.001))
    cells = [
        "-" if each is None or each.tpr is None else f"{100 * each.tpr:.1f} %{'' if each.resolvable else '*'}"
        for each in (one, tenth)
    ]
    return cells[0], cells[1]


def _named(attack: AttackFigures | None) -> str:
    accusations = None if attack is None else attack.named
    return (
        "-" if accusations is None or accusations.named is None else f"{accusations.of_members} of {accusations.named}"
    )


def _notes(grid: Grid) -> list[str]:
    attack, out = _learned(grid), _not_run(grid)
    decisions = "" if attack in out else f"precision, recall and accuracy are those of {attack}; "
    notes = [
        f"{counted(grid.members, 'member')} and {counted(grid.nonmembers, 'non-member')}, "
        f"{counted(grid.shadows, 'shadow model')}; {decisions}AUC, TPR and named of the attack of the highest AUC, at a level "
        "for all attacks of the row",
        "named: how many of those that the attack can name at a tenth of wrong names are members, and how many it names",
        "adaptive: shadow models carry the mitigation; naive: they do not",
    ]
    notes += [f"{name} did not run: {reason}" for name, reason in out.items()]
    if any(not point.resolvable for row in grid.rows for each in row.attacks for point in each.tpr_at_fpr):
        notes.append("* too few non-members, or tied scores, to resolve this rate")
    private = [row for row in grid.rows if row.privacy is not None]
    for row in private:
        privacy = row.privacy
        assert privacy is not None
        outside = f"; {privacy.note}" if privacy.note else ""
        notes.append(f"{row.mitigation}: epsilon {privacy.epsilon:.3g} at delta {privacy.delta:.2g}{outside}")
    return [*notes, *grid.warnings]


def _interval(attack: AttackFigures) -> str:
    auc = attack.auc_corrected or attack.auc
    return "-" if auc is None else _ends(auc)


def _ends(interval: Interval) -> str:
    if interval.value is None:
        return "-"
    ends = "" if interval.low is None or interval.high is None else f" ({_f(interval.low)} to {_f(interval.high)})"
    return f"{_f(interval.value)}{ends}"


def _f(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".removeprefix("0")


def _padded(cells: tuple[str, ...], widths: list[int]) -> str:
    words = {0, 1, 7}
    return "  ".join(
        cell.ljust(width) if i in words else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()
