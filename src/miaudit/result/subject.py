"""What was audited: the target, the split of the records, the shadow models."""

from __future__ import annotations

from typing import Any, Literal

from miaudit.documents import Count, Document, Fraction
from miaudit.result.figures import Bounded


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
