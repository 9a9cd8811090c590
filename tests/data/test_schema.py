from __future__ import annotations

import time
from datetime import datetime

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from miaudit.data.hashes import row_hashes
from miaudit.data.schema import Column, Schema, encoder
from miaudit.errors import DataError


def kinds(schema):
    return [column.kind for column in schema.columns]


def frame(library):
    return pytest.importorskip(library).DataFrame(
        {
            "age": [20, 30, 40, 30],
            "job": ["cook", "baker", "cook", "?"],
            "smoker": [True, False, False, True],
            "height": [1.5, 1.75, 2.0, 1.5],
        }
    )


ENCODED = np.array(
    [[20, 0, 0, 1, 1, 1.5], [30, 0, 1, 0, 0, 1.75], [40, 0, 0, 1, 0, 2.0], [30, 1, 0, 0, 1, 1.5]], dtype=np.float32
)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_is_inferred_and_encoded(library):
    X = frame(library)
    schema = Schema.infer(X)
    assert kinds(schema) == ["numeric", "categorical", "binary", "numeric"]
    assert schema.columns[1].categories == ("?", "baker", "cook")
    assert (schema.columns[0].low, schema.columns[0].high) == (20, 40)
    assert (schema.width, schema.encoded_width) == (4, 6)
    encoded = schema.encode(X)
    assert encoded.dtype == np.float32
    assert (encoded == ENCODED).all()


def test_a_table_of_objects_is_inferred_and_encoded_like_the_frame():
    X = np.array([list(row) for row in frame("pandas").itertuples(index=False)], dtype=object)
    schema = Schema.infer(X, names=["age", "job", "smoker", "height"])
    assert kinds(schema) == ["numeric", "categorical", "binary", "numeric"]
    assert (schema.encode(X) == ENCODED).all()


def test_a_matrix_of_codes_is_encoded_by_its_schema():
    schema = Schema((Column("age", "numeric"), Column("job", "categorical", ("?", "baker", "cook"))))
    assert schema.columns[1].values == (0.0, 1.0, 2.0)
    X = np.array([[20.0, 2], [30.0, 0], [40.0, 9]])  # 9 is unknown: all zero
    assert schema.encode(X).tolist() == [[20, 0, 0, 1], [30, 1, 0, 0], [40, 0, 0, 0]]


def test_stated_categories_of_a_matrix_keep_their_values():
    X = np.array([[7.0, 1], [3.0, 0], [7.0, 1]])
    schema = Schema.infer(X, stated={"x0": "categorical"})
    assert schema.columns[0] == Column("x0", "categorical", ("3.0", "7.0"), values=(3.0, 7.0))
    assert schema.encode(X).tolist() == [[0, 1, 1], [1, 0, 0], [0, 1, 1]]


def test_declared_pandas_categories_are_all_kept():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame({"c": pandas.Categorical([3, 1, 3], categories=[3, 2, 1])})
    assert Schema.infer(X).columns[0].values == (1, 2, 3)


def test_a_wide_binary_matrix_is_quick_and_agrees_with_its_sparse_form():
    X = (np.random.default_rng(0).random((200, 6170)) < 0.01).astype(np.uint8)
    start = time.perf_counter()
    schema = Schema.infer(X)
    assert time.perf_counter() - start < 1
    assert set(kinds(schema)) == {"binary"}
    thin = Schema.infer(sparse.csr_array(X))
    assert thin.columns == schema.columns
    assert thin.fingerprint != schema.fingerprint
    assert encoder(schema) is None
    assert encoder(thin) is None


def test_sparse_numbers_know_their_implied_zeros():
    X = sparse.csr_array(np.array([[2.0, 0, 1], [3.0, -1, 0]]))
    schema = Schema.infer(X)
    assert [(c.kind, c.low, c.high) for c in schema.columns] == [
        ("numeric", 2, 3),
        ("numeric", -1, 0),
        ("binary", 0, 1),
    ]
    encoded = schema.encode(X)
    assert sparse.issparse(encoded)
    assert encoded.dtype == np.float32
    assert abs(encoder(schema).fit_transform(X)).max() == 1


def test_almost_binary_floats_are_numeric():
    schema = Schema.infer(np.array([[0.0, 0.5], [1.0, 1.0]]))
    assert kinds(schema) == ["binary", "numeric"]


def test_images_have_a_shape_and_are_flattened():
    X = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    schema = Schema.infer(X)
    assert (schema.shape, schema.width, schema.encoded_width) == ((3, 4, 4), 48, 48)
    assert (schema.encode(X) == X.reshape(2, 48)).all()
    scaled = encoder(schema).fit_transform(X)
    assert scaled.dtype == np.float32
    assert np.allclose(scaled, X.reshape(2, 48) / 255)
    unit = np.random.default_rng(0).random((2, 4, 4))
    assert np.allclose(encoder(Schema.infer(unit)).fit_transform(unit), unit.reshape(2, 16))


@pytest.mark.parametrize("library", ["pandas", "polars", "codes"])
def test_the_encoder_readies_mixed_records_for_any_estimator(library):
    if library == "codes":
        X = np.array([[20, 2, 1, 1.5], [30, 1, 0, 1.75], [40, 2, 0, 2.0], [30, 0, 1, 1.5]])
        names, values = ("?", "baker", "cook"), None
        schema = Schema(
            (
                Column("age", "numeric"),
                Column("job", "categorical", names, values=values),
                Column("smoker", "binary"),
                Column("height", "numeric"),
            )
        )
    else:
        X = frame(library)
        schema = Schema.infer(X)
    encoded = clone(encoder(schema)).fit_transform(X)
    assert encoded.shape == (4, 6)
    assert encoded[:, :3].tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert np.allclose(encoded[:, 3:5].mean(axis=0), 0)
    assert np.allclose(encoded[:, 3:5].std(axis=0), 1)
    assert encoded[:, 5].tolist() == [1, 0, 0, 1]
    model = make_pipeline(clone(encoder(schema)), LogisticRegression()).fit(X, [0, 1, 0, 1])
    assert model.predict_proba(X).shape == (4, 2)


def test_the_encoder_sets_an_unknown_category_to_zero():
    schema = Schema((Column("job", "categorical", ("a", "b")),))
    fitted = encoder(schema).fit(np.array([[0.0], [1.0]]))
    assert fitted.transform(np.array([[5.0], [1.0]])).tolist() == [[0, 0], [0, 1]]


def test_many_categories_are_encoded_sparse():
    X = np.arange(1500, dtype=np.float64)[:, None]
    schema = Schema.infer(X, stated={"x0": "categorical"})
    assert sparse.issparse(encoder(schema).fit_transform(X))


def test_the_encoder_survives_pickling():
    import pickle

    X = frame("pandas")
    made = pickle.loads(pickle.dumps(encoder(Schema.infer(X))))
    assert (made.fit_transform(X) == encoder(Schema.infer(X)).fit_transform(X)).all()


def test_fingerprint_depends_on_everything_said():
    base = Schema((Column("a", "categorical", ("x", "y")),))
    others = [
        Schema((Column("b", "categorical", ("x", "y")),)),
        Schema((Column("a", "categorical", ("y", "x")),)),
        Schema((Column("a", "numeric", low=0, high=1),)),
        Schema((Column("a", "binary", low=0, high=1),)),
    ]
    assert len({schema.fingerprint for schema in [base, *others]}) == 5
    assert base.fingerprint == Schema((Column("a", "categorical", ("x", "y")),)).fingerprint


def test_describe_is_short():
    assert Schema.infer(frame("pandas")).describe() == {
        "width": 4,
        "numeric": 2,
        "binary": 1,
        "categorical": 1,
        "encoded_width": 6,
        "sparse": False,
    }


def test_check_refuses_what_does_not_fit():
    X = frame("pandas")
    schema = Schema.infer(X)
    schema.check(X)
    schema.check(X.iloc[:1])
    with pytest.raises(DataError, match=r"missing \['job'\], unknown \['town'\]"):
        schema.check(X.rename(columns={"job": "town"}))
    with pytest.raises(DataError, match="another order"):
        schema.check(X[["job", "age", "smoker", "height"]])
    with pytest.raises(
        DataError, match=r"'job': 1 record .* first record 2 .* with 'nurse'; known are \?, baker, cook"
    ):
        schema.check(X.assign(job=["cook", "?", "nurse", "cook"]))
    with pytest.raises(DataError, match="records have 3 columns, the schema says 4"):
        schema.check(np.ones((2, 3)))
    with pytest.raises(DataError, match="the schema says 4 columns"):
        schema.encode(np.ones((2, 3, 3)))
    with pytest.raises(DataError, match=r"shape \(5, 5\), the schema says \(4, 4\)"):
        Schema.infer(np.zeros((2, 4, 4))).check(np.zeros((2, 5, 5)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stated": {"x7": "numeric"}}, "no column 'x7'. The columns are x0, x1"),
        ({"stated": {"ages": "numeric"}, "names": ["age", "job"]}, "no column 'ages'; did you mean 'age'"),
        ({"stated": {"x0": "number"}}, "kind 'number' is not one of numeric, binary, categorical"),
        ({"stated": {"x0": "binary"}}, "stated to be binary but holds other numbers"),
        ({"names": ["a"]}, "1 name was given for 2 columns"),
        ({"names": ["a", "a"]}, "more than once"),
    ],
)
def test_infer_refuses_what_does_not_fit(arguments, message):
    with pytest.raises(DataError, match=message):
        Schema.infer(np.array([[1.0, 2], [3, 4]]), **arguments)


def test_infer_refuses_missing_pixels_dates_and_stated_sparse_columns():
    for X in (np.array([[[np.nan]]]), sparse.csr_array(np.array([[np.nan]])), np.array([[np.inf]])):
        with pytest.raises(DataError, match="NaN|infinite"):
            Schema.infer(X)
    pandas = pytest.importorskip("pandas")
    when = pandas.DataFrame({"when": pandas.to_datetime(["2020-01-01", "2020-01-02"])})
    with pytest.raises(DataError, match="'when' has dtype datetime64"):
        Schema.infer(when, stated={"when": "categorical"})
    with pytest.raises(DataError, match="stated to be numeric but holds texts"):
        Schema.infer(pandas.DataFrame({"t": ["a", "b"]}), stated={"t": "numeric"})
    with pytest.raises(DataError, match="cannot be stated for a sparse matrix"):
        Schema.infer(sparse.csr_array(np.eye(2)), stated={"x0": "categorical"})
    with pytest.raises(DataError, match="have none"):
        Schema.infer(np.zeros((2, 4, 4)), stated={"x0": "categorical"})


def test_a_categorical_column_needs_categories():
    with pytest.raises(DataError, match="has no categories"):
        Column("a", "categorical")
    with pytest.raises(DataError, match="is not one of"):
        Column("a", "ordinal")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_times_of_a_frame_are_days_for_those_who_need_numbers(library):
    module = pytest.importorskip(library)
    when = [datetime(2020, 1, 1), None, datetime(2020, 1, 3, 12)]
    frame = module.DataFrame({"when": when, "a": [1, 2, 3]})
    schema = Schema.infer(frame)
    assert [column.kind for column in schema.columns] == ["time", "numeric"]
    assert schema.describe()["time"] == 1
    encoded = schema.encode(frame)
    assert (encoded[:, 0] - encoded[0, 0]).tolist() == [0, 0, 2.5], "a missing one has the earliest time"
    assert encoded[:, 1].tolist() == [0, 1, 0]
    schema.check(frame)
    assert len(set(row_hashes(frame).tolist())) == 3
    with pytest.raises(DataError, match="hold times"):
        encoder(schema)
    with pytest.raises(DataError, match="hold times"):
        schema.require_complete("the test")
    with pytest.raises(DataError, match="stated to be of times"):
        Schema.infer(np.ones((2, 1)), stated={"x0": "time"})


def test_times_with_zones_and_spans_are_times():
    pandas = pytest.importorskip("pandas")
    local = pandas.to_datetime(["2020-01-01 00:00", "2020-01-02 00:00"]).tz_localize("Europe/Berlin")
    frame = pandas.DataFrame({"local": local, "span": pandas.to_timedelta([1, 36], "h")})
    assert [column.kind for column in Schema.infer(frame).columns] == ["time", "time"]
    assert Schema.infer(frame).encode(frame)[:, 1].tolist() == [np.float32(1 / 24), 1.5]
