"""What an evidence file says of a deletion audit in the place of members and non-members."""

from __future__ import annotations

from collections.abc import Iterator

from miaudit.errors import counted
from miaudit.result import Accuracies, Deletion

Row = tuple[str, str]


def sides(deletion: Deletion | None) -> tuple[str, str]:
    """Return what the two sides of the figures are called."""
    return ("members", "non-members") if deletion is None else ("deleted records", "records never trained on")


def audited(deletion: Deletion) -> str:
    """Return who was audited."""
    what = "" if deletion.removed is None else f", all of the class {deletion.removed} that was trained on"
    deleted = counted(deletion.deleted, "record that was", "records that were")
    return (
        f"{deleted} trained on and deleted{what}; {deletion.never:,} never trained on to compare them with; {deletion.kept:,} "
        "stayed in the training data"
    )


def accuracies(deletion: Deletion) -> Iterator[Row]:
    """Yield the accuracies of each model."""
    cost = deletion.cost
    for name, each in (
        ("before the deletion", cost.before),
        ("afterwards", cost.after),
        ("of retrained models, mean", cost.retrained),
    ):
        if each is not None:
            yield f"accuracy {name}", _rates(each)


def findings(deletion: Deletion) -> Iterator[Row]:
    """Yield how the records were deleted, and what each question came to."""
    options = ", ".join(f"{name} = {value}" for name, value in deletion.options.items())
    yield "procedure", f"{deletion.title} ({deletion.procedure}; {deletion.paper}){f'; {options}' if options else ''}"
    of_shadows = deletion.receipt is not None and not deletion.receipt.of_target
    yes = "yes; its receipts are of shadow models, not of the audited one" if of_shadows else "yes"
    yield "exact by its own account", yes if deletion.exact else "no, or refuted by its receipt"
    yield from (("finding", sentence) for sentence in deletion.sentences)
    yield "earlier model", deletion.earlier_model
    yield from ((f"not asked: {name}", reason) for name, reason in deletion.unasked.items())


def _rates(of: Accuracies) -> str:
    rates = (("on deleted", of.deleted), ("never trained on", of.never), ("kept", of.kept))
    return ", ".join(f"{value:.3f} {name}" for name, value in rates if value is not None)
