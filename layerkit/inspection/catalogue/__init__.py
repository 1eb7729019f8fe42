"""Every layer's and loss's formulas, verified when they are looked up."""

from layerkit.inspection.catalogue.gradients import GradientCatalogue, gradient_catalogue

__all__ = ["GradientCatalogue", "gradient_catalogue"]
