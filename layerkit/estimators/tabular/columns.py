"""What a column of a table is, and the numbers that it becomes."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from layerkit.estimators.entries import is_missing

Values = np.ndarray
"""The values of one column: float64 with NaN, datetime64[s] with NaT, or objects with None."""


class NumberColumn:
    """Numbers, centred at their median, divided by the distance of their quartiles.

    Attributes
    ----------
    names, kinds : list of str
        Of the features it becomes: itself and, where values were missing, an indicator of it;
        nothing if all values are the same.
    center, scale : float
        What is subtracted, and what the rest is multiplied by.
    """

    kind = "number"
    n_codes = 0

    def __init__(self, name: str, quantiles: Sequence[float], missing: bool) -> None:
        self.name = name
        self.center, self.scale = _center_and_scale(*quantiles) if len(quantiles) else (0.0, 0.0)
        self.varies = self.scale > 0
        self.has_missing = missing and len(quantiles) > 0
        self.names = [name] * self.varies + [f"{name}_missing"] * self.has_missing
        self.kinds = ["number"] * self.varies + ["indicator"] * self.has_missing

    @classmethod
    def of(cls, name: str, values: Values) -> Self:
        """Return what becomes of these values."""
        missing = np.isnan(values)
        return cls(name, quantiles_of(values[~missing]), bool(missing.any()))

    def features(self, values: Values, clip: float | None) -> np.ndarray:
        """Return the features, (n_samples, len(names)), the numbers within ±clip."""
        missing = np.isnan(values)
        scaled = (np.where(missing, self.center, values) - self.center) * self.scale
        if clip is not None:
            scaled /= np.sqrt(1 + (scaled / clip) ** 2)
        parts = [scaled] * self.varies + [missing.astype(float)] * self.has_missing
        return np.column_stack(parts) if parts else np.empty((len(values), 0))

    def __str__(self) -> str:
        if not self.names:
            return "left out: all values are the same"
        missing = ", missing values marked" * self.has_missing
        if not self.varies:
            return "only where values are missing"
        return f"(x - {self.center:.4g}) * {self.scale:.4g}{missing}"


class CategoryColumn:
    """Categories: two as -1 and 1, a few as one column each, many as codes for an embedding.

    What is missing or was never seen is 0 in all of them. Of many categories those that were seen
    only once have the code 0 too, so that its vector is trained; if all were, they tell nothing.

    Attributes
    ----------
    names, kinds : list of str
        Of the features it becomes.
    levels : list
        The categories, in order.
    n_codes : int
        Number of codes, 0 included, if it becomes codes, else 0.
    means : list of NumberColumn
        Of what y is on average where the codes are, if that was learned.
    table : ndarray of shape (n_codes, n_means)
        These averages.
    """

    kind = "category"
    means: Sequence[NumberColumn] = ()
    table: np.ndarray

    def __init__(
        self, name: str, counts: Mapping[Any, int], has_missing: bool, max_onehot: int
    ) -> None:
        self.name = name
        n = len(counts)
        if n > max_onehot:
            counts = {level: count for level, count in counts.items() if count > 1}
        self.levels = sorted(counts, key=lambda level: (str(type(level)), level))
        self.n_codes = len(self.levels) + 1 if n > max_onehot else 0
        if self.n_codes:
            self.names = [name] if self.levels else []
            self.n_codes *= len(self.names)
        elif n == 2:
            self.names = [f"{name}_{self.levels[1]}"]
        else:
            self.names = [f"{name}_{level}" for level in self.levels] * (n > 1 or has_missing)
        self.kinds = ["code" if self.n_codes else "indicator"] * len(self.names)

    @classmethod
    def of(cls, name: str, values: Values, max_onehot: int) -> Self:
        """Return what becomes of these values."""
        counts = Counter(value for value in values if value is not None)
        return cls(name, counts, counts.total() < len(values), max_onehot)

    def codes(self, values: Values) -> np.ndarray:
        """Return 1, 2, … for the levels in order, 0 for what is missing or unknown."""
        code_of = {level: code for code, level in enumerate(self.levels, 1)}
        return np.fromiter((code_of.get(value, 0) for value in values), np.intp, len(values))

    def set_means(self, table: np.ndarray, quantiles: Sequence[Sequence[float]]) -> None:
        """Add what y is on average by code, (n_codes, n_outputs), scaled by those of rows."""
        width = table.shape[1]
        names = [f"{self.name}_mean{f'_{k}' if width > 1 else ''}" for k in range(width)]
        means = [NumberColumn(*pair, False) for pair in zip(names, quantiles, strict=True)]
        if all(mean.varies for mean in means):
            self.means, self.table = means, table
            self.names, self.kinds = [self.name, *names], ["code", *["number"] * width]

    def scaled_means(self, found: np.ndarray, clip: float | None) -> np.ndarray:
        """Return means, (n, n_outputs), as numbers are, within ±clip."""
        pairs = zip(self.means, found.T, strict=True)
        return np.hstack([mean.features(values, clip) for mean, values in pairs])

    def features(
        self, values: Values, clip: float | None, means: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the features, (n_samples, len(names)); means in place of those by code."""
        codes = self.codes(values)
        if self.n_codes:
            coded = codes[:, np.newaxis].astype(float)
            if not self.means:
                return coded
            found = self.table[codes] if means is None else means
            return np.hstack([coded, self.scaled_means(found, clip)])
        if len(self.levels) == 2:
            return np.array([0.0, -1.0, 1.0])[codes][:, np.newaxis]
        return np.eye(len(self.levels) + 1)[codes, 1 : len(self.names) + 1]

    def __str__(self) -> str:
        if not self.names:
            return f"left out: all values are {'the same' if self.levels else 'different'}"
        if self.n_codes:
            counted = "1 category" if len(self.levels) == 1 else f"{len(self.levels)} categories"
            return f"{counted}, embedded{', with means of y' * bool(self.means)}"
        if len(self.levels) == 2:
            return f"-1 for {self.levels[0]!r}, 1 for {self.levels[1]!r}"
        return f"{len(self.levels)} categories, a column each"


class DateColumn:
    """Times as year, month, weekday and hour, the last three also as points on a circle."""

    kind = "date"
    n_codes = 0

    def __init__(self, name: str, columns: Iterable[NumberColumn]) -> None:
        self.name = name
        self.columns = [column for column in columns if column.varies]
        for column in self.columns[1:]:  # one indicator for all
            column.has_missing, column.names = False, column.names[:1]
        starts = [column.name for column in self.columns]
        self.names = [n for column in self.columns for n in column.names]
        self.kinds = ["number" if n in starts else "indicator" for n in self.names]

    @classmethod
    def of(cls, name: str, values: Values) -> Self:
        """Return what becomes of these values."""
        parts = parts_of(values)
        return cls(name, [NumberColumn.of(f"{name}_{part}", v) for part, v in parts.items()])

    def features(self, values: Values, clip: float | None) -> np.ndarray:
        """Return the features, (n_samples, len(names)), the numbers within ±clip."""
        parts = parts_of(values)
        cut = len(self.name) + 1
        found = [column.features(parts[column.name[cut:]], clip) for column in self.columns]
        return np.hstack(found) if found else np.empty((len(values), 0))

    def __str__(self) -> str:
        cut = len(self.name) + 1
        return ", ".join(name[cut:] for name in self.names) or "left out: all values are the same"


Column = NumberColumn | CategoryColumn | DateColumn


def column_of(name: str, values: Values, max_onehot: int) -> Column:
    """Return what becomes of a column."""
    if values.dtype.kind == "f":
        return NumberColumn.of(name, values)
    if values.dtype.kind == "M":
        return DateColumn.of(name, values)
    return CategoryColumn.of(name, values, max_onehot)


def quantiles_of(known: np.ndarray) -> Sequence[float]:
    """Return the smallest number, the three quartiles and the largest; nothing of nothing."""
    return [known.min(), *np.quantile(known, QUARTILES), known.max()] if known.size else []


QUARTILES = (0.25, 0.5, 0.75)


def _center_and_scale(
    smallest: float, low: float, center: float, high: float, largest: float
) -> tuple[float, float]:
    """Return the median and 1 over the distance of the quartiles, or of half the range, or 0."""
    spread = high - low or (largest - smallest) / 2
    scale = 1 / spread if spread >= np.finfo(np.float64).tiny else 0.0
    return float(center), float(scale)


def parts_of(times: Values) -> dict[str, np.ndarray]:
    """Return the parts of times, in float64 with NaN."""
    missing = np.isnat(times)
    times = np.where(missing, np.datetime64(0, "s"), times)
    days, years = times.astype("M8[D]"), times.astype("M8[Y]")
    start, end = years.astype("M8[D]"), (years + 1).astype("M8[D]")
    year = years.astype(int) + 1970 + (days - start) / (end - start)
    month = times.astype("M8[M]").astype(int) % 12
    weekday = (days.astype(int) + 3) % 7  # 1970 began on a Thursday
    hour = (times - days) / np.timedelta64(1, "h")
    parts = {"year": year}
    for name, part, period in (("month", month, 12), ("weekday", weekday, 7), ("hour", hour, 24)):
        angle = 2 * np.pi * part / period
        parts |= {name: part, f"{name}_sin": np.sin(angle), f"{name}_cos": np.cos(angle)}
    return {name: np.where(missing, np.nan, part) for name, part in parts.items()}


# ---------------------------------------------------------------- reading tables


def read_table(
    X: Any, zones: Mapping[str, str] | None = None, kinds: Sequence[str] | None = None
) -> tuple[list[str], list[Values], dict[str, str]]:
    """Return names, values and time zones of the columns of a DataFrame or an array with two axes.

    Times that belong to a zone are read as a clock in ``zones`` shows them, else one in their own.
    Integers where ``kinds`` has categories stay what they are, and so any number among objects.
    """
    if hasattr(X, "to_pandas"):  # polars, and other tables
        X = X.to_pandas()
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        names = [str(name) for name in X.columns]
        columns = [_of_numpy(X.iloc[:, i]) for i in range(X.shape[1])]
    else:
        X = _unmasked(X) if isinstance(X, np.ma.MaskedArray) else np.asarray(X)
        names, columns = [f"x{i}" for i in range(X.shape[1])], list(X.T)
    found, values = dict(zones or {}), []
    for name, column, kind in zip(names, columns, kinds or [""] * len(names), strict=True):
        zone = found.get(name) or zone_of(column)
        if zone is not None:
            found[name] = zone
        values.append(_values_of(name, column, zone, kind == "category"))
    return names, values, found


def _of_numpy(column: Any) -> Any:
    """Return a column of Arrow's types as one of NumPy's and pandas' own, of which all is known."""
    if hasattr(column.dtype, "pyarrow_dtype"):
        return column.array.__arrow_array__().to_pandas()
    return column


def _unmasked(X: np.ma.MaskedArray) -> np.ndarray:
    """Return an array in which what is masked is missing."""
    found = X.data.copy() if X.dtype.kind in "mM" else X.data.astype(object)
    found[np.ma.getmaskarray(X)] = None  # which is NaT among times
    return found


def zone_of(column: Any) -> str | None:
    """Return the time zone of a column's times, of the first one among objects; None for none."""
    zone = getattr(column.dtype, "tz", None)
    if zone is None and getattr(column.dtype, "kind", "O") == "O":
        times = (v for v in column.tolist() if isinstance(v, datetime.datetime))
        zone = next((t.tzinfo for t in times if not is_missing(t) and t.tzinfo), None)
    if zone is None:
        return None
    try:
        _clock(str(zone))
    except (ValueError, ZoneInfoNotFoundError):  # it has no name
        return "UTC"
    return str(zone)


def _clock(zone: str | None) -> datetime.tzinfo | None:
    """Return what ``str`` of a time zone names, such as Europe/Berlin or UTC+02:00."""
    if zone is None:
        return None
    offset = re.fullmatch(r"(?:UTC)?([+-]\d\d:\d\d)", zone)
    return datetime.datetime.strptime(offset[1], "%z").tzinfo if offset else ZoneInfo(zone)


def _values_of(name: str, column: Any, zone: str | None, coded: bool) -> Values:
    """Return the values of a column by what its dtype says, or what its objects are."""
    kind = getattr(column.dtype, "kind", "O")
    if kind == "c":
        raise ValueError(f"Complex data not supported: column {name!r} has dtype {column.dtype}")
    if hasattr(column.dtype, "freq"):  # periods
        column = column.dt.to_timestamp()
        kind = "M"
    if kind == "M" or hasattr(column.dtype, "tz"):
        return _as_times(column, _clock(zone))
    if kind == "m":
        return np.asarray(column) / np.timedelta64(1, "s")
    if kind == "f" or (kind in "iu" and not coded):
        return _finite(name, _as_floats(column))
    values = [None if is_missing(v) else _plain(v) for v in column.tolist()]
    if hasattr(column, "cat"):  # categories, though they may be numbers
        return _as_categories(name, [_category(v) for v in values])
    return _read_objects(name, values, _clock(zone), coded)


def _as_floats(column: Any) -> np.ndarray:
    if hasattr(column, "to_numpy") and not isinstance(column.dtype, np.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)  # a nullable dtype
    return np.asarray(column, dtype=np.float64)


def _as_times(column: Any, clock: datetime.tzinfo | None) -> np.ndarray:
    if getattr(column.dtype, "tz", None) is not None:
        column = column.dt.tz_convert(clock).dt.tz_localize(None)
    return np.asarray(column).astype("M8[s]")


def _finite(name: str, numbers: np.ndarray) -> np.ndarray:
    if np.isinf(numbers).any():
        row = int(np.isinf(numbers).argmax())
        raise ValueError(
            f"column {name!r} has an infinite value (inf) in row {row}: numbers must be finite, "
            "NaN where they are missing"
        )
    return numbers


def _read_objects(
    name: str, values: list[Any], clock: datetime.tzinfo | None, coded: bool
) -> Values:
    """Return objects as what they all are: numbers, times, durations, or else categories."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(v, datetime.date | datetime.time) for v in known):
        times = ["NaT" if v is None else _plain_time(v, clock) for v in values]
        return np.array(times, "M8[s]")
    if known and all(isinstance(v, datetime.timedelta) for v in known):
        values = [v if v is None else v.total_seconds() for v in values]
        known = []
    numeric = all(isinstance(v, Real | Decimal) and not isinstance(v, bool) for v in known)
    if numeric and not coded:
        return _finite(name, np.array([np.nan if v is None else _float(v) for v in values]))
    return _as_categories(name, values)


def _float(number: Any) -> float:
    """Return any real number in float64, infinite where that is too small for it."""
    try:
        return float(number)
    except OverflowError:
        return np.inf


def _as_categories(name: str, values: list[Any]) -> Values:
    for row, value in enumerate(values):
        if not (value is None or isinstance(value, _PLAIN)):
            raise TypeError(
                f"column {name!r}, row {row}: argument must be a string or a number, got "
                f"{value!r} of type {type(value).__name__}"
            )
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def _category(value: Any) -> Any:
    """Return a category of pandas', which may be anything, an interval say, as one of ours."""
    return value if value is None or isinstance(value, _PLAIN) else str(value)


_PLAIN = (str, bytes, bool, int, float, np.generic)


def _plain(value: Any) -> Any:
    """Return a value of NumPy's as one of Python's."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return value.astype(f"{value.dtype.kind}8[us]").item()
    return value.item() if isinstance(value, np.generic) else value


def _plain_time(value: Any, clock: datetime.tzinfo | None) -> Any:
    """Return a time as the clock shows it; a time without a date is of the first of 1970."""
    if isinstance(value, datetime.time):
        value = datetime.datetime.combine(datetime.date(1970, 1, 1), value)
    if not isinstance(value, datetime.datetime):
        return value
    return (value.astimezone(clock) if value.tzinfo else value).replace(tzinfo=None)
