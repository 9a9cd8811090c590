"""A gate's decision for people: lines for a terminal and a log, Markdown for a pull request or a job summary."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from miaudit.errors import counted
from miaudit.gate import Check, Decision, Outcome
from miaudit.visible import visible

_MOST = 30  # rows of one outcome in a table
_LISTED = 5  # names after the first
_MARKS = re.compile(r"[\\`*_\[\]|~@#]")  # what Markdown, or a host of code, reads as a command
_ORDER: tuple[Outcome, ...] = ("fail", "inconclusive")
_NOUNS = {"person": "people", "record": "records"}


def text(decision: Decision) -> str:
    """Return a decision as lines: outcome, what decided it, what a pass would have needed, and what to know beside it."""
    lines = [
        f"Gate       {decision.outcome}: policy '{decision.policy}'" + _if(decision.purpose, f" ({decision.purpose})"),
        f"           {decision.title}; {_sizes(decision)}",
    ]
    for outcome in _ORDER:
        for checks in by_limit(decision, outcome):
            others = [f"'{check.about}'" for check in checks[1:]]
            listed = f"{', '.join(others[:_LISTED])}{', ...' if len(others) > _LISTED else ''}"
            more = f"; likewise {len(others)} more: {listed}" if others else ""
            lines.append(f"{outcome:<12} {checks[0].limit}: {checks[0].sentence}{more}")
    lines.append(f"{'pass':<12} {len(decision.those('pass'))} of {len(decision.checks)} checks")
    lines += [f"{'needed':<12} {need}" for need in _needed(decision)]
    lines += [f"{'note':<12} {remark}" for remark in decision.remarks]
    return visible("\n".join(map(visible, lines)), lines=True) + "\n"


def by_limit(decision: Decision, outcome: Outcome) -> list[list[Check]]:
    """Return the checks with an outcome, those of one limit and for one reason together, the furthest from a pass first."""
    limits: dict[tuple[str, str], list[Check]] = {}
    for check in decision.those(outcome):
        limits.setdefault((check.limit, _why(check)), []).append(check)
    return [sorted(checks, key=lambda check: _excess(check, outcome), reverse=True) for checks in limits.values()]


def _why(check: Check) -> str:
    """Return what tells apart why checks of one limit came out alike: which end, or the sentence but for whose it is."""
    if check.value is None or check.low is None:
        return check.sentence if check.about is None else check.sentence.replace(check.about, "")
    return "low" if check.beyond is not None and check.low > check.beyond else "high"


def _excess(check: Check, outcome: Outcome) -> float:
    end = check.low if outcome == "fail" else check.high
    return 0.0 if end is None else end


def markdown(decision: Decision) -> str:
    """Return a decision as Markdown: a heading, a table of what did not pass, and the rest folded."""
    lines = [
        f"### miaudit gate: {decision.outcome}",
        "",
        f"Policy **{plain_markdown(decision.policy)}**{_if(decision.purpose, f': {plain_markdown(decision.purpose)}')}. "
        f"{plain_markdown(decision.title)}; {_sizes(decision)}.",
        "",
    ]
    rows = [check for outcome in _ORDER for check in decision.those(outcome)[:_MOST]]
    if rows:
        lines += ["| outcome | check | finding |", "|---|---|---|", *map(_row, rows), ""]
    rest = sum(max(0, len(decision.those(outcome)) - _MOST) for outcome in _ORDER)
    lines += [f"{rest} more did not pass.", ""] if rest else []
    lines += [text for need in _needed(decision) for text in (need, "")]
    passes = decision.those("pass")
    if passes:
        lines += [f"<details><summary>{len(passes)} of {len(decision.checks)} checks passed</summary>", ""]
        lines += ["| outcome | check | finding |", "|---|---|---|", *map(_row, passes), "", "</details>", ""]
    lines += [f"* {plain_markdown(remark)}" for remark in decision.remarks]
    return "\n".join(lines).rstrip("\n") + "\n"


def plain_markdown(text: str) -> str:
    """Return a text of others as Markdown that shows it letter by letter: no link, no tag, nobody mentioned."""

    def spelled(mark: re.Match[str]) -> str:
        return f"&#{ord(mark[0])};" if mark[0] in "@#|" else f"\\{mark[0]}"

    return _MARKS.sub(spelled, html.escape(visible(text), quote=False))


def _row(check: Check) -> str:
    return f"| {check.outcome} | {plain_markdown(check.name)} | {plain_markdown(check.sentence)} |"


def _sizes(decision: Decision) -> str:
    sides = f"{counted(decision.members, 'member')} and {counted(decision.nonmembers, 'non-member')}"
    return f"n = {sides} ({_NOUNS[decision.unit]})"


def _needed(decision: Decision) -> Iterator[str]:
    if decision.needed is None or decision.outcome != "inconclusive":
        return
    sides = f"about {counted(decision.needed, 'member')} and as many non-members"
    if min(decision.members, decision.nonmembers) < decision.needed:
        yield (
            f"{sides} would have shown all figures to be below their margins, with a probability of 80 % or more for each "
            "limit, had nothing leaked"
        )
    else:
        yield (
            f"{sides} show all figures of a model that gives nothing away to be below their margins, with a probability of "
            "80 % or more for each limit; this audit has as many, so that chance or a small leak is why it does not"
        )


def _if(condition: str, text: str) -> str:
    return text if condition else ""
