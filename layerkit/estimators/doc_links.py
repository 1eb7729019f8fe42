"""The way from scikit-learn's diagrams to the site."""

from typing import Any, TypeVar

from layerkit.version import SITE

Estimator = TypeVar("Estimator", bound=type)


def with_page(estimator: Estimator) -> Estimator:
    """Let the "?" in a diagram lead to an estimator's page of the reference."""
    kind: Any = estimator
    kind._doc_link_module = "layerkit"
    kind._doc_link_template = f"{SITE}/reference/layerkit.estimators.{{name}}.html"
    kind._doc_link_url_param_generator = lambda self: {"name": type(self).__name__}
    return estimator
