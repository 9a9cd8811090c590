"""What a deletion audit will cost, said beforehand, held to what it then took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from deletions import RECIPE, sides
from sklearn.tree import DecisionTreeClassifier

from miaudit.cli import main
from miaudit.recipes import Network, states
from miaudit.unlearning import audit, forecast

OPTIONS: dict[str, Any] = {
    "shadows": 2,
    "oracles": 1,
    "jobs": 0,
    "bystanders": 1,
    "seed": 1,
    "kept": 0,
    "attacks": ["lira"],
}


@pytest.mark.slow
def test_models_disk_and_power_are_those_of_the_audit(tmp_path: Path) -> None:
    given = {"forget": np.arange(50), "procedure": {"name": "sisa", "shards": 4}, **sides(1), **OPTIONS}
    foreseen = forecast(RECIPE, trained_here=True, out=tmp_path, **given)
    receipts = 4
    assert (foreseen.models, foreseen.stored, foreseen.queries) == (1 + 2 + 1 + 1 + receipts - 1, 0, None)
    assert (foreseen.members, foreseen.nonmembers, foreseen.deletion) == (50, 50, True)
    assert "50 deleted and 50 never trained on (records)" in str(foreseen)
    stored = len([*(tmp_path / "rows").glob("*.safetensors")])
    assert 1 <= stored <= 2
    result = audit(RECIPE, trained_here=True, out=tmp_path, **given)
    assert result.provenance.shadow_cost is not None
    assert result.provenance.shadow_cost.trained_now == foreseen.models - stored  # what was tried is kept
    assert foreseen.attacks == sum(attack.status == "ran" for attack in result.attacks)
    assert result.lead is not None
    assert result.lead.power is not None
    assert foreseen.power is not None
    assert foreseen.power.auc == pytest.approx(result.lead.power.auc, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("deleted", [50, 2], ids=["all shards", "some shards"])
def test_states_of_shards_are_counted_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deleted: int
) -> None:
    network = Network(hidden=(64,), activation="relu", epochs=2, batch=20)
    given = {
        "forget": np.arange(deleted),
        "procedure": {"name": "sisa", "shards": 6, "slices": 2},
        **sides(1),
        **OPTIONS,
    }
    given |= {"receipts": 1, "trained_here": True}
    without = forecast(network, out=tmp_path / "without", **given)
    monkeypatch.setattr(states, "LEAST_SECONDS", 0.0)
    foreseen = forecast(network, out=tmp_path / "out", **given)
    audit(network, out=tmp_path / "out", **given)
    written = sum(file.stat().st_size for file in (tmp_path / "out" / "states").rglob("*") if file.is_file())
    assert written > 50_000
    assert foreseen.disk_bytes - without.disk_bytes == pytest.approx(written, rel=0.25)
    again = forecast(network, out=tmp_path / "out", **given)
    assert again.disk_bytes - without.disk_bytes == pytest.approx(written, rel=0.25)


@pytest.mark.slow
def test_models_at_hand_are_counted_and_not_asked() -> None:
    world = sides(1)
    X, y = world["members"]

    class Counted:
        asked = 0
        classes_ = np.arange(2)

        def __init__(self, model: Any) -> None:
            self.model = model

        def predict_proba(self, records: Any) -> Any:
            Counted.asked += len(records)
            return self.model.predict_proba(records)

    before, after = (Counted(DecisionTreeClassifier(random_state=i).fit(X, y)) for i in range(2))
    given = {"before": before, "recipe": RECIPE, "forget": np.arange(50), **world, **OPTIONS}
    foreseen = forecast(after, **given)
    assert Counted.asked == 0
    assert foreseen.queries is not None
    audit(after, **given)
    assert Counted.asked == foreseen.queries.to_send


def test_the_command_says_what_it_will_cost_and_makes_no_result(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'seed = 4\n[data]\nname = "digits"\n[split]\nmembers = 150\nnonmembers = 150\n[recipe]\n'
        'estimator = "sklearn.tree.DecisionTreeClassifier"\n[shadows]\ncount = 4\nbystanders = 2\n[unlearning]\nremove = "3"\n'
        "oracles = 2\n"
    )
    command = ["unlearn", str(plan), "--out", str(tmp_path / "out"), "--jobs", "0", "--dry-run"]
    run = CliRunner().invoke(main, [*command, "--json"])
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout)["models"] == 1 + 4 + 2
    assert not (tmp_path / "out" / "result.json").exists()
    assert CliRunner().invoke(main, [*command, "--gate", "release"]).exit_code == 2
