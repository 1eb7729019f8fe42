"""How windows slide over images: hyper-parameters as given, turned into numbers for the kernels.

A sequence is an image of height 1, so everything here comes in pairs: (height, width).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from layerkit.kernels import Padding, Pair, output_size
from layerkit.parameters import is_size
from layerkit.shapes import Shape, channels_first


class Windows(NamedTuple):
    """What the layer's hyper-parameters mean for its input, and the size of its output."""

    size: Pair
    stride: Pair
    padding: Padding
    dilation: Pair
    outputs: Pair


def check_spatial(layer: Any, input_shape: Shape, n_axes: int = 2) -> None:
    """Refuse what is no batch of images or, with one axis, of sequences."""
    axes = "height, width" if n_axes == 2 else "time"
    wanted = f"(n_samples, {axes}, channels)"
    layer.check_input(len(input_shape) == n_axes + 1, wanted, _reshaped(input_shape, n_axes))


def _reshaped(shape: Shape, n_axes: int) -> str:
    """What to add to an error about a sample without channels, or about a row of numbers."""
    if None in shape:
        return ""
    if len(shape) == n_axes:
        return f"; Reshape({(*shape, 1)}) before it adds the channel"
    return "; Reshape((height, width, channels)) before it makes images" if len(shape) == 1 else ""


def as_images(x: np.ndarray) -> np.ndarray:
    """View a batch of sequences as images of height 1; leave images as they are."""
    return x if x.ndim == 4 else x[:, None]


def slide(
    layer: Any,
    spatial: Shape,
    size: str,
    stride: str,
    dilation: str | None = None,
    causal: bool = False,
) -> Windows:
    """Lay windows over an input; the layer's ``padding`` and these hyper-parameters say how.

    With ``causal``, that is one of the paddings: zeros before the first cell only.

    Raises
    ------
    ValueError
        If a hyper-parameter is invalid, or if no window fits.
    """
    n_axes = len(spatial)
    height, width = (1, *spatial)[-2:]
    k, s = pair(layer, size, n_axes), pair(layer, stride, n_axes)
    d = pair(layer, dilation, n_axes) if dilation else (1, 1)
    reach = _reach(k, d)
    padding = _padding(layer, (height, width), reach, s, n_axes, causal)
    outputs = (
        output_size(height, k[0], s[0], padding[0], d[0]),
        output_size(width, k[1], s[1], padding[1], d[1]),
    )
    least = [str(r - sum(p)) for r, p in zip(reach, padding, strict=True)][-n_axes:]
    enough = f"at least {' x '.join(least)} cells, to fill one window"
    layer.check_input(min(outputs) > 0, enough, channels_first(layer.input_shape))
    return Windows(k, s, padding, d, outputs)


def slide_back(layer: Any, spatial: Shape) -> Windows:
    """Find the image on which as many windows fit as the input has cells: the output's size."""
    height, width = spatial
    k, s, d = (pair(layer, name, 2) for name in ("kernel_size", "stride", "dilation"))
    more = pair(layer, "output_padding", 2, least=0)
    layer.check(more[0] < s[0] and more[1] < s[1], "output_padding", f"less than the stride {s}")
    reach = _reach(k, d)
    whole = (height * s[0], width * s[1])
    padding = _padding(layer, whole, reach, s, 2)
    if layer.padding == "same":
        layer.check(more == (0, 0), "output_padding", '0 where padding="same"')
        return Windows(k, s, padding, d, whole)
    outputs = (
        (height - 1) * s[0] + reach[0] - sum(padding[0]) + more[0],
        (width - 1) * s[1] + reach[1] - sum(padding[1]) + more[1],
    )
    layer.check(min(outputs) > 0, "padding", "small enough to leave an output")
    return Windows(k, s, padding, d, outputs)


def pair(layer: Any, name: str, n_axes: int, least: int = 1, also: str = "") -> Pair:
    """Return the layer's hyper-parameter ``name``, which is given once or for each axis."""
    value = getattr(layer, name)
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n_axes
    layer.check(
        len(values) == n_axes and all(is_size(v, least) for v in values),
        name,
        f"{also}an integer of at least {least}" + " or a pair of them" * (n_axes == 2),
    )
    height, width = (least, *map(int, values))[-2:]
    return height, width


def _reach(size: Pair, dilation: Pair) -> Pair:
    """Cells from the first to the last that a window touches."""
    return dilation[0] * (size[0] - 1) + 1, dilation[1] * (size[1] - 1) + 1


def _padding(
    layer: Any, cells: Pair, reach: Pair, stride: Pair, n_axes: int, causal: bool = False
) -> Padding:
    """Return ((top, bottom), (left, right))."""
    if layer.padding == "valid":
        return (0, 0), (0, 0)
    if causal and layer.padding == "causal":  # so that each window ends with the cell of its place
        return (0, 0), (reach[1] - 1, 0)
    if layer.padding == "same":
        return _same(cells[0], reach[0], stride[0]), _same(cells[1], reach[1], stride[1])
    named = '"valid", "same", ' + '"causal", ' * causal
    height, width = pair(layer, "padding", n_axes, least=0, also=named)
    return (height, height), (width, width)


def _same(n: int, reach: int, stride: int) -> Pair:
    """Padding for ceil(n / stride) outputs, an odd cell of it at the end (TensorFlow's rule)."""
    missing = max((-(-n // stride) - 1) * stride + reach - n, 0)
    return missing // 2, missing - missing // 2
