"""What sentences are built of: counts with their nouns, and words with their articles."""

from __future__ import annotations

import pytest

from miaudit.errors import counted, noun, with_article
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


def test_what_one_member_cannot_show_is_said_of_one():
    assert detectable_auc(1, 1).reason.startswith("with 1 member and 1 non-member not even")
    assert detectable_tpr(1, 1, 0.001).reason.startswith("1 non-member cannot")
