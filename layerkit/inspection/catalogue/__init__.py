"""Every layer's and loss's formulas, verified when they are looked up."""

from layerkit.inspection.catalogue import html, markdown, text  # so that records can be shown
from layerkit.inspection.catalogue.entries import in_one_line
from layerkit.inspection.catalogue.gradients import GradientCatalogue, gradient_catalogue

__all__ = ["GradientCatalogue", "gradient_catalogue", "html", "in_one_line", "markdown", "text"]
