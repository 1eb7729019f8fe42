"""Every layer's and loss's formulas, verified when they are looked up."""

from layerkit.inspection.catalogue import rendering  # noqa: F401 (it registers itself)
from layerkit.inspection.catalogue.entries import in_one_line
from layerkit.inspection.catalogue.gradients import GradientCatalogue, gradient_catalogue

__all__ = ["GradientCatalogue", "gradient_catalogue", "in_one_line"]
