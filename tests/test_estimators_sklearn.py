"""scikit-learn's own checks of the estimator contract, on several configurations."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from layerkit import (
    Concat,
    Dense,
    Identity,
    LayerNorm,
    ReLU,
    Residual,
    Sequential,
    SequentialClassifier,
    SequentialRegressor,
    SiLU,
    Tanh,
)
from layerkit.losses import BinaryCrossEntropy, Huber
from layerkit.optimizers import LBFGS, SGD, Adam

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = Adam(learning_rate=0.02)
CONFIGURATIONS = [
    SequentialClassifier([Dense(16), ReLU()], optimizer=QUICK, max_iter=60),
    SequentialClassifier(
        [Dense(8), Tanh()], optimizer=LBFGS(weight_decay=1e-3), max_iter=30, dtype="float64"
    ),
    SequentialRegressor([Dense(16), ReLU()], optimizer=QUICK, max_iter=100),
]
MORE_CONFIGURATIONS = [
    SequentialClassifier(
        Sequential([("hidden", Dense(16)), Tanh()]), optimizer=QUICK, max_iter=60, verbose=True
    ),
    SequentialClassifier(
        [Concat([Identity(), Dense(8)]), LayerNorm(), SiLU()],
        loss=BinaryCrossEntropy(label_smoothing=0.05),
        optimizer=SGD(learning_rate=0.1, momentum=0.9),
        max_iter=30,
        n_iter_no_change=None,
    ),
    SequentialClassifier([], optimizer=LBFGS(weight_decay=1e-3), max_iter=30),
    SequentialClassifier([Dense(100), ReLU()]),
    SequentialRegressor(
        [Residual(Dense(16), Dense(16)), Tanh()], loss=Huber(), optimizer=QUICK, max_iter=100
    ),
    SequentialRegressor([Dense(8), Tanh()], optimizer="lbfgs", max_iter=50),
    SequentialRegressor([Dense(100), ReLU()]),
]


# Some checks leave the seed alone, and one wants the ranks of probabilities and decisions to be
# alike, which two probabilities rounded to 1 are not: with a seed, it is not a matter of luck.
for configuration in (*CONFIGURATIONS, *MORE_CONFIGURATIONS):
    configuration.set_params(random_state=0)


@parametrize_with_checks(CONFIGURATIONS)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(MORE_CONFIGURATIONS)
def test_scikit_learn_check_of_more(estimator, check):
    check(estimator)
