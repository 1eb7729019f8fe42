"""The way from scikit-learn's diagrams to the site."""

from layerkit.version import SITE


class WithPage:
    """An estimator whose "?" in a diagram leads to its page of the reference."""

    _doc_link_module = "layerkit"
    _doc_link_template = f"{SITE}/reference/layerkit.estimators.{{name}}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        return {"name": type(self).__name__}
