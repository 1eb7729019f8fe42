"""The hot loops behind plain functions: arrays in, arrays out, no layer in sight.

Every kernel exists in NumPy, many also compiled by Numba (``pip install 'layerkit[fast]'``), which
is used where it is installed.

Which of the two::

    use                   choose "numpy" or "numba", for good or within ``with``
    backend               the one in use
    warmup                compile ahead of time
    one_blas_thread       a ``with`` block in which matrix products use one thread

Kernels, by family; each says what its arguments are, and ``…_grad`` is the gradient of the output
times the derivative::

    activations           relu, tanh, sigmoid, gelu …; softmax, log_softmax, log_sigmoid
    cross_entropy         after softmax or sigmoid: the loss and its gradient at once
    convolution, pooling  of images (n_samples, height, width, channels)
    normalization         batch_norm, layer_norm, and parts of them for relatives
    dense                 matmul, add_row, sum_rows; perceptron, for Dense layers in a row
    optimizers            update rules, and weight decay, which comes before them
    random                masks for dropout

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
from layerkit.kernels._numpy.windows import Padding, Pair, output_size
from layerkit.kernels.blas import one_blas_thread
from layerkit.kernels.dispatch import backend, use
from layerkit.kernels.warming import warmup

__all__ = [
    name
    for name, value in globals().items()
    if not name.startswith("_") and not isinstance(value, _ModuleType)
]
