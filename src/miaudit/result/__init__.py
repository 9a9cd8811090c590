"""Result: the document an audit ends with, its schema, and its per-record table.

Everything a reader, a gate or another program needs stands in ``result.json``; reports are renderings of it. There is
no NaN in a document: an undefined figure is null, with its reason beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, InstanceOf, ValidationError, model_validator
from pydantic.json_schema import SkipJsonSchema

from miaudit.documents import Document, first_problem
from miaudit.errors import StoreError
from miaudit.files import read_json, write_files
from miaudit.result.attack import AttackResult, highest, named_beforehand
from miaudit.result.basis import AreaSpread, Basis, RankCounts
from miaudit.result.beyond import Beyond, beyond_bystanders
from miaudit.result.controls import BlindControl, BystanderControl, Controls, NullControl, PatternControl
from miaudit.result.deletion import (
    Accuracies,
    Deletion,
    DeletionCost,
    DeletionKind,
    DeletionWork,
    Likeness,
    Question,
    Receipt,
    Relearning,
)
from miaudit.result.factors import Factors
from miaudit.result.figures import (
    Accusations,
    BystanderFigures,
    ClassMetrics,
    CorrectedInterval,
    CredibleInterval,
    DetectableTpr,
    Difference,
    Epsilon,
    Excess,
    Exposed,
    Interval,
    OperatingPoint,
    PersonFigures,
    PointMetrics,
    Power,
    PpvAtPrior,
    Roc,
    RocBand,
    ScoreCounts,
    TnrAtFnr,
    TprAtFpr,
    TprAtZeroFp,
)
from miaudit.result.origin import Cost, Platform, Provenance, Retrained, ShadowCost
from miaudit.result.parts import Coverage, GroupFigures, Grouping, ShadowStability, Stability
from miaudit.result.subject import (
    Contact,
    DataResult,
    Failure,
    ShadowsResult,
    SplitResult,
    SynthesisResult,
    TargetResult,
)
from miaudit.result.table import Records
from miaudit.result.verdict import Counted, Verdict, VerdictKind
from miaudit.result.wording import sentence
from miaudit.visible import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "SCHEMA_VERSION",
    "Accuracies",
    "Accusations",
    "AreaSpread",
    "AttackResult",
    "Basis",
    "Beyond",
    "BlindControl",
    "BystanderControl",
    "BystanderFigures",
    "ClassMetrics",
    "Contact",
    "Controls",
    "CorrectedInterval",
    "Cost",
    "Counted",
    "Coverage",
    "CredibleInterval",
    "DataResult",
    "Deletion",
    "DeletionCost",
    "DeletionKind",
    "DeletionWork",
    "DetectableTpr",
    "Difference",
    "Document",
    "Epsilon",
    "Excess",
    "Exposed",
    "Factors",
    "Failure",
    "GroupFigures",
    "Grouping",
    "Interval",
    "Likeness",
    "NullControl",
    "OperatingPoint",
    "PatternControl",
    "PersonFigures",
    "Platform",
    "PointMetrics",
    "Power",
    "PpvAtPrior",
    "Provenance",
    "Question",
    "RankCounts",
    "Receipt",
    "Records",
    "Relearning",
    "Result",
    "Retrained",
    "Roc",
    "RocBand",
    "ScoreCounts",
    "ShadowCost",
    "ShadowStability",
    "ShadowsResult",
    "SplitResult",
    "Stability",
    "SynthesisResult",
    "TargetResult",
    "TnrAtFnr",
    "TprAtFpr",
    "TprAtZeroFp",
    "Verdict",
    "VerdictKind",
    "beyond_bystanders",
    "highest",
    "named_beforehand",
    "sentence",
]

SCHEMA_VERSION = 1


class Result(Document):
    """The outcome of an audit.

    ``verdict`` says it in words, ``verdict_kind`` and ``finding`` for programs (null in older results); ``headline`` names
    the attack that leads it, chosen before any figure was known, as ``headline_reason`` says, and ``highest`` that of the
    highest AUC; ``warnings`` are what a reader must know before believing it; ``not_tested`` says what
    the audit leaves open. Of a deletion audit, ``deletion`` holds its questions; all else is of the model afterwards, and
    members are the deleted records. Everything outside ``provenance`` depends only on the plan and the data.
    """

    schema_version: int = SCHEMA_VERSION
    title: str
    verdict: str
    verdict_kind: VerdictKind | None = None
    finding: Verdict | None = None
    headline: str | None = None
    headline_reason: str | None = None
    highest: str | None = None
    warnings: list[str] = []
    threat_model: list[str]
    not_tested: list[str]
    data: DataResult
    target: TargetResult
    split: SplitResult
    shadows: ShadowsResult
    synthesis: SynthesisResult | None = None
    attacks: list[AttackResult]
    controls: Controls
    groups: list[Grouping] = []
    stability: Stability | None = None
    accusations: Accusations | None = None
    factors: Factors | None = None
    deletion: Deletion | None = None
    provenance: Provenance

    records: SkipJsonSchema[InstanceOf[Records]] = Field(Records(), exclude=True, repr=False)

    @model_validator(mode="after")
    def _names_its_attacks(self) -> Result:
        names = [attack.name for attack in self.attacks]
        bystander = self.controls.bystander
        control = None if bystander is None else bystander.attack
        finding = self.finding
        if finding is not None and finding.kind != self.verdict_kind:
            raise ValueError(f"verdict_kind is {self.verdict_kind!r}, and finding.kind {finding.kind!r}")
        for key, name in (
            *(("headline", self.headline), ("highest", self.highest), ("controls.bystander", control)),
            ("finding", None if finding is None else finding.attack),
        ):
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

        A result without records has no table; one of an earlier result is removed.

        Raises
        ------
        StoreError
            If the folder cannot be written or the disk is full; files of an earlier result are then unchanged.
        """
        table = {"records.csv": (part.encode() for part in self.records.csv_parts())} if self.records else {}
        write_files(Path(folder), {**table, "result.json": self.to_json().encode()})
        if not table:
            (Path(folder) / "records.csv").unlink(missing_ok=True)
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
        if type(version) is not int or version < 1:
            raise StoreError(
                f"{path} is not a miaudit result: its schema_version is {version!r}; `miaudit run` writes one"
            )
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{path} has schema version {version!r}, this miaudit reads up to {SCHEMA_VERSION}; upgrade miaudit"
            )
        table = Path(folder) / "records.csv"
        records = Records.load(table) if table.exists() else Records()
        try:
            return cls.model_validate({**document, "records": records})
        except ValidationError as error:
            raise StoreError(f"{path} is not a miaudit result: {first_problem(cls, error)}") from error

    def summary(self, *, full: bool = False, width: int = 80) -> str:
        """Return what a run prints: a screen, or with ``full`` every attack and figure, in lines of at most ``width``."""
        from miaudit.report import printed

        return printed(self, full=full, width=width)

    def report(self, folder: str | Path) -> Path:
        """Write ``report.html`` into a folder, or the page under a name that ends in ``.html``, and return its path."""
        from miaudit.report import write

        return write(self, folder)

    def plot_roc(self, attacks: list[str] | None = None) -> Figure:
        """Return ROC curves of these attacks, on logarithmic axes, as a matplotlib figure (extra ``plots``)."""
        from miaudit.report import plots

        return plots.roc(self, attacks)

    def plot_scores(self, attack: str | None = None) -> Figure:
        """Return the scores of both sides by an attack, as a matplotlib figure; default: the attack that leads."""
        from miaudit.report import plots

        return plots.scores(self, attack)

    def plot_records(self, most: int = 30) -> Figure:
        """Return the members that are ranked first with the span of their places, as a matplotlib figure."""
        from miaudit.report import plots

        return plots.records(self, most)

    def plot_slices(self, column: str | None = None, most: int = 30) -> Figure:
        """Return the leak in slices with its intervals, as a matplotlib figure; default: by the first column."""
        from miaudit.report import plots

        return plots.slices(self, column, most)

    def _repr_html_(self) -> str:
        from miaudit.report import notebook  # a result renders itself for whoever asks, and knows no rendering

        return notebook(self)

    def __str__(self) -> str:
        return f"{visible(self.title)}\n{visible(self.verdict)}"

    __repr__ = __str__  # all figures of a document would fill thousands of lines
