"""A result in a notebook: a few lines of HTML."""

from __future__ import annotations

from html import escape

from miaudit.report.plain import accuracies
from miaudit.result import Result
from miaudit.result.estimate import estimate
from miaudit.visible import visible


def compact(result: Result) -> str:
    """Return the result as a few lines of HTML for a notebook: verdict, one row per attack, warnings."""

    def cell(value: float | None, low: float | None, high: float | None) -> str:
        return f"<td>{estimate(value, low, high).replace('-', '&ndash;')}</td>"

    rows = []
    for attack in result.attacks:
        if attack.status != "ran" or attack.auc is None:
            text = f"{attack.status}: {attack.reason or 'no figures'}"
            cells = f'<td colspan="4" style="text-align:left">{escape(text)}</td>'
        else:
            p, area = attack.pooled, attack.auc
            figures: list[tuple[float | None, ...]] = [(None, None, None)] * 3  # an attack that only ranks
            if p is not None:
                figures = [
                    (p.precision, p.precision_low, p.precision_high),
                    (p.recall, p.recall_low, p.recall_high),
                    (p.accuracy, p.accuracy_low, p.accuracy_high),
                ]
            cells = "".join(cell(*each) for each in (*figures, (area.value, area.low, area.high)))
        rows.append(f'<tr><th scope="row" style="text-align:left">{escape(attack.name)}</th>{cells}</tr>')
    heads = "".join(f'<th scope="col">{text}</th>' for text in ("Attack", "Precision", "Recall", "Accuracy", "AUC"))
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in result.warnings)
    train, test = accuracies(result.target)
    names = ("train accuracy", "test") if result.deletion is None else ("accuracy on deleted records", "on others")
    page = (
        f"<div><p><strong>{escape(result.title)}</strong><br>{escape(result.verdict)}</p>"
        + (f"<p>Target: {names[0]} {escape(train)}, {names[1]} {escape(test)}</p>" if result.target.classes else "")
        + f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        + (f"<p>Warnings</p><ul>{warnings}</ul>" if warnings else "")
        + "</div>"
    )
    return visible(page, lines=True)
