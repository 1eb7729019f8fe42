"""Columns of every kind as numbers."""

import datetime
from decimal import Decimal

import numpy as np
import pytest
from errors import raises_exactly, theirs
from sklearn.preprocessing import TargetEncoder

from layerkit import TableEncoder

pd = pytest.importorskip("pandas")


def encode(values, **options):
    """Names and features of a table with one column, c."""
    frame = pd.DataFrame({"c": values})
    encoder = TableEncoder(**{"clip": None} | options).fit(frame)
    return encoder.get_feature_names_out().tolist(), encoder.transform(frame), encoder


def test_numbers_by_hand():
    names, x, encoder = encode([0.0, 1.0, 2.0, 3.0, np.nan, 100.0])
    assert names == ["c", "c_missing"] and encoder.kinds_ == ["number", "indicator"]
    np.testing.assert_allclose(x[:, 0], [-1, -0.5, 0, 0.5, 0, 49])
    assert x[:, 1].tolist() == [0, 0, 0, 0, 1, 0]
    clipped = encode([0.0, 1.0, 2.0, 3.0, np.nan, 100.0], clip=3.0)[1]
    np.testing.assert_allclose(clipped[:, 0], x[:, 0] / np.sqrt(1 + (x[:, 0] / 3) ** 2))
    assert clipped[:, 1].tolist() == x[:, 1].tolist()


def test_a_rare_number_is_scaled_by_half_the_range():
    np.testing.assert_allclose(encode([0.0] * 9 + [5.0])[1][:, 0], [0.0] * 9 + [2.0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["b", "a", "b", None], [[1.0], [-1.0], [1.0], [0.0]]),
        ([True, False, True, True], [[1.0], [-1.0], [1.0], [1.0]]),
        (pd.array([True, None, False], "boolean"), [[1.0], [0.0], [-1.0]]),
        (pd.Categorical(["x", "y", "x"], ["z", "y", "x"]), [[-1.0], [1.0], [-1.0]]),
        (pd.array(["p", "q", None], "string"), [[-1.0], [1.0], [0.0]]),
        (["a", "b", "c", None], [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]),
        (["a", None, "a"], [[1], [0], [1]]),
        (pd.array([1, None, 3], "Int64"), [[-1, 0], [0, 1], [1, 0]]),
        ([1, None, "x"], [[-1.0], [0.0], [1.0]]),
    ],
)
def test_categories_by_hand(values, expected):
    np.testing.assert_allclose(encode(values)[1], expected)


def test_many_categories_are_codes():
    values = [*list("aabbccddee"), "once", None]
    names, x, encoder = encode(values, max_onehot=4)
    assert names == ["c"] and encoder.n_codes_ == [6] and encoder.kinds_ == ["code"]
    assert x[:, 0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0, 0]
    assert encoder.transform(pd.DataFrame({"c": ["never seen"]})).tolist() == [[0.0]]


def test_what_tells_nothing_is_left_out():
    assert encode([7.0] * 5)[0] == encode(["a"] * 5)[0] == encode([None] * 5)[0] == []
    assert encode([f"row {i}" for i in range(20)])[0] == [], "all different"
    assert "all values are the same" in encode([7.0] * 5)[2].describe()
    assert "all values are different" in encode([f"row {i}" for i in range(20)])[2].describe()


def test_times_are_parts():
    times = pd.to_datetime(["2024-01-01 00:00", "2024-07-01 06:00", "2025-01-05 18:00", None])
    names, x, _ = encode(times)
    assert names[:3] == ["c_year", "c_year_missing", "c_month"]
    part = dict(zip(names, x.T, strict=True))
    assert part["c_year_missing"].tolist() == [0, 0, 0, 1]
    assert {"c_hour_sin", "c_weekday_cos"} <= set(names)
    assert part["c_hour_sin"][1] > part["c_hour_sin"][2], "6 and 18 o'clock are opposite"
    zoned = encode(times.tz_localize("Europe/Berlin"))[1]
    np.testing.assert_array_equal(zoned, x)
    plain = [None if t is pd.NaT else t.to_pydatetime() for t in times]
    np.testing.assert_array_equal(encode(pd.Series(plain, dtype=object))[1], x)
    days = encode(pd.Series([datetime.date(2024, 1, 1), datetime.date(2024, 7, 1)], dtype=object))
    assert not any("hour" in name for name in days[0])


def test_arrays_and_lists_are_read_as_tables():
    rows = [[1.0, "a"], [2.0, "b"], [None, "a"]]
    lists = TableEncoder().fit(rows)
    assert lists.get_feature_names_out().tolist() == ["x0", "x0_missing", "x1_b"]
    array = np.array(rows, dtype=object)
    np.testing.assert_array_equal(TableEncoder().fit_transform(array), lists.transform(rows))
    numbers = np.arange(6.0).reshape(3, 2)
    assert TableEncoder().fit(numbers).kinds_ == ["number", "number"]


class Polars:
    """What matters of a table of another library: it becomes one of pandas."""

    def __init__(self, frame):
        self.frame, self.shape, self.columns = frame, frame.shape, frame.columns

    def to_pandas(self):
        return self.frame


def test_tables_of_other_libraries():
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": ["x", "y", "x"]})
    expected = TableEncoder().fit_transform(frame)
    np.testing.assert_array_equal(TableEncoder().fit_transform(Polars(frame)), expected)
    polars = pytest.importorskip("polars")
    np.testing.assert_array_equal(TableEncoder().fit_transform(polars.DataFrame(frame)), expected)


def test_columns_of_another_kind_are_refused_by_name():
    frame = pd.DataFrame({"age": [1.0, 2.0], "born": pd.to_datetime(["2000-01-01", "2001-01-01"])})
    encoder = TableEncoder().fit(frame)
    with raises_exactly(
        ValueError, "column 'age' held numbers in fit and holds categories now, such as 'old'"
    ):
        encoder.transform(frame.assign(age=["old", "young"]))
    with raises_exactly(
        ValueError,
        "column 'born' held dates in fit and holds categories now, such as '2001-02-03': "
        "pandas.to_datetime(X['born'])",
    ):
        encoder.transform(frame.assign(born="2001-02-03"))
    with raises_exactly(
        ValueError, "column 'born' held dates in fit and holds numbers now, such as 1.0"
    ):
        encoder.transform(frame.assign(born=[1.0, 2.0]))
    assert np.isfinite(encoder.transform(frame.assign(age=None, born=None))).all()
    with raises_exactly(
        ValueError,
        "column 'age' has an infinite value (inf) in row 1: numbers must be finite, NaN "
        "where they are missing",
    ):
        TableEncoder().fit(frame.assign(age=[1.0, -np.inf]))
    with raises_exactly(
        ValueError, "Complex data not supported: column 'age' has dtype complex128"
    ):
        TableEncoder().fit(frame.assign(age=[1j, 2]))
    with raises_exactly(ValueError, "TableEncoder: max_onehot must be an integer >= 2, got 1"):
        TableEncoder(max_onehot=1).fit(frame)
    with raises_exactly(
        ValueError, "TableEncoder: clip must be None or a positive finite number, got 0"
    ):
        TableEncoder(clip=0).fit(frame)


def test_what_columns_of_pandas_are_read_as():
    def kind(values):
        return TableEncoder().fit(pd.DataFrame({"x": values})).columns_[0].kind

    numbers = [1, 2, 3, 2]
    assert kind(pd.Series(numbers).astype("category")) == "category"
    assert kind(pd.cut(pd.Series([1.0, 2, 3, 4]), 2)) == "category"
    assert kind(pd.Series([Decimal(i) for i in numbers], dtype=object)) == "number"
    assert kind(pd.to_timedelta(numbers, "h")) == "number"
    assert kind(pd.Series([datetime.timedelta(i) for i in numbers], dtype=object)) == "number"
    assert kind(pd.period_range("2020-01", periods=4, freq="M")) == "date"
    codes = TableEncoder().fit(pd.DataFrame({"x": pd.Series(numbers).astype("category")}))
    np.testing.assert_array_equal(
        codes.transform(pd.DataFrame({"x": [3.0, 9]})), [[0, 0, 1], [0] * 3]
    )


@pytest.mark.parametrize("dtype", ["O", np.int64, "Int64"], ids=str)
def test_integers_are_the_categories_that_they_were_beside_text(dtype):
    """Also those that float64 cannot tell apart, where there is no text beside them any more."""
    levels = [2**53, 2**53 + 1, 2**53 + 2, "none"]
    encoder = TableEncoder().fit(pd.DataFrame({"key": levels}))
    found = encoder.transform(pd.DataFrame({"key": pd.Series(levels[:3], dtype=dtype)}))
    assert found.tolist() == np.eye(4)[:3].tolist()


def test_columns_in_another_order_are_named():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0], "c": [1.0, 0.0]})
    encoder = TableEncoder().fit(frame)
    with pytest.raises(ValueError, match=r"same order.*\n.*Column 1 is 'c', in fit it was 'b'$"):
        encoder.transform(frame[["a", "c", "b"]])


@pytest.mark.parametrize("unknown", [np.nan, None, pd.NaT, "x", 3.0], ids=repr)
@pytest.mark.parametrize("later", ["text", 5.0, None, pd.Timestamp("2024-01-01")], ids=repr)
def test_a_column_that_was_left_out_may_hold_anything(unknown, later):
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [unknown] * 3})
    encoder = TableEncoder(clip=None).fit(frame)
    assert encoder.get_feature_names_out().tolist() == ["a"]
    found = encoder.transform(frame.assign(b=[later] * 3))
    np.testing.assert_array_equal(found, encoder.transform(frame))
    assert TableEncoder().fit(frame[["b"]]).transform(frame[["b"]]).shape == (3, 0)


def _berlin():
    return pd.Series(pd.date_range("2024-03-30 20:00", periods=9, freq="3h", tz="Europe/Berlin"))


@pytest.mark.parametrize("as_given", [pd.Series, list], ids=["dtype", "objects"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "-03:30", "dateutil/Europe/Berlin"])
def test_times_are_read_on_the_clock_of_the_zone_in_fit(as_given, zone):
    times = _berlin()
    frame = pd.DataFrame({"t": as_given(times)}, dtype=object if as_given is list else None)
    encoder = TableEncoder(clip=None).fit(frame)
    assert encoder.zones_ == {"t": "Europe/Berlin"}
    expected = TableEncoder(clip=None).fit_transform(times.dt.tz_localize(None).to_frame("t"))
    np.testing.assert_array_equal(encoder.transform(frame), expected)
    moved = times.dt.tz_convert(zone)
    np.testing.assert_array_equal(encoder.transform(moved.to_frame("t")), expected)
    np.testing.assert_array_equal(encoder.transform(moved.astype(object).to_frame("t")), expected)
    again = TableEncoder(clip=None).fit(moved.to_frame("t"))
    found = again.transform(frame)
    np.testing.assert_allclose(found, again.transform(moved.to_frame("t")))


def test_times_of_day_are_hours():
    times = [datetime.time(6), datetime.time(18, 30), None, datetime.time(6)]
    frame = pd.DataFrame({"t": pd.Series(times, dtype=object)})
    encoder = TableEncoder(clip=None).fit(frame)
    names = ["t_hour", "t_hour_missing", "t_hour_sin", "t_hour_cos"]
    assert encoder.get_feature_names_out().tolist() == names
    assert encoder.transform(frame)[:, 1].tolist() == [0, 0, 1, 0]


def test_a_lazy_table_is_refused_with_the_cure():
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"needs the rows: X.collect\(\)"):
        TableEncoder().fit(polars.LazyFrame({"a": [1.0, 2.0]}))


def _ids(n_levels=50, n=400, seed=0):
    """A column of many categories, and their codes, all of them seen often enough."""
    codes = np.random.default_rng(seed).permutation(np.arange(n) % n_levels)
    return pd.DataFrame({"id": [f"id {code:03}" for code in codes]}), codes


def test_means_of_y_are_those_of_scikit_learn():
    frame, codes = _ids()
    y = codes % 7 + np.random.default_rng(1).normal(size=len(codes))
    encoder = TableEncoder(clip=None, target_means=True).fit(frame, y)
    assert encoder.get_feature_names_out().tolist() == ["id", "id_mean"]
    assert (encoder.kinds_, encoder.n_codes_) == (["code", "number"], [51, 0])
    assert encoder.describe().endswith("50 categories, embedded, with means of y")
    own = TargetEncoder(target_type="continuous").fit(frame, y)
    (mean,) = encoder.columns_[0].means
    expected = (own.transform(frame)[:, 0] - mean.center) * mean.scale
    np.testing.assert_allclose(encoder.transform(frame)[:, 1], expected)
    unknown = encoder.transform(pd.DataFrame({"id": ["who", None]}))
    np.testing.assert_allclose(unknown[:, 1], (y.mean() - mean.center) * mean.scale)
    clipped = TableEncoder(clip=0.1, target_means=True).fit(frame, y).transform(frame)
    assert np.abs(clipped[:, 1]).max() < 0.1


def test_means_of_rows_to_learn_from_do_not_know_their_own_y():
    frame, codes = _ids(n_levels=200)  # two rows of each, of which y knows nothing
    y = np.random.default_rng(1).normal(size=len(codes))
    encoder = TableEncoder(clip=None, target_means=True)
    crossed = encoder.fit_transform(frame, y)
    assert np.corrcoef(encoder.transform(frame)[:, 1], y)[0, 1] > 0.5
    assert abs(np.corrcoef(crossed[:, 1], y)[0, 1]) < 0.2
    np.testing.assert_array_equal(crossed, encoder.fit_transform(frame, y))


def test_categories_of_many_rows_have_no_means():
    frame, codes = _ids(n_levels=10, n=600)
    y = codes.astype(float)
    assert TableEncoder(target_means=True).fit(frame[:500], y[:500]).kinds_ == ["code", "number"]
    assert TableEncoder(target_means=True).fit(frame, y).kinds_ == ["code"]


def test_a_mean_for_each_column_of_y():
    frame, codes = _ids()
    y = np.column_stack([codes % 3, codes % 5]).astype(float)
    encoder = TableEncoder(target_means=True).fit(frame, y)
    assert encoder.get_feature_names_out().tolist() == ["id", "id_mean_0", "id_mean_1"]
    one = TableEncoder(target_means=True).fit(frame, y[:, 1])
    np.testing.assert_array_equal(encoder.transform(frame)[:, 2], one.transform(frame)[:, 1])


def test_means_where_there_is_nothing_to_average():
    frame, codes = _ids()
    constant = TableEncoder(target_means=True).fit(frame, np.ones(len(codes)))
    assert constant.get_feature_names_out().tolist() == ["id"]
    few = TableEncoder(target_means=True).fit(frame[:9], codes[:9])
    assert few.transform(frame[:9]).shape == (9, len(few.kinds_))
    assert "code" not in few.kinds_
    short = pd.DataFrame({"a": list("aabbcc")})
    few = TableEncoder(max_onehot=2, target_means=True).fit(short, np.arange(6.0))
    assert few.kinds_ == ["code"]


@pytest.mark.parametrize("rows", [12, 40, 400])
@pytest.mark.parametrize("target_means", [False, True])
def test_a_key_of_single_rows_becomes_nothing(rows, target_means):
    keys, numbers = [f"k{i}" for i in range(rows)], np.arange(float(rows))
    encoder = TableEncoder(target_means=target_means)
    encoder.fit(pd.DataFrame({"key": keys, "size": numbers}), numbers)
    assert encoder.get_feature_names_out().tolist() == ["size"]
    assert (encoder.kinds_, encoder.n_codes_) == (["number"], [0])
    assert encoder.columns_[0].n_codes == 0
    assert encoder.describe().splitlines()[0].endswith("left out: all values are different")


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"target_means": True}, None, "TableEncoder: target_means=True requires y to be passed"),
        ({"target_means": True}, [1.0] * 3, theirs("inconsistent numbers of samples")),
        ({"target_means": True}, [np.nan] * 400, theirs("y contains NaN")),
        (
            {"target_means": True},
            ["yes"] * 400,
            theirs("could not convert string to float"),
        ),
        ({"target_means": 1.5}, None, "TableEncoder: target_means must be True or False, got 1.5"),
    ],
    ids=["no y", "few", "nan", "text", "no flag"],
)
def test_bad_y_for_means_is_refused(options, y, message):
    with raises_exactly(ValueError, message):
        TableEncoder(**options).fit(_ids()[0], y)
