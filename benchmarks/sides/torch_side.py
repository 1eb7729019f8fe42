"""PyTorch's side: eager, channels-last memory format, fused optimizers where it has them."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import fit_rows
from benchmarks.sides import data

Repeat = Callable[[], object]


def perceptron(sizes: tuple[int, ...]) -> nn.Module:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn() -> nn.Module:
    """Two convolutions, pooling, a dense layer, dropout."""
    body = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)]
    return nn.Sequential(*body, *head).to(memory_format=torch.channels_last)


class Block(nn.Module):
    """A residual block."""

    def __init__(self, c_in: int, c_out: int, stride: int, change: bool) -> None:
        super().__init__()
        first, second = unit(c_in, c_out, stride), unit(c_out, c_out)
        self.body = nn.Sequential(*first, nn.ReLU(), *second)
        self.shortcut = nn.Conv2d(c_in, c_out, 1, stride, bias=False) if change else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def unit(c_in: int, c_out: int, stride: int = 1) -> list[nn.Module]:
    """A convolution and its normalisation."""
    return [nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(c_out)]


def resnet() -> nn.Module:
    """Nine 3x3 convolutions with BatchNorm in residual blocks, at three resolutions."""
    blocks = [Block(32, 32, 1, False), Block(32, 64, 2, True), Block(64, 128, 2, True)]
    head = [Block(128, 128, 1, False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)]
    network = nn.Sequential(*unit(3, 32), nn.ReLU(), *blocks, *head)
    return network.to(memory_format=torch.channels_last)


def channels_last(x: np.ndarray) -> torch.Tensor:
    """(n, h, w, c) in memory, (n, c, h, w) to PyTorch."""
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def tensors(X: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels."""
    return channels_last(X) if X.ndim == 4 else torch.from_numpy(X), torch.from_numpy(y)


def step(network: nn.Module, X: torch.Tensor, y: torch.Tensor, by_heart: bool = False) -> Repeat:
    """One step of training with fused Adam."""
    rate, before = data.settings(by_heart)
    adam = torch.optim.Adam(network.parameters(), lr=rate, fused=True)

    def repeat() -> None:
        adam.zero_grad(set_to_none=True)
        F.cross_entropy(network(X), y).backward()
        adam.step()

    for _ in range(before):
        repeat()
    return repeat


def infer(network: nn.Module, X: torch.Tensor) -> Repeat:
    """Run it without keeping anything for backward."""
    network.eval()

    def repeat() -> None:
        with torch.inference_mode():
            network(X)

    return repeat


def mlp_step(sizes: tuple[int, ...], batch: int, by_heart: bool = False) -> Repeat:
    """Train a perceptron."""
    return step(perceptron(sizes), *tensors(*data.rows(batch, sizes[0], sizes[-1])), by_heart)


def cnn_step(batch: int) -> Repeat:
    """Train the small convolutional network."""
    return step(cnn(), *tensors(*data.images(batch, 28, 1)))


def small_cnn_step(size: int, channels: int, filters: tuple[int, int], batch: int) -> Repeat:
    """Train two convolutions, each with pooling, and a dense layer."""
    layers: list[nn.Module] = []
    cells = size
    for c_in, c_out in pairwise((channels, *filters)):
        layers += [nn.Conv2d(c_in, c_out, 3), nn.ReLU(), nn.MaxPool2d(2)]
        cells = (cells - 2) // 2
    layers += [nn.Flatten(), nn.Linear(cells * cells * filters[-1], 10)]
    network = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    return step(network, *tensors(*data.images(batch, size, channels)))


def resnet_step(batch: int) -> Repeat:
    """Train the residual network."""
    return step(resnet(), *tensors(*data.images(batch, 32, 3)))


def mlp_infer(sizes: tuple[int, ...], batch: int) -> Repeat:
    """Run a perceptron."""
    return infer(perceptron(sizes), tensors(*data.rows(batch, sizes[0], sizes[-1]))[0])


def cnn_infer(batch: int) -> Repeat:
    """Run the small convolutional network."""
    return infer(cnn(), tensors(*data.images(batch, 28, 1))[0])


def resnet_infer(batch: int) -> Repeat:
    """Run the residual network."""
    return infer(resnet(), tensors(*data.images(batch, 32, 3))[0])


def predict(sizes: tuple[int, ...], batch: int) -> Repeat:
    """Labels of an array with a bare module: PyTorch has no estimator."""
    network, (X, _) = perceptron(sizes).eval(), data.rows(batch, sizes[0], sizes[-1])

    def repeat() -> None:
        with torch.inference_mode():
            network(torch.from_numpy(X)).argmax(1).numpy()

    return repeat


def fit(sizes: tuple[int, ...], rows: int, batch: int, epochs: int) -> Repeat:
    """Train from scratch with shuffled batches, the plain way."""
    X, y = tensors(*data.rows(rows, sizes[0], sizes[-1]))

    def repeat() -> None:
        network = perceptron(sizes)
        adam = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
        for _ in range(epochs):
            for index in torch.randperm(rows).split(batch):
                adam.zero_grad(set_to_none=True)
                F.cross_entropy(network(X[index]), y[index]).backward()
                adam.step()

    return repeat


class LastState(nn.Module):
    """A recurrent module, and a linear one on the state after each row's last step."""

    def __init__(self, rnn: nn.Module, units: int) -> None:
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(units, 9)

    def forward(self, x: torch.Tensor | nn.utils.rnn.PackedSequence) -> torch.Tensor:
        state = self.rnn(x)[1]
        return self.head((state[0] if isinstance(state, tuple) else state)[-1])


def recurrent(
    kind: str, units: int, steps: int, batch: int, dtype: str, ragged: bool, training: bool
) -> Repeat:
    """Train or run a recurrent module, rows of unequal length as a PackedSequence."""
    rnn = getattr(nn, kind.removeprefix("Simple"))(32, units, batch_first=True)
    network = LastState(rnn, units).to(getattr(torch, dtype))
    rows, y = data.sequences(batch, steps, 32, dtype, ragged)
    tensors = [torch.from_numpy(row) for row in rows]
    pack = nn.utils.rnn.pack_sequence
    X = pack(tensors, enforce_sorted=False) if ragged else torch.stack(tensors)
    return step(network, X, torch.from_numpy(y)) if training else infer(network, X)


def conv(
    pass_: str,
    size: int,
    c_in: int,
    c_out: int,
    kernel: int,
    batch: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> Repeat:
    """Run one convolution kernel."""
    x = channels_last(data.images(batch, size, c_in)[0])
    weights = torch.from_numpy(data.like((c_out, c_in // groups, kernel, kernel)))
    weights = weights.to(memory_format=torch.channels_last)
    pad = dilation * (kernel - 1) // 2
    y = F.conv2d(x, weights, None, stride, pad, dilation, groups)
    grad = torch.ones_like(y)

    def backward(mask: list[bool]) -> object:
        return torch.ops.aten.convolution_backward(
            *(grad, x, weights, None, [stride] * 2, [pad] * 2, [dilation] * 2, False, [0, 0]),
            *(groups, mask),
        )

    return {
        "forward": lambda: F.conv2d(x, weights, None, stride, pad, dilation, groups),
        "input gradient": lambda: backward([True, False, False]),
        "kernel gradient": lambda: backward([False, True, False]),
    }[pass_]


def layer(name: str, shape: tuple[int, ...]) -> Repeat:
    """Run one layer forward and backward in training mode."""
    channels = shape[-1]
    norm = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    made: nn.Module = {
        "MaxPool2D": lambda: nn.MaxPool2d(2),
        "AvgPool2D": lambda: nn.AvgPool2d(2),
        "BatchNorm": lambda: norm(channels),
        "LayerNorm": lambda: nn.LayerNorm(channels),
        "Dropout": lambda: nn.Dropout(0.5),
    }.get(name, lambda: getattr(nn, name)())()
    return both_ways(made, shape)


def pool(kind: str, shape: tuple[int, ...], size: int, stride: int) -> Repeat:
    """Run a pooling layer forward and backward, padded where windows overlap."""
    padding = 0 if size == stride else size // 2
    return both_ways(getattr(nn, f"{kind}Pool2d")(size, stride, padding), shape)


def both_ways(made: nn.Module, shape: tuple[int, ...]) -> Repeat:
    """Run a module forward and backward in training mode."""
    values = data.like(shape)
    x = (channels_last(values) if len(shape) == 4 else torch.from_numpy(values)).requires_grad_()
    grad = torch.randn_like(made(x))

    def repeat() -> None:
        x.grad = None
        made.zero_grad(set_to_none=True)
        made(x).backward(grad)

    return repeat


def attention(
    steps: int, batch: int, training: bool, causal: bool = False, ragged: bool = False
) -> Repeat:
    """Run attention to 128 features, in both directions or forward alone."""
    module = nn.MultiheadAttention(128, 4, batch_first=True)
    how = {"need_weights": False, "is_causal": causal, "attn_mask": later(steps, causal)}
    if ragged:
        ends = torch.from_numpy(data.lengths(steps, batch))
        how["key_padding_mask"] = torch.arange(steps)[None] >= ends[:, None]
    return of_sequences(module, lambda x: module(x, x, x, **how)[0], steps, batch, training)


def transformer(steps: int, batch: int, training: bool, causal: bool) -> Repeat:
    """Run a transformer block, without dropout."""
    module = nn.TransformerEncoderLayer(128, 4, 512, 0.0, batch_first=True, norm_first=True)
    mask = later(steps, causal)
    return of_sequences(module, lambda x: module(x, mask, is_causal=causal), steps, batch, training)


def later(steps: int, causal: bool) -> torch.Tensor | None:
    """Mask of the steps that a causal one does not see."""
    return torch.ones(steps, steps, dtype=torch.bool).triu(1) if causal else None


def of_sequences(
    module: nn.Module, run: Callable, steps: int, batch: int, training: bool
) -> Repeat:
    """Run a module on rows of 128 features."""
    x = torch.from_numpy(data.like((batch, steps, 128))).requires_grad_(training)
    grad = x.detach()
    module.train(training)

    def repeat() -> None:
        x.grad = None
        module.zero_grad()
        run(x).backward(grad)

    def infer() -> None:
        with torch.inference_mode():
            run(x)

    return repeat if training else infer


def cross_entropy(batch: int, classes: int) -> Repeat:
    """Compute the loss and its gradient."""
    X, y = tensors(*data.rows(batch, classes, classes))
    X.requires_grad_()

    def repeat() -> None:
        X.grad = None
        F.cross_entropy(X, y).backward()

    return repeat


def optimizer(name: str, n: int, dtype: str = "float32") -> Repeat:
    """Take one step: fused where PyTorch has it, else its batched version."""
    kind, *momentum = name.replace("RMSProp", "RMSprop").split()
    options = {"lr": 1e-3} | ({"momentum": 0.9} if momentum else {})
    fused = kind in ("SGD", "Adam", "AdamW", "Adagrad")
    options |= {"fused": True} if fused else {"foreach": True}
    start, grads = (torch.from_numpy(data.like((n,), seed).astype(dtype)) for seed in (0, 1))
    params = start.requires_grad_()
    params.grad = 0.01 * grads
    return getattr(torch.optim, kind)([params], **options).step


def table(kind: str, name: str, options: dict[str, Any]) -> Repeat:
    """Fit a perceptron to a table for so many epochs, in batches of 200, in the table's dtype."""
    values, y = fit_rows.table(name)
    X, t = torch.from_numpy(values), torch.from_numpy(y)
    classes = kind == "classification"
    n_out = int(y.max()) + 1 if classes else (y.shape[1] if y.ndim == 2 else 1)
    t = t if classes else t.reshape(len(y), -1)
    sizes = (X.shape[1], *options["hidden_layer_sizes"], n_out)
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh, "logistic": nn.Sigmoid}[
        options.get("activation", "relu")
    ]

    def repeat() -> None:
        layers: list[nn.Module] = []
        for n_in, n_units in pairwise(sizes):
            layers += [nn.Linear(n_in, n_units), activation()]
        network = nn.Sequential(*layers[:-1]).to(X.dtype)
        adam = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
        loss = F.cross_entropy if classes else F.mse_loss
        for _ in range(options["max_iter"]):
            for rows in torch.randperm(len(X)).split(200):
                adam.zero_grad(set_to_none=True)
                loss(network(X[rows]), t[rows]).backward()
                adam.step()

    return repeat
