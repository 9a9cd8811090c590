"""Outcomes: what one setting gave at one scale and seed, as a small document."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from miaudit import stats
from miaudit.auditing import Measured, case_of_plan, conclude, gather
from miaudit.auditing.provenance import Clock
from miaudit.auditing.workers import Engine
from miaudit.documents import Count, Document, NonNegative, first_problem
from miaudit.errors import StoreError
from miaudit.files import read_json, write_files
from miaudit.findings import ClassRow, ClassTable, Figure
from miaudit.mitigations import held, mitigated
from miaudit.paper.records import records_of
from miaudit.paper.settings import SETTINGS, Scale, Setting
from miaudit.result import Result
from miaudit.store import Store

SHARES = {"min": 0.0, "p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "max": 1.0}
BINS = 10
_PERCENTILES: dict[Figure, stats.Undefined] = {"precision": "zero", "recall": "left out", "gap": "left out"}
Tell = Callable[[str, Any], None]


class ClassOutcome(Document):
    """What the attack reached in one class; null where it is undefined."""

    name: str
    precision: float | None
    recall: float | None
    share: float
    train: float | None
    test: float | None


class HistogramPair(Document):
    """Shares of members and non-members in ten bins from 0 to 1."""

    members: list[float] | None
    nonmembers: list[float] | None


class Outcome(Document):
    """What one setting gave at one scale and seed.

    ``figures`` are named as in the registry, null where undefined; ``intervals`` are exact or score intervals at 95 %. The
    figures of 2017 are ``precision``, ``recall`` and ``accuracy`` of the 2017 attack at equally many members and
    non-members; ``auc`` and ``threshold_*`` are beyond the paper. Percentiles over classes count a class in which nobody is
    accused as precision 0; ``undefined_classes`` says how many there are. ``simulated``: the records were drawn from a model.
    """

    setting: str
    scale: str
    seed: Count
    simulated: bool
    data: str
    records: Count = 0
    members: Count
    nonmembers: Count
    shadows: Count
    shadows_of_paper: Count
    target: str
    figures: dict[str, float | None]
    intervals: dict[str, tuple[float | None, float | None]]
    undefined_classes: Count = 0
    classes: list[ClassOutcome] = Field([])
    uncertainty: HistogramPair | None = None
    true_class: HistogramPair | None = None
    synthesis: dict[str, float | None] = Field({})
    null_auc: float | None = None
    warnings: list[str] = Field([])
    seconds: NonNegative = 0.0
    versions: dict[str, str] = Field({})
    machine: dict[str, Any] = Field({})

    @property
    def table(self) -> ClassTable:
        """Its classes, for further analysis."""
        return ClassTable(
            tuple(ClassRow(c.name, c.precision, c.recall, c.share, c.train, c.test) for c in self.classes)
        )

    def save(self, folder: Path) -> Path:
        """Write it into a folder and return its path."""
        path = place(folder, self.setting, self.scale, self.seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_files(path.parent, {path.name: compact(self).encode()})
        return path


def place(folder: Path, setting: str, scale: str, seed: int) -> Path:
    """Return where the outcome of a setting is kept in a folder."""
    return folder / f"{setting.replace('/', '--')}.{scale}.{seed}.json"


def compact(outcome: Outcome) -> str:
    """Return an outcome as JSON with one line for each field, numbers rounded to five places."""

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return round(value, 5)
        if isinstance(value, dict):
            return {key: rounded(of) for key, of in value.items()}
        return [rounded(of) for of in value] if isinstance(value, list | tuple) else value

    fields = rounded(outcome.model_dump(mode="json"))
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
    return "{\n" + lines + "\n}\n"


def load(path: Path) -> Outcome:
    """Read an outcome.

    Raises
    ------
    StoreError
        If the file is none.
    """
    try:
        return Outcome.model_validate(read_json(path))
    except (OSError, ValueError) as error:
        why = first_problem(Outcome, error) if isinstance(error, ValidationError) else str(error)
        raise StoreError(
            f"{path} is no outcome of a reproduction: {why}; remove it, and run miaudit reproduce again"
        ) from error


def measure(
    settings: Sequence[Setting],
    out: Path,
    *,
    scale: Scale,
    seed: int,
    engine: Engine,
    tell: Tell,
    shadows: int | None = None,
    purchases: int | None = None,
    repeats: bool = True,
    data: str | PathLike[str] | None = None,
) -> list[Outcome]:
    """Train, ask and attack settings that share their models: Case, gather, Measured, conclude, Result, as every audit.

    Parameters
    ----------
    settings
        One target, as it is and behind mitigations of its answers: these train nothing.
    out
        Rows lie in a folder below, so that a run that was cut short goes on.
    scale, seed
        Of the paper or quick; root of all draws.
    engine, tell
        How the work is done, and whom to tell.
    shadows
        How many shadow models; default: as many as the scale has.
    purchases
        How many simulated purchases; default: as many as the scale has.
    repeats
        Whether the attack is run again on shuffled memberships and on halves of the shadow models, as in every audit.
    data
        Folder of the named data sets; default: the environment's MIAUDIT_DATA.

    Returns
    -------
    list of Outcome
        In the order of ``settings``.
    """
    clock, sized = Clock(), settings[0].sized(scale, shadows)
    name = f"{sized.models}, seed {seed}"
    tell(f"{name}: records", None)
    records = records_of(sized, out / "records", data, scale=scale, seed=seed, purchases=purchases)
    case = case_of_plan(sized.plan(records.section, seed=seed), data_folder=data)
    workers, recipe = engine.start(case.engine, case.recipe, began=clock.monotonic)
    folder = out / "models" / f"{sized.models.replace('/', '--')}.{scale}.{sized.shadows}.{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    measured = gather(
        replace(case, recipe=recipe),
        Store(folder),
        workers,
        clock=clock,
        tell=lambda text, progress: tell(f"{name}: {text}", progress),
    )
    measured = held(measured) if len(settings) > 1 else measured
    outcomes = []
    for setting in settings:
        tell(f"{setting.name}, seed {seed}: attacking", None)
        variant = replace(measured, repeats=repeats)
        if setting.mitigation is not None:  # the target as it is has the controls
            variant = replace(mitigated(measured, setting.mitigation), repeats=False)
        outcomes.append(outcome_of(conclude(variant), variant, setting, scale, seed, simulated=records.simulated))
    return outcomes


def outcome_of(
    result: Result, measured: Measured, setting: Setting, scale: Scale, seed: int, *, simulated: bool
) -> Outcome:
    """Return what of a result is laid beside the paper's figures."""
    attack, floor = result.attack("shokri"), result.attack("threshold")
    pooled, baseline = attack.pooled, floor.pooled
    if pooled is None or baseline is None or attack.auc is None or floor.auc is None:
        raise StoreError(f"{setting.name}: the 2017 attack {attack.status}: {attack.reason}")
    table = ClassTable.of(attack)
    uncertainty, true_class = _of_answers(measured)
    of_target = [(result.target, name) for name in ("train_accuracy", "test_accuracy")]
    of_attack = [(pooled, name) for name in ("precision", "recall", "accuracy")]
    figures: dict[str, float | None] = {
        **{name: getattr(of, name) for of, name in (*of_target, *of_attack)},
        "auc": attack.auc.value,
        "threshold_precision": baseline.precision,
        "threshold_auc": floor.auc.value,
        **_over_classes(table),
        **_sure(true_class),
    }
    intervals = {
        name: (getattr(of, f"{name}_low"), getattr(of, f"{name}_high")) for of, name in (*of_attack, *of_target)
    }
    null, platform = result.controls.null, result.provenance.platform
    return Outcome(
        setting=setting.name,
        scale=scale,
        seed=seed,
        simulated=simulated,
        data=result.data.name,
        records=result.data.records,
        members=result.split.members,
        nonmembers=result.split.nonmembers,
        shadows=result.split.shadows,
        shadows_of_paper=SETTINGS[setting.name].shadows if setting.name in SETTINGS else setting.shadows,
        target=result.target.description,
        figures=figures,
        intervals=intervals | {"auc": (attack.auc.low, attack.auc.high)},
        undefined_classes=sum(row.precision is None for row in table.rows),
        classes=[] if setting.mitigation is not None else [ClassOutcome.of(row) for row in table.rows],
        uncertainty=uncertainty,
        true_class=true_class,
        synthesis=_synthesis(result),
        null_auc=None if null is None or null.auc is None else null.auc.value,
        warnings=result.warnings,
        seconds=round(result.provenance.seconds["total"], 1),
        versions=result.provenance.versions,
        machine={} if platform is None else platform.model_dump(include={"machine", "cores"}),
    )


def _synthesis(result: Result) -> dict[str, float | None]:
    of = result.synthesis
    if of is None:
        return {}
    queries = of.queries.per_record
    return {"records": of.records, "queries_per_record": queries, "mean_confidence": of.mean_confidence}


def _over_classes(table: ClassTable) -> dict[str, float | None]:
    figures: dict[str, float | None] = {}
    for name, undefined in _PERCENTILES.items():
        values = table.percentiles(name, list(SHARES.values()), undefined=undefined)
        for i, key in enumerate(SHARES):
            figures[f"class_{name}_{key}"] = None if values is None else values[i]
    for each in table.correlations():
        figures[f"spearman_{each.first}_{each.second}"] = each.value
    return figures


def _of_answers(measured: Measured) -> tuple[HistogramPair | None, HistogramPair | None]:
    target, labels = measured.evidence.own.target, measured.evidence.own.audited_labels
    if target.ndim != 2:
        return None, None
    return (
        HistogramPair.of(stats.histograms(stats.uncertainty(target), measured.member, bins=BINS)),
        HistogramPair.of(stats.histograms(stats.true_class(target, labels), measured.member, bins=BINS)),
    )


def _sure(true_class: HistogramPair | None) -> dict[str, float | None]:
    if true_class is None:
        return {"members_sure": None, "nonmembers_sure": None}
    pairs = {"members_sure": true_class.members, "nonmembers_sure": true_class.nonmembers}
    return {name: None if bins is None else bins[-1] for name, bins in pairs.items()}


def identity(precision: float, recall: float) -> float:
    """Return the accuracy that precision and recall imply with as many members as non-members: (1 + R - R (1 - P) / P) / 2."""
    return (1 + recall - recall * (1 - precision) / precision) / 2


def mean(outcomes: Sequence[Outcome], figure: str) -> float | None:
    """Return the mean of one figure over seeds; None where one has none."""
    values = [outcome.figures.get(figure) for outcome in outcomes]
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers and len(numbers) == len(values) else None
