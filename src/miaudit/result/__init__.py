"""Result: the document an audit ends with, its schema, and its per-record table.

Everything a reader, a gate or another program needs stands in ``result.json``; reports are renderings of it. There is
no NaN in a document: an undefined figure is null, with its reason beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, InstanceOf, ValidationError, model_validator
from pydantic.json_schema import SkipJsonSchema

from miaudit.documents import Count, Document, Fraction, Signed
from miaudit.errors import StoreError
from miaudit.files import read_json, write_files
from miaudit.result.attack import AttackResult, highest, named_beforehand
from miaudit.result.beyond import Beyond, beyond_bystanders
from miaudit.result.figures import (
    Accusations,
    Bounded,
    BystanderFigures,
    ClassMetrics,
    CorrectedInterval,
    CredibleInterval,
    DetectableTpr,
    Difference,
    Epsilon,
    Exposed,
    Interval,
    OperatingPoint,
    PersonFigures,
    PointMetrics,
    Power,
    PpvAtPrior,
    Roc,
    TnrAtFnr,
    TprAtFpr,
    TprAtZeroFp,
)
from miaudit.result.table import Records

__all__ = [
    "SCHEMA_VERSION",
    "Accusations",
    "AttackResult",
    "Beyond",
    "BlindControl",
    "BystanderControl",
    "BystanderFigures",
    "ClassMetrics",
    "Controls",
    "CorrectedInterval",
    "Coverage",
    "CredibleInterval",
    "DetectableTpr",
    "Difference",
    "Document",
    "Epsilon",
    "Exposed",
    "GroupFigures",
    "Grouping",
    "Interval",
    "NullControl",
    "OperatingPoint",
    "PersonFigures",
    "PointMetrics",
    "Power",
    "PpvAtPrior",
    "Records",
    "Result",
    "Roc",
    "ShadowStability",
    "ShadowsResult",
    "SplitResult",
    "Stability",
    "TargetResult",
    "TnrAtFnr",
    "TprAtFpr",
    "TprAtZeroFp",
    "VerdictKind",
    "beyond_bystanders",
    "highest",
    "named_beforehand",
]

SCHEMA_VERSION = 1

VerdictKind = Literal["leak", "inverted", "none detected", "confounded", "broken", "inconclusive"]


class NullControl(Document):
    """The same attack, every membership shuffled: it must come out at chance.

    Where the first shuffle does not, memberships are shuffled once more, independently: ``shuffles`` is then 2, ``first_auc``
    what the first one gave, and ``auc``, ``accuracy`` and ``at_chance`` are of the second. ``at_chance`` is false only where
    both failed.
    """

    attack: str
    auc: Interval
    accuracy: Fraction | None
    at_chance: bool
    shuffles: Count = 1
    first_auc: Interval | None = None


class TargetResult(Bounded):
    """The model under audit, as seen through its prediction interface.

    ``queries`` is null where the answers were made elsewhere and nobody counted. ``outputs`` is what it answers, and
    ``outputs_reason`` how that is known. ``capability`` is what can be attacked with, ``decimals`` the most that were seen
    in its probabilities (null: more than six), and ``contact`` what first contact found of a target
    that was given, and whether it answered the same when asked again later. The accuracies are those on the audited records of
    either side; ``train_accuracy_low`` to ``test_accuracy_high`` are their exact (Clopper-Pearson) intervals, null where
    people have several records each, as no exact bound holds then, and in older results. Accuracies and ``classes`` are null,
    with ``accuracy_reason``, where ``outputs`` is ``signal``: one number a record that says nothing of classes.
    """

    description: str
    source: Literal["trained here", "given object", "given file", "given url", "stored outputs"]
    train_accuracy: Fraction | None
    train_accuracy_low: Fraction | None = None
    train_accuracy_high: Fraction | None = None
    test_accuracy: Fraction | None
    test_accuracy_low: Fraction | None = None
    test_accuracy_high: Fraction | None = None
    accuracy_reason: str | None = None
    classes: Count | None
    outputs: Literal["probabilities", "logits", "log-probabilities", "percent", "score", "topk", "labels", "signal"]
    queries: Count | None
    capability: Literal["logits", "probabilities", "topk", "rounded", "labels", "signal", "log-likelihood"] | None = (
        None
    )
    decimals: Count | None = None
    outputs_reason: str | None = None
    contact: dict[str, Any] | None = None

    @property
    def gap(self) -> float | None:
        """Accuracy on members less that on non-members."""
        if self.train_accuracy is None or self.test_accuracy is None:
            return None
        return self.train_accuracy - self.test_accuracy


class SplitResult(Document):
    """Sizes of the sets, and what their checks found; null where an audit of stored outputs cannot know.

    ``unit`` is what is counted, ``people`` how many there are on each audited side, where that is known, and
    ``copies_left_out`` the audited records that are exact copies of others on their side. Other sizes are of records.
    ``outside`` counts the records of the population the target was asked about beside the audited ones; they are
    ``outside_apart`` if no shadow model was trained on them and all answered them.
    """

    members: Count
    nonmembers: Count
    population: Count
    shadows: Count
    shadow_train: Count | None
    shadow_test: Count | None
    evaluated_per_side: Count
    grouped_by: str | None = None
    unit: Literal["person", "record"] = "record"
    people: dict[str, Count] | None = None
    copies_left_out: Count = 0
    duplicates: dict[str, Count] = {}
    outside: Count = 0
    outside_apart: bool = False
    draws_sha256: str | None


class ShadowsResult(Document):
    """How the shadow models came out; accuracies are null where their answers do not tell.

    ``design`` says whether audited records were in their training sets: in those of a random half each, if overlapping.
    """

    recipe: str
    asked: Count
    trained: Count
    failed: Count
    failures: list[dict[str, Any]] = []
    train_accuracy: Fraction | None
    test_accuracy: Fraction | None
    design: Literal["disjoint", "overlapping"] = "disjoint"
    data: str = "real"


class BlindControl(Document):
    """Whether members can be told from non-members by the raw records alone, without any model.

    ``confounded``: the interval excludes 1/2, above (the sides differ) or below (they are matched, or share near copies).
    """

    method: str
    auc: Interval
    confounded: bool | None
    reason: str | None = None


class BystanderControl(Document):
    """The same attack on ``models`` that were trained on none of the audited records: ``auc`` is the mean of their areas.

    ``attack`` is the one that leads the result, or else the first that could be run on them; every attack's own figures
    are in ``attacks[].bystander``. ``tell_sides`` names the attacks that tell the sides apart on such models, ``unchecked``
    those that could not be run on them. ``auc`` is null, with ``reason``, where there are none.
    """

    auc: Fraction | None
    low: Fraction | None = None
    high: Fraction | None = None
    reason: str | None = None
    attack: str | None = None
    models: Count = 0
    tell_sides: list[str] = []
    unchecked: list[str] = []


class Controls(Document):
    """The controls every audit runs.

    ``null`` is that of the 2017 attack, or the first there is; one that is not at chance comes before it. ``nulls`` are those
    of the other attacks that learn from memberships of shadow rows. ``bystander`` is null in older results.
    """

    null: NullControl | None
    nulls: list[NullControl] = []
    baseline: str
    blind: BlindControl
    bystander: BystanderControl | None = None


class GroupFigures(Document):
    """What the headline attack finds in one group; null with a reason where a side is empty."""

    group: str
    members: Count
    nonmembers: Count
    auc: Interval
    above_chance: bool | None


class Grouping(Document):
    """The leak in every group of a column: the classes, or values of a column the plan names.

    Intervals are at ``confidence``, so corrected for the number of groups and of groupings that all of them hold
    together at the audit's level: the worst group stands out by chance in at most one audit of twenty.
    """

    column: str
    attack: str
    confidence: Fraction
    groups: list[GroupFigures]


class ShadowStability(Bounded):
    """How far an attack ranks the records alike with two disjoint halves of its shadows: mean, least and largest."""

    attack: str
    scorings: Count
    spearman: Signed | None
    low: Signed | None
    high: Signed | None
    reason: str | None = None


class Coverage(Document):
    """Who is among the top ``share`` of the scores: by every attack, and by any, and how many of those are members."""

    share: Fraction
    records: Count
    in_every: Count
    members_in_every: Count
    in_any: Count
    members_in_any: Count


class Stability(Document):
    """Whether the risk of single records can be believed: over shadow models, and over attacks.

    ``attack`` is the one whose ranks stand in records.csv; ``pairs`` are Spearman's rank correlations of two attacks.
    """

    attack: str
    shadows: list[ShadowStability]
    attacks: list[str]
    pairs: list[tuple[str, str, Signed | None]]
    coverage: list[Coverage]
    left_out: list[str] = []


class Result(Document):
    """The outcome of an audit.

    ``verdict`` says it in words, ``verdict_kind`` for programs (null in older results); ``headline`` names the attack
    that leads it, chosen before any figure was known, as ``headline_reason`` says, and ``highest`` that of the highest AUC;
    ``warnings`` are what a reader must know before believing it; ``not_tested`` says what
    the audit leaves open. Everything outside ``provenance`` depends only on the plan and the data.
    """

    schema_version: int = SCHEMA_VERSION
    title: str
    verdict: str
    verdict_kind: VerdictKind | None = None
    headline: str | None = None
    headline_reason: str | None = None
    highest: str | None = None
    warnings: list[str] = []
    threat_model: list[str]
    not_tested: list[str]
    data: dict[str, Any]
    target: TargetResult
    split: SplitResult
    shadows: ShadowsResult
    synthesis: dict[str, Any] | None = None
    attacks: list[AttackResult]
    controls: Controls
    groups: list[Grouping] = []
    stability: Stability | None = None
    accusations: Accusations | None = None
    provenance: dict[str, Any]

    records: SkipJsonSchema[InstanceOf[Records]] = Field(Records(), exclude=True, repr=False)

    @model_validator(mode="after")
    def _names_its_attacks(self) -> Result:
        names = [attack.name for attack in self.attacks]
        bystander = self.controls.bystander
        control = None if bystander is None else bystander.attack
        for key, name in (("headline", self.headline), ("highest", self.highest), ("controls.bystander", control)):
            if name is not None and name not in names:
                raise ValueError(f"{key} names the attack {name!r}, which is not among attacks {names[:20]}")
        unfounded = control is None or self.attack(control).bystander is None
        if bystander is not None and bystander.auc is not None and unfounded:
            raise ValueError("controls.bystander has an area, and no attack with figures of bystanders is named")
        return self

    @property
    def lead(self) -> AttackResult | None:
        """The attack that leads the verdict, also of an older result, which does not name it; None where none has an AUC."""
        return named_beforehand(self.attacks) if self.headline is None else self.attack(self.headline)

    def attack(self, name: str) -> AttackResult:
        """Return the attack of that name.

        Raises
        ------
        KeyError
            If no attack of that name is in the result.
        """
        for attack in self.attacks:
            if attack.name == name:
                return attack
        raise KeyError(f"no attack {name!r} in this result; it has {[a.name for a in self.attacks]}")

    def to_json(self) -> str:
        """Return the document as JSON text, two spaces of indent, keys in the schema's order."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, allow_nan=False) + "\n"

    def save(self, folder: str | Path) -> Path:
        """Write ``result.json`` and ``records.csv`` to a folder, both or neither, and return the path of the first.

        Raises
        ------
        StoreError
            If the folder cannot be written or the disk is full; files of an earlier result are then unchanged.
        """
        write_files(
            Path(folder), {"records.csv": self.records.to_csv().encode(), "result.json": self.to_json().encode()}
        )
        return Path(folder) / "result.json"

    @classmethod
    def schema_text(cls) -> str:
        """Return the JSON schema of ``result.json``."""
        return json.dumps(cls.model_json_schema(by_alias=True), indent=2) + "\n"

    @classmethod
    def load(cls, folder: str | Path) -> Result:
        """Read ``result.json`` and ``records.csv`` from a folder.

        In the records, id and class come back as text, scores as floats, and memberships as booleans; None where empty.

        Raises
        ------
        StoreError
            If there is no result, it cannot be read, or a newer miaudit wrote it.
        """
        path = Path(folder) / "result.json"
        try:
            document = read_json(path)
        except FileNotFoundError:
            raise StoreError(f"no result.json in {folder}; run `miaudit run PLAN.toml --out {folder}` first") from None
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read as JSON: {error}; write it again with `miaudit run`") from error
        version = document.get("schema_version") if isinstance(document, dict) else None
        if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
            raise StoreError(
                f"{path} has schema version {version!r}, this miaudit reads up to {SCHEMA_VERSION}; upgrade miaudit"
            )
        table = Path(folder) / "records.csv"
        records = Records.load(table) if table.exists() else Records()
        try:
            return cls.model_validate({**document, "records": records})
        except ValidationError as error:
            raise StoreError(f"{path} is not a miaudit result: {_problems(error)}") from error

    def _repr_html_(self) -> str:
        from miaudit.report.notebook import compact  # a result renders itself for whoever asks, and knows no rendering

        return compact(self)

    def __str__(self) -> str:
        return f"{self.title}\n{self.verdict}"


def _problems(error: ValidationError) -> str:
    """Return the first of pydantic's errors in a sentence, and how many more there are."""
    first, *others = error.errors()
    more = f", and {len(others)} more" if others else ""
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}{more}"
