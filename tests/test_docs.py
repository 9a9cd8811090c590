"""The pages are true: tables, plans and links."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from miaudit.cli import main
from miaudit.plan import Plan
from miaudit.recipes import Network
from miaudit.targets.wire import Wire

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")] + [
    ROOT / "examples" / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]
PLANS = [ROOT / "README.md", *(page for page in sorted(ROOT.glob("docs/*.md")) if page.stem != "extending")]
FENCED = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WHOLE = {
    "data": {"name": "digits"},
    "split": {"members": 100},
    "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier"},
}


def plans_in(page: Path) -> list[Any]:
    """Return the TOML blocks of a page; those fenced as ``toml fragment`` show some sections only."""
    return [
        pytest.param(text, "fragment" in kind, id=f"{page.name} {number}")
        for number, (kind, text) in enumerate(FENCED.findall(page.read_text(encoding="utf-8")))
        if kind.startswith("toml")
    ]


def completed(fragment: dict[str, Any]) -> dict[str, Any]:
    if "url" in fragment.get("target", {}):
        fragment = {"data": dict.fromkeys(("members", "nonmembers", "population"), "f.npz")} | fragment
    three_files = "members" in fragment.get("data", {})
    return {name: value for name, value in WHOLE.items() if not (name == "split" and three_files)} | fragment


def test_the_files_that_contributors_are_sent_to_are_there():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page[page.index("| to add or change |") : page.index("## Rules")]
    named = set(re.findall(r"`((?:[a-z_]+/)+(?:[a-z_.0-9]+)?|[a-z_]+\.py)`", table)) - {"tests/test_docs.py"}
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / "src" / "miaudit" / name).exists()] == []


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors GitHub gives the headings of a page, and those that the page sets itself."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    own = re.findall(r'<a id="([^"]+)">', prose(page))
    return {*own, *(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)}


def test_the_tables_of_the_plan_page_are_what_the_code_says():
    reference = runpy.run_path(str(ROOT / "docs" / "plan_reference.py"))
    page = (ROOT / "docs" / "plans.md").read_text(encoding="utf-8")
    assert sorted(name for _, name, _ in reference["MARKED"].findall(page)) == sorted(reference["tables"]())
    assert reference["updated"](page) == page, "run python docs/plan_reference.py"


@pytest.mark.parametrize(("text", "fragment"), [plan for page in PLANS for plan in plans_in(page)])
def test_every_plan_on_a_page_is_one(text, fragment):
    content = tomllib.loads(text)
    plan = Plan.of(completed(content) if fragment else content)
    if plan.recipe.network is not None:
        network = dict(plan.recipe.network)
        preset = network.pop("preset", None)
        assert Network(**network) if preset is None else Network.preset(preset, **network)


@pytest.mark.parametrize(("text", "fragment"), plans_in(ROOT / "docs" / "endpoints.md"))
def test_every_endpoint_on_the_page_can_be_spoken_to(text, fragment):
    target = tomllib.loads(text)["target"]
    records, http = np.zeros((2, 3)), {"format": "json", "encoder": bytes, **target["http"]}
    if "each" in http:  # which names columns
        records = pytest.importorskip("pandas").DataFrame(records, columns=["age", "job", "hours"])
    if "encode" not in http:
        del http["encoder"]
    wire = Wire(**{name: value for name, value in http.items() if name in Wire.__dataclass_fields__})
    assert len(wire.encode(records)) > 6
    assert wire.address(target["url"]).count("/") > 2


def commands_of(page: Path) -> list[tuple[str, list[str]]]:
    """Return the commands of miaudit on a page, in code, each with the options that it is given."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    code = [*re.findall(r"^(?:    |\$ )*miaudit (.+)$", text, re.MULTILINE), *re.findall(r"`miaudit ([^`\n]+)`", text)]
    return [(line, re.findall(r"(?<=\s)--?[a-z][a-z-]*", line.split(" #")[0].split("|")[0])) for line in code]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_pages_have_the_options_that_they_are_given(page):
    for line, options in commands_of(page):
        command: click.Command = main
        for word in line.split():
            inner = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
            if inner is None:
                break
            command = inner
        if command is not main:
            known = {name for each in command.params for name in each.opts} | {"--help", "-h"}
            assert {*options} <= known, f"{page.name}: miaudit {line}"


def test_pages_hold_plans():
    assert sum(len(commands_of(page)) for page in PAGES) > 100
    assert len(plans_in(ROOT / "README.md")) >= 1
    assert len(plans_in(ROOT / "docs" / "plans.md")) >= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), f"{page.name} links to {target}, and there is no {there}"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}, and there is no such heading"


def test_extras_that_pages_and_errors_name_are_there():
    sources = [path.read_text(encoding="utf-8") for path in (*PAGES, *(ROOT / "src").rglob("*.py"))]
    pattern = r"miaudit\[([a-z,]+)\]|\bextras? `+([a-z]+)`|require(?:_installed)?\([^)]*\bextra=\"([a-z]+)\""
    names = {
        name for text in sources for match in re.findall(pattern, text) for part in match for name in part.split(",")
    }
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {"boosting", "torch", "plots"} <= names
    assert names - {"", "extra"} <= known.keys()


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.toml")), ids=lambda path: path.name)
def test_every_example_is_a_plan(path):
    assert Plan.load(path).title != "Membership inference audit"
