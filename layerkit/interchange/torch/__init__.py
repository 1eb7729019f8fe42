"""Networks from PyTorch and to PyTorch, with their parameters."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from layerkit.interchange.formats import require
from layerkit.layer import Layer
from layerkit.layers.containers import check_layers
from layerkit.shapes import Shape, as_shape

if TYPE_CHECKING:
    from torch import nn

    from layerkit.layers import Sequential


def from_pytorch(module: nn.Module, input_shape: int | Shape | None = None) -> Sequential:
    """Build a network that computes what a tree of PyTorch modules computes.

    Parameters
    ----------
    module : torch.nn.Module
        `torch.nn.Sequential` of modules that we have a layer for, nested as deep as you like, or
        one such module; subclasses that override nothing of what these compute count as them. Also
        the small modules that `to_pytorch` makes, for residual blocks and the like.
    input_shape : int or tuple of int, optional
        Of one sample in our layout, **channels last**: ``(28, 28, 1)`` where PyTorch has
        ``(1, 28, 28)``. Samples of three axes are images, unless a Linear comes first that fits
        their last axis alone. Not needed where a Linear, RNN, GRU or LSTM comes first.

    Returns
    -------
    network : Sequential
        Built, with copies of the parameters and running statistics: in float64 where the module has
        any of that dtype, otherwise in float32. Images and the sequences of convolutions go in, and
        come out, channels last; the Dense after a Flatten has its rows in the order that this
        needs. Modules whose parameters ask for no gradients are frozen. A module that stands at
        several places becomes a layer at each of them, with parameters of its own. What counts only
        in training and has no layer, such as the padding_idx of an Embedding, is left behind.

    Raises
    ------
    ImportError
        Without PyTorch: ``pip install torch``.
    TypeError
        For a module that we have no layer for, by its path; for what is no module.
    ValueError
        For a module with an option that we have not, or that does not fit its input, by its path;
        if the input's shape is needed.

    Examples
    --------
    .. code-block:: python

        network = from_pytorch(torch_module, input_shape=(28, 28, 1))
        y = network.infer(images)  # (n_samples, 28, 28, 1)
    """
    _load()
    from layerkit.interchange.torch.reader import read_module

    return read_module(module, None if input_shape is None else as_shape(input_shape))


def to_pytorch(network: Layer) -> nn.Module:
    """Build a PyTorch module that computes what a network computes.

    Parameters
    ----------
    network : Layer
        Built. Any layers of ours.

    Returns
    -------
    module : torch.nn.Sequential
        In evaluation mode, with copies of the parameters and running statistics, in the network's
        dtype. Images ``(n_samples, height, width, channels)`` become PyTorch's
        ``(n_samples, channels, height, width)``, going in and coming out, and so do sequences where
        the network begins with a convolution or pooling of them; tables and other sequences stay
        as they are. Frozen layers get parameters that ask for no gradients.

    Raises
    ------
    ImportError
        Without PyTorch: ``pip install torch``.
    TypeError
        For a layer that is not one of ours, by its name.
    RuntimeError
        If the network is not built.

    Examples
    --------
    .. code-block:: python

        module = to_pytorch(network)
        y = module(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
    """
    _load()
    from layerkit.interchange.torch.writer import write_network

    check_layers(network=network)
    _ = network.params  # raises unless built
    return write_network(network)


def _load() -> None:
    """Import PyTorch, and the modules that add their layers to the reader and the writer."""
    require("torch", install="torch")
    for name in ("attention", "pooling", "recurrent", "tables"):
        import_module(f"{__name__}.{name}")
