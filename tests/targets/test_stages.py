from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import miaudit
from miaudit.errors import TargetError
from miaudit.targets import as_target
from miaudit.targets.stages import stages_of

rng = np.random.default_rng(0)
X = rng.normal(size=(240, 4))
y = rng.integers(0, 3, 240)


def xgboost() -> Any:
    return pytest.importorskip("xgboost").XGBClassifier(n_estimators=8, max_depth=2, n_jobs=1)


def lightgbm() -> Any:
    return pytest.importorskip("lightgbm").LGBMClassifier(n_estimators=8, num_leaves=3, verbose=-1, n_jobs=1)


MODELS = {
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=8, max_depth=2),
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=8),
    "adaboost": lambda: AdaBoostClassifier(n_estimators=8),
    "pipeline": lambda: make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=8, max_depth=2)),
    "xgboost": xgboost,
    "lightgbm": lightgbm,
}


@pytest.mark.parametrize("name", MODELS)
def test_the_last_stage_is_the_models_answer(name: str) -> None:
    model = MODELS[name]().fit(X, y)
    stages = stages_of(model)
    assert stages is not None
    answers = list(stages(X))
    assert 4 <= len(answers) <= 8
    np.testing.assert_allclose(answers[-1], model.predict_proba(X), rtol=1e-5, atol=1e-6)
    *_, last = as_target(model, classes=3).by_stage(X)
    np.testing.assert_allclose(last, model.predict_proba(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "model", [RandomForestClassifier(5), make_pipeline(StandardScaler(), RandomForestClassifier(5))]
)
def test_other_models_keep_no_stages(model: Any) -> None:
    target = as_target(model.fit(X, y), classes=3)
    assert not list(target.by_stage(X))


def test_columns_are_those_of_the_models_classes() -> None:
    """A model that never saw class 1 has two columns: class 1 has a probability of 0 at every stage."""
    seen = y != 1
    target = as_target(GradientBoostingClassifier(n_estimators=5).fit(X[seen], y[seen]), classes=3)
    for answers in target.by_stage(X):
        assert (answers[:, 1] == 0).all()
        assert (answers[:, [0, 2]] > 0).all()


def test_a_model_that_fails_by_stages_is_named() -> None:
    class Broken:
        classes_ = np.arange(3)

        def predict_proba(self, X: Any) -> Any:
            return np.full((len(X), 3), 1 / 3)

        def staged_predict_proba(self, X: Any) -> Any:
            raise ValueError("no stages today")

    with pytest.raises(TargetError, match="failed to answer by stages: ValueError: no stages today"):
        list(as_target(Broken(), classes=3).by_stage(X))


def test_an_audit_reads_the_trace_where_the_attack_is_named() -> None:
    half, rest = slice(0, 80), slice(80, 160)
    model = GradientBoostingClassifier(n_estimators=30, max_depth=3, random_state=0).fit(X[half], y[half])
    sides = {"members": (X[half], y[half]), "nonmembers": (X[rest], y[rest]), "population": (X[160:], y[160:])}
    result = miaudit.audit(model, **sides, shadows=2, jobs=0, attacks=["loss-trace", "loss-trace fall"])
    for name in ("loss-trace", "loss-trace fall"):
        attack = result.attack(name)
        assert attack.status == "ran"
        assert attack.auc is not None
        assert attack.auc.low > 0.5  # type: ignore[operator]
    assert "for loss-trace the model itself" in result.threat_model[1]
    forest = RandomForestClassifier(5, random_state=0).fit(X[half], y[half])
    untraced = miaudit.audit(forest, **sides, shadows=2, jobs=0, attacks=["loss-trace"])
    assert "prediction interface only" in untraced.threat_model[1]
    skipped = untraced.attack("loss-trace")
    assert skipped.status == "skipped"
    assert "boosted trees" in str(skipped.reason)
