"""The evidence file: ten groups, every figure from the document, nothing that its evidence does not carry."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from click.testing import CliRunner

from miaudit.cli import main
from miaudit.errors import PlanError
from miaudit.gate import Policy
from miaudit.plan import Plan
from miaudit.plan.declared import DeclaredPlan
from miaudit.report.annex import STANDARDS, annex, html, markdown
from miaudit.report.annex.standards import CLASSES
from miaudit.report.card import model_card
from miaudit.result.estimate import estimate

EVIL = "<script>alert(1)</script> \x1b[31m‮ | [x](http://e) `rm`\n## h"
DECLARED = {"who": EVIL, "variants": ["1", "2"], "parameters": 100, "training_records": 50}


@pytest.mark.parametrize("name", STANDARDS)
def test_it_has_ten_groups_and_every_class_of_attack(name, result):
    made = annex(result, name)
    assert [group.number for group in made.groups] == list(range(1, 11))
    assert all(group.rows or group.table for group in made.groups)
    classes = {row[0]: row[1] for row in made.groups[3].table[1:]}
    assert tuple(classes) == CLASSES
    assert classes["membership inference"] == "tested"
    assert "tested" not in {classes[each] for each in CLASSES[1:]}
    assert not re.search(
        r"\b(compliant|complies|anonymous|anonymi[sz]ed|safe)\b", markdown(made) + html(made), re.IGNORECASE
    )


def test_figures_are_those_of_the_result(result):
    made = annex(result, "aisvs-11.2.5")
    table = {row[0]: row for row in made.groups[5].table[1:]}
    ran = [attack for attack in result.attacks if attack.status == "ran" and attack.of_unit.auc is not None]
    assert set(table) == {attack.name for attack in ran}
    for attack in ran:
        area = attack.of_unit.auc
        assert table[attack.name][1] == estimate(area.value, area.low, area.high)
    decision = Policy.load("aisvs-11.2.5").check(result)
    assert dict(made.groups[8].rows)["outcome"].startswith(decision.outcome)
    assert len(made.groups[8].table) == len(decision.checks) + 1
    assert "outcome" not in dict(annex(result, "tre").groups[8].rows)


def test_the_records_are_named_by_their_hash(result):
    hashed = result.model_copy(update={"data": result.data.model_copy(update={"sha256": None})})
    assert result.provenance.hashes["data"] in markdown(annex(hashed, "tre"))


def test_what_nobody_declared_is_said_to_be_so(result):
    rows = dict(annex(result, "edpb-28-2024").groups[0].rows)
    assert rows["who (declared)"] == "not declared"
    rows = dict(annex(result, "edpb-28-2024", declared=DECLARED).groups[1].rows)
    assert (rows["training records per parameter"], rows["variants (declared)"]) == ("0.5", "1; 2")
    elsewhere = annex(result, "tre", declared={"other_attacks": {"Inversion": "by others"}}).groups[3].table
    assert ("inversion", "declared", "by others") in elsewhere


def test_a_hostile_text_stays_a_text(result):
    made = annex(result, "edpb-28-2024", declared=DECLARED)
    page, text = html(made), markdown(made)
    assert "<script" not in page
    assert "<script" not in text
    assert not re.search("[\x00\x1b\u202e]", page + text)
    assert not re.search("^## h", text, re.MULTILINE)
    assert not re.search(r"(?<!\\)\[x\]", text)


def test_a_model_card_has_the_index_that_hubs_read(result, tmp_path):
    result.model_copy(update={"title": EVIL, "verdict": EVIL}).save(tmp_path)
    done = CliRunner().invoke(main, ["card", str(tmp_path), "--name", EVIL])
    assert done.exit_code == 0, done.output
    _, metadata, text = done.stdout.split("---\n", 2)
    (entry,) = yaml.safe_load(metadata)["model-index"]
    (audit,) = entry["results"]
    assert set(audit) == {"task", "dataset", "metrics"}
    assert audit["metrics"][0]["value"] == result.lead.of_unit.auc.value
    assert all(isinstance(metric["value"], float) and metric["type"] and metric["name"] for metric in audit["metrics"])
    assert not re.search("[\x00\x1b\u202e]|<script|^## h", text, re.MULTILINE)


def test_a_model_card_marks_rates_that_so_few_records_do_not_resolve(result):
    document = result.model_dump(mode="json", by_alias=True)
    points = [each for each in document["attacks"][0]["tpr_at_fpr"] if each["fpr"] in (0.1, 0.01)]
    assert points
    assert "(not resolved)" not in model_card(result)
    for point in points:
        point["resolvable"] = False
    assert model_card(type(result).model_validate(document)).count("(not resolved)") == len(points)


def test_a_plan_declares_and_a_file_may_declare_instead(result, tmp_path):
    plan = {
        "data": {"name": "digits"},
        "split": {"members": 10},
        "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier"},
    }
    assert Plan.of(plan | {"declared": {"who": "we"}}).declared.who == "we"
    with pytest.raises(PlanError, match=r"declared\.whom"):
        Plan.of(plan | {"declared": {"whom": "we"}})
    file = tmp_path / "declared.toml"
    for content, problem in (("x = 1", "no table"), ("[declared]\nwhom = 1", "declared.whom"), ("[", "TOML")):
        file.write_text(content)
        with pytest.raises(PlanError, match=problem):
            DeclaredPlan.load(file)
    file.write_text('[declared]\nwho = "they"\n')
    result.save(tmp_path)
    done = CliRunner().invoke(main, ["annex", str(tmp_path), "--for", "tre", "--declared", str(file), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["groups"][0]["rows"][0] == ["who (declared)", "they"]
    assert (tmp_path / "annex-tre.md").read_text().startswith("# Evidence file for Release of a model")
    assert (tmp_path / "annex-tre.html").read_text().startswith("<!doctype html>")


def test_that_of_a_deletion_speaks_of_deleted_records(tmp_path):
    import numpy as np
    from sklearn.tree import DecisionTreeClassifier

    from miaudit.result import Result
    from miaudit.unlearning import audit

    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(400, 4)), rng.integers(0, 2, 400)
    parts = zip(np.split(X, (100, 240)), np.split(y, (100, 240)), strict=True)
    sides = dict(zip(("members", "nonmembers", "population"), parts, strict=True))
    made = {
        "shadows": 4,
        "oracles": 0,
        "jobs": 0,
        "bystanders": 0,
        "kept": 0,
        "procedure": {"name": "sisa", "shards": 2},
    }
    audit(DecisionTreeClassifier(), trained_here=True, forget=np.arange(40), out=tmp_path, **sides, **made)
    run = CliRunner().invoke(main, ["annex", str(tmp_path), "--for", "edpb-28-2024"])
    assert run.exit_code == 0, run.output
    deletion = Result.load(tmp_path).deletion
    text = (tmp_path / "annex-edpb-28-2024.md").read_text()
    assert "40 records that were trained on and deleted; 40 never trained on to compare them with; 60 stayed" in text
    assert "SISA: the shards that held the records trained anew (sisa; Bourtoule et al. 2021); shards = 2" in text
    assert "miaudit.unlearning.audit, with the options" in text
    assert all(markdown_of(each) in text for each in (*deletion.sentences, deletion.earlier_model))
    figures = text.split("## 6.")[1].split("| attack |")[0]
    assert "above all records never trained on" in figures
    assert "accusation list" not in text


def markdown_of(text):
    return text.replace("_", "\\_").replace("|", "\\|")
