"""The table of benchmarks names every one, and its commands and those of the docs are commands that there are."""

from __future__ import annotations

import argparse
import ast
import functools
import re
import runpy
import shlex
from pathlib import Path
from typing import Any, NoReturn

import pytest

from miaudit.cli.reproduce import reproduce
from miaudit.paper import EXPERIMENTS, SETTINGS

ROOT = Path(__file__).parents[1]
TABLE = runpy.run_path(str(ROOT / "bench" / "all.py"))
BENCHES = TABLE["BENCHES"]
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "bench").glob("*.py"))}
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")))
}
COMMAND = re.compile(r"(?:sudo )?(?:MIAUDIT_DATA=\S+ )?(?:\S*/)?(python bench/[^#]+|miaudit reproduce [^#]+)")
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b|\[|\.\.\.")
TYPES = {"int": int, "float": float}


def quoted(text: str) -> set[str]:
    """Return the commands in code of a page or a docstring: between backticks, or on lines set in by four blanks."""
    code = re.findall(r"`((?:sudo |MIAUDIT_DATA=)?[^`\s]*(?:python|miaudit)\s[^`]+)`", text) + re.findall(
        r"^ {4}(\S.*)$", text, re.M
    )
    matches = (COMMAND.match(" ".join(each.split())) for each in code)
    return {match[1].strip() for match in matches if match is not None}


DOCUMENTED = {(page, command) for page, text in PAGES.items() for command in quoted(text)}
DOCSTRINGS = {own for text in SCRIPTS.values() for own in quoted(ast.get_docstring(ast.parse(text), clean=False) or "")}
COMMANDS = {command for each in BENCHES for command in each.commands.split(" && ")}


class Parser(argparse.ArgumentParser):
    """Raises what it would print."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


@functools.cache
def parser_of(script: str) -> Parser:
    """Return a parser with the arguments that a script adds to its own, as far as its source states them."""
    parser = Parser()
    for node in ast.walk(ast.parse(script)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            if any(ast.unparse(keyword) == "help=argparse.SUPPRESS" for keyword in node.keywords):
                continue  # --help does not show it, so no page quotes it
            options: dict[str, Any] = {}
            for keyword in node.keywords:
                if keyword.arg == "type" and isinstance(keyword.value, ast.Name):
                    options["type"] = TYPES.get(keyword.value.id, str)
                elif keyword.arg in ("action", "nargs", "required"):
                    options[keyword.arg] = ast.literal_eval(keyword.value)
            parser.add_argument(*(ast.literal_eval(name) for name in node.args), **options)
    return parser


def fault(command: str) -> str | None:
    """Return why a command would be refused; of a script that reads its words itself, which are not in its text."""
    program, first, *arguments = shlex.split(command)
    if program == "miaudit":
        options = reproduce.make_context("miaudit reproduce", arguments).params
        unknown = {*options["names"]} - EXPERIMENTS.keys()
        rows = [row for row in options["rows"] if not any(name.startswith(row) for name in SETTINGS)]
        return f"{unknown or rows}" if unknown or rows else None
    script = SCRIPTS.get(first.removeprefix("bench/"))
    if script is None:
        return "no such file"
    if "ArgumentParser(" not in script:
        unread = [word for word in arguments if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", script)]
        return f"{unread}" if unread else None
    try:
        parser_of(script).parse_args(arguments)
    except ValueError as error:
        return str(error)
    return None


def test_every_benchmark_is_in_the_table_and_every_entry_is_one():
    programs = {f"bench/{name}" for name, text in SCRIPTS.items() if "__main__" in text} - {"bench/all.py"}
    assert {command.split()[1] for command in COMMANDS} == programs | {"reproduce"}
    assert len({each.name for each in BENCHES}) == len(BENCHES)


def test_every_file_of_results_is_written_by_a_benchmark_which_names_it():
    folder = ROOT / TABLE["RESULTS"]
    assert {path.name for path in folder.iterdir()} - {each.results for each in BENCHES} == set()
    for each in BENCHES:
        scripts = [SCRIPTS[name] for name in re.findall(r"bench/(\w+\.py)", each.commands)]
        assert each.results is None or any(each.results in text for text in (each.commands, *scripts)), each.name


def test_commands_of_the_table_are_quoted_by_a_page_or_a_benchmark_and_would_run():
    assert COMMANDS - DOCSTRINGS - {command for _, command in DOCUMENTED} == set()
    assert [(command, why) for command in COMMANDS if (why := fault(command)) is not None] == []


def test_commands_that_pages_and_benchmarks_quote_would_run():
    quotes = {*DOCUMENTED, *(("bench", command) for command in DOCSTRINGS)}
    commands = [each for each in quotes if not PLACEHOLDER.search(each[1])]
    assert [(page, command, why) for page, command in commands if (why := fault(command)) is not None] == []


@pytest.mark.parametrize(
    "command",
    [
        "python bench/estimators.py --pss array 2",  # which --help does not show
        "python bench/scoring.py --seeds 3",
        "python bench/store.py --rows many",
        "python bench/dp.py",  # lacks --out
        "python bench/protected.py --table",
        "python bench/none.py",
        "miaudit reproduce table-0",
        "miaudit reproduce --row none",
    ],
)
def test_commands_that_would_not_run_are_seen(command: str):
    assert fault(command) is not None


def test_a_page_of_the_table_names_the_benchmark():
    for each in BENCHES:
        assert any(script in PAGES[each.page] for script in re.findall(r"bench/\w+\.py", each.commands)), each.name


def test_the_list_has_every_benchmark_and_what_it_needs():
    lines = TABLE["table"]().splitlines()
    assert [line.split()[0] for line in lines] == ["name", *(each.name for each in BENCHES)]
    assert {each.needs for each in BENCHES} - {None} == set(TABLE["NEEDS"])


def test_a_failure_ends_its_benchmark_and_no_other(capfd: pytest.CaptureFixture[str]):
    bench = TABLE["Bench"]
    first = bench("first", 0, "", None, "python -c 'raise SystemExit(3)' && python -c 'print(1)'")
    failures = TABLE["run"]([first, bench("second", 0, "", None, "python -c 'print(2)'")])
    assert failures == ["first: python -c 'raise SystemExit(3)' (exit status 3)"]
    lines = capfd.readouterr().out.splitlines()
    assert "2" in lines
    assert "1" not in lines


@pytest.mark.parametrize("folder", [False, True])
def test_what_is_taken_afresh_replaces_what_was_there_only_after_all_went_well(tmp_path: Path, folder: bool):
    kept = tmp_path / "kept"
    file = kept / "figures" if folder else kept
    file.parent.mkdir(exist_ok=True)
    file.write_text("old")
    write = f"import pathlib; p = pathlib.Path({str(file)!r}); p.parent.mkdir(exist_ok=True); p.open('x').write('new')"
    takes = shlex.join(["python", "-c", write])
    bench = functools.partial(TABLE["Bench"], "some", 0, "", None, kept=str(kept))
    fails = takes + " && python -c 'raise SystemExit(3)'"
    assert TABLE["run"]([bench(takes)]) == [f"some: {takes} (exit status 1)"]  # as it lies there
    assert len(TABLE["run"]([bench(fails)], fresh=True)) == 1
    assert file.read_text() == "old"
    assert TABLE["run"]([bench(takes)], fresh=True) == []
    assert file.read_text() == "new"
    assert [*tmp_path.iterdir()] == [kept]
    (tmp_path / "kept.before").touch()
    failures = TABLE["run"]([bench(takes)], fresh=True)
    assert ["kept.before is there from a run that was killed" in failure for failure in failures] == [True]
    assert file.read_text() == "new"


def test_figures_are_as_old_as_the_oldest_file_of_theirs():
    each = next(each for each in BENCHES if each.results == "unlearning")
    files = [f"{TABLE['RESULTS']}unlearning/{path.name}" for path in (ROOT / TABLE["RESULTS"] / "unlearning").iterdir()]
    of_files = {file: (commits, f"2026-11-{27 - commits}") for commits, file in enumerate(files)}
    assert TABLE["age"](each, of_files) == (f"2026-11-{28 - len(files)}", str(len(files) - 1))
    assert TABLE["age"](each, {}) == ("uncommitted", "-")
