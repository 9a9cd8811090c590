"""A file of signals is audited as one of answers is, without classes; what does not fit is refused by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import miaudit
from miaudit.attacks import LiRA
from miaudit.auditing.stored import read_outputs, stored_outputs
from miaudit.cli import main
from miaudit.errors import DataError
from miaudit.report import render
from miaudit.testing import worlds

N, M = 120, 10


def arrays(*, overlapping: bool = True, log_likelihood: bool = False, d: float = 3.0) -> dict[str, Any]:
    world = worlds.signal(d, n=N, shadows=M, overlapping=overlapping, log_likelihood=log_likelihood, seed=1)
    evidence, population = world.evidence, world.evidence.population
    assert population is not None
    held: dict[str, Any] = {
        "signal_target": evidence.target[:, 0],
        "signal_shadows": evidence.shadows[..., 0],
        "inside": evidence.inside,
        "member": world.member,
        "population_target": population.target[:, 0],
        "population_shadows": np.asarray(population.shadows)[..., 0],
        "features": evidence.features,
        "population_features": population.features,
        "log_likelihood": log_likelihood,
    }
    if evidence.bystanders is not None:
        held["bystanders"] = np.asarray(evidence.bystanders)[..., 0]
    return {key: np.asarray(value) for key, value in held.items()}


@pytest.mark.parametrize("overlapping", [True, False])
def test_the_command_audits_signals_and_says_nothing_of_classes(overlapping: bool, tmp_path: Path) -> None:
    held = arrays(overlapping=overlapping, log_likelihood=True)
    held |= {"signal_name": np.array("log-likelihood of the text"), "slice_half": np.arange(N) % 2}
    held |= {"ids": np.array([f"r{i}" for i in range(N)]), "group": np.arange(N)}
    np.savez(tmp_path / "file.npz", **held)
    done = CliRunner().invoke(main, ["score", str(tmp_path / "file.npz"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "result.json").read_text()
    assert "NaN" not in text
    document = json.loads(text)
    assert document["verdict_kind"] == "leak"
    target = document["target"]
    assert (target["outputs"], target["capability"], target["classes"]) == ("signal", "log-likelihood", None)
    assert target["train_accuracy"] is target["test_accuracy"] is None
    assert "nothing of classes" in target["accuracy_reason"]
    assert "(log-likelihood of the text)" in document["threat_model"][1]
    assert not any("true class" in sentence or "robabilit" in sentence for sentence in document["threat_model"])
    assert {grouping["column"] for grouping in document["groups"]} == {"half"}
    status = {attack["name"]: attack["status"] for attack in document["attacks"]}
    assert status["lira offline"] == status["rmia"] == status["quantile"] == status["attack-p"] == "ran"
    assert status["lira"] == ("ran" if overlapping else "skipped")
    assert {status[name] for name in ("gap", "shokri", "salem", "label-only")} == {"skipped"}
    assert next(a for a in document["attacks"] if a["strongest"])["name"] == ("lira" if overlapping else "rmia")
    assert document["controls"]["bystander"]["auc"] is not None
    assert document["controls"]["blind"]["confounded"] is False
    head = (tmp_path / "out" / "records.csv").read_text().splitlines()[0]
    assert head.startswith("id,member,risk_rank,")
    result = miaudit.Result.load(tmp_path / "out")
    assert result.records[0]["id"] == "r0"
    page = render(result)
    assert "Accuracies are not known" in page
    assert "a signal that is higher for members" in page
    assert "not known" not in done.output
    result._repr_html_()


def test_one_signal_of_the_target_alone_is_an_audit() -> None:
    held = arrays()
    result = miaudit.score(stored_outputs({key: held[key] for key in ("signal_target", "member")}))
    assert [attack.name for attack in result.attacks if attack.status == "ran"] == ["threshold"]
    assert result.shadows.trained == 0
    result.to_json()


def test_queries_and_records_of_their_own_are_read() -> None:
    held = arrays()
    keys = ("member", "inside", "signal_target", "signal_shadows")
    several = {key: held[key] if key in keys[:2] else np.stack([held[key]] * 3, axis=-1) for key in keys}
    one = stored_outputs({key: held[key] for key in keys})
    np.testing.assert_allclose(LiRA().score(stored_outputs(several).own), LiRA().score(one.own))
    m, rng = 4, np.random.default_rng(0)
    asked = np.hstack([np.tile(np.arange(N), (m, 1)), N + np.argsort(rng.random((m, 2 * N)), axis=1)[:, :N]])
    inside = np.hstack([np.zeros((m, N), bool), rng.random((m, N)) < 0.5])
    apart = {"signal_target": held["signal_target"], "member": held["member"], "asked": asked, "inside": inside}
    stored = stored_outputs({**apart, "signal_shadows": rng.normal(size=(m, 2 * N)) + 3 * inside})
    assert stored.direct is not None
    assert stored.direct.own is stored.own
    assert stored.own.inside.shape == (m, N)
    result = miaudit.score(stored)
    assert result.attack("threshold").pooled is not None
    assert result.attack("ratio").status == "ran"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"member": None}, "there is no array 'member'"),
    ({"signal_target": None}, "there is no array 'signal_target'"),
    ({"inside": None}, "'signal_shadows' needs 'inside' beside it"),
    ({"signal_shadows": None}, "'inside' needs 'signal_shadows' beside it"),
    ({"population_target": None}, "'population_shadows' needs 'population_target' beside it"),
    ({"labels": np.zeros(N, int)}, "'labels' is about classes, and the file holds signals"),
    ({"target": np.zeros((N, 2))}, "'target' is about classes"),
    ({"kind": np.array("logits")}, "'kind' is about classes"),
    ({"signal_shadow": np.zeros((M, N))}, "unknown array 'signal_shadow'; did you mean"),
    ({"signal_target": np.zeros(N - 1)}, "signal_target must be"),
    ({"signal_target": np.zeros((N, 1, 1))}, "signal_target must be"),
    ({"signal_target": np.full(N, np.nan)}, "signal_target holds 120 NaN or infinite"),
    ({"signal_target": np.array(["a"] * N)}, "target must be signals, numbers that are higher for members"),
    ({"signal_target": np.zeros((N, 2))}, r"signal_shadows must be \(m, n, q\) signals"),
    ({"signal_shadows": np.zeros((M, N + 1))}, r"signal_shadows must be \(m, n\) signals"),
    ({"signal_shadows": np.zeros((M, N, 1))}, r"signal_shadows must be \(m, n\) signals"),
    ({"inside": np.zeros((M, N - 1))}, "inside must have shape"),
    ({"inside": np.full((M, N), 2)}, "inside must be true or false .* got 2"),
    ({"inside": np.zeros((M, N), object)}, r"inside must be true or false .* got \[\[0, 0.* \(dtype object\)"),
    (
        {"target": np.ma.masked_equal([1.0, *[0.0] * (N - 1)], 1)},
        "target is a masked array, of which 1 value is masked",
    ),
    ({"member": np.ones(N, bool)}, "all 120 records are members"),
    ({"member": np.ones((N, 1), bool)}, "member must be"),
    ({"population_target": np.zeros((5, 2))}, r"population_target must be \(p,\) signals"),
    ({"population_shadows": np.zeros((M, 3))}, "population.shadows must have shape"),
    ({"bystanders": np.zeros((2, N, 1))}, r"bystanders must be \(b, n\) signals"),
    ({"bystanders": np.zeros((2, N + 1))}, "bystanders must have shape"),
    ({"signal_name": np.array([1, 2])}, "signal_name must be one text"),
    ({"log_likelihood": np.array("yes")}, "log_likelihood must be true or false"),
    ({"log_likelihood": np.array(True)}, "log-likelihoods are at most 0"),
    ({"slice_age": np.zeros(3)}, "slice_age must be one value for each"),
    ({"ids": np.zeros(3)}, "ids must be one value for each"),
    ({"group": np.zeros(3)}, "group must name the person"),
    ({"features": np.full((N, 3), np.inf)}, "features must be finite numbers"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[f"{next(iter(c))}: {m}"[:60] for c, m in WRONG])
def test_what_does_not_fit_is_refused_by_its_name(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    held = {key: value for key, value in (arrays() | change).items() if value is not None}
    with pytest.raises(DataError, match=message):
        stored_outputs(held)
    np.savez(tmp_path / "file.npz", **held)
    with pytest.raises(DataError, match=r"file\.npz"):
        read_outputs(tmp_path / "file.npz")
