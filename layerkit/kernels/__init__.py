"""The hot loops behind plain functions: arrays in, arrays out, no layer in sight.

Every kernel exists in NumPy, many also compiled by Numba (``pip install 'layerkit[fast]'``), which
is used where it is installed and there is enough to compute. Starting it takes a process half a
second, so fits and predictions of less than 1e9 multiply-adds (some 50 ms) run in NumPy; only their
sizes decide, so the same fit gives the same bits in every process. ``LAYERKIT_KERNELS=numba`` or
``kernels.use("numba")`` is for programs of many small fits.

Which of the two::

    use                   choose "numpy" or "numba", for good or within ``with``
    backend               the one in use
    for_work              a ``with`` block in which the work's size decides
    warmup                compile ahead of time
    one_blas_thread       a ``with`` block in which matrix products use one thread
    ALONE                 multiply-adds below which a product had better do so

Kernels, by family, and ``…_grad``: the gradient of the output times the derivative. What their
arguments are stands with each, or once for a family, at the head of its file in ``_numpy``::

    activations           relu, leaky_relu, elu, sigmoid, tanh, softplus, gelu, silu, mish;
                          relu_grad, leaky_relu_grad, elu_grad, sigmoid_grad, tanh_grad,
                          softplus_grad, gelu_grad, silu_grad, mish_grad;
                          softmax, log_softmax, log_sigmoid
    cross_entropy         binary_cross_entropy, cross_entropy_of_labels,
                          cross_entropy_of_softmax, cross_entropy_of_sigmoid
    attention             attention, attention_grad
    convolution           conv2d, conv2d_input_grad, conv2d_kernel_grad
    pooling               max_pool2d, max_pool2d_input_grad, avg_pool2d, avg_pool2d_input_grad,
                          mean_of_cells
    normalization         batch_norm, batch_norm_grad, layer_norm, layer_norm_grad; their parts
                          along, channel_sums, long_rows, row_length, row_mean
    dense                 matmul, add_row, sum_rows, add_rows_at, sum_of_squares; perceptron,
                          perceptron_grad for layers in a row; IDENTITY, RELU, SIGMOID, TANH name
                          what follows a product
    optimizers            sgd_step, adam_step, moments_step, adamax_step, adagrad_step,
                          rmsprop_step, adadelta_step, lion_step, rprop_step, moving_average;
                          plus_decay and shrink, which come before them
    recurrent             simple_rnn, lstm, gru; simple_rnn_grad, lstm_grad, gru_grad
    epochs                epoch_program: a Program that trains a chain of layers on all batches of
                          an epoch in one call, compiled only; takes_epochs says whether there is
                          one. What it knows:
                          DENSE, DROPOUT, BATCH_NORM, LEAKY_RELU, ELU, SOFTPLUS, GELU, SILU, MISH
                          and the four above; CROSS_ENTROPY, BINARY_CROSS_ENTROPY, SOFTMAX_SUM,
                          SIGMOID_SUM, SQUARED_ERROR, HUBER, ABSOLUTE_ERROR, POISSON_SUM;
                          NO_STEP, DESCENT, MOMENTUM, VELOCITY, MOMENTS
    random                keep_mask, apply_mask
    windows               output_size; the types Pair (height, width) and Padding

All kernels mean the same by ``x, y`` (input and output), ``grad`` (dL/dy, the gradient of the
output), ``x_shape`` (of the input whose gradient is asked for) and ``out`` (array to overwrite with
the result).
"""

# ruff: noqa: F401
from types import ModuleType as _ModuleType

from layerkit.kernels._numpy.activations import (
    elu,
    elu_grad,
    gelu,
    gelu_grad,
    leaky_relu,
    leaky_relu_grad,
    log_sigmoid,
    log_softmax,
    mish,
    mish_grad,
    relu,
    relu_grad,
    sigmoid,
    sigmoid_grad,
    silu,
    silu_grad,
    softmax,
    softplus,
    softplus_grad,
    tanh,
    tanh_grad,
)
from layerkit.kernels._numpy.attention import attention, attention_grad
from layerkit.kernels._numpy.convolution import conv2d, conv2d_input_grad, conv2d_kernel_grad
from layerkit.kernels._numpy.cross_entropy import (
    binary_cross_entropy,
    cross_entropy_of_labels,
    cross_entropy_of_sigmoid,
    cross_entropy_of_softmax,
)
from layerkit.kernels._numpy.dense import (
    IDENTITY,
    RELU,
    SIGMOID,
    TANH,
    add_row,
    add_rows_at,
    matmul,
    perceptron,
    perceptron_grad,
    sum_of_squares,
    sum_rows,
)
from layerkit.kernels._numpy.epochs import (
    ABSOLUTE_ERROR,
    BATCH_NORM,
    BINARY_CROSS_ENTROPY,
    CROSS_ENTROPY,
    DENSE,
    DESCENT,
    DROPOUT,
    ELU,
    GELU,
    HUBER,
    LEAKY_RELU,
    MISH,
    MOMENTS,
    MOMENTUM,
    NO_STEP,
    POISSON_SUM,
    SIGMOID_SUM,
    SILU,
    SOFTMAX_SUM,
    SOFTPLUS,
    SQUARED_ERROR,
    VELOCITY,
    Program,
    epoch_program,
    takes_epochs,
)
from layerkit.kernels._numpy.normalization import (
    along,
    batch_norm,
    batch_norm_grad,
    channel_sums,
    layer_norm,
    layer_norm_grad,
    long_rows,
    row_length,
    row_mean,
)
from layerkit.kernels._numpy.optimizers import (
    adadelta_step,
    adagrad_step,
    adam_step,
    adamax_step,
    lion_step,
    moments_step,
    moving_average,
    plus_decay,
    rmsprop_step,
    rprop_step,
    sgd_step,
    shrink,
)
from layerkit.kernels._numpy.pooling import (
    avg_pool2d,
    avg_pool2d_input_grad,
    max_pool2d,
    max_pool2d_input_grad,
    mean_of_cells,
)
from layerkit.kernels._numpy.random import apply_mask, keep_mask
from layerkit.kernels._numpy.recurrent import (
    gru,
    gru_grad,
    lstm,
    lstm_grad,
    simple_rnn,
    simple_rnn_grad,
)
from layerkit.kernels._numpy.windows import Padding, Pair, output_size
from layerkit.kernels.blas import ALONE, one_blas_thread
from layerkit.kernels.dispatch import backend, for_work, use
from layerkit.kernels.warming import warmup

__all__ = [
    name
    for name, value in globals().items()
    if not name.startswith("_") and not isinstance(value, _ModuleType)
]
