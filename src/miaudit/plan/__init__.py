"""Plan: one validated document that says what to audit and how.

A plan is a TOML file or a dict. Unknown keys are refused with the nearest valid one, and every problem is listed at
once with its path. Paths in a plan are relative to the plan's own folder.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from miaudit.documents import keys_at
from miaudit.errors import PlanError, sentence_of
from miaudit.plan.declared import DeclaredPlan
from miaudit.plan.recipe import RecipePlan as RecipePlan
from miaudit.plan.recipe import ServicePlan as ServicePlan
from miaudit.plan.recipe import Step as Step
from miaudit.plan.sections import (
    FilePath,
    FunctionPath,
    Kind,
    SchedulerAddress,
    Section,
    odd_values,
    texts_naming,
)
from miaudit.plan.target import HTTPPlan as HTTPPlan
from miaudit.plan.target import JobPlan as JobPlan
from miaudit.plan.target import LimitsPlan as LimitsPlan
from miaudit.plan.target import OutputsName as OutputsName
from miaudit.plan.target import TargetPlan as TargetPlan
from miaudit.plan.ways import WITHOUT_POPULATION


def _size(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, Integral | str | PathLike):
        raise ValueError(
            f"must be how many records (a whole number), or a file of their record numbers (a text); got {value!r:.60}"
        )
    return value


Size = Annotated[int | FilePath, BeforeValidator(_size)]
"""How many records (drawn at random), or the path of a file with their numbers."""


class DataPlan(Section):
    """Where the records come from: a named data set, one file, or one file for each side."""

    name: str | None = Field(None, description="a named data set, such as location30; see `miaudit data`")
    options: dict[str, Any] = Field({}, description="options of the named data set")
    path: FilePath | None = Field(None, description="one .npz, .csv, .csv.gz or .parquet file with all records")
    members: FilePath | None = Field(None, description="a file with the records the target was trained on")
    nonmembers: FilePath | None = Field(None, description="a file with records of the same kind it was not trained on")
    population: FilePath | None = Field(
        None, description="a file with further records, for the shadow models; without one see split.holdout"
    )
    label: str | None = Field(None, description="column or array with the class")
    ids: str | None = Field(None, description="column or array with an id for people to find a record again")
    group: str | None = Field(None, description="column or array with a group, such as a person with many rows")
    unit: Literal["person", "record"] | None = Field(
        None, description="what is counted and bounded: person (default where group is given), or record"
    )
    slices: list[str] = Field(
        [], description="columns or arrays whose values part the records, to measure the leak in each part"
    )
    order: list[str] = Field(
        [],
        description="columns that are the features, in the order that models take; default: all that are nothing else",
    )
    drop: list[str] = Field([], description="columns that are not features")
    categorical: list[str] = Field([], description="columns that are categories, whatever they look like")
    numeric: list[str] = Field([], description="columns that are numbers, whatever they look like")
    labels: Literal["codes", "names"] = Field("codes", description="integer labels are class numbers, or names")
    frame: bool = Field(
        False, description="hand records to models as the frame that pandas reads from the file with default settings"
    )
    text: str | None = Field(
        None,
        description="column whose text is the record, for models of texts, such as pipelines with TfidfVectorizer",
    )
    texts: list[str] = Field([], description="with frame: columns to read as texts, as written (pandas' dtype=str)")

    features: FunctionPath | None = Field(
        None,
        description="file.py:name of a function from records to (n, d) numbers, for the model-free check and attacks that "
        "learn from records, where a record says little by itself, as the path of an image does",
    )

    @model_validator(mode="after")
    def _one_source(self) -> DataPlan:
        sides = [self.members, self.nonmembers, self.population]
        sources = [self.name is not None, self.path is not None, any(side is not None for side in sides)]
        if sum(sources) != 1:
            raise ValueError(
                "say where the records come from in one way: name (a named data set), path (one file), or members, "
                "nonmembers and population (three files)"
            )
        if sources[2] and None in sides[:2]:
            raise ValueError("members and nonmembers go together: give both files, and population where there is one")
        if self.name is not None:
            keys = ("label", "ids", "group", "order", "drop", "categorical", "numeric", "text", "texts")
            idle = [key for key in keys if getattr(self, key)]
            if idle or self.labels != "codes":
                raise ValueError(
                    f"{', '.join(idle or ['labels'])} belong to files; the named data set {self.name!r} has its own"
                )
        elif self.options:
            raise ValueError("options belong to name, a named data set")
        if self.text is not None and (self.frame or self.order or self.drop or self.categorical or self.numeric):
            raise ValueError(
                "text names the one column that is a record: leave out frame, order, drop, categorical and numeric, which "
                "say how further columns are read"
            )
        return self


class SplitPlan(Section):
    """Who is a member, who is not, and whom the shadow models may use."""

    members: Size | None = Field(None, description="records the target is (or was) trained on: a count or a file")
    nonmembers: Size | None = Field(
        None, description="records it is not trained on: a count or a file; default: as many"
    )
    population: Size | None = Field(
        None, description="records for the shadow models: a count or a file; default: the rest"
    )
    outside: int | None = Field(
        None,
        ge=0,
        description="population records the target is asked about beside the audited ones; default: as many as members",
    )
    holdout: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="without a population: the share of the non-members that is set apart as one; default: the audited records "
        "serve, in the overlapping design",
    )
    by_group: bool | None = Field(None, description="keep every group on one side; default: where groups are known")
    duplicates: Literal["report", "drop"] = Field("report", description="what to do with identical records")


class ShadowPlan(Section):
    """The shadow models."""

    count: int = Field(20, ge=0, description="how many; 0: none, and only the attacks that need none (docs/quick.md)")
    data: Literal["real", "synthetic:model-based", "synthetic:marginals", "synthetic:noisy"] = Field(
        "real", description="what they are trained on: the population, or records made as synthesis says"
    )
    design: Literal["disjoint", "overlapping"] = Field(
        "disjoint", description="trained on the population alone, or each on a random half of the audited records, too"
    )
    train: int | None = Field(None, ge=2, description="records each is trained on; default: as many as members")
    test: int | None = Field(None, ge=1, description="records each is tested on; default: as many as it is trained on")
    minimum: int | None = Field(None, ge=1, description="the run fails if fewer can be trained; default: half")
    bystanders: int = Field(
        8,
        ge=0,
        description="overlapping: further models, trained on no audited record, that show whether the sides differ in how hard "
        "they are; disjoint shadow models are such models themselves. 0: no such control",
    )

    @model_validator(mode="after")
    def _minimum_can_be_reached(self) -> ShadowPlan:
        if self.minimum is not None and self.minimum > self.count:
            raise ValueError(f"minimum is {self.minimum}, more than the {self.count} shadow models of count")
        return self


class SynthesisPlan(Section):
    """How records are made for the shadow models when there is no sample of the population."""

    records: int | None = Field(
        None,
        ge=2,
        description="how many; default: thrice what a shadow is trained on; noisy: as many as the population",
    )
    k_max: int = Field(128, ge=1, description="model-based: features changed in a proposal, at first")
    k_min: int = Field(4, ge=1, description="model-based: features changed in a proposal, at least")
    rej_max: int = Field(10, ge=0, description="model-based: proposals turned down in a row before k halves")
    conf_min: float = Field(0.2, ge=0, lt=1, description="model-based: the target's confidence lies above it")
    iter_max: int = Field(1000, ge=1, description="model-based: queries after which a climb has failed")
    accept: Literal[">=", ">"] = Field(">=", description="model-based: keep proposals of equal confidence, too, or not")
    halve: Literal["after", "at"] = Field(
        "after", description="model-based: halve k after rej_max rejections, or at them"
    )
    select: Literal["current", "best"] = Field(
        "current", description="model-based: the chance to take a record is the confidence in it, or the best before"
    )
    give_up: int = Field(100, ge=1, description="model-based: failed climbs after which a class is given up")
    give_up_first: int = Field(10, ge=1, description="model-based: the same, as long as a class has no record")
    width: int = Field(4096, ge=1, description="model-based: climbs side by side; changes nothing but time")
    max_queries: int | None = Field(
        None, ge=1, description="model-based: stop at so many queries, and use what is made"
    )
    marginals: FilePath | None = Field(
        None, description="marginals: a table of them (JSON); default: of the population"
    )
    labels: Literal["class-conditional", "target"] = Field(
        "class-conditional",
        description="marginals: by class; or of all, with classes as the target answers (a query each)",
    )
    rate: float = Field(0.1, ge=0, le=1, description="noisy: share of the features that is changed")
    noise: Literal["flip", "replace"] = Field("flip", description="noisy: take another value, or any at random")

    @model_validator(mode="after")
    def _k_falls(self) -> SynthesisPlan:
        if self.k_min > self.k_max:
            raise ValueError(f"k_min is {self.k_min}, more than k_max = {self.k_max}, from which it falls")
        return self


class FiguresPlan(Section):
    """Where the threshold of PPV and epsilon comes from.

    ``"bonferroni"`` tries six ranks of the non-members and pays for each: no draw decides, so that the same scores give
    the same figures. ``"split"`` chooses it on one random half of the records, each figure its own, and counts on the other:
    its figures depend on who falls into which half. The epsilon is never a bound on that of the mechanism: all records
    share one training. For that see `miaudit.canaries`.
    """

    threshold: Literal["bonferroni", "split"] = Field(
        "bonferroni",
        description="several ranks tried and paid for, or chosen on a random half of the records and counted on the others",
    )
    delta: float = Field(1e-5, gt=0, lt=1, description="of the empirical epsilon-equivalent")


class EnginePlan(Section):
    """How the work is done; nothing but `device` changes a model."""

    kind: Literal["local", "dask"] = Field("local", description="this machine, or a Dask cluster")
    jobs: int | None = Field(
        None, ge=0, description="training and attacks take so many processes; default: one per core; 0: this one"
    )
    address: SchedulerAddress | None = Field(None, description="of the Dask scheduler, as `tcp://10.0.0.1:8786`")
    device: str = Field(
        "cpu",
        pattern="^(cpu|cuda(:[0-9]+)?|auto)$",
        description="where networks train: cpu; cuda, or one of several as cuda:1; auto, a GPU if there is one",
    )
    time_limit: float | None = Field(
        None, gt=0, description="seconds after which the run stops and keeps what is there"
    )

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> EnginePlan:
        if self.kind == "local" and self.address is not None:
            raise ValueError('address belongs to kind = "dask", a cluster')
        if self.kind == "dask" and self.jobs is not None:
            raise ValueError('jobs belongs to kind = "local"; a cluster has as many workers as were started for it')
        return self


class UnlearningPlan(Section):
    """A deletion audit: which training records were deleted, how, and what to ask (`miaudit unlearn`; docs/unlearning.md)."""

    forget: Size | None = Field(
        None, description="the deleted records: how many of the members (drawn), or a file of their record numbers"
    )
    remove: str | None = Field(None, description="in place of forget: a class, all members of which are deleted")
    procedure: str | dict[str, Any] = Field(
        "retrain",
        description="how: `retrain`, `none`, `fine-tune`, `neggrad+`, `scrub`, `random-labels`, `salun`, `ssd`, `mask`, "
        "`sisa`, `class-sisa`, or `recipe`, what the recipe itself does; or a table of a name and options",
    )
    function: FunctionPath | None = Field(
        None, description="in place of procedure: file.py:name of a function forget(model, X, y, forget, seed) -> model"
    )
    before: FilePath | None = Field(
        None, description="the model before the deletion, where target.file is the one afterwards"
    )
    kept: int | None = Field(
        None, ge=0, description="members that stay and are audited, too; default: as many as were deleted"
    )
    oracles: int = Field(
        19, ge=0, description="models trained without the deleted records, to compare with; 19 and more can show 5 %"
    )
    receipts: int | None = Field(
        None,
        ge=0,
        description="deletions checked bit for bit against training on what stays by the same seed; default: 4 where the "
        "recipe deletes by itself, as sharded training does; other procedures have none",
    )

    @model_validator(mode="after")
    def _one_way(self) -> UnlearningPlan:
        if self.forget is not None and self.remove is not None:
            raise ValueError("forget names records and remove a class: give one of them")
        if self.function is not None and "procedure" in self.model_fields_set:
            raise ValueError("function is a procedure of your own: leave procedure out")
        return self

    @property
    def asked(self) -> bool:
        """Whether a deletion is to be audited."""
        return self.forget is not None or self.remove is not None


class Plan(Section):
    """What to audit and how.

    ``Plan.load(path)`` reads TOML; ``Plan.of(mapping)`` takes a dict. Both raise `PlanError` with every problem.
    """

    title: str = Field("Membership inference audit", description="heading of the report")
    seed: int = Field(0, ge=0, description="root of all random draws")
    data: DataPlan
    split: SplitPlan = SplitPlan()  # type: ignore[call-arg]
    target: TargetPlan = TargetPlan()  # type: ignore[call-arg]
    recipe: RecipePlan
    shadows: ShadowPlan = ShadowPlan()  # type: ignore[call-arg]
    synthesis: SynthesisPlan = SynthesisPlan()  # type: ignore[call-arg]
    figures: FiguresPlan = FiguresPlan()  # type: ignore[call-arg]
    attacks: list[str | dict[str, Any]] | None = Field(
        None, min_length=1, description="names, or tables of a name and options; default: all that can be run"
    )
    unlearning: UnlearningPlan = UnlearningPlan()  # type: ignore[call-arg]
    engine: EnginePlan = EnginePlan()  # type: ignore[call-arg]
    declared: DeclaredPlan = DeclaredPlan()  # type: ignore[call-arg]
    mitigations: dict[str, Any] | None = Field(
        None, description="what miaudit mitigate tries; miaudit run audits the model without; see docs/mitigations.md"
    )

    @model_validator(mode="after")
    def _sizes_known(self) -> Plan:
        if self.data.members is None and self.split.members is None:
            raise ValueError(
                "split.members is missing: how many records the target is trained on, or a file that lists them"
            )
        synthetic = self.shadows.data == "synthetic:model-based" or self.synthesis.marginals is not None
        synthetic_data = self.shadows.data != "real" and not synthetic
        if self.data.members is not None and self.data.population is None and synthetic_data:
            raise ValueError(
                f"data.population is missing: shadows.data = {self.shadows.data!r} makes records of real "
                f"ones. {WITHOUT_POPULATION}"
            )
        if self.data.members is not None and any(
            size is not None for size in (self.split.members, self.split.nonmembers, self.split.population)
        ):
            raise ValueError(
                "data.members, nonmembers and population are files already: leave their sizes out of split"
            )
        if self.split.outside and self.shadows.data != "real":
            raise ValueError(
                f"split.outside asks the target about records of the population, and shadows.data = {self.shadows.data!r} "
                'makes them up: leave outside out, or use data = "real"'
            )
        if self.recipe.clone and self.target.file is None:
            raise ValueError("recipe.clone trains clones of the model in target.file, and there is none: name the file")
        source = next(
            (way for way in ("file", "url", "function", "plugin") if getattr(self.target, way) is not None), None
        )
        if source is not None and isinstance(self.split.members, int):
            raise ValueError(
                f"target.{source} names a trained model, so its members are known and cannot be drawn: give split.members as a "
                "file of record numbers, or data.members as a file of records"
            )
        return self

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Plan:
        """Return the plan in a mapping.

        Raises
        ------
        PlanError
            With every problem found, each with its path.
        """
        return cls._checked(content, None)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Plan:
        """Return the plan in a TOML file, with the paths in it made absolute.

        Raises
        ------
        PlanError
            If the file cannot be read, is no TOML, or does not hold a plan.
        """
        path = Path(path)
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise PlanError(f"the plan {path} cannot be read: {error.strerror or error}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            if path.suffix not in ("", ".toml"):
                raise PlanError(
                    f"{path} is no plan, which is a TOML file: a model is audited with the files of its records, by miaudit "
                    "audit MODEL TRAIN TEST, or in Python with members= and nonmembers="
                ) from error
            if isinstance(error, UnicodeDecodeError):
                raise PlanError(f"the plan {path} is not in UTF-8, as TOML is: {error}; save it in UTF-8") from error
            raise PlanError(f"the plan {path} is not valid TOML: {error}") from error
        except RecursionError as error:
            raise PlanError(f"the plan {path} is nested too deeply to be one") from error
        if not content:
            raise PlanError(
                f"{path} is no plan: it holds no key; docs/plans.md lists them, and miaudit init writes one"
            )
        return cls._checked(content, {"folder": path.resolve().parent})

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Plan:
        """Return the plan that a result was made by, from its provenance, which holds every default, too.

        Raises
        ------
        PlanError
            As `Plan.of` does.
        """
        return cls.of(_without_defaults(cls, document))

    @classmethod
    def _checked(cls, content: Mapping[str, Any], context: dict[str, Any] | None) -> Plan:
        if problems := list(odd_values(content)):
            raise PlanError(problems)
        try:
            return cls.model_validate(dict(content), context=context)
        except ValidationError as error:
            raise PlanError(_problems(error)) from None

    def naming(self, kind: Kind) -> list[tuple[str, str]]:
        """Return the path and the value of every text in the plan that names a thing of this kind."""
        return list(texts_naming(self, kind, ""))

    @classmethod
    def schema_text(cls) -> str:
        """Return the JSON schema of plans."""
        return json.dumps(cls.model_json_schema(), indent=2) + "\n"


def _without_defaults(kind: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a section that are not its defaults, and likewise of those within it."""
    others: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        key, default = field.alias or name, field.get_default(call_default_factory=True)
        value, own = values.get(key, default), field.annotation
        if isinstance(value, Mapping) and isinstance(own, type) and issubclass(own, BaseModel):
            value = _without_defaults(own, value)
            default = {}
        if value != default:
            others[key] = value
    return others | {
        key: value for key, value in values.items() if key not in {f.alias or n for n, f in kind.model_fields.items()}
    }


PLANS = (Plan, Mapping, str, PathLike)
"""What a plan may be handed over as: itself, a dict, or the path of a TOML file."""


def plan_of(subject: Plan | Mapping[str, Any] | str | PathLike[str]) -> Plan:
    """Return the plan that is handed over in one of these forms.

    Raises
    ------
    PlanError
        As `Plan.of` and `Plan.load` do.
    """
    if isinstance(subject, Plan):
        return subject
    return Plan.of(subject) if isinstance(subject, Mapping) else Plan.load(subject)


S = TypeVar("S", bound=Section)


def section_of(kind: type[S], values: Mapping[str, Any]) -> S:
    """Return a section of a plan with these values.

    Raises
    ------
    PlanError
        With every problem found, each with its key.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise PlanError(_problems(error)) from None


def _problems(error: ValidationError) -> list[tuple[str, str]]:
    by_path: dict[str, str] = {}
    for path, text in map(_explain, error.errors()):
        by_path[path] = f"{by_path[path]}, or {text}" if path in by_path else text
    return list(by_path.items())


_UNION_STEPS = ("int", "str", "function-after[")  # what pydantic adds to a path: the kinds a value may be of


def _explain(problem: ErrorDetails) -> tuple[str, str]:
    """Return path and sentence of one of pydantic's errors."""
    path = ".".join(str(step) for step in problem["loc"] if not str(step).startswith(_UNION_STEPS))
    value = problem.get("input")
    at = problem["loc"] if problem["type"] == "model_type" else problem["loc"][:-1]
    if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1 and (sentence := moved(path, value)):
        return path, sentence
    return path, sentence_of(
        problem, keys_at(Plan, at), secret="headers" in problem["loc"]
    )  # which may hold a credential


def moved(key: str, value: Any, *, call: bool = False) -> str | None:
    """Return where the options of a former section, or keyword of a ``call``, are given now; None for any other key."""
    if key != "attack":
        return None
    options = {"name": "shokri", **value} if isinstance(value, Mapping) else {"name": "shokri"}
    table = (
        repr(options) if call else f"{{ {', '.join(f'{name} = {json.dumps(of)}' for name, of in options.items())} }}"
    )
    return f"the options of the 2017 attack stand in the list of attacks now: attacks{'=' if call else ' = '}[{table}]"
