"""Every layer's and loss's formulas, verified when they are looked up."""

from layerkit.inspection.catalogue import html, markdown, text  # noqa: F401 (they register themselves)
from layerkit.inspection.catalogue.entries import in_one_line
from layerkit.inspection.catalogue.gradients import GradientCatalogue, gradient_catalogue

__all__ = ["GradientCatalogue", "gradient_catalogue", "in_one_line"]
