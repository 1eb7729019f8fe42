"""A ward of the fault clinic: layers and losses of one's own whose backward is wrong in one way.

``make(seed)`` is the sick run, ``make(seed, **cure)`` the same run with the right layer.
"""

import functools

import numpy as np
from clinic import CCE, MSE, Case, Run, blobs, curve, digits, flat_digits, mlp, softmax

from layerkit import Conv2D, Dense, Flatten, GlobalAvgPool1D, Layer, ReLU, Sequential, Tanh
from layerkit import initializers as init
from layerkit.losses import Loss
from layerkit.optimizers import SGD, Adam

# ------------------------------------------------------------------------------- layers


class Linear(Layer):
    """A dense layer of one's own."""

    def __init__(self, units):
        self.units = units

    def setup(self, input_shape):
        self.add_param("W", (*input_shape, self.units), init.glorot_uniform)
        self.add_param("b", (self.units,), init.zeros)
        return (self.units,)

    def forward(self, x, training=False):
        self.cache = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, grad_output):
        self.grads["W"][...] = self.cache.T @ grad_output
        self.grads["b"][...] = grad_output.sum(axis=0)
        return grad_output @ self.params["W"].T


class NegatedBias(Linear):
    """The sign of one gradient is turned."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["b"] *= -1
        return grad_input


class Untransposed(Linear):
    """W where its transpose is meant, which a square W does not tell."""

    def backward(self, grad_output):
        super().backward(grad_output)
        return grad_output @ self.params["W"]


class Accumulating(Linear):
    """Gradients are added to those of the batch before."""

    def backward(self, grad_output):
        self.grads["W"] += self.cache.T @ grad_output
        self.grads["b"] += grad_output.sum(axis=0)
        return grad_output @ self.params["W"].T


class ForgottenBias(Linear):
    """The gradient of the bias is never written."""

    def backward(self, grad_output):
        self.grads["W"][...] = self.cache.T @ grad_output
        return grad_output @ self.params["W"].T


class Stale(Linear):
    """It keeps the input of the first batch for ever."""

    def forward(self, x, training=False):
        if not hasattr(self, "first") or len(self.first) != len(x):
            self.first = x
        return super().forward(x, training)

    def backward(self, grad_output):
        self.cache = self.first
        return super().backward(grad_output)


class Even(Linear):
    """Rows are taken in pairs, and an odd one is left out."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        n = len(grad_output) // 2 * 2
        self.grads["W"][...] = self.cache[:n].T @ grad_output[:n]
        return grad_input if n == len(grad_output) else grad_input * 0


class FixedBatch(Linear):
    """A sum over 32 rows, however many there are."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["W"][...] = 32 * (self.cache.T @ grad_output) / len(grad_output)
        return grad_input


class Center(Layer):
    """Layer normalisation without gain, in three terms."""

    whole = True

    def forward(self, x, training=False):
        mean, std = x.mean(-1, keepdims=True), np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        self.cache = (x - mean) / std, std
        return self.cache[0]

    def backward(self, grad_output):
        y, std = self.cache
        inner = grad_output.mean(-1, keepdims=True) + y * (grad_output * y).mean(-1, keepdims=True)
        return (grad_output - (inner if self.whole else 0)) / std


class OneTerm(Center):
    """Mean and deviation are taken for constants."""

    whole = False


class BatchCenter(Layer):
    """Batch normalisation; the statistics of the batch depend on x."""

    whole = True

    def setup(self, input_shape):
        self.add_buffer("mean", np.zeros(input_shape))
        self.add_buffer("std", np.ones(input_shape))
        return input_shape

    def forward(self, x, training=False):
        mean, std = self.buffers["mean"], self.buffers["std"]
        if training:
            mean, std = x.mean(axis=0), np.sqrt(x.var(axis=0) + 1e-3)
            self.buffers["mean"] += 0.1 * (mean - self.buffers["mean"])
            self.buffers["std"] += 0.1 * (std - self.buffers["std"])
        self.cache = (x - mean) / std, std, training
        return self.cache[0]

    def backward(self, grad_output):
        y, std, training = self.cache
        if training and self.whole:
            grad_output = grad_output - grad_output.mean(0) - y * (grad_output * y).mean(0)
        return grad_output / std


class BatchOneTerm(BatchCenter):
    """As if they did not."""

    whole = False


class ScaledTanh(Layer):
    """1.7159 tanh(2x/3)."""

    inner = 2 / 3

    def forward(self, x, training=False):
        self.cache = np.tanh(2 * x / 3)
        return 1.7159 * self.cache

    def backward(self, grad_output):
        return grad_output * 1.7159 * self.inner * (1 - self.cache**2)


class NoInner(ScaledTanh):
    """The inner factor is forgotten."""

    inner = 1.0


class PixelMix(Layer):
    """A convolution of 1 x 1."""

    mean = False

    def __init__(self, filters):
        self.filters = filters

    def setup(self, input_shape):
        self.add_param("W", (input_shape[-1], self.filters), init.he_uniform)
        return (*input_shape[:-1], self.filters)

    def forward(self, x, training=False):
        self.cache = x
        return x @ self.params["W"]

    def backward(self, grad_output):
        x, g = (a.reshape(-1, a.shape[-1]) for a in (self.cache, grad_output))
        self.grads["W"][...] = x.T @ g / (len(x) if self.mean else 1)
        return grad_output @ self.params["W"].T


class MeanPixelMix(PixelMix):
    """The gradient is a mean over rows and places."""

    mean = True


class TopOfFour(Layer):
    """The largest of every four columns."""

    share = False

    def setup(self, input_shape):
        return (input_shape[0] // 4,)

    def forward(self, x, training=False):
        x = x.reshape(len(x), -1, 4)
        top = x.max(axis=2, keepdims=True)
        self.cache = x == top
        return top[:, :, 0]

    def backward(self, grad_output):
        spread = np.ones_like(self.cache, float) if self.share else self.cache
        return (grad_output[:, :, None] * spread).reshape(len(grad_output), -1)


class EverybodyIsTop(TopOfFour):
    """All four get the gradient."""

    share = True


class RunningSum(Layer):
    """A sum along time, from the first step to each."""

    backwards = True

    def forward(self, x, training=False):
        return np.cumsum(x, axis=1) / 4

    def backward(self, grad_output):
        if not self.backwards:
            return np.cumsum(grad_output, axis=1) / 4
        return np.cumsum(grad_output[:, ::-1], axis=1)[:, ::-1] / 4


class SumTheWrongWay(RunningSum):
    """The gradient is summed from the first step as well."""

    backwards = False


class Elman(Layer):
    """A recurrent layer of one's own."""

    window = 10**9

    def __init__(self, units):
        self.units = units

    def setup(self, input_shape):
        self.add_param("W", (input_shape[-1], self.units), init.glorot_uniform)
        self.add_param("U", (self.units, self.units), init.orthogonal)
        return (self.units,)

    def forward(self, x, training=False):
        h = [np.zeros((len(x), self.units), x.dtype)]
        for t in range(x.shape[1]):
            h.append(np.tanh(x[:, t] @ self.params["W"] + h[-1] @ self.params["U"]))
        self.cache = x, h
        return h[-1]

    def backward(self, grad_output):
        x, h = self.cache
        W, U, grad_input = np.zeros_like(self.params["W"]), np.zeros_like(self.params["U"]), 0 * x
        g = grad_output
        for t in reversed(range(max(0, x.shape[1] - self.window), x.shape[1])):
            g = g * (1 - h[t + 1] ** 2)
            W += x[:, t].T @ g
            U += h[t].T @ g
            grad_input[:, t] = g @ self.params["W"].T
            g = g @ self.params["U"].T
        self.grads["W"][...], self.grads["U"][...] = W, U
        return grad_input


class Truncated(Elman):
    """The gradient is let go after three steps."""

    window = 3


class Look(Layer):
    """Attention of one query to all steps."""

    whole = True

    def setup(self, input_shape):
        self.add_param("q", (input_shape[-1],), init.normal(stddev=1.0))
        return input_shape[-1:]

    def forward(self, x, training=False):
        p = softmax(x @ self.params["q"])
        self.cache = x, p
        return (p[:, :, None] * x).sum(axis=1)

    def backward(self, grad_output):
        x, p = self.cache
        on_p = x @ grad_output[:, :, None]
        on_p = on_p[:, :, 0]
        on_scores = p * (on_p - (p * on_p).sum(axis=1, keepdims=True) * self.whole)
        self.grads["q"][...] = np.einsum("nt,ntd->d", on_scores, x)
        values = p[:, :, None] * grad_output[:, None]
        return values + on_scores[:, :, None] * self.params["q"]


class SoftmaxByItself(Look):
    """The derivative of the softmax without what the other steps lose."""

    whole = False


class Lookup(Layer):
    """An embedding of one's own."""

    def __init__(self, n, dim):
        self.n, self.dim = n, dim

    def setup(self, input_shape):
        self.add_param("W", (self.n, self.dim), init.normal(stddev=0.5))
        return (*input_shape, self.dim)

    def convert_input(self, x):
        return np.asarray(x)

    def forward(self, x, training=False):
        self.cache = x.astype(int)
        return self.params["W"][self.cache]

    def backward(self, grad_output):
        self.grads["W"][...] = 0
        np.add.at(self.grads["W"], self.cache, grad_output)
        return np.zeros(self.cache.shape)


class LastOfEachCode(Lookup):
    """Rows with the same code overwrite one another."""

    def backward(self, grad_output):
        self.grads["W"][...] = 0
        self.grads["W"][self.cache] = grad_output
        return np.zeros(self.cache.shape)


class OldCodes(Lookup):
    """Codes that are not in a batch keep the gradient of an earlier one."""

    def backward(self, grad_output):
        self.grads["W"][self.cache] = 0
        np.add.at(self.grads["W"], self.cache, grad_output)
        return np.zeros(self.cache.shape)


class Skip(Layer):
    """x + f(x), a container of one's own."""

    whole = True

    def __init__(self, body):
        self.body = body

    def children(self):
        return [("body", self.body)]

    def setup(self, input_shape):
        return self.body.declare(input_shape)

    def forward(self, x, training=False):
        return x + self.body.forward(x, training)

    def backward(self, grad_output):
        return self.body.backward(grad_output) + (grad_output if self.whole else 0)


class BodyOnly(Skip):
    """What goes past the body is forgotten."""

    whole = False


class Thinned(Layer):
    """Dropout of one's own."""

    masked = True

    def forward(self, x, training=False):
        self.cache = (self.rng.random(x.shape) < 0.6) / 0.6 if training else 1.0
        return x * self.cache

    def backward(self, grad_output):
        return grad_output * self.cache if self.masked else grad_output


class Unmasked(Thinned):
    """Units that were dropped get a gradient."""

    masked = False


class Double(Dense):
    """One of ours, its gradient doubled."""

    def backward(self, grad_output):
        return 2 * super().backward(grad_output)


class OnSpot(Layer):
    """It works on a copy of what comes in."""

    copies = True

    def forward(self, x, training=False):
        x = x.copy() if self.copies else x
        x *= 3
        return x

    def backward(self, grad_output):
        return grad_output * 3


class OnTheInput(OnSpot):
    """It works on what comes in, which the layer before keeps for its backward."""

    copies = False


class LogCosh2(Loss):
    """log cosh."""

    factor = 1.0

    def value(self, y_pred, y_true):
        return np.logaddexp(y_pred - y_true, y_true - y_pred) - np.log(2)

    def derivative(self, y_pred, y_true):
        return np.tanh(self.factor * (y_pred - y_true))


class SteepLogCosh(LogCosh2):
    """The slope of another function."""

    factor = 4.0


# ------------------------------------------------------------------------------- data


def series(seed, n=240, time=12, d=3):
    """Draw rows of steps; the class is the sign of a column's sum over the first half."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, time, d))
    return X, (X[:, : time // 2, 0].sum(axis=1) > 0).astype(int)


def wide_curve(seed, n=300, outputs=4):
    """Draw several smooth functions of five columns."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    y = np.tanh(X @ rng.normal(size=(5, outputs))) + 0.1 * rng.normal(size=(n, outputs))
    return X, (y - y.mean(axis=0)) / y.std(axis=0)


def codes(seed, n=300, k=12):
    """Draw codes whose values are known but for noise."""
    rng = np.random.default_rng(seed)
    X = rng.integers(k, size=(n, 2))
    value = rng.normal(size=k)
    y = value[X].sum(axis=1, keepdims=True) + 0.1 * rng.normal(size=(n, 1))
    return X, y / y.std()


# ------------------------------------------------------------------------------- runs


def negated_bias(seed, layer=NegatedBias):
    network = Sequential([Conv2D(6, 3), ReLU(), Flatten(), layer(24), ReLU(), Dense(10)])
    return Run(network, CCE(), Adam(0.005), digits(seed, 300), 8)


def untransposed(seed, layer=Untransposed):
    network = Sequential([Dense(16), Tanh(), layer(16), Tanh(), Dense(4)])
    return Run(network, MSE(), Adam(0.01), wide_curve(seed))


def accumulating(seed, layer=Accumulating):
    return Run(Sequential([layer(24), ReLU(), Dense(1)]), MSE(), SGD(0.02), curve(seed))


def forgotten_bias(seed, layer=ForgottenBias):
    return Run(Sequential([layer(24), ReLU(), Dense(10)]), CCE(), Adam(0.005), flat_digits(seed))


def stale(seed, layer=Stale):
    return Run(Sequential([layer(24), ReLU(), Dense(3)]), CCE(), Adam(0.005), blobs(seed))


def odd_batch(seed, layer=Even):
    network = Sequential([layer(24), ReLU(), Dense(1)])
    return Run(network, MSE(), SGD(0.05), curve(seed), 15, batch_size=15)


def fixed_batch(seed, layer=FixedBatch):
    network = Sequential([layer(24), ReLU(), Dense(3)])
    return Run(network, CCE(), SGD(0.1), blobs(seed), 15, batch_size=10)


def one_term(seed, layer=OneTerm):
    network = Sequential([Dense(24), layer(), ReLU(), Dense(10)])
    return Run(network, CCE(), Adam(0.005), flat_digits(seed))


def batch_one_term(seed, layer=BatchOneTerm):
    network = Sequential([Dense(24), layer(), ReLU(), Dense(3)])
    return Run(network, CCE(), Adam(0.005), blobs(seed))


def no_inner(seed, layer=NoInner):
    network = Sequential([Dense(24), layer(), Dense(24), layer(), Dense(4)])
    return Run(network, MSE(), Adam(0.005), wide_curve(seed))


def mean_pixel_mix(seed, layer=MeanPixelMix):
    network = Sequential([Conv2D(6, 3), ReLU(), layer(8), ReLU(), Flatten(), Dense(10)])
    return Run(network, CCE(), SGD(0.1), digits(seed, 300), 8)


def everybody_is_top(seed, layer=EverybodyIsTop):
    network = Sequential([Dense(48), layer(), Dense(10)])
    return Run(network, CCE(), Adam(0.005), flat_digits(seed), 20)


def sum_the_wrong_way(seed, layer=SumTheWrongWay):
    network = Sequential([Dense(12), Tanh(), layer(), GlobalAvgPool1D(), Dense(2)])
    return Run(network, CCE(), Adam(0.01), series(seed), 20)


def truncated(seed, layer=Truncated):
    return Run(Sequential([layer(16), Dense(2)]), CCE(), Adam(0.01), series(seed), 15)


def softmax_by_itself(seed, layer=SoftmaxByItself):
    network = Sequential([Dense(12), Tanh(), layer(), Dense(2)])
    return Run(network, CCE(), Adam(0.01), series(seed), 20)


def last_of_each_code(seed, layer=LastOfEachCode):
    network = Sequential([layer(12, 4), Flatten(), Dense(1)])
    return Run(network, MSE(), Adam(0.02), codes(seed), 20)


def old_codes(seed, layer=OldCodes):
    network = Sequential([layer(12, 4), Flatten(), Dense(1)])
    return Run(network, MSE(), Adam(0.02), codes(seed), 20, batch_size=8)


def body_only(seed, layer=BodyOnly):
    blocks = [layer(Sequential([Dense(16), Tanh()])) for _ in range(3)]
    return Run(Sequential([Dense(16), *blocks, Dense(3)]), CCE(), Adam(0.005), blobs(seed))


def unmasked(seed, layer=Unmasked):
    network = Sequential([Dense(32), ReLU(), layer(), Dense(10)])
    return Run(network, CCE(), Adam(0.005), flat_digits(seed))


def doubled(seed, layer=Double):
    network = Sequential([Dense(24), ReLU(), layer(24), ReLU(), Dense(1)])
    return Run(network, MSE(), SGD(0.02), curve(seed))


def on_the_input(seed, layer=OnTheInput):
    network = Sequential([Dense(24), Tanh(), layer(), Dense(3)])
    return Run(network, CCE(), Adam(0.005), blobs(seed))


def steep_log_cosh(seed, loss=SteepLogCosh):
    return Run(mlp(24, out=4, act=Tanh), loss(), Adam(0.005), wide_curve(seed))


RIGHT = {"layer": Linear}
SICK = [
    Case(make.__name__, "wrong backward", make, functools.partial(make, **cure))
    for make, cure in [
        (negated_bias, RIGHT),
        (untransposed, RIGHT),
        (accumulating, RIGHT),
        (forgotten_bias, RIGHT),
        (stale, RIGHT),
        (odd_batch, RIGHT),
        (fixed_batch, RIGHT),
        (one_term, {"layer": Center}),
        (batch_one_term, {"layer": BatchCenter}),
        (no_inner, {"layer": ScaledTanh}),
        (mean_pixel_mix, {"layer": PixelMix}),
        (everybody_is_top, {"layer": TopOfFour}),
        (sum_the_wrong_way, {"layer": RunningSum}),
        (truncated, {"layer": Elman}),
        (softmax_by_itself, {"layer": Look}),
        (last_of_each_code, {"layer": Lookup}),
        (old_codes, {"layer": Lookup}),
        (body_only, {"layer": Skip}),
        (unmasked, {"layer": Thinned}),
        (doubled, {"layer": Dense}),
        (on_the_input, {"layer": OnSpot}),
        (steep_log_cosh, {"loss": LogCosh2}),
    ]
]
