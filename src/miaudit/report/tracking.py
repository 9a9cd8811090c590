"""An audit as a run of MLflow: figures as metrics, and what may be handed on as artifacts."""

from __future__ import annotations

import re
import tempfile
from contextlib import suppress
from pathlib import Path

from miaudit.errors import PlanError
from miaudit.files import write_files
from miaudit.libraries import require
from miaudit.report.card import model_card
from miaudit.report.page import render
from miaudit.report.share import shared
from miaudit.result import Result
from miaudit.visible import visible

_LONGEST = 5000
"""Characters of a tag that MLflow takes."""


def log_audit(result: Result, *, experiment: str = "miaudit", run: str | None = None) -> str:
    """Log an audit to MLflow and return the id of the run; where it is kept is MLflow's to say (``MLFLOW_TRACKING_URI``).

    Metrics are AUC and TPRs of every attack with their intervals, by names such as ``auc.rmia.low`` and
    ``tpr.fpr_0.01.rmia``, and the accuracies of the target; rates that so few records do not resolve are left out. Tags
    hold the verdict. Artifacts, under ``miaudit``, are the page, the result as JSON and the section of a model card, of the
    result as it may be handed on: no record and no small slice is in them, because a tracking server has more readers
    than an audit.

    Parameters
    ----------
    result
        Of the audit.
    experiment
        In which a run is made; made itself if it is not there.
    run
        Id of a run that is there already, such as that of the training; then none is made.

    Raises
    ------
    PlanError
        If MLflow is not installed, or does not take it.
    """
    client = require("mlflow", extra="mlflow", what="logging an audit").MlflowClient()
    entities = require("mlflow.entities", extra="mlflow", what="logging an audit")
    public = shared(result)
    own = run
    try:
        if own is None:
            row = client.get_experiment_by_name(experiment)
            where = client.create_experiment(experiment) if row is None else row.experiment_id
            own = str(client.create_run(where, run_name=visible(result.title)).info.run_id)
        moment = client.get_run(own).info.start_time
        client.log_batch(
            own,
            metrics=[entities.Metric(name, value, moment, 0) for name, value in metrics(public).items()],
            tags=[entities.RunTag(f"miaudit.{name}", value) for name, value in _tags(public).items()],
        )
        with tempfile.TemporaryDirectory() as folder:
            texts = {
                "result.json": public.to_json(),
                "report.html": render(public),
                "model-card.md": model_card(public),
            }
            write_files(Path(folder), {name: text.encode() for name, text in texts.items()})
            client.log_artifacts(own, folder, "miaudit")
        if run is None:
            client.set_terminated(own)
    except Exception as error:  # of its many stores, each with errors of its own
        if run is None and own is not None:
            with suppress(Exception):
                client.set_terminated(own, "FAILED")
        raise PlanError(f"MLflow does not take the audit: {error}") from error
    return own


def metrics(result: Result) -> dict[str, float]:
    """Return the figures of a result by name; those that could not be measured are left out."""
    values: dict[str, float | None] = {
        "accuracy.members": result.target.train_accuracy,
        "accuracy.nonmembers": result.target.test_accuracy,
    }
    for attack in result.attacks:  # of a deletion audit, those on the model afterwards
        figures, name = attack.of_unit, re.sub(r"[^\w.-]+", "_", attack.name, flags=re.ASCII)
        if attack.status != "ran":
            continue
        if figures.auc is not None:
            values |= _ends(f"auc.{name}", figures.auc.value, figures.auc.low, figures.auc.high)
        for rate in (each for each in figures.tpr_at_fpr if each.resolvable):
            values |= _ends(f"tpr.fpr_{rate.fpr:g}.{name}", rate.tpr, rate.low, rate.high)
    pair = None if result.deletion is None else result.deletion.pair
    if pair is not None:
        values |= _ends("auc.pair", pair.auc.value, pair.auc.low, pair.auc.high)
    return {name: float(value) for name, value in values.items() if value is not None}


def _ends(name: str, value: float | None, low: float | None, high: float | None) -> dict[str, float | None]:
    return {name: value, f"{name}.low": low, f"{name}.high": high}


def _tags(result: Result) -> dict[str, str]:
    lead = result.lead
    tags = {
        "verdict": result.verdict_kind or "",
        "sentence": visible(result.verdict),
        "leads": "" if lead is None else lead.name,
        "version": result.provenance.versions.get("miaudit", ""),
    }
    return {name: text[:_LONGEST] for name, text in tags.items()}
