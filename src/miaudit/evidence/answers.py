"""Answers: of what type a model's numbers are, how exact they are, and what they are read as.

Every way in (objects, functions, torch, ONNX, model files, endpoints, stored outputs, targets trained here) comes here, so
that equal answers are read alike. The type is decided once for each model by `decide`: from what was declared, what the
model's last layer or the output's name says, and all numbers of the first contact. Where these contradict each other or
leave a choice, it refuses; docs/decisions/0009 has the rules. `read` then checks every answer against that decision.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import special

from miaudit.errors import DataError, counted, noun
from miaudit.evidence.rows import blocks

Type = Literal["probabilities", "logits", "log-probabilities", "percent", "score", "topk", "labels", "value"]
"""What a model answers. A score is one number a record: the probability of the second of two classes. A value is what a
regression answers; it is never declared, as the task says so."""

DECLARED: tuple[Type, ...] = tuple(type_ for type_ in get_args(Type) if type_ != "value")
"""Types that a user may declare."""

Kind = Literal["probabilities", "logits", "topk", "labels", "value"]
"""The form in which answers are kept: percentages, scores and log-probabilities as probabilities."""

Capability = Literal["logits", "probabilities", "topk", "rounded", "labels", "signal", "log-likelihood"]
_OF_CLASSES = frozenset({"classes", "probabilities", "signal", "likelihood"})
OFFERS: dict[Capability, frozenset[str]] = {
    "logits": _OF_CLASSES,
    "probabilities": _OF_CLASSES,
    "topk": _OF_CLASSES,
    "rounded": _OF_CLASSES,
    "labels": frozenset({"classes"}),
    "signal": frozenset({"signal"}),
    "log-likelihood": frozenset({"signal", "likelihood"}),
}
"""What attacks find in answers of each capability, by the words of `miaudit.attacks.Attack.needs`."""
"""What a target answers, from most to least telling; it decides which attacks can be run."""

SUM_TOLERANCE = 1e-3
"""How far a probability may lie outside 0 to 1, and a row's sum from 1, beyond what precision and rounding explain."""

ROUNDED = 4
"""Answers with at most so many decimals are called rounded: many of them tie."""

MORE_DECIMALS = 7
"""Stands for more than six decimals."""

_FIRST = 4096  # numbers looked at before all are
_FEW = 20  # fewer numbers in half precision do not show whether they were rounded before

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Hint:
    """What is known of a model's answers beside their numbers.

    Parameters
    ----------
    type
        What they are; None if the source says only that they are no plain logits, as a last layer of sigmoids does.
    source
        Who says so, such as "its last layer is a softmax".
    sure
        Whether it is the model's structure that says so, and not a name.
    """

    type: Type | None
    source: str
    sure: bool = False


@dataclass(frozen=True)
class Decision:
    """What a model's answers are taken for, and why."""

    type: Type
    reason: str

    @property
    def kind(self) -> Kind:
        """The form in which the answers are kept."""
        if self.type in ("logits", "topk", "labels", "value"):
            return self.type
        return "probabilities"


def hint_of_name(name: str | None, source: str) -> Hint | None:
    """Return what the name of an output says of its type; None if nothing."""
    text = (name or "").lower().replace("-", "").replace("_", "").replace(" ", "")
    words: tuple[tuple[str, Type], ...] = (
        ("logprob", "log-probabilities"),
        ("logsoftmax", "log-probabilities"),
        ("logit", "logits"),
        ("percent", "percent"),
        ("prob", "probabilities"),
        ("softmax", "probabilities"),
    )
    return next((Hint(type_, source) for word, type_ in words if word in text), None)


def decide(
    values: NDArray[Any],
    *,
    classes: int,
    declared: Type | None = None,
    hint: Hint | None = None,
    say: str = "",
    positive: str | None = None,
    stated: bool = False,
) -> Decision:
    """Decide what a model's answers are, from all that is known at first contact.

    Parameters
    ----------
    values
        (n, columns) numbers, or (n,) labels or scores.
    classes
        Number of classes of the data.
    declared
        What the user says they are; it must be possible.
    hint
        What the model says of itself.
    say
        How a user declares the type, for the message of a refusal.
    positive
        Of two classes the one that a single number a record is of, where that is known; ``stated`` if the user said so.

    Raises
    ------
    DataError
        If the numbers contradict what is declared or what the model says, or several types remain.
    """
    say = say or 'outputs = "..." ([target] of a plan, or the keyword outputs)'
    if values.ndim == 1:
        if classes == 2 and declared is None and (score := _score(values, hint, say, positive, stated)) is not None:
            return score
        return _decide_one(values, classes, declared)
    _numbers(values)
    empty = _empty(values, count_decimals(values))
    values = values[~empty] if empty.any() and declared != "topk" else values
    if declared is not None:
        return _declared(values, declared, say)
    type_, reason = _of_numbers(values)
    if hint is None or hint.type == "labels":
        if type_ is None:
            raise DataError(f"the type of the answers is not clear: {reason}. Say what they are by {say}")
        return Decision(type_, reason)
    if hint.type is None:
        if type_ in ("probabilities", "topk"):
            return Decision(type_, f"{reason}, and {hint.source}")
        raise DataError(
            f"the answers are not probabilities of one class among several: {hint.source}, and {reason}; make each row sum to "
            "one in the model, or let it answer labels"
        )
    if _agree(hint, type_):
        return Decision(type_ if type_ == "topk" else hint.type, f"{hint.source}; {reason}")
    raise DataError(
        f"the type of the answers is not clear: {hint.source}, which makes them {hint.type}, but {reason}"
        f"{'' if type_ is None else f', which makes them {type_}'}. Say what they are by {say}"
    )


def _agree(hint: Hint, type_: Type | None) -> bool:
    """Whether numbers of a type may be what the model says of them."""
    if hint.type == type_ or (hint.type == "probabilities" and type_ == "topk"):
        return True
    return hint.type == "logits" and type_ in (None, "log-probabilities")


def _declared(values: Floats, declared: Type, say: str) -> Decision:
    type_, reason = _of_numbers(values)
    scale = {"probabilities": 1.0, "topk": 1.0, "percent": 100.0}.get(declared)
    if declared == "labels":
        possible = True  # the largest of them
    elif declared == "score":
        raise DataError(
            f"the answers were declared a score, one number a record, and have shape {values.shape}; say otherwise by {say}"
        )
    elif scale is not None:
        much, little = _misfits(values / scale, count_decimals(values / scale))
        possible = not much.any() and (
            declared == "topk" or not little.any() or (scale > 1 and _is_cut(values / scale))
        )
        if scale > 1 and type_ in ("probabilities", "topk"):
            possible = False
    elif declared == "log-probabilities":
        possible = type_ == "log-probabilities"
    else:
        possible = type_ not in ("probabilities", "percent")
    if possible:
        return Decision(declared, "declared")
    worst = "" if scale is None else f"; {_worst(values, scale)}"
    raise DataError(f"the answers were declared {declared}, but {reason}{worst}. Correct it, or leave it out")


def _score(values: NDArray[Any], hint: Hint | None, say: str, positive: str | None, stated: bool) -> Decision | None:
    """Return what one number a record is of two classes; None where it is a label.

    Raises
    ------
    DataError
        If it is none, and not known of which class, or on which scale, it is.
    """
    if values.dtype.kind not in "fiu" or not values.size:
        return None
    whole = values.dtype.kind != "f" or bool((values == np.round(values)).all())
    structural = hint is not None and hint.sure and hint.type != "labels"  # such as a sigmoid that is sure of itself
    if whole and not stated and not structural:
        return None
    _numbers(np.asarray(values, dtype=np.float64)[:, None])
    low, high = float(values.min()), float(values.max())
    if positive is None:
        raise DataError(
            f"the target answered one number per record, such as {values[0]:.4g}, and not which class it is of: name that "
            'class by positive = "..." ([target] of a plan, or the keyword positive), or answer one number per class'
        )
    if hint is not None and hint.type == "logits":
        return Decision("logits", f"{hint.source}; one number a record, read as the log-odds of class {positive!r}")
    if low >= -SUM_TOLERANCE and high <= 1 + SUM_TOLERANCE:
        return Decision(
            "score",
            f"one number a record, between {low:.4g} and {high:.4g}, read as the probability of class {positive!r}",
        )
    raise DataError(
        f"the target answered one number per record, between {low:.4g} and {high:.4g}, which is no probability of class "
        f"{positive!r}: say by {say} that it is its log-odds (logits) or a percentage (percent); a margin of any size is "
        "neither, so let the model answer labels or probabilities"
    )


def _decide_one(values: NDArray[Any], classes: int, declared: Type | None) -> Decision:
    if declared in (None, "labels"):
        return Decision("labels", "one label per record" if declared is None else "declared")
    if declared == "topk" or classes != 2 or values.dtype.kind not in "fiu":
        raise DataError(
            f"the answers were declared {declared}, and are one value per record; with {classes} classes that can only be "
            "labels. Answer one number per class"
        )
    _as_two(values, declared)  # checks the range
    return Decision(declared, "declared; one number per record")


def _empty(values: Floats, decimals: int) -> Bools:
    """Return (n,) which rows are zeros alone, as one-versus-rest models answer where no class is likely.

    None where numbers are rounded so that small probabilities of all classes become zeros.
    """
    if values.dtype.kind != "f" or values.shape[1] < 2 or 2 * _half(decimals) * values.shape[1] >= 1 - SUM_TOLERANCE:
        return np.zeros(len(values), dtype=bool)
    return np.asarray(~values.any(axis=1))


def empty_rows(values: NDArray[Any], decision: Decision, decimals: int) -> Bools:
    """Return (n,) which rows of probabilities are zeros alone, which `read` takes for equal probabilities."""
    if decision.type != "probabilities" or values.ndim != 2:
        return np.zeros(len(values), dtype=bool)
    return _empty(values, count_decimals(values, decimals))


def _numbers(values: NDArray[Any]) -> None:
    """Refuse what is not a number, minus infinity aside, which is the logarithm of 0."""
    if values.dtype.kind not in "fiub":
        raise DataError(f"the target answered values of type {values.dtype}; expected numbers")
    bad = np.isnan(values) | np.isposinf(values) | np.isneginf(values).all(axis=1, keepdims=True)
    if bad.any():
        row = int(np.flatnonzero(bad.any(axis=1))[0])
        raise DataError(f"the target's answer to record {row} is {values[row][:5]}: not finite")


def _of_numbers(values: Floats) -> tuple[Type | None, str]:
    """Return what (n, columns) numbers are, and what in them says so; None where several types remain."""
    low, high, sums = float(values.min()), float(values.max()), values.sum(axis=1, dtype=np.float64)
    one = f"record 0 gets {np.round(np.asarray(values[0][:5], dtype=np.float64), 4)}, summing to {sums[0]:.4f}"
    range_ = f"the numbers lie between {low:.4g} and {high:.4g}"
    if low >= -SUM_TOLERANCE:
        return _of_shares(values, high, sums, range_)
    if high <= SUM_TOLERANCE:
        powers = np.exp(np.minimum(values, 0).astype(np.float64))
        slack = SUM_TOLERANCE + _half(count_decimals(values)) + 2 * roundoff(values) * (1 + np.log(values.shape[1]))
        if (np.abs(powers.sum(axis=1) - 1) <= slack).all():
            return "log-probabilities", f"the exponentials of every row sum to one ({range_})"
        for base in (2, 10):
            if (np.abs((float(base) ** np.minimum(values, 0)).sum(axis=1) - 1) <= base * slack).all():
                return None, (
                    f"the powers of {base} of every row sum to one ({range_}), as of logarithms to base {base}: answer natural "
                    "logarithms, or probabilities"
                )
    if not np.isfinite(values).all():
        return (
            None,
            f"{range_}: minus infinity is the logarithm of 0, but the exponentials of the rows do not sum to one",
        )
    if (np.abs(sums - 1) <= 2 * SUM_TOLERANCE).all():
        return None, f"some numbers are negative, although every row sums to one; {one}"
    if values.shape[1] == 2 and (np.abs(sums) <= SUM_TOLERANCE * (1 + np.abs(values).max(axis=1))).all():
        return None, f"every row is a number and its opposite, which may be a margin written twice; {one}"
    return "logits", f"{range_}, some negative, and rows do not sum to one"


def _of_shares(values: Floats, high: float, sums: NDArray[np.float64], range_: str) -> tuple[Type | None, str]:
    """Do the same for numbers that are not negative: shares of 1 or of 100, all or the largest of them."""
    indicator = values.dtype.kind in "iub"
    for scale, type_, what in ((1.0, "probabilities", "one"), (100.0, "percent", "100")):
        if scale > 1 and high <= 1 + SUM_TOLERANCE:
            break
        shares = values / scale
        much, little = _misfits(shares, count_decimals(shares))
        near = np.abs(np.median(sums) / scale - 1) <= 0.02
        if not (much | little).any() and (near or (scale == 1 and not indicator)):
            return type_, f"every row sums to {what} ({range_})"  # type: ignore[return-value]
        if scale == 1 and not much.any() and _is_cut(values):
            return "topk", f"every row leaves classes out and sums to at most one ({range_})"
    wrong = np.abs(sums - 1) > SUM_TOLERANCE
    constant = len(sums) > 1 and float(np.ptp(sums)) <= SUM_TOLERANCE * float(np.abs(sums).max(initial=1.0))
    every = f"; every row sums to {sums.mean():.6g}, by which the model would have to divide" if constant else ""
    beyond = "" if values.min() >= 0 else " beyond rounding"
    return None, (
        f"no number is negative{beyond} ({range_}), and {int(wrong.sum()):,} of {counted(len(sums), 'row')} "
        f"{noun(int(wrong.sum()), 'does', 'do')} not sum to one (within {SUM_TOLERANCE}); {_worst(values, 1.0)}{every}"
    )


def with_cut(values: NDArray[Any], decision: Decision, *, cut: bool) -> tuple[Decision, bool]:
    """Return the decision in the light of further answers, and whether every row so far left classes out.

    A few first answers may be so sure of themselves that the largest of their probabilities sum to one; those that sum to
    less show that only some classes are answered, if no row so far had all.
    """
    cut = cut and decision.type == "probabilities" and _is_cut(values)
    if not cut:
        return decision, False
    much, little = _misfits(values, count_decimals(values))
    if little.any() and not much.any():
        return Decision("topk", "every row leaves classes out and sums to at most one"), True
    return decision, True


def read(values: NDArray[Any], decision: Decision, *, decimals: int = -1, say: str = "") -> tuple[NDArray[Any], int]:
    """Return a model's answers in the form of a decision, checked and clipped, and the most decimals seen.

    Parameters
    ----------
    values
        (n, columns) numbers, or (n,) scores; labels are not for this function.
    decision
        What `decide` returned for the model.
    decimals
        Most decimals seen before; -1 if none were.
    say
        How a user declares another type, for the message of a refusal.

    Raises
    ------
    DataError
        If a row cannot be of the type; the rest of the message names the row.
    """
    if values.ndim == 1:
        values = _as_two(values, decision.type)
    else:
        _numbers(values)
        if decision.type == "percent":
            values = values / 100
        elif decision.type == "log-probabilities":
            values = np.exp(np.minimum(values, 0).astype(np.float64))
    if decision.type == "logits":
        return values, decimals
    extra = 0.0
    if decision.type == "log-probabilities":
        extra = 0.02  # rounding of a logarithm is a relative error of its power; decide has looked closer
    else:
        decimals = count_decimals(values, decimals)
    much, little = _misfits(values, decimals, extra=extra)
    if decision.type in ("topk", "percent") and little.any() and (decision.type == "topk" or _is_cut(values)):
        little[:] = False
    empty = _empty(values, decimals) if decision.type == "probabilities" else np.zeros(len(values), bool)
    if (wrong := (much | little) & ~empty).any():
        raise _refusal(values, wrong, decision, say)
    if empty.any():
        values = np.where(empty[:, None], 1 / values.shape[1], values)
    return clipped(values), decimals


def clipped(values: Floats) -> Floats:
    """Return probabilities between 0 and 1; the array itself where nothing lies outside.

    Raises
    ------
    DataError
        If one lies further outside than precision explains: more than ``SUM_TOLERANCE``, and what half precision adds.
    """
    if not values.size:
        return values
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return values
    slack = SUM_TOLERANCE + (2 * roundoff(values) if high > 1 + SUM_TOLERANCE else 0.0)
    if not (low >= -slack and high <= 1 + slack):  # NaN fails both
        raise DataError(f"probabilities must lie in [0, 1], got {low}..{high}; turn logits into probabilities first")
    return np.clip(values, 0, 1)


def roundoff(values: NDArray[Any]) -> float:
    """Return half the distance from 1 to the next number, of the coarsest type that holds all values.

    It is told from the values, so that half precision is seen whichever way they came: 2**-8 for bfloat16, 2**-11 for
    float16, 2**-24 for all else.
    """
    return _unit(_parts(values))


def _unit(parts: Iterable[NDArray[Any]]) -> float:
    """Return what `roundoff` does of all numbers in some parts."""
    units = [2.0**-8, 2.0**-11]
    for part in parts:
        units = [unit for unit in units if _holds(part, unit)]
        if not units:  # a type that does not hold a part does not hold all
            return 2.0**-24
    return units[0]


def _holds(values: NDArray[Any], unit: float) -> bool:
    """Whether bfloat16 (of unit 2**-8) or float16 holds all numbers."""
    with np.errstate(over="ignore"):
        narrow = np.ascontiguousarray(values, dtype=np.float32)
        if unit == 2.0**-8:
            return bool((narrow.view(np.uint32) & 0xFFFF == 0).all() and (narrow == values).all())
        return bool((narrow.astype(np.float16) == values).all())


def _parts(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the first few rows of answers, which most often tell what answers are not, and then all, a block at a time."""
    row = max(1, values[:1].size)
    yield values[: max(1, _FIRST // row)]
    yield from (values[block] for block in blocks(len(values), row))


def are_whole(values: NDArray[Any]) -> bool:
    """Return whether an array holds whole numbers alone, of whatever type."""
    if values.dtype.kind == "f":
        return bool(np.isfinite(values).all() and (values == np.round(values)).all())
    return values.dtype.kind in "iub"


def count_decimals(values: NDArray[Any], least: int = 0) -> int:
    """Return the most decimals of any value, at least ``least``; `MORE_DECIMALS` stands for more than six.

    Numbers are compared as float32, in which evidence holds them, so that it does not matter whether they came as float32 or
    as float64. Numbers that were rounded and then kept in half precision are seen, too, where there are enough of them.
    """
    exact = least = max(least, 0)
    for part in _fractions(values):
        if exact >= MORE_DECIMALS:  # what does not write a part does not write all
            break
        exact = _exact_decimals(part, exact)
    if exact < MORE_DECIMALS or least >= MORE_DECIMALS:
        return exact
    unit = _unit(_fractions(values))
    if unit > 2.0**-24 and sum(part.size for part in _fractions(values, once=True)) >= _FEW:
        for decimals in range(least, 3):
            if 10.0**-decimals >= 2.5 * unit and all(
                (np.abs(part - np.round(part, decimals)) <= unit * np.abs(part) + 1e-7).all()
                for part in _fractions(values)
            ):
                return decimals
    return MORE_DECIMALS


def _fractions(values: NDArray[Any], *, once: bool = False) -> Iterator[NDArray[np.float64]]:
    """Yield those of some numbers that are finite and not whole, as float32 has them, in the parts of `_parts`.

    ``once``: without the first part, whose numbers come again.
    """
    for part in itertools.islice(_parts(values), int(once), None):
        with np.errstate(over="ignore"):
            narrow = np.asarray(np.asarray(part, dtype=np.float32), dtype=np.float64)
        yield narrow[(narrow != np.round(narrow)) & np.isfinite(narrow)]


def _exact_decimals(values: NDArray[np.float64], least: int) -> int:
    """Return the fewest decimals, at least ``least``, that write all numbers as float32 has them; `MORE_DECIMALS` for none."""
    for decimals in range(least, MORE_DECIMALS):
        if (np.abs(values - np.round(values, decimals)) < 1e-7 * np.maximum(1, np.abs(values))).all():
            return decimals
    return MORE_DECIMALS


def shown_decimals(decimals: int) -> int | None:
    """Return decimals as results state them: None for more than six, or none seen."""
    return decimals if 0 <= decimals < MORE_DECIMALS else None


def capability_of(kind: Kind, decimals: int | None) -> Capability:
    """Return what can be attacked with, for answers of a kind with so many decimals (None: more than six)."""
    if kind == "value":
        return "signal"
    if kind != "probabilities":
        return kind
    return "rounded" if decimals is not None and decimals <= ROUNDED else "probabilities"


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Return the probabilities of logits, along the last axis."""
    return np.asarray(special.softmax(np.asarray(logits, dtype=np.float64), axis=-1))


def _as_two(values: NDArray[Any], type_: Type) -> NDArray[np.float64]:
    """Return (n, 2) numbers of (n,) numbers of the second class."""
    second: Floats = np.asarray(values, dtype=np.float64)
    _numbers(second[:, None])
    if type_ == "logits":
        return np.column_stack([np.zeros(len(second)), second])
    second = second / 100 if type_ == "percent" else np.exp(second) if type_ == "log-probabilities" else second
    try:
        second = clipped(second)
    except DataError:
        raise DataError(
            f"the answers are one number per record, declared {type_}, and lie between {values.min():.4g} and "
            f"{values.max():.4g}; a probability of a class lies between 0 and 1. A margin of any size is none: "
            'declare "logits" if it is the log-odds of that class, or let the model answer labels'
        ) from None
    return np.column_stack([1 - second, second])


def _half(decimals: int) -> float:
    """Half of the last decimal; 0 where answers are not called rounded."""
    return 0.5 * 10.0**-decimals if 0 <= decimals <= ROUNDED else 0.0


def _misfits(values: Floats, decimals: int, extra: float = 0.0) -> tuple[Bools, Bools]:
    """Return which rows are no probabilities, as (n,) arrays.

    The first: numbers are negative, or sum to more than one whichever way they were rounded. The second: they sum to less
    than one, whichever way they were rounded or cut off.
    """
    half, unit, slack = _half(decimals), roundoff(values), SUM_TOLERANCE + extra
    if unit > 2.0**-24:  # in half precision it cannot be told whether there were three decimals before
        slack += 2 * unit + min(0.0005 * values.shape[1], 0.01)
    least = np.maximum(values - half, 0).sum(axis=1, dtype=np.float64)
    sums = values.sum(axis=1, dtype=np.float64)
    much = (least > 1 + slack) | (values.min(axis=1) < -SUM_TOLERANCE)
    return much, sums + 2 * half * values.shape[1] < 1 - slack


def _is_cut(values: Floats) -> bool:
    """Whether every row may be the largest of its probabilities: none left out can be larger than the least that is there."""
    positive = values > 0
    count = positive.sum(axis=1)  # (n,)
    if not len(values) or count.min() == 0 or count.max() == values.shape[1]:
        return False
    least = np.where(positive, values, np.inf).min(axis=1)
    rest = 1 - values.sum(axis=1, dtype=np.float64)
    return bool((rest <= (values.shape[1] - count) * (least + SUM_TOLERANCE) + SUM_TOLERANCE).all())


def _worst(values: Floats, scale: float) -> str:
    sums = values.sum(axis=1, dtype=np.float64)
    row = int(np.abs(sums / scale - 1).argmax())
    return f"record {row} gets {np.round(np.asarray(values[row][:5], dtype=np.float64), 4)}, summing to {sums[row]:.4f}"


def _refusal(values: Floats, wrong: Bools, decision: Decision, say: str) -> DataError:
    row = int(np.flatnonzero(wrong)[0])
    rule = "sum to more than one" if decision.type == "topk" else f"do not sum to one (within {SUM_TOLERANCE})"
    say = say or 'outputs = "..." ([target] of a plan, or the keyword outputs)'
    return DataError(
        f"the target's answers are not probabilities: {int(wrong.sum()):,} of {len(values):,} rows {rule} or are negative; "
        f"record {row} gets {np.round(np.asarray(values[row][:5], dtype=np.float64), 4)}, summing to "
        f"{values[row].sum(dtype=np.float64):.4f}. They were taken for {decision.type} ({decision.reason}); if they are "
        f"something else, such as logits, say so by {say}"
    )


def checked_type(declared: Any) -> Type | None:
    """Return a declared type, or None.

    Raises
    ------
    DataError
        If there is no such type.
    """
    if declared is not None and declared not in DECLARED:
        raise DataError(f"outputs must be one of {', '.join(DECLARED)}; got {declared!r}")
    return declared  # type: ignore[no-any-return]
