"""Layers broken on purpose, one classic mistake each; test_mutants.py has them caught."""

import copy

import numpy as np

import layerkit.layers as nn
from layerkit.kernels import attention_grad

# ---------------------------------------------------------------- Dense and gradients in general


class BiasForgotten(nn.Dense):
    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["b"][...] = 0
        return grad_input


class GradientNotWritten(nn.Dense):
    def backward(self, grad_output):
        return grad_output @ self.params["W"].T


class MeanForSum(nn.Dense):
    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["b"][...] /= len(grad_output)
        return grad_input


class GradientRebound(nn.Dense):
    """Puts a new array in the place of the view of the flat vector."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["b"][...] = np.nan
        self._shown_grads = {**self._shown_grads, "b": grad_output.sum(axis=0)}
        return grad_input


class Accumulating(nn.Dense):
    """Adds to the gradients of the last backward; forward sets them to zero."""

    def forward(self, x, training=False):
        self.grads["W"][...] = 0
        return super().forward(x, training)

    def backward(self, grad_output):
        before = self.grads["W"].copy()
        grad_input = super().backward(grad_output)
        self.grads["W"][...] += before
        return grad_input


class NoInputGradientNoGradients(nn.Dense):
    """Spares too much when nobody asks for dL/dx."""

    def backward(self, grad_output):
        if self.needs_input_grad:
            return super().backward(grad_output)
        self.grads["W"][...] = self.grads["b"][...] = 0
        return None


class InDoublePrecision(nn.Dense):
    def forward(self, x, training=False):
        return super().forward(x, training) * np.float64(1)


class HyperParameterChanged(nn.LeakyReLU):
    def __init__(self, negative_slope=0.01):
        self.negative_slope = negative_slope / 2


class FirstInputKept(nn.Tanh):
    """Backward at the first input that forward ever saw."""

    def forward(self, x, training=False):
        y = super().forward(x, training)
        self.first = getattr(self, "first", self.cache)
        self.cache = self.first
        return y


class EmptyBatchForgotten(nn.Dense):
    """The bias gradient as mean times number, 0 / 0 for no rows."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        rows = np.float64(len(grad_output))
        with np.errstate(invalid="ignore"):
            self.grads["b"][...] = grad_output.sum(axis=0) / rows * rows
        return grad_input


class OutputLikeInput(nn.Dense):
    """Rounds its output to the dtype of the input."""

    given = np.float64

    def convert_input(self, x):
        self.given = np.result_type(x, np.float16)
        return super().convert_input(x)

    def forward(self, x, training=False):
        return super().forward(x, training).astype(self.given).astype(self.dtype)


# ---------------------------------------------------------------- memory


class InputMutated(nn.ReLU):
    def forward(self, x, training=False):
        return super().forward(np.maximum(x, 0, out=x), training)


class GradOutputMutated(nn.ReLU):
    def backward(self, grad_output):
        grad_output *= super().backward(np.ones_like(grad_output))
        return grad_output


class BufferReused(nn.Tanh):
    """Computes into one buffer and hands out a view of it."""

    def forward(self, x, training=False):
        y = super().forward(x, training)
        if getattr(self, "buffer", y[:0]).shape != y.shape:
            self.buffer = np.empty_like(y)
        self.buffer[...] = y
        return self.buffer[:]


class MemoryOrder(nn.Flatten):
    """Reads numbers in the order in which they happen to lie in memory."""

    def forward(self, x, training=False):
        return super().forward(x.ravel(order="K").reshape(x.shape), training)


class ActivationsPickled(nn.Tanh):
    def forward(self, x, training=False):
        self.last_output = super().forward(x, training)
        return self.last_output


class SharedAfterDeepcopy(nn.Dense):
    def __deepcopy__(self, memo):
        return copy.copy(self)


class BuffersNotPickled(nn.BatchNorm):
    def __getstate__(self):
        return super().__getstate__() | {"_own_buffers": {}}


class InferRounds(nn.Dense):
    def infer(self, x):
        return super().infer(x).round(6)


class InferLeavesCache(nn.Dense):
    def infer(self, x):
        return self.forward(x, training=False)


# ---------------------------------------------------------------- noise


class WithoutRescale(nn.Dropout):
    """Its gradient is right: only statistics can tell."""

    def forward(self, x, training=False):
        self.scale = 1 - self.rate if training else 1.0
        return super().forward(x, training) * self.scale

    def backward(self, grad_output):
        return super().backward(grad_output) * self.scale


class FreshMaskInBackward(nn.Dropout):
    def forward(self, x, training=False):
        self.training = training
        return super().forward(x, training)

    def backward(self, grad_output):
        super().forward(grad_output, self.training)
        return super().backward(grad_output)


class NoiseInInference(nn.Dropout):
    def forward(self, x, training=False):
        return super().forward(x, training=True)


class GlobalRandomState(nn.GaussianNoise):
    def forward(self, x, training=False):
        y = super().forward(x, training)
        return y + np.random.normal(size=x.shape) if training else y  # noqa: NPY002


# ---------------------------------------------------------------- normalization


class GradientOfTheOtherMode(nn.BatchNorm):
    """Backward differentiates the function of inference in training, or the other way round."""

    def forward(self, x, training=False):
        self.other = None
        self.other = copy.deepcopy(self)
        mistaken = training == self.wrong_in_training
        nn.BatchNorm.forward(self.other, x, not training if mistaken else training)
        return super().forward(x, training)

    def backward(self, grad_output):
        grad_input = nn.BatchNorm.backward(self.other, grad_output)
        for name, grad in self.other.grads.items():
            self.grads[name][...] = grad
        return grad_input


class TrainingGradientInInference(GradientOfTheOtherMode):
    wrong_in_training = False


class InferenceGradientInTraining(GradientOfTheOtherMode):
    wrong_in_training = True


class StatisticsOfTheBatch(nn.BatchNorm):
    """Standardises over the batch in inference too."""

    def forward(self, x, training=False):
        held = {name: buffer.copy() for name, buffer in self.buffers.items()}
        y = super().forward(x, training=True)
        for name, buffer in held.items():
            self.buffers[name][...] = buffer
        return y


class StatisticsMoveInInference(nn.BatchNorm):
    def forward(self, x, training=False):
        y = super().forward(x, training)
        if not training:
            self.buffers["running_mean"][...] += 0.1
        return y


class StatisticsMoveWhenFrozen(nn.BatchNorm):
    def forward(self, x, training=False):
        y = super().forward(x, training)
        if not self.trainable:
            self.buffers["running_mean"][...] += 0.1
        return y


class StatisticsByReference(nn.BatchNorm):
    """Keeps the running statistics themselves for backward, which may change until then."""

    def forward(self, x, training=False):
        y = super().forward(x, training)
        self.training = training
        return y

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        if self.training:
            return grad_input
        scale = self.params["gamma"] / np.sqrt(self.buffers["running_var"] + self.eps)
        return grad_output * scale


class MeanTermForgotten(nn.LayerNorm):
    """dL/dx = s (g - x_hat M(x_hat g)), without the - M g."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        g = self.params["gamma"] * grad_output
        return grad_input + g.mean(axis=-1, keepdims=True)


# ---------------------------------------------------------------- convolution and pooling


class KernelGradientTransposed(nn.Conv2D):
    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["W"][...] = self.grads["W"].transpose(1, 0, 2, 3).copy()
        return grad_input


class KernelNotFlipped(nn.Conv2D):
    """Convolves the gradient with the kernel as it is."""

    def backward(self, grad_output):
        kernel = self.params["W"]
        held = kernel.copy()
        kernel[...] = held[::-1, ::-1]
        grad_input = super().backward(grad_output)
        kernel[...] = held
        return grad_input


class PaddingOffByOne(nn.ZeroPad2D):
    def forward(self, x, training=False):
        return super().forward(x, training)[:, 1:]


class CroppedOffByOne(nn.ZeroPad2D):
    def backward(self, grad_output):
        return super().backward(np.roll(grad_output, 1, axis=1))


class MaximumToAllCells(nn.MaxPool2D):
    """Every cell of a 2x2 window gets its gradient."""

    def backward(self, grad_output):
        return grad_output.repeat(2, axis=1).repeat(2, axis=2)


class MaximumToAllTies(nn.MaxPool2D):
    """Every cell that equals the maximum gets the gradient."""

    def forward(self, x, training=False):
        y = super().forward(x, training)
        self.cache = x == y.repeat(2, axis=1).repeat(2, axis=2)
        return y

    def backward(self, grad_output):
        return self.cache * grad_output.repeat(2, axis=1).repeat(2, axis=2)


# ---------------------------------------------------------------- softmax, embedding, containers


class DiagonalOnly(nn.Softmax):
    """dL/dx = y (1 - y) g, as if no output depended on the other inputs."""

    def forward(self, x, training=False):
        self.output = super().forward(x, training)
        return self.output

    def backward(self, grad_output):
        return self.output * (1 - self.output) * grad_output


class RepeatedIdsDropped(nn.Embedding):
    def forward(self, x, training=False):
        self.ids = x.astype(int)
        return super().forward(x, training)

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["W"][...] = 0
        self.grads["W"][self.ids] += grad_output  # one of the repeated ids wins
        return grad_input


class ShortcutForgotten(nn.Residual):
    def backward(self, grad_output):
        return self.body.backward(grad_output)


class GateTakenForConstant(nn.Gate):
    def backward(self, grad_output):
        return grad_output * self.cache[1]


class LastBranchOnly(nn.Concat):
    def backward(self, grad_output):
        super().backward(grad_output)
        width = self.branches[-1].output_shape[-1]
        return self.branches[-1].backward(grad_output[..., -width:])


class ScoresNotScaled(nn.MultiHeadAttention):
    """The factor of the products of queries and keys is left out of their gradients."""

    def backward(self, grad_output):
        _, steps, qkv, h, log_sums, how = self.cache
        grad_input = super().backward(grad_output)
        grad = grad_output.reshape(h.shape) @ self.params["W_o"].T
        grad_qkv = attention_grad(grad, qkv, h, log_sums, *how)
        grad_qkv[:, : 2 * h.shape[1]] *= np.sqrt(h.shape[1] / self.num_heads)
        self.grads["W_qkv"][...] = steps.T @ grad_qkv
        return grad_input


class SoftmaxOfAttentionForgotten(nn.MultiHeadAttention):
    """The weights are taken for constants: only the values get a gradient."""

    def backward(self, grad_output):
        x, _, qkv, h, log_sums, how = self.cache
        super().backward(grad_output)
        grad = grad_output.reshape(h.shape) @ self.params["W_o"].T
        grad_qkv = attention_grad(grad, qkv, h, log_sums, *how)
        grad_qkv[:, : 2 * h.shape[1]] = 0
        return (grad_qkv @ self.params["W_qkv"].T).reshape(x.shape)


class LooksAhead(nn.MultiHeadAttention):
    """Backward is that of causal attention, forward sees all steps."""

    def forward(self, x, training=False):
        y = super().forward(x, training)
        *kept, how = self.cache
        self.cache = *kept, (*how[:2], True, *how[3:])
        return y


class LooksAcrossRows(nn.MultiHeadAttention):
    """All rows of a batch are one."""

    def forward(self, x, training=False):
        y = super().forward(x.reshape(1, -1, x.shape[-1]), training)
        self.cache = x, *self.cache[1:]
        return y.reshape(x.shape)


class PlacesOfTheBatch(nn.PositionalEncoding):
    """Places are counted over the batch, not within a row."""

    def forward(self, x, training=False):
        return super().forward(x.reshape(1, -1, x.shape[-1]), training).reshape(x.shape)


class FirstRowOfPlaces(nn.PositionalEmbedding):
    """The gradient of the table is that of the first row, not of all."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["W"][: grad_output.shape[1]] = grad_output[:1].sum(axis=0)
        return grad_input


class AroundAttentionForgotten(nn.TransformerEncoderBlock):
    def backward(self, grad_output):
        return super().backward(grad_output) - self.feed_forward.backward(grad_output)


# ---------------------------------------------------------------- tables


class ScaleOfTheFirstRow(nn.Scale):
    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["s"][...] = (grad_output * self.cache)[0]
        return grad_input


class FactorForgotten(nn.NTKDense):
    """The weight gradient without 1 / sqrt(n)."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["W"][...] /= self.factor
        return grad_input


class NumberItselfForgotten(nn.PeriodicEmbedding):
    def backward(self, grad_output):
        return super().backward(grad_output) - grad_output[:, :, 0]


class FrequencyWithoutTwoPi(nn.PeriodicEmbedding):
    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["omega"][...] /= 2 * np.pi
        return grad_input


class SlopeOutsideOfBins(nn.PiecewiseLinearEmbedding):
    def backward(self, grad_output):
        x, t, inverse = self.cache
        self.cache = x, np.full_like(t, 0.5), inverse
        grad_input = super().backward(grad_output)
        self.cache = x, t, inverse
        self.grads["W"][...] = np.einsum("njk,nje->jke", t, grad_output)
        return grad_input


class StrengthOfTheOutput(nn.ParametricActivation):
    """dL/da as if y were a f(x)."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["a"][...] += grad_output.sum(axis=0)
        return grad_input


class OneMemberOnly(nn.BatchEnsemble):
    """A shared input hears from the first member alone."""

    def backward(self, grad_output):
        super().backward(grad_output)
        G = grad_output[:, 0] * self.params["s"][0]
        return (G @ self.params["W"].T) * self.params["r"][0]
