"""Group normalization with a group for each channel."""

from __future__ import annotations

import math

from layerkit.layers.normalization import GroupNorm
from layerkit.shapes import Shape
from layerkit.tree import settled_by_build


class InstanceNorm(GroupNorm):
    r"""Standardise every channel over all positions of a sample, independent of the batch.

    .. math:: \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad
              y = \gamma \hat x + \beta

    with μ and σ² the mean and (biased) variance of one channel over the positions of one sample.

    Parameters
    ----------
    eps : float, default=1e-5
        Positive; keeps channels whose values are (nearly) equal finite.

    Raises
    ------
    ValueError
        If ``eps`` is not positive, or a sample has a single position: its value would be the mean
        of its channel, and the output always β.

    Notes
    -----
    Input and output ``(n_samples, ..., channels)`` with at least two positions; learned ``gamma``
    and ``beta`` ``(channels,)``, exempt from weight decay. There are no running statistics: it
    computes the same in training and inference. It removes the contrast of an image.

    Backward, with g = γ G and means over the positions:

    .. math:: \frac{\partial L}{\partial x} = \frac{1}{\sqrt{\sigma^2 + \epsilon}}
              \big(g - \operatorname{mean}(g) - \hat x \operatorname{mean}(\hat x g)\big), \quad
              \frac{\partial L}{\partial \gamma} = \sum G \hat x, \quad
              \frac{\partial L}{\partial \beta} = \sum G

    A mean far larger than the deviation costs no precision.

    References
    ----------
    Ulyanov, Vedaldi and Lempitsky, "Instance normalization: the missing ingredient for fast
    stylization", arXiv:1607.08022, 2016.

    Examples
    --------
    >>> from layerkit import InstanceNorm
    >>> InstanceNorm().build((2, 2)).forward([[[1.0, -50.0], [3.0, 50.0]]]).round(4).tolist()
    [[[-1.0, -1.0], [1.0, 1.0]]]
    """

    groups: int = settled_by_build("groups")

    def __init__(self, *, eps: float = 1e-5) -> None:
        self.eps = eps

    def setup(self, input_shape: Shape) -> Shape:
        has_places = math.prod(input_shape[:-1]) > 1
        self.check_input(has_places, "(n_samples, ..., channels) with at least two positions")
        self.groups = input_shape[-1]
        return super().setup(input_shape)
