"""What sentences are built of: counts with their nouns, and words with their articles."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from miaudit.documents import first_problem
from miaudit.errors import counted, noun, sentence_of, with_article
from miaudit.stats.accusations import accuse
from miaudit.stats.power import detectable_auc, detectable_tpr


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 members"), (1, "1 member"), (2, "2 members"), (12_000, "12,000 members")]
)
def test_a_count_has_its_noun(count, text):
    assert counted(count, "member") == text
    assert text.endswith(noun(count, "member"))
    assert counted(count, "person is", "people are").endswith("person is" if count == 1 else "people are")


@pytest.mark.parametrize(
    ("word", "article"),
    [
        *[(word, "an") for word in ("xgboost", "onnx", "int", "OnnxModel", "MLPClassifier", "SVC", "XGBClassifier")],
        *[(word, "an") for word in ("ndarray", "npz", "mlflow", "hdf5", "lstm", "rnn", "UnknownModel")],
        *[(word, "a") for word in ("skops", "pickle", "lightgbm", "str", "GaussianNB", "TSNE", "uint8", "Model")],
        *[
            (word, "a")
            for word in ("OneVsRestClassifier", "list", "float", "frame", "sklearn", "Unigram", "EulerModel")
        ],
    ],
)
def test_a_word_has_its_article(word, article):
    assert with_article(word) == f"{article} {word}"


class Every(BaseModel):
    whole: int = Field(0, ge=1)
    number: float = Field(0.0, gt=0, lt=1)
    text: str = ""
    truth: bool = False
    items: list[int] = Field([], min_length=1, max_length=2)
    table: dict[str, int] = {}
    choice: Literal["a", "b"] = "a"

    model_config = ConfigDict(extra="forbid", strict=True)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("whole", "x", "must be a whole number; got 'x'"),
        ("whole", 0, "must be at least 1; got 0"),
        ("number", "x", "must be a number; got 'x'"),
        ("number", 0.0, "must be above 0; got 0.0"),
        ("number", 1.0, "must be below 1; got 1.0"),
        ("text", 1, "must be a text; got 1"),
        ("truth", "maybe", "must be true or false; got 'maybe'"),
        ("items", "c", "must be a list; got 'c'"),
        ("items", [], "must have 1 or more entries; got []"),
        ("items", [1, 2, 3], "must have 2 or fewer entries; got [1, 2, 3]"),
        ("table", 1, "must be a table of keys; got 1"),
        ("choice", "c", "must be 'a' or 'b'; got 'c'"),
        ("odd", 1, "unknown key; no key is known here"),
    ],
)
def test_what_pydantic_finds_is_said_in_the_words_of_plans(key, value, sentence):
    with pytest.raises(ValidationError) as caught:
        Every.model_validate({key: value})
    assert [sentence_of(each, ()) for each in caught.value.errors()] == [sentence]


def test_of_several_problems_the_first_is_told_and_when_the_others_are():
    with pytest.raises(ValidationError) as caught:
        Every.model_validate({"whole": "x", "text": 1, "truth": 1})
    assert first_problem(Every, caught.value) == (
        "whole: must be a whole number; got 'x'; there are 2 others, which are shown when this one is mended"
    )


def test_a_list_of_names_of_one_and_one_is_said_of_one():
    reason = accuse([0.9], [0.1], q=0.1).reason
    assert reason.startswith(
        "0 non-members set apart are too few: not even the 1 member above all of them would be a list"
    )


def test_what_one_member_cannot_show_is_said_of_one():
    assert detectable_auc(1, 1).reason.startswith("with 1 member and 1 non-member not even")
    assert detectable_tpr(1, 1, 0.001).reason.startswith("1 non-member cannot")
