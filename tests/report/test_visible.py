"""Text of data, servers and files at every exit: seen, and never a command, a formula or markup."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
import warnings
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from miaudit.auditing.progress import telling
from miaudit.canaries.bound import Area, CanaryAudit, Rate
from miaudit.cli import main
from miaudit.cli.ending import visible_warnings
from miaudit.errors import DataError, MiauditError, PlanError, TargetError
from miaudit.plan import Plan
from miaudit.report import render, summary
from miaudit.result import Result
from miaudit.result.table import Records
from miaudit.visible import visible

JOINERS = {0x200C, 0x200D}
SCRIPTS = (
    set(range(0x600, 0x606)) | {0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD} | set(range(0x13430, 0x13440))
)
OWN_STYLE = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[AK]|\r")  # what rich writes to colour, hide, go up
HOSTILE = [
    "\x1b]0;title\x07\x1b[31mred\x1b[0m",
    "\x9b31m C1 \x85 \x90",
    "\u202egnp.exe\u2066\u2069",
    "two\nlines\r\nand\rmore\u2028and\u2029more\x0b\x0c",
    "\x00\x08\x08\x7f",
    "half \ud800 of one",
    "[red]markup[/red] [link=http://x]y[/link]",
    "<script>alert(1)</script>\"><img src=x onerror=alert(1)>&lt;'",
    "\U000e0041\ufeff\u200b",
]
texts = st.sampled_from(HOSTILE) | st.text(st.characters(), max_size=12)


def unseen(text: str) -> list[str]:
    """Return the characters of a text that do something and show nothing; line breaks aside."""
    return [
        c
        for c in text
        if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and ord(c) not in JOINERS | SCRIPTS
    ]


@given(st.text(st.characters()))
def test_what_is_visible_stays_and_all_else_is_written_out(text):
    shown = visible(text)
    assert not unseen(shown)
    assert "\n" not in shown
    assert visible(shown) == shown
    if not unseen(text) and "\n" not in text:
        assert shown == text
    assert shown.encode().decode() == shown
    assert visible(text, lines=True).count("\n") == text.count("\n")


def test_scripts_and_emoji_stay():
    for text in ("Größe", "日本語", "العربية", "👨‍👩‍👧", "नमस्ते", "‌می‌خواهم", "e\u0301", "a\u00a0b"):
        assert visible(text) == text


def test_no_character_of_unicode_does_something_unseen():
    for number in range(0x110000):
        assert not unseen(visible(chr(number)))


def spoilt(value: Any, text: str) -> Any:
    """Return a document with a text in every place of one."""
    if isinstance(value, dict):
        return {name: spoilt(of, text) if name not in ("name", "baseline") else of for name, of in value.items()}
    if isinstance(value, list):
        return [spoilt(of, text) for of in value]
    return text if isinstance(value, str) else value


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def of_text(result: Result, text: str) -> Result:
    whole = result.model_dump(mode="json", by_alias=True)
    document = spoilt(whole, text)
    document["provenance"] = {"plan": {"title": text, text: [text]}, "target": {text: text}}
    document["warnings"] = [text] * 3
    records = [{**record, "id": text, "class": text} for record in result.records[:3]]
    try:
        Result.model_validate(document)
    except ValidationError as error:  # one of a few words cannot be another
        for problem in error.errors():
            assert problem["type"] == "literal_error"
            *above, key = problem["loc"]
            at(document, tuple(above))[key] = at(whole, tuple(above))[key]
    return Result.model_validate({**document, "records": Records.of(records)})


slow_fixture = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=10)


@slow_fixture
@given(texts)
def test_the_terminal_shows_a_result_without_its_commands(result, text):
    for width in (60, 100):
        stream = io.StringIO()
        summary(of_text(result, text), Console(file=stream, force_terminal=True, width=width))
        printed = OWN_STYLE.sub("", stream.getvalue())
        assert not unseen(printed)


def test_a_title_cannot_forge_a_line(result):
    stream = io.StringIO()
    summary(of_text(result, "a\nVerdict: none"), Console(file=stream, width=300))
    assert stream.getvalue().startswith("a\\nVerdict: none\na\\nVerdict: none\n")


@slow_fixture
@given(texts)
def test_the_page_and_the_notebook_show_a_result_as_text(result, text):
    other = of_text(result, text)
    for page in (render(other), other._repr_html_()):
        assert not unseen(page)
        assert page.count("<script") == page.count('"use strict"')  # the page's own
        assert "<img" not in page


@slow_fixture
@given(texts)
def test_the_documents_hold_a_result_as_ascii(result, text):
    content = of_text(result, text).to_json()
    assert content.isascii()
    assert json.loads(content)["title"] == text.encode("utf-8", "backslashreplace").decode()


@given(texts)
def test_errors_are_one_line_for_each_problem(text):
    for error in (MiauditError, DataError, TargetError, PlanError):
        assert not unseen(str(error(f"there is {text}")))
        assert "\n" not in str(error(f"there is {text}"))
    several = PlanError([(text, "is wrong"), ("b", text)])
    assert str(several).count("\n") == 2
    assert not unseen(str(several))
    with pytest.raises(PlanError) as caught:
        Plan.of({"data": {text: text}, "recipe": {"estimator": "x", "standin": text}, text: 3})
    assert not unseen(str(caught.value))


@given(texts)
def test_progress_is_one_line_on_a_terminal_and_elsewhere(text):
    for terminal in (False, True):
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=terminal, width=100)
        with telling(console) as tell:
            tell(f"asking {text}", None)
        assert not unseen(OWN_STYLE.sub("", stream.getvalue()))


def test_what_a_command_prints_of_a_file_is_seen(tmp_path):
    title = "\x1b]0;owned\x07\x1b[31m\u202ered"
    (tmp_path / "d.csv").write_text("a,\x1b[31mb\x9b,y\n1,2,0\n3,4,1\n", encoding="utf-8")
    (tmp_path / "plan.toml").write_text(
        f'title = {json.dumps(title)}\ndata = {{ path = "d.csv", label = "nope" }}\nsplit = {{ members = 1 }}\n'
        'recipe = { estimator = "sklearn.tree.DecisionTreeClassifier" }\n'
    )
    ended = CliRunner().invoke(main, ["run", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")])
    assert ended.exit_code == 2
    assert "\\x1b[31mb\\x9b" in ended.stderr
    assert not unseen(ended.output)


def test_warnings_of_libraries_are_seen():
    with visible_warnings():
        assert not unseen(warnings.formatwarning(HOSTILE[0], UserWarning, "a.py", 1))


def test_a_canary_summary_is_seen():
    fields = dict.fromkeys(CanaryAudit.__dataclass_fields__, 1.0)
    rate = Rate(fpr=0.1, tpr=0.2, low=0.1, high=0.3, resolvable=True)
    fields |= {
        "kind": HOSTILE[0],
        "warnings": [HOSTILE[0], HOSTILE[3]],
        "auc": Area(0.5, 0.4, 0.6),
        "tpr_at_fpr": [rate],
    }
    fields |= {"canary_accuracy": {"included": 1.0, "held_out": 0.0}, "epsilon_gaussian": None}
    assert not unseen(CanaryAudit(**fields).summary())


# ---- the table -----------------------------------------------------------------------------------------------------

STARTS = st.sampled_from(
    [
        ";=",
        "a; =",
        ";;@",
        "x;\uff0b",
        "=",
        "+",
        "-",
        "@",
        " =",
        "\t=",
        "\r=",
        "\n=",
        "\uff1d",
        "\ufeff=",
        "'=",
        '"=',
        "=+",
        "\u00a0@",
    ]
)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@example(";=")
@given(st.builds(str.__add__, STARTS, texts) | texts)
def test_no_cell_of_the_table_is_a_formula(text):
    table = Records.of([{"id": text, "class": text, "member": True, text: 0.5}]).to_csv()
    assert not unseen(table)
    rows = list(csv.reader(io.StringIO(table)))
    assert len(rows) == 2
    cells = [*rows[0], *rows[1][:2]]
    parted = [cell for line in table.splitlines() for cell in line.split(";")[1:]]  # as other spreadsheets read it
    for cell in (*cells, *parted):
        bare = cell.strip()
        assert bare[:1] not in tuple("=+-@\uff1d\uff0b\uff0d\uff20") or len(bare) < 2 or NUMBER.fullmatch(bare)


@pytest.mark.parametrize("name", ["-5", "+3.5", "-1e-3", "7", "-", "+", "a-b", "a=b", "x@y.org", "C++"])
def test_numbers_and_names_stand_in_the_table_as_they_are(name):
    assert Records.of([{"id": name, "class": name}]).to_csv().splitlines()[1].startswith(f"{name},{name}")
