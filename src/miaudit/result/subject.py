"""What was audited: the records, the target, the split, the shadow models, and synthetic records."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from miaudit.documents import Count, Document, Facts, Fraction, NonNegative
from miaudit.result.figures import Bounded


class DataResult(Facts):
    """The records: how many, their columns of each kind or the shape of an image, and what read them.

    Of stored outputs no more is known than how many answers there are, and the hash of their file.
    """

    name: str
    records: Count
    sha256: str | None = None
    width: Count | None = None
    numeric: Count | None = None
    binary: Count | None = None
    categorical: Count | None = None
    time: Count | None = None
    text: Count | None = None
    encoded_width: Count | None = None
    sparse: bool | None = None
    missing: list[str] | None = None
    shape: list[Count] | None = None
    low: int | float | None = None
    high: int | float | None = None
    reading: str | None = None


class Contact(Facts):
    """What first contact found of a target, and whether it answered the same when asked again.

    ``deterministic``: the same batch asked twice got the same answers, and ``repeat_difference``, the largest difference;
    ``batch_consistent`` and ``batch_difference``: a record asked alone got the answer that it got in the batch; ``later``, how
    often it was asked again since, ``later_difference``, and ``unchanged``: it answered as at first; null where that
    is not known, with ``unchanged_reason``. ``outputs`` is what a server was found to answer, for this ``reason``.
    """

    records: Count
    queries: Count
    answers: str | None
    decimals: Count | None
    deterministic: bool
    repeat_difference: NonNegative
    batch_consistent: bool
    batch_difference: NonNegative
    later: Count
    later_difference: NonNegative | None
    unchanged: bool | None
    unchanged_reason: str | None
    outputs: str | None = None
    reason: str | None = None


class TargetResult(Bounded):
    """The model under audit, as seen through its prediction interface.

    ``queries`` counts the answers to records that the result rests on, those that an earlier run into the same folder got among
    them; records that were sent are counted in ``provenance.target``. It is null where the answers were made elsewhere and
    nobody counted. ``outputs`` is what it answers, and ``outputs_reason`` how that is known. ``capability`` is what can be
    attacked with, ``decimals`` the most that were seen in its probabilities (null: more than six), and ``contact`` what first
    contact found of a target that was given, and whether it answered the same when asked again later. The accuracies are those
    on the audited records of either side; ``train_accuracy_low`` to ``test_accuracy_high`` are their exact (Clopper-Pearson)
    intervals, null where people have several records each, as no exact bound holds then, and in older results. Accuracies and
    ``classes`` are null, with ``accuracy_reason``, where ``outputs`` is ``signal``: one number a record that says nothing of
    classes; and where it is ``value``, the answer of a regression, whose mean absolute errors are ``train_error`` and
    ``test_error``.
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
    train_error: float | None = None
    test_error: float | None = None
    classes: Count | None
    outputs: Literal[
        "probabilities", "logits", "log-probabilities", "percent", "score", "topk", "labels", "signal", "value"
    ]
    queries: Count | None
    capability: Literal["logits", "probabilities", "topk", "rounded", "labels", "signal", "log-likelihood"] | None = (
        None
    )
    decimals: Count | None = None
    outputs_reason: str | None = None
    contact: Contact | None = None

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
    ``outside_apart`` if no shadow model was trained on them and all answered them. ``population_from`` is the side that the
    population was taken from, null where one was given or there is none.
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
    population_from: Literal["members", "nonmembers"] | None = None


class Failure(Document):
    """A shadow model that could not be trained."""

    shadow: str
    error: str
    traceback: str | None


class ShadowsResult(Document):
    """How the shadow models came out; accuracies are null where their answers do not tell. Errors are those of a regression.

    ``design`` says whether audited records were in their training sets: in those of a random half each, if overlapping.
    """

    recipe: str
    asked: Count
    trained: Count
    failed: Count
    failures: list[Failure] = []
    train_accuracy: Fraction | None
    test_accuracy: Fraction | None
    train_error: float | None = None
    test_error: float | None = None
    design: Literal["disjoint", "overlapping"] = "disjoint"
    data: str = "real"


class Queries(Facts):
    """What synthesis asked the target: for ``records`` that were made, by climbs that ``failed`` or are ``unfinished``."""

    records: Count | None = None
    failed: Count | None = None
    unfinished: Count | None = None
    total: Count
    per_record: NonNegative | None = None
    per_record_with_failed: NonNegative | None = None


class ClassSynthesis(Facts):
    """Records of one class that were wanted and made, and what they took."""

    class_: str = Field(alias="class", serialization_alias="class")
    wanted: Count | None = None
    made: Count
    failed: Count | None = None
    queries_made: Count | None = None
    queries_failed: Count | None = None
    mean_confidence: Fraction | None = None

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class SynthesisResult(Facts):
    """How the synthetic records were made that were the population; what is written depends on the method.

    ``options`` are those of the method, ``stopped`` why fewer were made than wanted, ``key`` hashes all that they depend on.
    """

    schema_version: Count
    method: Literal["model-based", "marginals", "noisy"]
    records: Count
    options: dict[str, Any]
    seed: int
    wanted: Count
    mean_confidence: Fraction | None = None
    queries: Queries
    climbs: dict[str, Count] = {}
    features_changed: Fraction | None = None
    source_records: Count | None = None
    classes_failed: list[str]
    classes_short: list[str] = []
    per_class: list[ClassSynthesis]
    stopped: str | None
    sha256: str
    key: str | None = None
    max_queries: Count | None = None
