"""scikit-learn's checks of an estimator's conduct, over both MLPs in several configurations."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from layerkit import ELU, MLPClassifier, MLPRegressor

# One more configuration, with BatchNorm and dropout, in test_mlp.py: they see rows, not weights, so
# that check_sample_weight_equivalence cannot hold of them.
ESTIMATORS = [
    MLPClassifier(max_iter=100),
    MLPClassifier((8, 4), activation="tanh", solver="lbfgs", alpha=0.1, max_iter=50),
    MLPRegressor(max_iter=100),
]
MORE_ESTIMATORS = [
    MLPClassifier((16, 8), activation=[ELU(), "relu"], early_stopping=False, max_iter=60),
    MLPClassifier(20, solver="sgd", learning_rate="adaptive", learning_rate_init=0.01),
    MLPClassifier((), solver="lbfgs", alpha=0.1, class_weight="balanced", max_iter=30),
    MLPRegressor(hidden_layer_sizes=(10, 10), activation="tanh", solver="lbfgs", max_iter=100),
    MLPRegressor(
        hidden_layer_sizes=20,
        solver="sgd",
        momentum=0.5,
        learning_rate_init=0.002,
        verbose=True,
    ),
]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(MORE_ESTIMATORS)
def test_scikit_learn_check_of_more(estimator, check):
    check(estimator)
