"""Audits of stored outputs: real files, real commands, everything a file can have wrong."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from miaudit import unlearning
from miaudit.auditing.layout import ARRAYS, SIGNALS
from miaudit.auditing.scoring import score
from miaudit.auditing.stored import read_outputs, stored_outputs
from miaudit.cli import main
from miaudit.errors import DataError, PlanError
from miaudit.report import render
from miaudit.result import Result, sentence
from miaudit.testing import worlds


def arrays_of(world: worlds.World) -> dict[str, np.ndarray]:
    evidence, population = world.evidence, world.evidence.population
    arrays = {"target": evidence.target, "labels": evidence.labels, "member": world.member}
    arrays |= {"shadows": evidence.shadows, "inside": evidence.inside, "features": evidence.features}
    arrays |= {"population_target": population.target, "population_labels": population.labels}
    arrays |= {"population_shadows": population.shadows, "population_features": population.features}
    return arrays if evidence.asked is None else arrays | {"asked": evidence.asked}


@pytest.fixture(scope="module")
def leaky():
    return arrays_of(worlds.gaussian(1.5, n=400, shadows=16, seed=3, overlapping=True))


def stored(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def command(*arguments: str):
    return CliRunner().invoke(main, ["score", *map(str, arguments)])


def test_a_whole_audit_from_a_file_alone(leaky, tmp_path):
    file = stored(tmp_path / "bank.npz", **leaky, ids=[f"c{i}" for i in range(400)], slice_sex=["f", "m"] * 200)
    done = command(file, "--out", tmp_path / "audit", "--json")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "audit").iterdir()} == {
        "result.json",
        "records.csv",
        "report.html",
        "seal.json",
    }
    result = Result.load(tmp_path / "audit")
    assert json.loads(done.stdout) == json.loads(result.to_json())
    assert result.verdict.startswith("Membership leaks. The attack '")
    finding, controls = result.finding, result.controls
    assert (finding.kind, finding.basis, finding.attack, finding.n.members) == ("leak", "area", result.headline, 200)
    assert sentence(finding, result.attacks, controls.null, controls.blind) == result.verdict
    with pytest.raises(ValueError, match="finding.kind"):
        Result.model_validate({**json.loads(done.stdout), "verdict_kind": "inverted"})
    ran = {attack.name for attack in result.attacks if attack.status == "ran"}
    assert {"gap", "threshold", "attack-p", "lira", "lira offline", "rmia", "attack-r", "quantile"} <= ran
    assert all(attack.reason for attack in result.attacks if attack.status == "skipped")
    # the world's best area is Phi(1.5 / sqrt 2) = 0.856
    assert result.attack("threshold").auc.low < 0.856 < result.attack("threshold").auc.high
    assert (result.target.source, result.target.queries, result.split.draws_sha256) == ("stored outputs", None, None)
    assert result.controls.blind.confounded is False
    assert all(null.at_chance for null in [result.controls.null, *result.controls.nulls])
    assert [grouping.column for grouping in result.groups] == ["class", "sex"]
    with (tmp_path / "audit" / "records.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["id"] for row in rows] == [f"c{i}" for i in range(400)]
    again = command(file, "--out", tmp_path / "again", "--json")
    one, two = json.loads(done.stdout), json.loads(again.stdout)
    del one["provenance"], two["provenance"]
    assert one == two


def test_three_arrays_are_an_audit_and_the_rest_is_said_to_be_missing(tmp_path):
    world = worlds.exchangeable(4)
    evidence = world.evidence
    file = stored(
        tmp_path / "bare.npz", target=evidence.target, labels=evidence.audited_labels, member=world.member.astype(int)
    )
    done = command(file, "--out", tmp_path / "audit")
    assert done.exit_code == 0, done.output
    flat = " ".join(done.output.split())
    assert "No leak detected above AUC" in flat
    assert "shows in 80 of 100 such audits from an AUC of 0." in flat
    result = Result.load(tmp_path / "audit")
    assert result.attack("gap").status == "ran"
    loss = result.attack("threshold")
    assert (loss.status, loss.pooled, loss.strongest) == ("ran", None, True)
    assert any("does not decide" in note for note in loss.notes)
    assert "no shadow models" in result.attack("lira").reason
    assert any("model-free control did not run" in warning for warning in result.warnings)
    assert result.shadows.train_accuracy is None


def test_scoring_tells_how_far_it_is(leaky, tmp_path):
    steps = []
    score(stored(tmp_path / "outputs.npz", **leaky), attacks=["lira"], tell=lambda *step: steps.append(step))
    assert [text for text, progress in steps if progress is None] == ["reading the outputs", "attacking"]
    counts = [(each.done, each.total) for _, each in steps if each is not None]
    assert counts == [(i, len(counts)) for i in range(1, len(counts) + 1)]
    outcome = CliRunner().invoke(
        main, ["score", str(tmp_path / "outputs.npz"), "--attack", "lira", "--out", str(tmp_path / "a")]
    )
    assert f"attacking: {len(counts)} of {len(counts)}" in outcome.stderr
    assert "attacking" not in outcome.stdout


def test_shadows_with_records_of_their_own_and_labels_alone(tmp_path):
    world = worlds.memoriser(n=300, shadows=4)
    result = score(stored(tmp_path / "own.npz", **arrays_of(world)))
    assert result.attack("shokri").auc.value > 0.9
    assert "did not answer the audited records" in result.attack("lira").reason
    arrays = arrays_of(world) | {"target": world.evidence.target.argmax(axis=1)}
    for key in [key for key in arrays if key.startswith("population")]:
        del arrays[key]
    labels = score(stored_outputs(arrays))
    assert labels.target.outputs == "labels"
    assert labels.attack("gap").auc.value == pytest.approx(0.75, abs=0.05)
    assert "labels only" in labels.attack("attack-p").reason


def test_rows_about_audited_and_other_records_serve_both_kinds_of_attack():
    direct, own = worlds.gaussian(1.0, shadows=4, overlapping=True).evidence, worlds.gaussian(1.0, shadows=4).evidence
    n, rng = direct.n, np.random.default_rng(0)
    nowhere = np.zeros_like(direct.inside)
    order = np.stack([rng.permutation(2 * n) for _ in range(4)])  # every shadow answered in an order of its own
    rows = np.concatenate([direct.shadows, own.shadows], axis=1)
    asked = np.concatenate([np.tile(np.arange(n), (4, 1)), own.asked], axis=1)
    inside = np.concatenate([nowhere, own.inside], axis=1)
    mixed = {
        "target": direct.target,
        "labels": np.concatenate([direct.labels, own.labels[n:]]),
        "member": np.arange(n) % 2 == 0,
        "shadows": np.take_along_axis(rows, order[:, :, None], axis=1),
        "inside": np.take_along_axis(inside, order, axis=1),
        "asked": np.take_along_axis(asked, order, axis=1),
    }
    found = stored_outputs(mixed)
    np.testing.assert_array_equal(found.direct.shadows, direct.shadows.astype(np.float32))
    assert not found.direct.inside.any()
    assert found.own.shadows.shape == own.shadows.shape
    assert found.own.inside.sum() == own.inside.sum()
    for row, record in zip(found.own.shadows[2], found.own.asked[2], strict=True):
        expected = own.shadows[2, np.flatnonzero(own.asked[2] == record)[0]]
        np.testing.assert_array_equal(row, expected.astype(np.float32))


def test_records_without_a_shadow_on_one_side_are_missing_counted_and_empty_in_the_table(leaky, tmp_path):
    inside = leaky["inside"].copy()
    inside[:, :7] = True
    bare = {key: array for key, array in leaky.items() if not key.startswith("population")}
    file = stored(tmp_path / "outputs.npz", **(bare | {"inside": inside}))
    assert command(file, "--out", tmp_path / "audit").exit_code == 0
    result = Result.load(tmp_path / "audit")
    for name in ("lira", "attack-r", "calibration"):
        assert result.attack(name).missing == 7
        assert any("7 of 400 audited records" in note for note in result.attack(name).notes)
        assert [record[name] is None for record in result.records] == [True] * 7 + [False] * 393
    assert result.attack("threshold").missing == 0
    assert any("could not be scored: " in warning and "7 by lira" in warning for warning in result.warnings)
    assert "7 by lira" in (tmp_path / "audit" / "report.html").read_text()


def test_logits_and_their_probabilities_are_one_audit(leaky):
    same = {key: np.log(leaky[key]) + 3 for key in leaky if key.split("_")[-1] in ("target", "shadows")}
    logits = stored_outputs(leaky | same | {"kind": np.array("logits")})
    assert logits.kind == "logits"
    np.testing.assert_allclose(logits.own.target, leaky["target"], rtol=1e-6)
    unsaid = stored_outputs(leaky | same)
    assert (unsaid.kind, unsaid.capability) == ("logits", "logits")
    rounded = {key: np.round(leaky[key], 3) for key in ("target", "population_target")}
    assert stored_outputs(leaky | rounded).capability == "rounded"
    top = np.where(leaky["target"] < np.sort(leaky["target"], axis=1)[:, -2:-1], 0, leaky["target"])
    assert stored_outputs(leaky | {"target": top, "kind": np.array("topk")}).capability == "topk"
    shadows = np.where(
        leaky["shadows"] < 0.3, 0, leaky["shadows"]
    )  # cut, too; ties and thresholds may leave no class out
    shadows[0, :10] = leaky["shadows"][0, :10]
    with pytest.raises(DataError, match="type of the answers is not clear"):
        stored_outputs(leaky | {"target": top, "shadows": shadows})
    assert stored_outputs(leaky | {"target": top, "shadows": shadows, "kind": np.array("topk")}).kind == "topk"


def test_equal_answers_to_everybody_find_nothing_and_are_said(leaky):
    constant = leaky | {"target": np.full((400, 5), 0.2), "labels": np.zeros(400, int)}
    result = score(stored_outputs(constant), attacks=["threshold", "rmia", "calibration"])
    assert any("same answer" in warning for warning in result.warnings)
    assert result.attack("threshold").auc.value == 0.5
    assert result.attack("gap").auc.value == 0.5


WRONG = {
    "no target": (lambda a: a.pop("target"), "there is no array 'target'"),
    "unknown": (lambda a: a.update(shadow=a["shadows"]), "unknown array 'shadow'; did you mean 'shadows'"),
    "nan": (lambda a: a["target"].__setitem__((3, 1), np.nan), "target holds 1 NaN or infinite answers of 2000"),
    "nan in a shadow": (lambda a: a["shadows"].__setitem__((0, 3, 1), np.inf), "shadows holds 1 NaN or infinite"),
    "one side": (lambda a: a.update(member=np.ones(400, bool)), "all 400 records are members"),
    "not true or false": (lambda a: a.update(member=np.arange(400)), "member must be true or false"),
    "lengths": (lambda a: a.update(labels=a["labels"][:-1]), "must tell of the same records"),
    "sums": (lambda a: a["target"].__imul__(0.5), "every row sums to 0.5"),
    "negative losses": (lambda a: a.update(target=-np.log(a["target"])), "the type of the answers is not clear"),
    "other kind": (
        lambda a: a.update(target=np.log(a["target"]), kind="percent"),
        "target: the answers were declared percent",
    ),
    "shadows of another kind": (
        lambda a: a.update(kind="probabilities", shadows=np.log(a["shadows"])),
        "shadows: the answers",
    ),
    "two kinds": (lambda a: a.update(kind=np.array(["logits", "topk"])), "kind must be one word"),
    "no dimension": (lambda a: a.update(target=np.array(1.0)), "must tell of the same records"),
    "two label columns": (lambda a: a.update(labels=a["labels"][:, None]), "labels must be (n,)"),
    "nobody": (lambda a: a.update(member=np.empty(0, bool), target=a["target"][:0]), "member is empty"),
    "population alone": (lambda a: a.pop("population_target"), "needs 'population_target'"),
    "texts as labels": (lambda a: a.update(labels=np.array(["a"] * 400)), "labels must be whole numbers"),
    "classes": (lambda a: a.update(classes=np.array(["a", "b"])), "5 different names"),
    "columns": (lambda a: a.update(shadows=a["shadows"][:, :, :4]), "shadows must have 5 columns"),
    "inside alone": (lambda a: a.pop("shadows"), "'inside' needs 'shadows' beside it"),
    "no inside": (lambda a: a.pop("inside"), "'shadows' needs 'inside' beside it"),
    "shadows' labels": (lambda a: a.update(shadows=a["shadows"].argmax(2)), "rows of 0 and one 1: np.eye(5)[shadows]"),
    "inside shape": (lambda a: a.update(inside=a["inside"][:, 1:]), "inside must have shape"),
    "shadows of others": (
        lambda a: (a.update(shadows=a["shadows"][:, 1:]), a.update(inside=a["inside"][:, 1:])),
        "asked",
    ),
    "kind": (lambda a: a.update(kind=np.array("softmax")), "kind must be"),
    "slice length": (lambda a: a.update(slice_sex=np.array(["f"])), "one value for each of the 400"),
    "features": (lambda a: a["features"].__setitem__((0, 0), np.nan), "features must be finite numbers"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_ends_with_its_name_a_message_and_exit_code_2(leaky, tmp_path, wrong):
    change, says = WRONG[wrong]
    arrays = {key: value.copy() for key, value in leaky.items()}
    change(arrays)
    done = command(stored(tmp_path / "outputs.npz", **arrays), "--out", tmp_path / "audit")
    assert done.exit_code == 2, done.output
    assert says in done.output
    assert "outputs.npz" in done.output
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no .npz file, or a damaged one: it is empty; stored answers are named arrays (docs/outputs.md"),
        (b"a,b\n1,2\n", "one: it has 8 bytes and starts with b'a,b\\n1,2\\n'; stored answers are named arrays"),
        (None, "without pickled objects"),
    ],
)
def test_what_is_no_npz_of_plain_arrays_is_refused(tmp_path, content, said):
    file = tmp_path / "outputs.npz"
    if content is None:
        np.savez(file, target=np.array([{"a": 1}], dtype=object), labels=[0], member=[True])
    else:
        file.write_bytes(content)
    done = command(file)
    assert done.exit_code == 2
    assert said in done.output
    assert command(tmp_path / "nothing.npz").exit_code == 2
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(DataError, match="one array, not an .npz"):
        read_outputs(tmp_path / "one.npy")
    with pytest.raises(DataError, match="path of an .npz file, got a dict; .*stored_outputs"):
        score({"target": np.zeros((2, 2))})


def test_the_page_tells_every_array_and_its_example_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parent.parent / "docs" / "outputs.md").read_text(encoding="utf-8")
    table = set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `")))
    )
    assert table == {*ARRAYS, *SIGNALS, "slice_NAME"}
    world = worlds.gaussian(1.0, n=100, overlapping=True)

    class Model:
        def __init__(self, said):
            self.said = said

        def predict_proba(self, records):
            return self.said

        def predict(self, records):
            return self.said[:, 0]

    names = {
        "model": Model(world.evidence.target),
        "records": None,
        "classes_of_records": world.evidence.labels,
        "was_trained_on": world.member,
        "truth": np.ones(len(world.member)),
        "shadow_models": [Model(said) for said in world.evidence.shadows],
        "inside": world.evidence.inside,
    }
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
        assert len(block.strip().splitlines()) <= 5
        assert command("outputs.npz").exit_code == 0


def test_a_stored_trace_is_read_by_the_attack_that_is_named_for_it():
    world = worlds.exchangeable(2, n=200)
    member = world.member
    arrays = arrays_of(world) | {"trace": np.linspace(3, 1 - member, 6).T}
    attack = score(stored_outputs(arrays), attacks=["loss-trace"]).attack("loss-trace")
    assert (attack.status, attack.auc.value) == ("ran", 1.0)
    assert "loss-trace" not in [each.name for each in score(stored_outputs(arrays)).attacks]
    del arrays["trace"]
    assert "no trace" in score(stored_outputs(arrays), attacks=["loss-trace"]).attack("loss-trace").reason
    for trace in (np.zeros((199, 6)), np.full((200, 6), -0.1), np.full((200, 6), np.inf)):
        with pytest.raises(DataError, match="trace"):
            stored_outputs(arrays | {"trace": trace})


@pytest.mark.parametrize(
    ("n", "share"),
    [(200, 0.05), pytest.param(400, 0.05, marks=pytest.mark.slow), pytest.param(2000, 0.01, marks=pytest.mark.slow)],
)
def test_a_few_fully_exposed_members_are_a_leak(n, share, tmp_path):
    """Answers that know nothing of membership, but for a few members of whose class the target is certain."""
    evidence, member = worlds.exchangeable(0, n=2 * n, shadows=1)
    target, labels = evidence.target.copy(), evidence.audited_labels
    exposed = np.flatnonzero(member)[: round(share * n)]
    target[exposed] = 1e-7
    target[exposed, labels[exposed]] = 1 - 1e-7 * (target.shape[1] - 1)
    file = stored(tmp_path / "few.npz", target=target, labels=labels, member=member)
    result = json.loads(command(file, "--out", tmp_path / "audit", "--json").stdout)
    assert result["verdict_kind"] == "leak", result["verdict"]
    lead = next(attack for attack in result["attacks"] if attack["name"] == result["headline"])
    assert lead["exposed"]["above"] >= len(exposed) > lead["exposed"]["most"]
    assert f"'{lead['name']}' ranks {lead['exposed']['above']:,} of {n:,} members above all" in result["verdict"]


@pytest.mark.parametrize("n", [8, 200])
def test_accuracies_are_called_unlike_where_chance_does_not_explain_it(n):
    """A target that is right on half of the members, and on three of four others; shadow models on all they were trained on."""
    rng, m = np.random.default_rng(0), 4
    labels, inside = rng.integers(0, 2, 2 * n), rng.random((m, 2 * n)) < 0.5
    right = np.r_[np.arange(n) % 2 == 0, np.arange(n) % 4 != 0]
    arrays = {
        "target": np.where(right, labels, 1 - labels),
        "labels": labels,
        "member": np.arange(2 * n) < n,
        "shadows": np.eye(2)[np.where(rng.random((m, 2 * n)) < 0.65, labels, 1 - labels)],
        "inside": inside,
    }
    warnings = " ".join(score(stored_outputs(arrays)).warnings)
    for text in ("training accuracy is 0.500", "does better on the non-members (0.750) than on the members (0.500)"):
        assert (text in warnings) == (n > 8)


@pytest.mark.parametrize(("share", "kind"), [(0.9, "confounded"), (0.5, "none detected")])
def test_classes_that_differ_between_the_sides_are_no_leak(share, kind):
    """One class is easier than the other for any model, and more frequent among members, or as frequent to the record."""
    n, rng = 200, np.random.default_rng(1)
    labels = np.r_[np.arange(n) >= share * n, np.arange(n) >= n // 2].astype(int)
    sure = np.where(labels == 0, 0.9, 0.6) + rng.uniform(-0.05, 0.05, 2 * n)
    target = np.where(labels[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None])
    result = score(stored_outputs({"target": target, "labels": labels, "member": np.arange(2 * n) < n}))
    assert result.verdict_kind == kind
    assert ("the classes of the records alone tell members from non-members" in result.verdict) == (
        kind == "confounded"
    )
    assert any("model-free control did not run" in text for text in result.warnings) == (kind != "confounded")
    page, headings = render(result), ["Raw records, no model", "Classes, no model"]
    assert [each in page for each in headings] == [kind != "confounded", kind == "confounded"]


@pytest.mark.parametrize("act", [score, unlearning.score])
def test_what_is_no_folder_is_refused_before_anything_is_read(act):
    with pytest.raises(PlanError, match="^out: must be the path of a folder, got 5$"):
        act("nothing.npz", out=5)
