"""Who gets the processors while a network computes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from layerkit.kernels import backend, one_blas_thread
from layerkit.layer import Layer
from layerkit.layers.convolution import Conv1D, Conv2D, ConvTranspose2D
from layerkit.layers.depthwise import DepthwiseConv2D, SeparableConv2D

_CONVOLUTIONS = (Conv1D, Conv2D, ConvTranspose2D, DepthwiseConv2D, SeparableConv2D)


def threads_for(network: Layer) -> AbstractContextManager[None]:
    """Within a ``with`` block, leave BLAS one thread if convolutions use all themselves."""
    convolves = any(isinstance(layer, _CONVOLUTIONS) for _, layer in network.walk())
    return one_blas_thread() if convolves and backend() == "numba" else nullcontext()
