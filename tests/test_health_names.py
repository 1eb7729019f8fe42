"""Health reports call columns what a DataFrame calls them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from layerkit import Dense, ReLU, Sequential, SequentialClassifier
from layerkit.inspection import health

RNG = np.random.default_rng(0)
Y = np.arange(80) % 2
X = pd.DataFrame(RNG.normal(size=(80, 3)), columns=["age", "height", "cured"])
X["cured"] = Y + 0.01 * X["cured"]
NETWORK = SequentialClassifier([Dense(4), ReLU()], max_iter=1, random_state=0)
NUMBERS = FunctionTransformer(np.asarray)
"""A step that does not tell the names of its columns."""


@pytest.mark.parametrize(
    ("model", "X", "column"),
    [
        (NETWORK, X, "'cured'"),
        (Sequential([Dense(4), ReLU(), Dense(2)]), X, "'cured'"),
        (make_pipeline(NETWORK), X, "'cured'"),
        (make_pipeline(StandardScaler(), NETWORK), X, "'cured'"),
        (make_pipeline(NUMBERS, NETWORK), X, "2"),
        (make_pipeline(StandardScaler(), NETWORK), X.to_numpy(), "2"),
        (NETWORK, X.to_numpy(), "2"),
        (NETWORK, X.set_axis([5, 6, 7], axis=1), "2"),
    ],
)
def test_a_column_has_the_name_that_reaches_the_network(model, X, column):
    (leaked,) = [v for v in health(model, X, Y).verdicts if v.name == "leaked column"]
    assert f"of column {column} of X lies between the classes" in leaked.evidence
    assert f"Check where column {column} comes from" in leaked.remedy


def test_columns_that_a_step_made_have_its_names():
    first = make_pipeline(PCA(random_state=0), FunctionTransformer(lambda Z: 1e6 * Z))
    first[1].set_params(feature_names_out="one-to-one")
    (unscaled,) = [
        v for v in health(make_pipeline(*first, NETWORK), X, Y).verdicts if "scaled" in v.name
    ]
    assert "Column 'pca0' of X has mean" in unscaled.evidence


def test_a_column_is_leaked_whatever_else_is_wrong():
    found = {v.name: v for v in health(NETWORK, X * [1e6, 1, 1], Y).verdicts}
    assert "Column 'age' of X has mean" in found["inputs not scaled"].evidence
    assert found["leaked column"].follows_from == ""
