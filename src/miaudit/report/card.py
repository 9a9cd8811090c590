"""The section of a model card: what an audit found, as Markdown with the ``model-index`` that model hubs read."""

from __future__ import annotations

import json
from typing import Any

from miaudit.report.decision import plain_markdown
from miaudit.report.plain import meaning, rate_of, who_is_named
from miaudit.result import Result
from miaudit.result.estimate import estimate
from miaudit.visible import visible


def model_card(result: Result, *, name: str | None = None) -> str:
    """Return a section of a model card, which begins with a block of metadata.

    Parameters
    ----------
    result
        Of the audit.
    name
        Of the model in the index; default: the target's description.
    """
    name = visible(name or result.target.description)
    index = {"model-index": [{"name": name, "results": [_entry(result)]}]}
    lines = [
        "---",
        json.dumps(index, ensure_ascii=True),
        "---",
        "",
        "## What it gives away about its training records",
        "",
    ]
    lines += [plain_markdown(result.verdict), ""]
    for text in (meaning(result), _accusations(result)):
        lines += [plain_markdown(text[0].upper() + text[1:]) + ".", ""] if text else []
    lines += ["| attack | AUC (95 %) | TPR at FPR 10 % | TPR at FPR 1 % |", "|---|---|---|---|"]
    for attack in result.attacks:
        area = attack.of_unit.auc
        if attack.status == "ran" and area is not None:
            rates = (rate_of(attack, fpr) for fpr in (0.1, 0.01))
            cells = [attack.name, estimate(area.value, area.low, area.high), *rates]
            lines.append(f"| {' | '.join(map(plain_markdown, cells))} |")
    lines += ["", "Not tested:", "", *(f"* {plain_markdown(text)}" for text in result.not_tested)]
    tool = f"miaudit {result.provenance.versions.get('miaudit', '')}".strip()
    lines += [
        "",
        f"Audited with {plain_markdown(tool)}, {plain_markdown(result.provenance.started or 'date unknown')}.",
    ]
    return "\n".join(lines) + "\n"


def _accusations(result: Result) -> str | None:
    return None if result.accusations is None else who_is_named(result.accusations)


def _entry(result: Result) -> dict[str, Any]:
    lead, metrics = result.lead, []
    if lead is not None and lead.of_unit.auc is not None and lead.of_unit.auc.value is not None:
        area = lead.of_unit.auc
        metrics.append(
            {"type": "roc_auc", "name": f"membership inference, AUC of {lead.name}", "value": area.value}
            | {"args": {"low": area.low, "high": area.high, "confidence": lead.confidence}}
        )
        metrics += [
            {
                "type": "recall",
                "name": f"membership inference, TPR of {lead.name} at FPR {each.fpr:g}",
                "value": each.tpr,
            }
            for each in lead.of_unit.tpr_at_fpr
            if each.tpr is not None and each.resolvable
        ]
    if result.target.test_accuracy is not None:
        metrics.append({"type": "accuracy", "name": "accuracy on non-members", "value": result.target.test_accuracy})
    return {
        "task": {"type": "membership-inference", "name": "Membership inference audit"},
        "dataset": {"type": visible(result.data.name), "name": visible(result.data.name)},
        "metrics": metrics,
    }
