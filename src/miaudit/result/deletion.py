"""What a deletion audit found: each of its questions, the comparison with retrained models, and what the deletion cost."""

from __future__ import annotations

from typing import Any, Literal

from miaudit.documents import Count, Document, Fraction, NonNegative
from miaudit.result.attack import AttackResult
from miaudit.result.figures import Difference, Interval, Power
from miaudit.result.verdict import Counted, VerdictKind

DeletionKind = Literal[
    "no trace found",
    "traces remain",
    "over-forgotten",
    "nothing to see here",
    "not valid",
    "confounded",
    "inconclusive",
]


class Question(Document):
    """One question of a deletion audit: whether an attack tells two sides apart, ``inside`` from ``outside``.

    ``kind`` is what its attacks and controls conclude, as of an audit of memberships. ``auc`` is that of ``attack``, which
    leads; ``population`` that of the loss threshold, which is the same for all records. ``limit`` is the AUC above which
    nothing was found, null where something was; ``power`` the smallest effect that so many records show.
    """

    asked: str
    inside: str
    outside: str
    kind: VerdictKind
    attack: str | None
    auc: Interval
    population: Interval
    limit: Fraction | None = None
    power: Power | None = None
    n: Counted
    attacks: list[AttackResult]


class Likeness(Document):
    """Whether the model answers as ``models`` that were trained without the deleted records do.

    ``p_value`` is the rank of its distance from them among their distances from one another, exact where the deletion is a
    retraining; ``least`` is the smallest that so many can give. ``apart`` is the share of the deleted records on which the
    model answers outside the range of all of them, ``expected`` that of a retrained one. ``compared`` says on what.
    ``control`` is the AUC of the attack that leads on these models, which never saw the deleted records.
    """

    models: Count
    compared: Literal["deleted records", "inputs of the class"] = "deleted records"
    p_value: Fraction | None
    least: Fraction | None
    apart: Fraction | None
    expected: Fraction | None
    control: Interval
    control_fails: bool | None = None
    reason: str | None = None


class Accuracies(Document):
    """Share of right answers on deleted records, on records never trained on, and on records that stayed; null without any."""

    deleted: Fraction | None
    never: Fraction | None
    kept: Fraction | None


class Receipt(Document):
    """Whether models after a deletion are those that were trained on what stays, by the same seed.

    ``identical`` of ``models`` answer the same bit for bit and, where ``weights`` could be compared in all, have the same;
    ``difference`` is the largest between two answers. ``of_target`` says whether the audited model is among them; else they are
    shadow models, and the receipt is one of the procedure.
    """

    models: Count
    identical: Count
    difference: NonNegative
    weights: bool
    of_target: bool = False

    @property
    def holds(self) -> bool:
        """Whether all are identical."""
        return self.identical == self.models


class DeletionWork(Document):
    """Record-epochs of a deletion, counted: means of ``models``, of ``retraining`` all on what stays, and of the deletion.

    ``share`` is the mean of their quotients, ``expected`` what the closed formula of the recipe gives for as many records, null
    where it has none.
    """

    models: Count
    retraining: NonNegative
    deletion: NonNegative
    share: NonNegative
    expected: NonNegative | None = None


class Relearning(Document):
    """How many updates on the records of a removed class a model takes to learn it again (a mean loss below 0.1; 500 at most).

    ``updates`` of the model afterwards, ``before`` of the model before; of ``models`` that were retrained without the class the
    median, the fewest and the most. ``p_value`` is the rank of the model among them: small where it learns the class faster.
    A model of parts, such as shards and a gate, takes the sum of their updates, each on its own records of the class; a mask is
    lifted first, and takes none. Where nothing could be measured, ``reason`` says why.
    """

    models: Count
    updates: Count | None = None
    before: Count | None = None
    retrained: NonNegative | None = None
    fewest: Count | None = None
    most: Count | None = None
    p_value: Fraction | None = None
    reason: str | None = None


class DeletionCost(Document):
    """Accuracies before and after, and the mean of retrained models; the provenance has the seconds.

    ``work`` is there where the recipe counts record-epochs, as sharded training does; ``relearning`` where a class was removed.
    """

    before: Accuracies | None
    after: Accuracies
    retrained: Accuracies | None
    work: DeletionWork | None = None
    relearning: Relearning | None = None


class Deletion(Document):
    """A deletion audit; the attacks of the result are those on the model afterwards.

    ``deleted`` records were trained on and then deleted, ``never`` were never trained on, ``kept`` stayed. ``before``: was
    there anything to forget; ``after``: are the deleted records still recognisable; ``pair``: does the change give them away to
    whoever kept the earlier model; ``others_before`` and ``others_after``: how exposed are records that stayed, and
    ``exposure`` the difference of the two AUCs. ``still_in`` estimates the share of the deleted records that still answer as
    trained ones do. ``exact`` is what the procedure says of itself, unless a ``receipt`` refutes it. A question that could not
    be asked is null, with the reason in ``unasked``. ``answered`` is the share of unused inputs of a removed class that the
    model still answers with it, where that is more than retrained models do.
    """

    kind: DeletionKind
    procedure: str
    title: str
    paper: str
    options: dict[str, Any] = {}
    exact: bool
    removed: str | None = None
    deleted: Count
    never: Count
    kept: Count
    before: Question | None
    after: Question
    pair: Question | None
    others_before: Question | None
    others_after: Question | None
    exposure: Difference | None = None
    still_in: Difference | None = None
    likeness: Likeness | None = None
    answered: Fraction | None = None
    receipt: Receipt | None = None
    cost: DeletionCost
    earlier_model: str
    unasked: dict[str, str] = {}
    sentences: list[str] = []
