"""The check on the records alone sees what tells the sides apart, wherever it stands, and does not pass what it cannot see."""

from __future__ import annotations

import datetime
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from scipy.stats import binom

from miaudit.data import Schema, features
from miaudit.findings import blind_control, class_control, unit_of

N = 150
WORDS = np.array([f"w{i}" for i in range(300)])


def words(rng, k=8):
    return " ".join(rng.choice(WORDS, k))


def each(make, n=2 * N, seed=0):
    """A column: ``make(rng, member)`` for each record, members first."""
    rng = np.random.default_rng(seed)
    return [make(rng, i < n // 2) for i in range(n)]


def control(X, *, n=2 * N, seed=0, schema=None):
    seen = features(X, schema)
    labels = np.random.default_rng(seed).integers(0, 2, n)
    return blind_control(seen.numbers, labels, np.arange(n) < n // 2, seed=seed, plain=seen.plain, unread=seen.unread)


def day(rng, member, first=2019, last=2023):
    start = datetime.datetime(first if member else last, 1, 1)
    return start + datetime.timedelta(minutes=int(rng.integers(0, 365 * 24 * 60)))


def weekday(rng, member):
    return datetime.datetime(2021, 1, 4) + datetime.timedelta(
        days=int(7 * rng.integers(0, 200) + rng.integers(0, 5) + 2 * (not member))
    )


TELLING = {
    "a word in every text": lambda r, m: f"report of {2019 if m else 2023}: {words(r)}",
    "a word in some texts": lambda r, m: words(r) + (" thanks" if m and r.random() < 0.4 else ""),
    "a pair of words": lambda r, m: words(r) + (" left knee" if m else " knee left"),
    "characters within a word": lambda r, m: words(r) + f" {'colour' if m else 'color'}{r.integers(1000)}",
    "case": lambda r, m: words(r).upper() if m else words(r),
    "length": lambda r, m: words(r, int(r.integers(5, 9) if m else r.integers(8, 12))),
    "a long text": lambda r, m: words(r, 800) + (" alpha" if m else " beta"),
    "a prefix": lambda r, m: f"{'A1' if m else 'B7'}-{r.integers(10**9)}",
    "a suffix": lambda r, m: f"{r.integers(10**9)}/{'ber' if m else 'muc'}",
    "numbers in order": lambda r, m: f"P{(0 if m else 5000) + int(r.integers(6000)):06d}",
    "a number in a text": lambda r, m: f"{r.normal() + (2 if m else 0):.3f} mg",
    "how often a value occurs": lambda r, m: f"x{r.integers(30)}" if m else f"y{r.integers(10**6)}",
    "a date as text": lambda r, m: day(r, m).isoformat(sep=" "),
    "a date in another form": lambda r, m: day(r, m).strftime("%d/%m/%Y"),
    "a date in words": lambda r, m: day(r, m).strftime("%d %B %Y"),
    "the day of the week": lambda r, m: weekday(r, m).strftime("%Y-%m-%d"),
    "the hour": lambda r, m: (
        f"2021-{r.integers(1, 13):02d}-{r.integers(1, 28):02d} {r.integers(0, 12) + 12 * m:02d}:{r.integers(60):02d}"
    ),
    "days that overlap": lambda r, m: (
        datetime.date(2021, 1, 1) + datetime.timedelta(int(r.integers(300) + 200 * m))
    ).isoformat(),
    "date objects": lambda r, m: day(r, m).date(),
    "mixed objects": lambda r, m: [None, words(r), int(r.integers(9)), 0.5, True][r.integers(0, 5 if m else 3)],
    "lists": lambda r, m: [int(r.integers(5)), "left" if m else "right"],
    "bytes": lambda r, m: f"{'u' if m else 'v'}{r.integers(10**6)}".encode(),
    "missing": lambda r, m: None if r.random() < (0.6 if m else 0.1) else words(r),
}


QUICK = ("a word in every text", "a date in another form", "a prefix", "mixed objects", "missing")


@pytest.mark.parametrize("what", [pytest.param(k, marks=[] if k in QUICK else pytest.mark.slow) for k in TELLING])
def test_the_check_looks_inside_a_column(what: str) -> None:
    assert control(pd.DataFrame({"a": pd.Series(each(TELLING[what]), dtype=object)})).confounded is True


@pytest.mark.parametrize(
    "form", ["pandas", "polars", "objects", "datetime64", "category", "large numbers", "image", "sparse"]
)
def test_the_check_looks_inside_every_form_of_records(form: str) -> None:
    text = each(TELLING["a word in every text"])
    rng, side = np.random.default_rng(0), np.arange(2 * N) < N
    image = rng.random((2 * N, 1, 8, 8))
    image[side, 0, 3, 3] += 0.5
    records = {
        "pandas": lambda: pd.DataFrame({"t": text}),
        "polars": lambda: pl.DataFrame({"t": text}),
        "objects": lambda: np.array([[row, 1] for row in text], object),
        "datetime64": lambda: pd.DataFrame({"t": pd.to_datetime(each(day))}),
        "category": lambda: pd.DataFrame({"t": pd.Categorical([row[:14] for row in text])}),
        "large numbers": lambda: 10**15 + rng.integers(0, 5000, (2 * N, 1)) + 3000 * side[:, None],
        "image": lambda: image,
        "sparse": lambda: sparse.csr_matrix(image.reshape(2 * N, -1)),
    }[form]()
    assert control(records).confounded is True


@pytest.mark.parametrize(
    "make",
    [
        lambda r, m: words(r),
        pytest.param(lambda r, m: day(r, True).isoformat(), marks=pytest.mark.slow),
        pytest.param(lambda r, m: f"id{r.random()}", marks=pytest.mark.slow),
    ],
)
def test_sides_of_one_population_pass(make) -> None:
    trials = 8
    results = [control(pd.DataFrame({"a": each(make, seed=s)}), seed=s).confounded for s in range(trials)]
    assert sum(each is not False for each in results) <= binom.ppf(0.999, trials, 0.05)


def test_what_cannot_be_read_is_named_and_is_no_pass() -> None:
    class Picture:
        pass

    frame = pd.DataFrame(
        {"size": np.random.default_rng(0).normal(size=2 * N), "picture": [Picture() for _ in range(2 * N)]}
    )
    found = control(frame)
    assert found.confounded is None
    assert found.reason == "it cannot read 'picture' (holds Picture)"
    assert found.auc.value is not None
    frame["size"] += 2.0 * (np.arange(2 * N) < N)  # what can be read tells the sides apart: that stands
    assert control(frame).confounded is True


@pytest.mark.parametrize(("n", "passes"), [(40, False), (50, False), (120, True)])
def test_few_records_are_no_pass(n: int, passes: bool) -> None:
    found = control(np.random.default_rng(3).normal(size=(n, 2)), n=n)
    assert found.confounded is (False if passes else None)
    assert passes or "so few records show no difference of the sides below an AUC of about 0.7" in found.reason


def test_gaps_among_numbers_tell_the_sides_apart_or_do_not() -> None:
    rng, side = np.random.default_rng(0), np.arange(2 * N) < N
    X = rng.normal(size=(2 * N, 3)) + 1e9
    X[rng.random(2 * N) < 0.3, 1] = np.nan
    assert control(X).confounded is False
    X[side & (rng.random(2 * N) < 0.5), 2] = np.nan
    assert control(X).confounded is True
    assert control(np.full((2 * N, 2), np.nan)).confounded is False  # nothing there to tell them by


def test_numbers_of_half_precision_are_read_as_they_are() -> None:
    X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float16)
    np.testing.assert_array_equal(features(X).numbers, X.astype(np.float32))


def test_halves_of_surrogate_pairs_are_read() -> None:
    texts = np.array(["\ud83d" * i + " word" for i in range(4)], dtype=object)
    assert len(np.unique(features(texts).numbers.toarray(), axis=0)) == 4


def test_the_width_does_not_grow_with_the_number_of_texts() -> None:
    few, many = (features(pd.DataFrame({"t": each(lambda r, m: words(r, 30), n)}), buckets=256) for n in (500, 4000))
    assert few.numbers.shape[1] == many.numbers.shape[1] <= 256 + 20
    exact = features(pd.DataFrame({"u": [str(uuid.UUID(int=i)) for i in range(3000)]}))
    assert exact.numbers.shape[1] < 2**14 + 20


def test_categories_that_stand_as_numbers_are_categories() -> None:
    X = np.random.default_rng(0).integers(0, 5, (50, 2)).astype(float)
    schema = Schema.infer(X, stated={"x0": "categorical"})
    assert features(X, schema).numbers.shape[1] > features(X).numbers.shape[1] == 2


def above(classes, *, n: int, audits: int = 200, people: np.ndarray | None = None) -> int:
    """How many audits of n records a side the classes alone call confounded; ``classes``: of both sides, members first."""
    member = np.arange(2 * n) < n
    unit = unit_of(member, people=people)
    return sum(
        class_control(classes(np.random.default_rng(seed)), member, seed=seed, unit=unit) is not None
        for seed in range(audits)
    )


def shares(*sides: float, n: int):
    """Records of the first of two classes in so many of each side."""
    return lambda rng: (rng.random(2 * n) < np.repeat(sides, n)).astype(int)


def as_many_of_each(n: int, classes: int):
    return lambda rng: np.concatenate([rng.permutation(np.arange(n) % classes) for _ in range(2)])


def test_classes_alone_tell_sides_apart_by_all_records() -> None:
    assert above(shares(0.9, 0.5, n=60), n=60, audits=5) == 5
    assert above(as_many_of_each(60, 3), n=60, audits=5) == 0
    assert above(shares(0.9, 0.5, n=19), n=19, audits=1) == 0  # too few


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("n", [100, 400])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_classes_alone_seldom_tell_sides_of_one_population_apart(n: int, classes: int) -> None:
    def drawn(rng):
        return rng.choice(classes, 2 * n, p=rng.dirichlet(np.ones(classes)))

    def of_people(rng):  # four records each, all of one class
        return np.repeat(rng.choice(classes, n // 2), 4)

    assert above(drawn, n=n) <= binom.isf(0.001, 200, 0.025)
    assert above(as_many_of_each(n, classes), n=n) == 0
    assert above(of_people, n=n, people=np.arange(2 * n) // 4) <= binom.isf(0.001, 200, 0.025)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("n", "share", "least"), [(100, 0.7, 115), (200, 0.7, 170), (400, 0.6, 110)])
def test_classes_alone_tell_sides_apart_that_differ_moderately(n: int, share: float, least: int) -> None:
    assert above(shares(share, 0.5, n=n), n=n) >= least
