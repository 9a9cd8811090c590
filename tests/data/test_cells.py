"""One grammar for cells: what a number is, what stands for a missing value, what is a number in another notation."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miaudit.data.cells import MISSING, has_leading_zeros, is_dressed, is_missing, is_number, merged
from miaudit.errors import TargetError
from miaudit.targets import as_target


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15))
def test_what_python_writes_is_a_number(value):
    assert is_number(str(value))
    assert not is_dressed(str(value))


@given(st.integers(1000, 10**12), st.sampled_from([",", "'", " ", "\u202f", "_", "\u00a0"]))
def test_separated_thousands_are_numbers_in_another_notation(value, sign):
    text = f"{value:,}".replace(",", sign)
    assert not is_number(text)
    assert is_dressed(text)


@pytest.mark.parametrize(
    "text",
    ["1234,5", "9.6%", "3 %", "$5", "-$1,163", "EUR 71631", "12 EUR", "(1,163)", "100-", "1.234,50", "12,34,567"],
)
def test_office_notations_are_told_from_plain_numbers(text):
    assert not is_number(text)
    assert is_dressed(text)


@pytest.mark.parametrize(
    "text", ["10-20", "[70-80)", ">50K", "V57", "10th", "2020-01-05", "10.0.0.1", "1.2.3", "?", "cook", ""]
)
def test_categories_are_no_numbers_of_any_notation(text):
    assert not is_number(text)
    assert not is_dressed(text)


def test_digits_of_other_scripts_and_underscores_are_no_plain_numbers():
    for text in ("\uff11\uff12", "1_000", "\u0661"):
        assert not is_number(text)


def test_the_missing_values_are_those_of_pandas():
    pandas = pytest.importorskip("pandas")
    for text in sorted(MISSING - {""}):
        column = pandas.read_csv(io.StringIO(f"a,b\n{text},1\nword,2\n"))["a"]
        assert column.isna().tolist() == [True, False], text
    assert is_missing("  ")
    assert not is_missing("?")


def test_codes_that_would_become_one_number_are_found():
    assert merged(["00501", "501"]) == ["00501", "501"]
    assert merged(["1", "+1"]) == [], "no zeros in front: the same number, written twice"
    assert merged(["01", "02", "10"]) == []
    assert has_leading_zeros("-007")
    assert not has_leading_zeros("0")
    assert merged(["0" * 5000 + "1", "1"]), "longer than int() takes"


@pytest.mark.parametrize("text", ["3169,81", "$12.50", "12.5 %", "1,234.50", "7 \u20ac"])
@pytest.mark.parametrize("form", ["frame", "array"])
def test_a_model_that_fails_on_numbers_in_another_notation_is_told_their_column(text, form):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": ["30", "40"], "pay": ["12.5", text]})

    def model(X):
        return np.asarray(X).astype(float)[:, :2]

    target = as_target(model, classes=2)
    with pytest.raises(TargetError, match=rf"Column {'.pay.' if form == 'frame' else 1} holds texts such as ") as told:
        target.answer(frame if form == "frame" else frame.to_numpy(dtype=object))
    assert repr(text) in str(told.value)
