"""From PyTorch modules to layers."""

from __future__ import annotations

import math
import reprlib
from typing import Any

import numpy as np
import torch
from torch import nn as tnn

import layerkit.layers as nn
from layerkit.interchange.formats import Handlers
from layerkit.interchange.layouts import (
    Trail,
    add,
    concatenate,
    gated,
    kernel_to_channels_last,
    one,
)
from layerkit.interchange.torch import modules
from layerkit.shapes import Shape

READERS = Handlers()  # ``(module, trail) -> trail``, by the class of the module
reads = READERS.enter

# The first of these says whether the input has its channels first.
_WITH_CHANNELS_FIRST = (
    tnn.modules.conv._ConvNd,
    tnn.modules.batchnorm._BatchNorm,
    tnn.modules.pooling._MaxPoolNd,
    tnn.modules.pooling._AvgPoolNd,
    tnn.modules.pooling._AdaptiveAvgPoolNd,
    tnn.modules.pooling._AdaptiveMaxPoolNd,
    tnn.modules.padding._ConstantPadNd,
    tnn.modules.instancenorm._InstanceNorm,
    tnn.GroupNorm,
    tnn.PReLU,
)
_WITH_CHANNELS_LAST = (
    tnn.Linear,
    tnn.LayerNorm,
    tnn.RMSNorm,
    tnn.Embedding,
    tnn.RNNBase,
    tnn.MultiheadAttention,
)


def read_module(module: tnn.Module, input_shape: Shape | None) -> nn.Sequential:
    """Return a built network that computes what the module computes in evaluation mode."""
    if not isinstance(module, tnn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {reprlib.repr(module)}")
    shape = _guess_shape(module) if input_shape is None else input_shape
    tensors = (*module.parameters(), *module.buffers())
    is_double = any(tensor.dtype == torch.float64 for tensor in tensors)
    first = _has_channels_first(module, shape)
    try:
        trail = read(module, Trail(shape, first, start=shape), "module")
    except ValueError as error:
        if input_shape is not None or "rows of one length" not in str(error):
            raise
        told = "tell from_pytorch how long they are, input_shape=(time, n_features)"
        raise ValueError(f"{error}; {told}") from error
    as_it_came = len(trail.shape) == 2 or len(shape) == 3
    comes_first = first if as_it_came else len(trail.shape) == 3
    return trail.in_order(comes_first).network(np.float64 if is_double else np.float32)


def read(module: Any, trail: Trail, path: str) -> Trail:
    """Go on through a module and those inside it."""
    kind = kind_of(module)
    if kind is tnn.Sequential:
        for name, child in module._modules.items():  # named_children() skips what is shared
            trail = read(child, trail, f"{path}.{name}")
        return trail
    if isinstance(module, modules.Residual):
        ways = {"body": module.body, "shortcut": module.shortcut}
        return add([read(way, trail, f"{path}.{name}") for name, way in ways.items()])
    if isinstance(module, modules.Gate):
        ways = {"gate": module.gate, "body": module.body}
        gate, body = (read(way, trail, f"{path}.{name}") for name, way in ways.items())
        return gated(gate, body)
    if isinstance(module, modules.Concat):
        branches = enumerate(module.branches)
        parts = [read(branch, trail, f"{path}.branches.{i}") for i, branch in branches]
        return concatenate(parts, module.dim)
    reader = READERS.get(kind)
    if reader is None:
        raise TypeError(f"{_shown(module, path)}: {type(module).__name__} has no layer")
    try:
        n = len(trail.layers)
        trail = reader(module, trail)
    except ValueError as error:
        raise ValueError(f"{_shown(module, path)}: {error}") from error
    whole = isinstance(module, tnn.MultiheadAttention)  # out_proj is a module inside it
    parameters = list(module.parameters(recurse=whole))
    if parameters and not any(p.requires_grad for p in parameters):
        for layer in trail.layers[n:]:
            layer.trainable = False
    return trail


def kind_of(module: tnn.Module) -> type:
    """Return the class that says what the module computes: its own, or one that it only names."""
    known = (tnn.Sequential, *READERS)
    mro = type(module).__mro__
    return next((k for k in mro if k in known and _computes_as(type(module), k)), type(module))


def _computes_as(kind: Any, base: Any) -> bool:
    return kind.forward is base.forward and kind.__call__ is base.__call__


def _shown(module: tnn.Module, path: str) -> str:
    """Path and options of a module, without those inside it."""
    return f"{path} {type(module).__name__}({module.extra_repr()})"


def _guess_shape(module: tnn.Module) -> tuple[Any, ...]:
    """Shape of the input, where the first module with a say has it written on it."""
    for child in module.modules():
        if isinstance(child, tnn.Linear):
            return (child.in_features,)
        if isinstance(child, tnn.BatchNorm1d):
            return (child.num_features,)
        if isinstance(child, tnn.RNNBase):
            return (None, child.input_size)
        if isinstance(child, tnn.TransformerEncoderLayer):
            return (None, child.self_attn.embed_dim)
        if isinstance(child, tnn.MultiheadAttention):
            return (None, child.embed_dim)
        if isinstance(child, (tnn.Flatten, *_WITH_CHANNELS_FIRST, *_WITH_CHANNELS_LAST)):
            break
    raise ValueError(
        "input_shape is needed, as the modules do not say it: of one sample, channels last, such "
        "as (28, 28, 1), or (None, 12) for sequences of 12 features"
    )


def _has_channels_first(module: tnn.Module, shape: Shape) -> bool:
    """Whether the module takes the channels as axis 1: images, and sequences of convolutions."""
    if len(shape) == 3:
        return not _fits_only_as_it_is(module, shape)
    return len(shape) == 2 and _begins_with_channels(module)


def _fits_only_as_it_is(module: tnn.Module, shape: Shape) -> bool:
    """Whether a Linear comes first that takes the last axis, and not the width of an image."""
    if isinstance(getattr(module, "channels_first", None), bool):
        return False  # `to_pytorch` made it
    told = (*_WITH_CHANNELS_FIRST, *_WITH_CHANNELS_LAST)
    first: Any = next((child for child in module.modules() if isinstance(child, told)), None)
    width = getattr(first, "in_features", None)
    return width == shape[-1] != shape[-2]


def _begins_with_channels(module: tnn.Module) -> bool:
    told = (*_WITH_CHANNELS_FIRST, modules.Permute, *_WITH_CHANNELS_LAST)
    for child in module.modules():
        if isinstance(flag := getattr(child, "channels_first", None), bool):
            return flag  # `to_pytorch` made it
        if isinstance(child, told):
            return isinstance(child, _WITH_CHANNELS_FIRST)
    return False


def array(tensor: torch.Tensor) -> np.ndarray:
    """Return a parameter as an array; NumPy has no bfloat16."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _weights(module: Any) -> dict[str, np.ndarray | None]:
    return {"W": kernel_to_channels_last(array(module.weight)), "b": _bias(module)}


def _bias(module: Any) -> np.ndarray | None:
    return None if module.bias is None else array(module.bias)


def demand(ok: Any, what: str) -> None:
    """Refuse a module with another option."""
    if not ok:
        raise ValueError(f"only with {what}")


READERS.update(
    {
        modules.Permute: lambda module, trail: trail.transposed((0, *module.axes)),
        modules.Reshape: lambda module, trail: trail.reshaped(module.shape),
        tnn.GELU: lambda module, trail: trail.then(
            nn.GELU(approximate=module.approximate == "tanh")
        ),
        tnn.Linear: lambda module, trail: trail.dense(array(module.weight).T, _bias(module)),
    }
)
_ALIKE = {kind: (layer, names) for layer, (kind, names) in modules.ALIKE.items()}
_ALIKE[tnn.ReLU6] = _ALIKE[tnn.Hardtanh]


@reads(*_ALIKE)
def _counterpart(module: Any, trail: Trail) -> Trail:
    if isinstance(module, tnn.Softplus):
        demand(module.beta == 1, "beta=1")
        demand(module.threshold >= 20, "threshold of at least 20")  # x + exp(-20) is x in float32
    kind, names = _ALIKE[type(module)]
    return trail.then(kind(**{ours: getattr(module, theirs) for ours, theirs in names.items()}))


@reads(tnn.PReLU)
def _prelu(module: Any, trail: Trail) -> Trail:
    trail = trail.with_channels_first()
    slopes = array(module.weight)  # one for each channel, or one for all
    slopes = np.broadcast_to(slopes, trail.shape[-1:]) if slopes.size == 1 else slopes
    return trail.then(nn.PReLU(), negative_slope=slopes)


@reads(tnn.Softmax, tnn.LogSoftmax)
def _softmax(module: Any, trail: Trail) -> Trail:
    demand(module.dim is not None, "dim")
    kind = nn.Softmax if isinstance(module, tnn.Softmax) else nn.LogSoftmax
    return trail.then(kind(axis=trail.axis(module.dim)))


@reads(tnn.GLU)
def _glu(module: Any, trail: Trail) -> Trail:
    rank = len(trail.shape) + 1
    trail = trail.in_order(module.dim % rank == 1)
    demand(trail.axis(module.dim) == rank - 1, "dim on the channels")
    return trail.then(nn.GLU())


@reads(tnn.Dropout1d, tnn.Dropout2d)
def _channel_dropout(module: Any, trail: Trail) -> Trail:
    return trail.with_channels_first().then(nn.SpatialDropout2D(module.p))


@reads(modules.Maxout)
def _maxout(module: Any, trail: Trail) -> Trail:
    layer = nn.Maxout(module.out_features // module.pieces, module.pieces)
    return trail.with_channels_last().then(layer, **_weights(module))


@reads(tnn.Embedding, modules.Index)
def _embedding(module: Any, trail: Trail) -> Trail:
    demand(module.max_norm is None, "max_norm=None")
    layer = nn.Embedding(module.num_embeddings, module.embedding_dim)
    return trail.with_channels_last().then(layer, W=array(module.weight))


@reads(tnn.Conv1d, tnn.Conv2d)
def _convolution(module: Any, trail: Trail) -> Trail:
    demand(module.padding_mode == "zeros", "padding_mode='zeros'")
    kind = nn.Conv1D if isinstance(module, tnn.Conv1d) else nn.Conv2D
    layer = kind(module.out_channels, **_windows(module), groups=module.groups)
    return trail.with_channels_first().then(layer, **_weights(module))


@reads(tnn.ConvTranspose2d, modules.ConvTranspose2d)
def _transposed(module: Any, trail: Trail) -> Trail:
    demand(module.groups == 1, "groups=1")
    windows = {**_windows(module), "output_padding": module.output_padding}
    if isinstance(module, modules.ConvTranspose2d):
        windows |= {"padding": "same", "output_padding": 0}
    layer = nn.ConvTranspose2D(module.out_channels, **windows)
    W = kernel_to_channels_last(array(module.weight)).swapaxes(2, 3)
    return trail.with_channels_first().then(layer, W=W, b=_bias(module))


def _windows(module: Any) -> dict[str, Any]:
    names = ("kernel_size", "stride", "padding", "dilation")
    sizes = {name: one(getattr(module, name)) for name in names}
    return {**sizes, "use_bias": module.bias is not None}


def _scale(module: Any, channels: int) -> dict[str, np.ndarray]:
    gamma = np.ones(channels) if module.weight is None else array(module.weight)
    bias = getattr(module, "bias", None)
    return {"gamma": gamma, "beta": np.zeros(channels) if bias is None else array(bias)}


@reads(tnn.BatchNorm1d, tnn.BatchNorm2d)
def _batch_norm(module: Any, trail: Trail) -> Trail:
    demand(module.running_mean is not None, "track_running_stats=True")
    demand(module.momentum is not None, "a number as momentum")
    statistics = {name: array(getattr(module, name)) for name in ("running_mean", "running_var")}
    scale = _scale(module, module.num_features)
    layer = nn.BatchNorm(momentum=module.momentum, eps=module.eps)
    return trail.with_channels_first().then(layer, **scale, **statistics)


@reads(tnn.GroupNorm)
def _group_norm(module: Any, trail: Trail) -> Trail:
    layer = nn.GroupNorm(module.num_groups, eps=module.eps)
    return trail.with_channels_first().then(layer, **_scale(module, module.num_channels))


@reads(tnn.InstanceNorm1d, tnn.InstanceNorm2d, tnn.InstanceNorm3d)
def _instance_norm(module: Any, trail: Trail) -> Trail:
    demand(not module.track_running_stats, "track_running_stats=False")
    trail = trail.with_channels_first()
    layer = nn.InstanceNorm(eps=module.eps)
    return trail.then(layer, **_scale(module, trail.shape[-1]))


@reads(tnn.LayerNorm, tnn.RMSNorm)
def _layer_norm(module: Any, trail: Trail) -> Trail:
    """Read a normalization over the last axes; of several, flattened, that is over one."""
    demand(module.eps is not None, "a number as eps")
    first, trail = trail.channels_first, trail.with_channels_last()
    shape, rest = trail.shape, tuple(module.normalized_shape)
    demand(shape[-len(rest) :] == rest, f"the last axes of {shape} as normalized_shape")
    scale = {name: np.ravel(array) for name, array in _scale(module, math.prod(rest)).items()}
    flat = trail.reshaped((*shape[: -len(rest)], math.prod(rest)))
    if isinstance(module, tnn.LayerNorm):
        y = flat.then(nn.LayerNorm(eps=module.eps), **scale)
    else:
        y = flat.then(nn.RMSNorm(eps=module.eps), gamma=scale["gamma"])
    return y if len(rest) == 1 else y.reshaped(shape).in_order(first)


@reads(tnn.Flatten)
def _flatten(module: Any, trail: Trail) -> Trail:
    end = module.end_dim % (len(trail.shape) + 1)
    demand(module.start_dim == 1 and end == len(trail.shape), "all axes but the batch")
    demand(None not in trail.shape, "rows of one length")
    return trail.reshaped((int(np.prod(trail.shape)),))


@reads(tnn.Unflatten)
def _unflatten(module: Any, trail: Trail) -> Trail:
    demand(isinstance(module.dim, int), "a number as dim")
    shape, axis = trail.model_shape(), module.dim % (len(trail.shape) + 1) - 1
    return trail.reshaped((*shape[:axis], *module.unflattened_size, *shape[axis + 1 :]))


@reads(tnn.ZeroPad1d, tnn.ZeroPad2d, tnn.ConstantPad1d, tnn.ConstantPad2d)
def _zero_pad(module: Any, trail: Trail) -> Trail:
    demand(module.value == 0, "zeros as padding")
    trail, pads = trail.with_channels_first(), module.padding  # those of the last axis come first
    sides = list(zip(pads[::2], pads[1::2], strict=True))[::-1]
    demand(len(trail.shape) == len(sides) + 1, f"{len(sides)} axes of places")
    return trail.zero_padded(sides)


@reads(modules.Columns)
def _columns(module: Any, trail: Trail) -> Trail:
    routes = []
    for columns, child in zip(module.columns, module.modules_of, strict=True):
        shape = (len(columns),)
        part = Trail(shape, False, start=shape, arrays=trail.arrays)
        part = read(child, part, "columns").with_channels_last()  # in the order of its flatten
        routes.append((columns, nn.Sequential(list(part.layers))))
    return trail.then(nn.Columns(routes))
