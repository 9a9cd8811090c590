"""A decision as text, Markdown, JUnit XML, SARIF and JSON, and the commands that print them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from miaudit.cli import main
from miaudit.gate import Check, Decision, Policy
from miaudit.report.decision import markdown, text
from miaudit.report.machines import junit, sarif
from miaudit.result import Result

EVIL = "<script>alert(1)</script> \x1b[31m‮ @everyone #1 `rm` | [x](http://e) ]]> \ufffe ￿ \x00 & \"q\" 'p'\n## h"


@pytest.fixture
def hostile() -> Decision:
    checks = [
        Check(limit="auc", about=EVIL, outcome="fail", sentence=EVIL),
        Check(limit="tpr at 0.1", about=EVIL, outcome="inconclusive", sentence=EVIL, needed=900),
        Check(limit="slices", about=EVIL, outcome="pass", sentence=EVIL),
    ]
    fields = {"title": EVIL, "policy": EVIL, "purpose": EVIL, "unit": "person", "members": 3, "nonmembers": 4}
    return Decision(**fields, outcome="fail", needed=900, checks=checks, remarks=[EVIL])


def command(*arguments: object):
    return CliRunner().invoke(main, ["gate", *map(str, arguments)])


def test_a_hostile_name_stays_a_name_in_every_format(hostile):
    for rendered in (text(hostile), markdown(hostile), junit(hostile), sarif(hostile)):
        assert not re.search("[\x00\x1b\u202e\x80-\x9f]", rendered)
    page = markdown(hostile)
    assert "<script" not in page
    assert not re.search(r"(?<!\\)[`\[\]]|(?<!&)#1|@", page)
    assert not re.search("^## h", page, re.MULTILINE)
    assert [line.count("|") for line in page.splitlines() if line.startswith("| fail")] == [4]


def test_junit_counts_what_is_not_known_as_an_error(hostile):
    suites = ElementTree.fromstring(junit(hostile).encode())
    suite = suites[0]
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["3", "1", "1", "0"]
    cases = suite.findall("testcase")
    assert [[child.tag for child in case] for case in cases] == [["failure"], ["error"], []]
    assert "<script>" in cases[0][0].get("message")
    assert "\\x1b[31m" in cases[0][0].text


def test_sarif_has_the_structure_of_the_standard(hostile):
    """Section 3 of SARIF 2.1.0: what is required of a log, a run, a rule and a result, and how they refer to each other."""
    document = json.loads(sarif(hostile, path="audits/new model/result.json"))
    assert (document["version"], len(document["runs"])) == ("2.1.0", 1)
    run = document["runs"][0]
    driver = run["tool"]["driver"]
    assert driver["name"] == "miaudit"
    assert re.fullmatch(r"\d+\.\d+\.\d+", driver["version"])
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 1}]
    assert len(run["results"]) == 2
    for result in run["results"]:
        assert set(result) == {"ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"}
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place == {"artifactLocation": {"uri": "audits/new%20model/result.json"}, "region": {"startLine": 1}}
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in result["partialFingerprints"].values())
    assert [result["level"] for result in run["results"]] == ["error", "warning"]
    assert len({rule["id"] for rule in driver["rules"]}) == len(driver["rules"])
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])


def test_a_fingerprint_is_of_what_was_judged_and_not_of_its_figure(leaky, few):
    prints = [
        {
            (each["ruleId"], each["message"]["text"].split("'")[1]): each["partialFingerprints"]["miaudit/v1"]
            for each in json.loads(sarif(Policy.load("leak-only").check(result)))["runs"][0]["results"]
            if each["ruleId"] == "miaudit/auc"
        }
        for result in (leaky, few)
    ]
    shared = prints[0].keys() & prints[1].keys()
    assert shared
    assert all(prints[0][key] == prints[1][key] for key in shared)


@pytest.mark.parametrize(("kind", "code"), [("noise", 0), ("leaky", 1), ("few", 3)])
def test_the_command_ends_with_the_outcome(kind, code, request, tmp_path):
    request.getfixturevalue(kind).save(tmp_path / "audit")
    forms = {form: command(tmp_path / "audit", "--policy", "release", "--format", form) for form in FORMS}
    assert {done.exit_code for done in forms.values()} == {code}, forms["text"].output
    outcome = {0: "pass", 1: "fail", 3: "inconclusive"}[code]
    assert forms["text"].stdout.startswith(f"Gate       {outcome}: policy 'release'")
    assert json.loads(forms["json"].stdout)["outcome"] == outcome
    assert json.loads(forms["sarif"].stdout)["runs"][0]["invocations"][0]["exitCode"] == code
    assert ElementTree.fromstring(forms["junit"].stdout.encode()).get("failures").isdigit()
    assert forms["markdown"].stdout.startswith(f"### miaudit gate: {outcome}")
    assert command(tmp_path / "audit", "--policy", "release", "--json").stdout == forms["json"].stdout
    if kind == "few":
        assert "members and as many non-members would have shown" in forms["text"].stdout


FORMS = ("text", "json", "junit", "sarif", "markdown")


def test_what_cannot_be_judged_is_an_error_and_no_outcome(noise, tmp_path):
    noise.save(tmp_path)
    for arguments in (
        (tmp_path / "none", "--policy", "release"),
        (tmp_path, "--policy", "relaese"),
        (tmp_path,),
        (tmp_path, "--policy", "release", "--canaries", tmp_path),
        (tmp_path, "--policy", "release", "--format", "xml"),
    ):
        assert command(*arguments).exit_code == 2, arguments
    document = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps(document | {"passed": True}))
    assert command(tmp_path, "--policy", "leak-only").exit_code == 2


def test_a_policy_of_a_file_and_a_canary_audit_are_read(noise, tmp_path):
    noise.save(tmp_path)
    policy = tmp_path / "own.toml"
    policy.write_text('name = "own"\n[auc]\nmargin = 0.6\n[epsilon]\nmargin = 0.8\n')
    assert command(tmp_path, "--policy", policy).exit_code == 3
    audit = {"canaries": 1000, "guesses": 200, "correct": 180, "delta": 1e-5, "warnings": [], "seed": 0, "kind": "x"}
    (tmp_path / "audit.json").write_text(json.dumps(audit))
    done = command(tmp_path, "--policy", policy, "--canaries", tmp_path)
    assert done.exit_code == 1, done.output
    assert "epsilon is at least" in done.stdout
    (tmp_path / "audit.json").write_text(json.dumps(audit | {"correct": 300}))
    assert command(tmp_path, "--policy", policy, "--canaries", tmp_path).exit_code == 2


PLAN = """
[data]
name = "digits"
[split]
members = 150
nonmembers = 150
[recipe]
estimator = "sklearn.tree.DecisionTreeClassifier"
[shadows]
count = 4
[engine]
jobs = 0
"""


def test_a_run_is_gated_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("plan.toml").write_text(PLAN)
    refused = CliRunner().invoke(main, ["run", "plan.toml", "--out", "audit", "--gate", "nothing"])
    assert refused.exit_code == 2
    assert not Path("audit").exists()  # nothing was trained for a policy that there is not
    done = CliRunner().invoke(main, ["run", "plan.toml", "--out", "audit", "--gate", "leak-only", "--json"])
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout) == json.loads(Result.load("audit").to_json())
    assert "Gate       fail: policy 'leak-only'" in done.stderr
    assert command("audit", "--policy", "leak-only").exit_code == 1


def test_checks_of_one_limit_stand_together_only_where_they_say_the_same():
    ends = {"value": 0.6, "high": 0.7, "beyond": 0.55, "margin": 0.55}
    checks = [
        ("control", "shuffled", {}, "not possible: so few records"),
        ("control", "records", {}, "the sides differ by themselves"),
        ("slices", None, {}, "no slice can be judged"),
        ("slices", "sex = f", ends | {"low": 0.5}, "AUC where sex = f may be up to 0.7"),
        ("slices", "sex = m", ends | {"low": 0.5}, "AUC where sex = m may be up to 0.7"),
        ("slices", "sex = x", ends | {"low": 0.58}, "AUC where sex = x is above, but a control failed"),
        ("attacks", "lira", {}, "'lira' gave no figures: it failed"),
        ("attacks", "rmia", {}, "'rmia' gave no figures: it failed"),
    ]
    listed = [
        Check(limit=limit, about=about, outcome="inconclusive", sentence=sentence, **fields)
        for limit, about, fields, sentence in checks
    ]
    common = {"title": "t", "policy": "p", "purpose": "", "unit": "record", "members": 9, "nonmembers": 9}
    lines = text(Decision(outcome="inconclusive", checks=listed, **common))
    assert re.findall("likewise.*", lines) == ["likewise 1 more: 'sex = m'", "likewise 1 more: 'rmia'"]
    assert "the sides differ by themselves" in lines
    assert "a control failed" in lines
