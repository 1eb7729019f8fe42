"""Tables as they come: odd columns give the right numbers, or an error that names them."""

import contextlib
import datetime
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from errors import raises_exactly

from layerkit import TableEncoder, TabularClassifier, TabularRegressor

pd = pytest.importorskip("pandas")

HOUR = datetime.timedelta(hours=1)
DAY = datetime.datetime(2024, 1, 1, 5)


def objects(*values):
    """A column of objects."""
    return pd.Series(list(values), dtype=object)


def encoded(column):
    """Features of a table with one column, as `fit_transform` and `transform` agree on them."""
    frame = pd.DataFrame({"c": column})
    encoder = TableEncoder(clip=None)
    features = encoder.fit_transform(frame)
    np.testing.assert_array_equal(encoder.transform(frame), features)
    return features


ALIKE = {  # columns of an odd kind, and of a plain one with the same values
    "Decimal with NaN": (objects(Decimal("1.5"), Decimal("NaN"), Decimal(4)), [1.5, None, 4]),
    "Decimal with sNaN": (objects(Decimal("1.5"), Decimal("sNaN"), Decimal(4)), [1.5, None, 4]),
    "fractions": (objects(Fraction(1, 2), Fraction(3, 2), None), [0.5, 1.5, None]),
    "integers beyond int64": (objects(1, 2**70, None), [1.0, 2.0**70, None]),
    "NumPy's numbers": (objects(np.float32(1), np.int8(3), None), [1.0, 3.0, None]),
    "NumPy's times": (
        objects(np.datetime64("2024-01-01T05", "ns"), np.datetime64("NaT"), np.datetime64(DAY)),
        [DAY, None, DAY],
    ),
    "NumPy's durations": (
        objects(np.timedelta64(1, "h"), np.timedelta64("NaT"), np.timedelta64(5, "h")),
        [HOUR, None, 5 * HOUR],
    ),
    "parts of seconds": (pd.to_timedelta([100, 200, 900], "ms"), [0.1, 0.2, 0.9]),
    "Int64": (pd.array([1, None, 3], "Int64"), [1.0, None, 3.0]),
    "Float64": (pd.array([1.5, None, 3], "Float64"), [1.5, None, 3.0]),
    "sparse numbers": (pd.arrays.SparseArray([0, 0, 1, np.nan]), [0, 0, 1, None]),
    "sparse integers": (pd.arrays.SparseArray([0, 0, 1, 5]), [0.0, 0, 1, 5]),
    "sparse booleans": (pd.arrays.SparseArray([True, False, False]), [True, False, False]),
    "bytes": (objects(b"a", b"b", None), ["a", "b", None]),
    "text of NumPy's": (objects(np.str_("a"), "b", None), ["a", "b", None]),
}


@pytest.mark.parametrize("odd", list(ALIKE))
def test_odd_columns_are_read_as_their_values(odd):
    column, plain = ALIKE[odd]
    np.testing.assert_array_equal(encoded(column), encoded(pd.Series(plain)))


def _arrow_types():
    pa = pytest.importorskip("pyarrow")
    berlin = pd.Timestamp(DAY, tz="Europe/Berlin")
    return {
        "integers": (pa.array([1, None, 3]), [1.0, None, 3.0]),
        "large integers": (pa.array([1, None, 2**64 - 1], pa.uint64()), [1.0, None, 2.0**64]),
        "numbers": (pa.array([1.5, None, 3.0], pa.float32()), [1.5, None, 3.0]),
        "decimals": (pa.array([Decimal("1.5"), None, Decimal("2.5")]), [1.5, None, 2.5]),
        "booleans": (pa.array([True, None, False]), objects(True, None, False)),
        "text": (pa.array(["a", None, "b"]), ["a", None, "b"]),
        "large text": (pa.array(["a", None, "b"], pa.large_string()), ["a", None, "b"]),
        "a dictionary": (pa.array(["a", None, "b"]).dictionary_encode(), ["a", None, "b"]),
        "bytes": (pa.array([b"a", None, b"b"]), ["a", None, "b"]),
        "times": (pa.array([DAY, None, DAY + HOUR], pa.timestamp("us")), [DAY, None, DAY + HOUR]),
        "times in a zone": (
            pa.array([berlin, None, berlin + HOUR], pa.timestamp("us", "Europe/Berlin")),
            [DAY, None, DAY + HOUR],
        ),
        "dates": (
            pa.array([DAY.date(), None, datetime.date(2024, 7, 1)]),
            objects(DAY.date(), None, datetime.date(2024, 7, 1)),
        ),
        "times of day": (
            pa.array([datetime.time(5), None, datetime.time(7)]),
            objects(datetime.time(5), None, datetime.time(7)),
        ),
        "durations": (pa.array([HOUR, None, 2 * HOUR]), [HOUR, None, 2 * HOUR]),
        "nothing": (pa.nulls(3), objects(None, None, None)),
    }


def test_columns_of_arrow():
    for name, (array, plain) in _arrow_types().items():
        column = pd.Series(array, dtype=pd.ArrowDtype(array.type))
        expected = encoded(pd.Series(plain))
        np.testing.assert_array_equal(encoded(column), expected, err_msg=name)


def test_columns_of_polars():
    pl = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")  # which polars needs to become a table of pandas
    zoned = pl.Series([DAY, None, DAY + HOUR]).dt.replace_time_zone("Europe/Berlin")
    for name, (column, plain) in {
        "integers": (pl.Series([1, None, 3]), [1.0, None, 3.0]),
        "categories": (pl.Series(["a", None, "b"], dtype=pl.Categorical), ["a", None, "b"]),
        "an enum": (pl.Series(["a", None, "b"], dtype=pl.Enum(["a", "b"])), ["a", None, "b"]),
        "booleans": (pl.Series([True, None, False]), objects(True, None, False)),
        "decimals": (pl.Series([Decimal("1.5"), None, Decimal("2.5")]), [1.5, None, 2.5]),
        "times": (pl.Series([DAY, None, DAY + HOUR]), [DAY, None, DAY + HOUR]),
        "times in a zone": (zoned, [DAY, None, DAY + HOUR]),
        "durations": (pl.Series([HOUR, None, 2 * HOUR]), [HOUR, None, 2 * HOUR]),
        "nothing": (pl.Series([None] * 3), objects(None, None, None)),
    }.items():
        features = TableEncoder(clip=None).fit_transform(pl.DataFrame({"c": column}))
        np.testing.assert_array_equal(features, encoded(pd.Series(plain)), err_msg=name)


REFUSED = {  # a column, the row that is named, and the value if it is of no known type
    "lists": (objects([1], [2]), 0, "[1] of type list"),
    "lists later": (objects("a", None, [2]), 2, "[2] of type list"),
    "dicts": (objects({}, {}), 0, "{} of type dict"),
    "arrays": (objects(np.arange(3), None), 0, "array([0, 1, 2]) of type ndarray"),
    "times beside text": (objects(DAY, "x"), 0, f"{DAY!r} of type datetime"),
    "complex numbers": (objects(1j, 2), 0, "1j of type complex"),
    "NumPy's complex": (objects(2.0, np.complex64(1j)), 1, "1j of type complex"),
    "a dtype of complex": (pd.Series([1j, 2]), None, None),
    "infinity": (objects(1, float("inf")), 1, None),
    "Decimal infinity": (objects(Decimal("-Infinity"), 1), 0, None),
    "beyond float64": (objects(1, 10**400), 1, None),
    "intervals": (
        pd.Series(pd.IntervalIndex.from_breaks([0, 1, 2])),
        0,
        "Interval(0, 1, closed='right') of type Interval",
    ),
}


@pytest.mark.parametrize("odd", list(REFUSED))
def test_what_a_column_cannot_hold_is_refused_by_name(odd):
    column, row, value = REFUSED[odd]
    told = f"column 'c', row {row}: argument must be a string or a number, got {value}"
    if row is None:
        told = "Complex data not supported: column 'c' has dtype complex128"
    elif value is None:
        told = (
            f"column 'c' has an infinite value (inf) in row {row}: numbers must be finite, NaN "
            "where they are missing"
        )
    with raises_exactly(ValueError if value is None else TypeError, told):
        TableEncoder().fit(pd.DataFrame({"c": column}))


def test_masked_values_are_missing():
    numbers = np.ma.array([[1.0, 9], [2, 3], [4, 5]], mask=[[0, 1], [0, 0], [0, 0]])
    expected = TableEncoder(clip=None).fit_transform([[1.0, None], [2, 3], [4, 5]])
    np.testing.assert_array_equal(TableEncoder(clip=None).fit_transform(numbers), expected)
    days = ["2024-01-01", "2024-05-01", "2024-07-05"]
    times = np.ma.array(np.array(days, "M8[D]")[:, None], mask=[[0], [1], [0]])
    found = TableEncoder(clip=None).fit_transform(times)
    np.testing.assert_array_equal(found, encoded(pd.to_datetime([days[0], None, days[2]])))


def test_rows_of_unequal_length_are_named():
    for rows in ([[1, 2], [3]], [[1, "a"], [2, "b"], ["c"]]):
        with raises_exactly(
            ValueError,
            re.compile(r"the rows of X should be of one length: row 0 has 2 values, row .* has 1"),
        ):
            TableEncoder().fit(rows)
    with raises_exactly(
        TypeError, "column 'x1', row 0: argument must be a string or a number, got [2] of type list"
    ):
        TableEncoder().fit([[1, [2]], [3, [4]]])


# ---------------------------------------------------------------- names


def test_columns_of_the_same_name_are_refused_or_columns_of_their_own():
    rng = np.random.default_rng(0)
    ids = np.column_stack([rng.integers(0, 40, 200), rng.integers(0, 30, 200)]).astype(str)
    y, encoder = ids[:, 0].astype(float), TableEncoder(target_means=True)
    expected = encoder.fit_transform(pd.DataFrame(ids, columns=["id", "other"]), y)
    found = None
    with contextlib.suppress(ValueError):  # scikit-learn's, since 1.9
        found = encoder.fit_transform(pd.DataFrame(ids, columns=["id", "id"]), y)
    assert found is None or np.array_equal(found, expected)


NAMES = {
    "numbers": [2020, 2021],
    "positions": [0, 1],
    "tuples": pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]),
    "times": pd.to_datetime(["2024-01-01", "2024-01-02"]),
}


@pytest.mark.parametrize("names", list(NAMES))
def test_columns_in_another_order_are_refused_whatever_their_names(names):
    X = pd.DataFrame([[1.0, 5.0], [2.0, 3.0], [4.0, 1.0]], columns=NAMES[names])
    encoder = TableEncoder().fit(X)
    np.testing.assert_array_equal(encoder.transform(X), encoder.transform(X.to_numpy()))
    first, second = (str(name) for name in X.columns)
    with raises_exactly(
        ValueError,
        "The columns of X should be those of fit, in their order.\n"
        f"Column 0 is {second!r}, in fit it was {first!r}",
    ):
        encoder.transform(X.iloc[:, ::-1])


def test_other_columns_are_refused_whatever_their_names():
    X = pd.DataFrame([[1.0, 5.0], [2.0, 3.0]], columns=[2020, 2021])
    encoder = TableEncoder().fit(X)
    told = (
        "The columns of X should be those of fit, in their order.\n"
        "Column 1 is '2022', in fit it was '2021'"
    )
    with raises_exactly(ValueError, told):
        encoder.transform(X.rename(columns={2021: 2022}))
    held_out = X.rename(columns={2021: 2022}), [1.0, 2.0]
    with raises_exactly(ValueError, f"X_val and y_val: {told}"):
        TabularRegressor().fit(X, [1.0, 2.0], X_val=held_out[0], y_val=held_out[1])


# ---------------------------------------------------------------- few rows, few columns

QUICKEST = {"members": 2, "max_iter": 3, "hidden_layer_sizes": (8,), "random_state": 0}
FEW = {
    "two rows": ({"a": [1.0, 2.0]}, [0, 1]),
    "one column of text": ({"a": list("xyxy")}, [0, 1, 0, 1]),
    "a row for each class": ({"a": np.arange(12.0)}, np.arange(12)),
    "a class of one row": ({"a": np.arange(12.0)}, [0] * 11 + [1]),
    "missing in part": ({"a": [1.0, None] * 6, "b": [None] * 12}, [0, 1] * 6),
}


@pytest.mark.parametrize("few", list(FEW))
def test_few_rows_are_learned_from(few):
    X, y = pd.DataFrame(FEW[few][0]), np.asarray(FEW[few][1])
    classifier = TabularClassifier(**QUICKEST).fit(X, y)
    assert set(classifier.predict(X)) <= set(y) and classifier.classes_.tolist() == sorted(set(y))
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1)
    assert np.isfinite(TabularRegressor(**QUICKEST).fit(X, y).predict(X)).all()


def test_tables_without_rows_or_columns_are_refused():
    for X, lacking in (
        (pd.DataFrame(index=range(3)), "feature(s) (shape=(3, 0))"),
        (pd.DataFrame({"a": []}), "sample(s) (shape=(0, 1))"),
    ):
        with raises_exactly(
            ValueError, f"Found array with 0 {lacking} while a minimum of 1 is required."
        ):
            TabularClassifier(**QUICKEST).fit(X, range(len(X)))
    with raises_exactly(
        ValueError,
        "no column of X tells the 1 sample(s) to learn from apart: in each all values "
        "are the same, or categories that occur once",
    ):
        TabularClassifier(**QUICKEST).fit(pd.DataFrame({"a": [1.0]}), ["yes"])


# ---------------------------------------------------------------- odd labels

TWELVE = pd.DataFrame({"a": np.arange(12.0)})
LABELS = {  # as they are given, and the classes
    "Int64": (pd.array([3, 1, 2] * 4, "Int64"), np.array([1, 2, 3])),
    "boolean": (pd.Series([True, False] * 6, dtype="boolean"), np.array([False, True])),
    "category": (pd.Series([3, 1, 2] * 4, dtype="category"), np.array([1, 2, 3])),
    "string": (pd.Series(["u", "v"] * 6, dtype="string"), np.array(["u", "v"], object)),
}


@pytest.mark.parametrize("odd", list(LABELS))
def test_labels_come_back_as_they_were(odd):
    y, classes = LABELS[odd]
    model = TabularClassifier(**QUICKEST).fit(TWELVE, y)
    assert model.classes_.dtype == classes.dtype and model.classes_.tolist() == classes.tolist()
    assert model.predict(TWELVE).dtype == classes.dtype


UNLABELLED = {
    "None": np.array(["u", "v"] * 5 + ["u", None], object),
    "NaN": np.array(["u", "v"] * 5 + ["u", np.nan], object),
    "string": pd.Series(["u", "v"] * 5 + ["u", None], dtype="string"),
    "category": pd.Series(["u", "v"] * 5 + ["u", None], dtype="category"),
    "two columns": pd.DataFrame({"y": ["u", "v"] * 6, "z": ["u", "v"] * 5 + ["u", None]}),
}


@pytest.mark.parametrize("odd", list(UNLABELLED))
def test_missing_labels_are_refused_by_row(odd):
    with raises_exactly(
        ValueError,
        "y contains missing values, in 1 of 12 rows (11): leave these rows out of X and y",
    ):
        TabularClassifier(**QUICKEST).fit(TWELVE, UNLABELLED[odd])
