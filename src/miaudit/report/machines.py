"""A gate's decision for machines: JUnit XML for a test report, SARIF 2.1.0 for code scanning."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from miaudit import __version__
from miaudit.gate import Check, Decision
from miaudit.visible import visible

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_RULES = {
    "verdict": "The verdict of the audit stands, and is no leak where the policy bears none.",
    "attacks": "Enough attacks were run, and none failed.",
    "strongest": "The strongest documented attack for such answers and shadow models was run.",
    "required": "The attacks that the policy names were run.",
    "control": "The controls that the policy asks for were possible and hold.",
    "auc": "The AUC of every attack lies below the margin.",
    "tpr": "The TPR of every attack at a low FPR lies below the margin.",
    "named": "The share of members that can be named lies below the margin.",
    "slices": "The AUC of the leading attack lies below the margin in every slice.",
    "epsilon": "A canary audit shows no epsilon above the limit.",
    "rise": "No attack finds more than in the baseline.",
}


def junit(decision: Decision) -> str:
    """Return a decision as JUnit XML; what is not known is an error there, which no report counts as passed."""
    failed, unknown = len(decision.those("fail")), len(decision.those("inconclusive"))
    counts = f'tests="{len(decision.checks)}" failures="{failed}" errors="{unknown}" skipped="0"'
    name = _attribute(f"miaudit gate {decision.policy}")
    cases = "".join(_case(decision, check) for check in decision.checks)
    notes = "".join(f"{_xml(remark)}\n" for remark in decision.remarks)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<testsuites name={name} {counts}>\n"
        f"  <testsuite name={name} {counts}>\n{cases}"
        f"    <system-out>{notes}</system-out>\n"
        "  </testsuite>\n</testsuites>\n"
    )


def _case(decision: Decision, check: Check) -> str:
    attributes = f"classname={_attribute(f'{decision.policy}.{_rule(check)}')} name={_attribute(check.name)}"
    if check.outcome == "pass":
        return f"    <testcase {attributes}/>\n"
    tag = "failure" if check.outcome == "fail" else "error"
    inner = (
        f"<{tag} type={_attribute(check.outcome)} message={_attribute(check.sentence)}>{_xml(check.sentence)}</{tag}>"
    )
    return f"    <testcase {attributes}>{inner}</testcase>\n"


def _xml(text: str) -> str:
    return escape(_NO_XML.sub("\ufffd", visible(text)))


def _attribute(text: str) -> str:
    return quoteattr(_NO_XML.sub("\ufffd", visible(text)))


def sarif(decision: Decision, *, path: str = "result.json") -> str:
    """Return a decision as SARIF 2.1.0: a failure is an error, what is not known a warning; passes are not listed.

    Parameters
    ----------
    decision
        Of a gate.
    path
        Of the result, as the repository that is scanned has it.
    """
    open_ = [*decision.those("fail"), *decision.those("inconclusive")]
    rules = sorted({_rule(check) for check in open_})
    driver = {
        "name": "miaudit",
        "version": __version__,
        "rules": [{"id": f"miaudit/{rule}", "shortDescription": {"text": _RULES[rule]}} for rule in rules],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"miaudit/{quote(visible(decision.policy))}/"},
        "invocations": [{"executionSuccessful": True, "exitCode": decision.exit_code}],
        "results": [_sarif_result(decision, check, rules, path) for check in open_],
        "properties": {"outcome": decision.outcome, "needed": decision.needed},
    }
    document = {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _sarif_result(decision: Decision, check: Check, rules: list[str], path: str) -> dict[str, Any]:
    rule = _rule(check)
    identity = json.dumps([decision.policy, check.limit, check.about])
    location = {"artifactLocation": {"uri": quote(path)}, "region": {"startLine": 1}}
    return {
        "ruleId": f"miaudit/{rule}",
        "ruleIndex": rules.index(rule),
        "level": "error" if check.outcome == "fail" else "warning",
        "message": {"text": visible(f"{check.outcome}: {check.sentence}")},
        "locations": [{"physicalLocation": location}],
        "partialFingerprints": {"miaudit/v1": hashlib.sha256(identity.encode()).hexdigest()},
    }


def _rule(check: Check) -> str:
    return check.limit.split(" ")[0]
