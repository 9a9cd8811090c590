"""Build docs/paper.md from the outcomes in bench/results/paper/: run nothing.

    python bench/paper_page.py                          # builds the page
    python bench/paper_page.py miaudit-paper/outcomes   # takes over first what `miaudit reproduce --scale paper` wrote there

Each table between two marks of the page is made anew, and the text around it is written by hand.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from miaudit.paper import EXPERIMENTS, compare
from miaudit.paper.comparison import markdown
from miaudit.paper.outcomes import Outcome
from miaudit.paper.reproducing import stored

RESULTS = Path(__file__).with_name("results") / "paper"
PAGE = Path(__file__).parent.parent / "docs" / "paper.md"
MARKED = re.compile(r"<!-- (?P<name>[a-z0-9-]+) -->\n.*?<!-- end -->", re.DOTALL)


def built(page: str, outcomes: dict[str, list[Outcome]]) -> str:
    """Return the page with every marked part made of the outcomes."""

    def part(mark: re.Match[str]) -> str:
        name = mark["name"]
        text = bill(outcomes) if name == "cost" else table(name, outcomes)
        return f"<!-- {name} -->\n\n{text}\n<!-- end -->"

    return MARKED.sub(part, page)


def table(name: str, outcomes: dict[str, list[Outcome]]) -> str:
    """Return one comparison with the choices behind it."""
    comparison = compare(EXPERIMENTS[name], outcomes)
    choices = "".join(f"* {choice}\n" for choice in comparison.choices)
    return f"{markdown(comparison)}\nChoices:\n\n{choices}"


def bill(outcomes: dict[str, list[Outcome]]) -> str:
    """Return when the outcomes were measured, with what, and what each took."""
    rows = ["| setting | records | seeds | seconds, wall | data |", "| --- | --- | --- | --- | --- |"]
    for name, each in sorted(outcomes.items()):
        seconds = " + ".join(f"{outcome.seconds:,.0f}" for outcome in each)
        kind = "simulated" if each[0].simulated else each[0].data
        seeds = ", ".join(str(outcome.seed) for outcome in each)
        rows.append(f"| `{name}` | {each[0].records:,} | {seeds} | {seconds} | {kind} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outcomes", type=Path, nargs="?", help="folder of a reproduction's outcomes")
    outcomes = parser.parse_args().outcomes
    if outcomes is not None:
        paths = sorted(outcomes.glob("*.paper.*.json"))
        if not paths:
            parser.error(f"{outcomes} holds no outcome of --scale paper; run miaudit reproduce --scale paper first")
        for path in paths:
            shutil.copy(path, RESULTS)
    PAGE.write_text(built(PAGE.read_text(encoding="utf-8"), stored(RESULTS)), encoding="utf-8")


if __name__ == "__main__":
    main()
