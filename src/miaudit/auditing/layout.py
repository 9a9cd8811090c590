"""Which arrays a file of stored outputs may hold: answers about classes, or signals; see docs/outputs.md."""

from __future__ import annotations

from collections.abc import Collection

from miaudit.errors import DataError, nearest

ARRAYS = {
    "target": "(n, classes) answers of the target on the audited records, or (n,) predicted classes",
    "labels": "(n,) true classes; where `asked` names further records, theirs after those of the audited ones",
    "member": "(n,) was the record in the target's training set",
    "shadows": "(m, n, classes) answers of m shadow models on the audited records, or (m, r, classes) with `asked`",
    "inside": "(m, n) or (m, r): was the record of this row in this shadow's training set",
    "asked": "(m, r) which record each row of a shadow is about",
    "population_target": "(p, classes) answers of the target on records outside the audit",
    "population_labels": "(p,) their true classes",
    "population_shadows": "(m, p, classes) answers of the shadows on them",
    "population_features": "(p, d) the numbers they consist of",
    "variants_target": "(q, n, classes) answers of the target on q variants of each audited record",
    "variants_shadows": "(q, m, n, classes) answers of the shadows on the same variants",
    "bystanders": "(b, n, classes) answers to the audited records of models that were trained on none of them",
    "features": "(n, d) the numbers the audited records consist of",
    "trace": "(n, stages) loss of the target on each audited record after each stage of its training, the last one final",
    "ids": "(n,) what to call the audited records",
    "group": "the person each record belongs to: (n,), or as long as labels",
    "classes": "(classes,) names of the classes",
    "kind": "what the answers are, as target.outputs of a plan; default: decided from all of them",
}
"""Every array of the layout of class answers and what it holds; ``slice_NAME`` arrays, (n,) each, stand beside them."""

SIGNALS = {
    "signal_target": "(n,) signals of the target on the audited records, higher for members, or (n, q) of q queries each",
    "signal_shadows": "(m, n) or (m, n, q) signals of m shadow models on the audited records, or (m, r) with `asked`",
    "signal_name": "what the signal is, in words",
    "log_likelihood": "whether the signal is the logarithm of a probability, or of a density relative to its maximum",
    "member": ARRAYS["member"],
    "inside": ARRAYS["inside"],
    "asked": ARRAYS["asked"],
    "population_target": "(p,) signals of the target on records outside the audit",
    "population_shadows": "(m, p) signals of the shadows on them",
    "population_features": ARRAYS["population_features"],
    "bystanders": "(b, n) signals on the audited records of models that were trained on none of them",
    "features": ARRAYS["features"],
    "ids": ARRAYS["ids"],
    "group": "the person each record belongs to: (n,), or as many as `asked` has records",
}
"""Every array of the layout of signals, likewise."""

DELETIONS = {
    "target_before": "(n, classes) answers of the target before the deletion, or (n,) predicted classes",
    "shadows_before": "(m, n, classes) answers of the shadow models before the deletion",
    "state": "(m, n) never, deleted or kept: what each shadow knows of each record; `inside` is left out",
    "retrained": "(K, n, classes) answers of models that were trained without the deleted records",
}
"""Every array that stands beside those of class answers in a file of a deletion audit (`miaudit.unlearning.score`)."""

WAY = "stored answers are named arrays (docs/outputs.md lists them), saved together with np.savez"
"""What to do where a file is none of stored answers."""

OF_SIGNALS = "signal_target"
"""The array by which a file holds signals, not answers about classes."""

SLICE = "slice_"

DRAW = "draw_"
"""Begins the names of arrays of `miaudit draws` that say who is to be trained on what; scoring passes them over."""

_TOGETHER = [
    ("shadows", "inside"),
    ("signal_shadows", "inside"),
    ("asked", "shadows"),
    ("population_target", "population_labels"),
    ("population_shadows", "population_target"),
    ("population_features", "population_target"),
    ("variants_target", "variants_shadows"),
    ("variants_shadows", "variants_target"),
    ("inside", "shadows"),
    ("population_labels", "population_target"),
    ("population_shadows", "shadows"),
]


def check_names_of(arrays: Collection[str]) -> None:
    """Refuse arrays that are not known, that lack another beside them, or that are not of one layout; pass over draws.

    Raises
    ------
    DataError
        Saying which.
    """
    signals = any(key in arrays for key in SIGNALS if key not in ARRAYS)
    table, other = (SIGNALS, ARRAYS) if signals else (ARRAYS, SIGNALS)
    for key in arrays:
        if key in table or key.startswith(DRAW) or (key.startswith(SLICE) and len(key) > len(SLICE)):
            continue
        if key in other:
            raise DataError(
                f"{key!r} is about classes, and the file holds signals, one number a record: give either, not both"
            )
        if key in DELETIONS:
            raise DataError(
                f"{key!r} is of a deletion audit: miaudit score and miaudit.unlearning.score read such a file"
            )
        hint = nearest(key, {*table, *other}) or f"known are {', '.join(table)} and {SLICE}NAME"
        raise DataError(f"unknown array {key!r}; {hint}")
    for key in (OF_SIGNALS, "member") if signals else ("target", "labels", "member"):
        if key not in arrays:
            raise DataError(f"there is no array {key!r}: {table[key]}; the file has {', '.join(arrays) or 'none'}")
    for one, beside in _TOGETHER:
        partner = f"signal_{beside}" if signals and beside == "shadows" else beside
        if one in arrays and partner in table and partner not in arrays:
            raise DataError(f"{one!r} needs {partner!r} beside it: {table[partner]}")
    if "asked" in arrays and "variants_target" in arrays:
        raise DataError("variants need shadows that answered the audited records in order; leave out 'asked'")
