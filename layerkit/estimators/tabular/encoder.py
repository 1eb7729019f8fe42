"""A table of anything as a table of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, check_array, check_consistent_length
from sklearn.utils.validation import check_is_fitted, validate_data

from layerkit.distributed.collections import each_partition
from layerkit.estimators.doc_links import with_page
from layerkit.estimators.tabular.columns import CategoryColumn, column_of, read_table
from layerkit.estimators.tabular.means import cross_fitted, learn_means, wants_means
from layerkit.parameters import is_flag, is_positive, is_size
from layerkit.sequences import is_collection


@with_page
class TableEncoder(TransformerMixin, BaseEstimator):
    """Turns the columns of a table, whatever they are, into numbers for a neural network.

    ======================  ====================================================================
    a column of             becomes
    ======================  ====================================================================
    numbers                 (x - median) / (distance of the quartiles), clipped smoothly; where
                            values are missing the median, and a column that marks them
    two categories          -1 and 1
    up to ``max_onehot``    a column of 0 and 1 for each
    more categories         a code: 1, 2, … in order, for an `Embedding`; and where ``target_means``
                            is true what y is on average there, scaled and clipped as numbers
    dates and times         year, month, weekday and hour, these also as sine and cosine
    ======================  ====================================================================

    Categories are columns of text, booleans, objects and pandas' ``category``, also of numbers;
    numbers in a column of objects are numbers. Durations are numbers, in seconds; periods are the
    times when they begin. What is missing or was not there in `fit` is 0 among the categories;
    among codes it shares 0 with those that were seen only once, so that an embedding learns a
    vector for it. A column whose values are all the same is left out, and may hold anything later.
    Times that have a zone are parts of what the clocks in it show, also of times that come in
    another one; a zone without a name counts as UTC.

    Parameters
    ----------
    max_onehot : int, default=9
        Up to so many categories get a column each, at least 2.
    clip : float or None, default=3.0
        Scaled numbers x become ``x / sqrt(1 + (x / clip)²)``, within ±clip; None leaves them.
    target_means : bool, default=False
        Beside the codes of columns with fewer than 50 rows to a category also a number, or several:
        what y, or each column of it, is on average where the code is, drawn towards the mean of all
        rows where that is seldom. Of the rows of `fit` themselves, in `fit_transform`, it is the
        average over other rows, as those of scikit-learn's `TargetEncoder` are, which finds it.
        Needs y, of numbers, and 10 rows.

    Attributes
    ----------
    columns_ : list
        What was found in each column; ``print(encoder.describe())`` shows it.
    kinds_ : list of str
        Of each feature that comes out: "number", "indicator" (0, 1 or -1) or "code".
    n_codes_ : list of int
        For each feature that is a code the number of codes, 0 included; 0 for the others.
    zones_ : dict of str
        Time zones, by the names of columns whose times have one.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str
        If X had names of columns.

    See Also
    --------
    TabularClassifier : A classifier of tables, with one of these inside.
    TabularRegressor : The same for numbers.

    Notes
    -----
    Takes pandas and polars DataFrames, arrays and nested lists.

    References
    ----------
    Scaling and clipping: Holzmüller, Grinsztajn and Steinwart, "Better by default: strong pre-tuned
    MLPs and boosted trees on tabular data", NeurIPS 2024, arXiv:2407.04491.

    Examples
    --------
    >>> from layerkit.estimators import TableEncoder
    >>> X = [[1.0, "red"], [2.0, "blue"], [None, "red"], [4.0, "blue"]]
    >>> encoder = TableEncoder(clip=None).fit(X)
    >>> encoder.get_feature_names_out().tolist()
    ['x0', 'x0_missing', 'x1_red']
    >>> encoder.transform([[2.0, "red"], [None, "green"]]).tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """

    target_means = False  # of what was pickled before there were any

    def __init__(
        self, *, max_onehot: int = 9, clip: float | None = 3.0, target_means: bool = False
    ) -> None:
        self.max_onehot = max_onehot
        self.clip = clip
        self.target_means = target_means

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find out what the columns are.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            The table.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            Numbers, for ``target_means``; else not used.

        Returns
        -------
        self : object
            The encoder, having learned.

        Raises
        ------
        ValueError
            If a number is infinite or complex, or there are no rows; it names the column. If y is
            needed and is not there, or no numbers.
        TypeError
            If a value is neither a number nor text nor a time; it names the column and row.
        """
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Do `fit` and `transform` in one, reading the table once.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            The table.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            Numbers, for ``target_means``; else not used.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features_out), float64
            As `transform` returns them, but for ``target_means``.
        """
        if is_collection(X):
            raise TypeError(
                "TableEncoder fits tables in memory, not Dask collections: give X.compute(), or a "
                "sample of it (X.sample(frac=0.1).compute()); TabularClassifier and "
                "TabularRegressor learn from all of it where it lies"
            )
        _check(self, is_size(self.max_onehot, least=2), "max_onehot", "an integer >= 2")
        ok = self.clip is None or is_positive(self.clip)
        _check(self, ok, "clip", "None or a positive finite number")
        _check(self, is_flag(self.target_means), "target_means", "True or False")
        names, values = self._read(X, reset=True)
        numbers = self._numbers(X, y) if self.target_means else None
        self._learn(names, values, numbers)
        return self._encode(values, None if numbers is None else partial(cross_fitted, y=numbers))

    def _numbers(self, X: Any, y: Any) -> np.ndarray:
        """Return y as columns of numbers."""
        if y is None:
            raise ValueError("TableEncoder: target_means=True requires y to be passed")
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        check_consistent_length(X, y)
        return y.reshape(len(y), -1)

    def transform(self, X: Any) -> np.ndarray:
        """Turn a table into numbers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            With the columns that `fit` saw. Of a Dask collection the features are lazy.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features_out), float64
            Their names are those of `get_feature_names_out`.

        Raises
        ------
        ValueError
            If columns are others than in `fit`, or hold another kind of values; it names them.
        """
        check_is_fitted(self)
        if is_collection(X):
            return each_partition(self.transform, X, np.nan)
        return self._encode(self._read(X, reset=False)[1])

    def _read(
        self, X: Any, reset: bool, kinds: Sequence[str] | None = None
    ) -> tuple[list[str], list[np.ndarray]]:
        """Return names and values of the columns, having checked that there are such as in fit."""
        X = self._checked(X, reset)
        if not reset and kinds is None:
            kinds = [column.kind for column in self.columns_]
        known = None if reset else getattr(self, "zones_", None)
        names, values, zones = read_table(X, known, kinds)
        if reset:
            self.zones_ = zones
        elif hasattr(self, "columns_") and not hasattr(self, "feature_names_in_"):
            self._check_names(names)
        return names, values

    def _checked(self, X: Any, reset: bool) -> Any:
        """Return what has two axes and columns, those of fit unless ``reset``."""
        X = _as_table(X)
        try:
            validate_data(self, X, reset=reset, skip_check_array=True)
        except ValueError as error:
            where = "" if reset else self._first_difference(list(getattr(X, "columns", ())))
            raise ValueError(f"{error}{where}") from None
        return X

    def _check_names(self, names: list[str]) -> None:
        """Refuse other columns where the names are no text: scikit-learn looks at text alone."""
        known = [column.name for column in self.columns_]
        numbered = _are_positions(known) or _are_positions(names)
        if names == known or (numbered and sorted(names) != sorted(known)):
            return
        where = self._first_difference(names)
        raise ValueError(f"The columns of X should be those of fit, in their order.\n{where}")

    def _first_difference(self, given: list[Any]) -> str:
        """Say where columns are others, if they are as many."""
        known = [column.name for column in getattr(self, "columns_", ())]
        if len(known) != len(given):
            return ""
        pairs = enumerate(zip(known, given, strict=True))
        different = (f"Column {i} is {b!r}, in fit it was {a!r}" for i, (a, b) in pairs if a != b)
        return next(different, "")

    def _learn(
        self, names: list[str], values: list[np.ndarray], y: np.ndarray | None = None
    ) -> None:
        """Find out what columns are that have been read, and the means of y, of columns."""
        pairs = zip(names, values, strict=True)
        self.columns_ = [column_of(name, v, int(self.max_onehot)) for name, v in pairs]
        if y is not None:
            columns = zip(self.columns_, values, strict=True)
            seldom: Any = [(c, v) for c, v in columns if wants_means(c, len(y))]
            if seldom:
                learn_means([column for column, _ in seldom], _codes_of(seldom), y)
        self._list_features()

    def _list_features(self) -> None:
        """Say what the features are, once the columns are known."""
        self.kinds_ = [kind for column in self.columns_ for kind in column.kinds]
        pairs_of = [(column, kind) for column in self.columns_ for kind in column.kinds]
        self.n_codes_ = [column.n_codes * (kind == "code") for column, kind in pairs_of]

    def _encode(
        self, values: list[np.ndarray], means_of: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> np.ndarray:
        """Turn columns that have been read into features.

        Of rows to learn from ``means_of`` makes means, as `cross_fitted`, of the codes of the
        columns that have some.
        """
        pairs = zip(self.columns_, values, strict=True)
        found = [(c, as_fitted(c.name, c.kind, v)) for c, v in pairs if c.names]
        of_y = [i for i, (c, _) in enumerate(found) if isinstance(c, CategoryColumn) and c.means]
        own: dict[int, Any] = {}  # means of the rows to learn from, by positions: names may repeat
        if means_of is not None and of_y:
            means = means_of(_codes_of([found[i] for i in of_y]))
            own = {i: {"means": means[:, k]} for k, i in enumerate(of_y)}
        parts = [c.features(v, self.clip, **own.get(i, {})) for i, (c, v) in enumerate(found)]
        return np.hstack(parts) if parts else np.empty((len(values[0]), 0))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features.

        Parameters
        ----------
        input_features : array-like of str, optional
            Names of the columns, as in `fit`.

        Returns
        -------
        names : ndarray of str
            Such as ``age``, ``age_missing``, ``colour_red``, ``date_month_sin``.
        """
        check_is_fitted(self)
        known = [column.name for column in self.columns_]
        given = known if input_features is None else list(map(str, input_features))
        if len(given) != len(known):
            raise ValueError(
                f"input_features should have length equal to number of features ({len(known)}), "
                f"got {len(given)}"
            )
        if hasattr(self, "feature_names_in_") and given != known:
            raise ValueError(f"input_features is not equal to feature_names_in_, {known}")
        out = []
        for column, name in zip(self.columns_, given, strict=True):
            out += [name + feature.removeprefix(column.name) for feature in column.names]
        return np.array(out, dtype=object)

    def describe(self) -> str:
        """Say what became of each column.

        Returns
        -------
        text : str
            A line for each column.
        """
        check_is_fitted(self)
        width = max(len(column.name) for column in self.columns_)
        lines = [f"{c.name:{width}}  {c.kind:8}  {c}" for c in self.columns_]
        return "\n".join(lines)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.target_tags.required = self.target_means
        return tags


def _as_table(X: Any) -> Any:
    """Return X as something with two axes and columns, or raise."""
    if issparse(X):
        raise TypeError(
            "Sparse data was passed, but TableEncoder takes dense tables: use X.toarray()"
        )
    if hasattr(X, "collect_schema") and not hasattr(X, "shape"):
        raise TypeError("A LazyFrame was passed, but TableEncoder needs the rows: X.collect()")
    if not hasattr(X, "shape"):
        X = _as_array(X)
    if len(X.shape) != 2:
        raise ValueError(
            f"Expected 2D array, got {len(X.shape)}D array of shape {tuple(X.shape)} instead. "
            "Reshape your data: array.reshape(-1, 1) if it has a single feature, "
            "array.reshape(1, -1) if it is a single sample"
        )
    if 0 in X.shape:
        lacking = "sample" if X.shape[0] == 0 else "feature"
        raise ValueError(
            f"Found array with 0 {lacking}(s) (shape={tuple(X.shape)}) while a minimum of 1 is "
            "required."
        )
    return X


def _as_array(rows: Any) -> np.ndarray:
    """Return nested lists as an array in which numbers beside text stay numbers."""
    if isinstance(rows, list | tuple) and all(isinstance(row, list | tuple) for row in rows):
        lengths = list(map(len, rows))
        i = next((i for i, length in enumerate(lengths) if length != lengths[0]), 0)
        if i:
            raise ValueError(
                f"the rows of X should be of one length: row 0 has {lengths[0]} values, row {i} "
                f"has {lengths[i]}"
            )
    try:
        array = np.asarray(rows)
    except ValueError:  # a list beside numbers
        return np.array(rows, dtype=object)
    return np.array(rows, dtype=object) if array.dtype.kind in "USO" else array


def _are_positions(names: list[str]) -> bool:
    """Whether columns have the names that they get where they have none."""
    return names in ([str(i) for i in range(len(names))], [f"x{i}" for i in range(len(names))])


def _codes_of(coded: Sequence[tuple[Any, np.ndarray]]) -> np.ndarray:
    return np.column_stack([column.codes(values) for column, values in coded])


KINDS = {"f": "number", "M": "date", "O": "category"}
"""What a column is, by the dtype of what was read of it."""


def as_fitted(name: str, wanted: str, found: np.ndarray) -> np.ndarray:
    """Return values as the kind of column that `fit` saw takes them, or raise."""
    kind = KINDS[found.dtype.kind]
    if kind == wanted:
        return found
    if wanted == "category":  # a level may be a number
        missing = np.isnan(found) if kind == "number" else np.isnat(found)
        values = np.empty(len(found), dtype=object)
        values[:] = [None if m else v for m, v in zip(missing, found.tolist(), strict=True)]
        return values
    empty = np.isnan(found).all() if kind == "number" else all(v is None for v in found)
    if kind != "date" and empty:  # no value says what it is
        return np.full(len(found), np.nan if wanted == "number" else np.datetime64("NaT", "s"))
    cure = f": pandas.to_datetime(X[{name!r}])" if (wanted, kind) == ("date", "category") else ""
    raise ValueError(
        f"column {name!r} held {PLURAL[wanted]} in fit and holds {PLURAL[kind]} now, "
        f"such as {_example(found)!r}{cure}"
    )


PLURAL = {"number": "numbers", "date": "dates", "category": "categories"}


def _example(found: np.ndarray) -> Any:
    known = [value for value in found.tolist() if value is not None and value == value]
    text = [value for value in known if isinstance(value, str)]
    return (text or known)[0]


def _check(encoder: TableEncoder, ok: bool, name: str, expected: str) -> None:
    if not ok:
        raise ValueError(f"TableEncoder: {name} must be {expected}, got {getattr(encoder, name)!r}")
