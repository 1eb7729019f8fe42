"""The hot loops behind plain functions: arrays in, arrays out, no layer in sight.

Every kernel exists in NumPy, many also compiled by Numba (``pip install 'layerkit[fast]'``), which
is used where it is installed.

Which of the two::

    use                   choose "numpy" or "numba", for good or within ``with``
    backend               the one in use
    warmup                compile ahead of time
    one_blas_thread       a ``with`` block in which matrix products use one thread

Functions, and ``…_grad``: the gradient of the output times the derivative::

    activations           relu, leaky_relu, elu, sigmoid, tanh, softplus, gelu, silu, mish;
                          relu_grad, leaky_relu_grad, elu_grad, sigmoid_grad, tanh_grad,
                          softplus_grad, gelu_grad, silu_grad, mish_grad
    with logarithms       softmax, log_softmax, log_sigmoid; binary_cross_entropy,
                          cross_entropy_of_labels, cross_entropy_of_softmax,
                          cross_entropy_of_sigmoid
    convolution           conv2d, conv2d_input_grad, conv2d_kernel_grad
    pooling               max_pool2d, max_pool2d_input_grad, avg_pool2d, avg_pool2d_input_grad,
                          mean_of_cells
    normalization         batch_norm, batch_norm_grad, layer_norm, layer_norm_grad; their parts
                          along, channel_sums, long_rows, row_length, row_mean
    layers in a row       perceptron, perceptron_grad; IDENTITY, RELU, SIGMOID, TANH name what
                          follows a product
    products              matmul
    rows and masks        add_row, sum_rows, add_rows_at; keep_mask, apply_mask
    update rules          sgd_step, adam_step, moments_step, adamax_step, adagrad_step,
                          rmsprop_step, adadelta_step, lion_step, rprop_step, moving_average;
                          plus_decay, shrink and sum_of_squares, which come before them
    windows               output_size; the types Pair (height, width) and Padding

Arguments have the same meaning everywhere::

    x, y                  input and output; images are (n_samples, height, width, channels)
    grad                  dL/dy, the gradient of the output
    x_shape               shape of the input whose gradient is asked for
    out                   array to overwrite with the result
    kernel, bias          (kh, kw, c_in / groups, c_out) and (c_out,)
    stride, dilation      pairs (height, width), at least 1
    padding               ((top, bottom), (left, right)); negative cuts off
    groups                of channels that do not see each other
    algorithm             "auto", "direct" or "winograd", see `layerkit.Conv2D`
    rectify               whether to cut the result off at 0, as a ReLU behind would
    size                  (height, width) of a window; in `rprop_step` the length of each step
    argmax                which cell of each window was the largest
    n                     cells along one axis
    slope, alpha, scale   of the formula in the first line; of `apply_mask`, its factor
    s                     the gate that the forward kernel returned with y
    axis                  along which probabilities sum to 1
    logits, labels        (n_samples, n_classes), and the class of each row
    targets               probabilities, in the shape of the logits
    cap                   bound that a loss does not exceed
    weights               of the samples, divided by the normalizer
    smoothing             share of the target that is spread over all classes
    pos_weight            positive factor on the loss of positive targets
    gamma, beta           scale and shift of every channel; of `moving_average`, its memory
    grad_gamma            dL/dgamma, to be overwritten
    grad_beta             dL/dbeta, to be overwritten
    x_hat, inv_std        what was standardised, and one over its standard deviation
    eps                   added to a variance, or to a root, so that it is not 0
    channels              length of the last axis
    n_positions           rows of it
    a, b                  matrices to be multiplied; or arrays in long rows, b is multiplied in
    index                 which row of a table each row belongs to
    values, rows, row     one number per channel; a matrix; what is added to each row of it
    keep, shape, rng      a boolean mask, its shape, and where its bits come from; in an update rule
                          keep is what the parameters are multiplied by, 1 without decoupled decay
    rate                  of dropping; in an update rule the learning rate
    run, hidden           Dense layers in a row, see `perceptron`, and all outputs but the last
    flat_params           all parameters of a network
    flat_grads            all its gradients, to be overwritten where the run has its own
    grad_input            dL/dx, to be overwritten
    factor                what `shrink` multiplies by
    decay, spans          weight decay, and the (start, stop) of what decays
    params, grads         vectors to be changed in place, and their gradient
    m, v, u, w, velocity  what a rule remembers, changed in place: averages of g, of g² and the like
    previous              the gradient of the step before
    momentum, nesterov    of `sgd_step` and `rmsprop_step`
    beta1, beta2, rho     memory of the averages, in [0, 1)
    of_m, of_g            how far to step along the average and along the gradient
    t                     number of the step, from 1
    mean                  an average, to be brought up to date with x; of batch normalization two
                          rows that add up to the mean of every channel
    shrink, grow          factors of the step's length where the sign turned, and where it stayed
    smallest, largest     bounds of that length
"""

from layerkit.kernels._numpy import (
    activations,
    convolution,
    cross_entropy,
    elementwise,
    embedding,
    normalization,
    optimizers,
    perceptrons,
    pooling,
    products,
    random,
    sums,
)
from layerkit.kernels._numpy.normalization import (
    along,
    channel_sums,
    long_rows,
    row_length,
    row_mean,
)
from layerkit.kernels._numpy.perceptrons import IDENTITY, RELU, SIGMOID, TANH
from layerkit.kernels._numpy.windows import Padding, Pair, output_size
from layerkit.kernels.blas import one_blas_thread
from layerkit.kernels.dispatch import backend, twin, use
from layerkit.kernels.warming import warmup

sigmoid = twin(elementwise.sigmoid)
softplus = twin(elementwise.softplus)
log_sigmoid = twin(elementwise.log_sigmoid)
softmax = twin(elementwise.softmax)
log_softmax = twin(elementwise.log_softmax)

relu = twin(activations.relu)
relu_grad = twin(activations.relu_grad)
leaky_relu = twin(activations.leaky_relu)
leaky_relu_grad = twin(activations.leaky_relu_grad)
elu = twin(activations.elu)
elu_grad = twin(activations.elu_grad)
sigmoid_grad = twin(activations.sigmoid_grad)
tanh = twin(activations.tanh)
tanh_grad = twin(activations.tanh_grad)
softplus_grad = twin(activations.softplus_grad)
gelu = twin(activations.gelu)
gelu_grad = twin(activations.gelu_grad)
silu = twin(activations.silu)
silu_grad = twin(activations.silu_grad)
mish = twin(activations.mish)
mish_grad = twin(activations.mish_grad)

binary_cross_entropy = twin(cross_entropy.binary_cross_entropy)
cross_entropy_of_labels = twin(cross_entropy.cross_entropy_of_labels)
cross_entropy_of_softmax = twin(cross_entropy.cross_entropy_of_softmax)
cross_entropy_of_sigmoid = twin(cross_entropy.cross_entropy_of_sigmoid)

perceptron = twin(perceptrons.perceptron)
perceptron_grad = twin(perceptrons.perceptron_grad)

conv2d = twin(convolution.conv2d)
conv2d_input_grad = twin(convolution.conv2d_input_grad)
conv2d_kernel_grad = twin(convolution.conv2d_kernel_grad)

max_pool2d = twin(pooling.max_pool2d)
max_pool2d_input_grad = twin(pooling.max_pool2d_input_grad)
avg_pool2d = twin(pooling.avg_pool2d)
avg_pool2d_input_grad = twin(pooling.avg_pool2d_input_grad)

batch_norm = twin(normalization.batch_norm)
batch_norm_grad = twin(normalization.batch_norm_grad)
layer_norm = twin(normalization.layer_norm)
layer_norm_grad = twin(normalization.layer_norm_grad)

sgd_step = twin(optimizers.sgd_step)
adam_step = twin(optimizers.adam_step)
moments_step = twin(optimizers.moments_step)
adamax_step = twin(optimizers.adamax_step)
adagrad_step = twin(optimizers.adagrad_step)
rmsprop_step = twin(optimizers.rmsprop_step)
adadelta_step = twin(optimizers.adadelta_step)
lion_step = twin(optimizers.lion_step)
rprop_step = twin(optimizers.rprop_step)
plus_decay = twin(optimizers.plus_decay)
shrink = twin(optimizers.shrink)
moving_average = twin(optimizers.moving_average)

mean_of_cells = twin(pooling.mean_of_cells)

matmul = twin(products.matmul)

keep_mask = twin(random.keep_mask)
apply_mask = twin(random.apply_mask)
add_row = twin(sums.add_row)
add_rows_at = twin(embedding.add_rows_at)
sum_rows = twin(sums.sum_rows)
sum_of_squares = twin(sums.sum_of_squares)

__all__ = [
    "IDENTITY",
    "RELU",
    "SIGMOID",
    "TANH",
    "Padding",
    "Pair",
    "adadelta_step",
    "adagrad_step",
    "adam_step",
    "adamax_step",
    "add_row",
    "add_rows_at",
    "along",
    "apply_mask",
    "avg_pool2d",
    "avg_pool2d_input_grad",
    "backend",
    "batch_norm",
    "batch_norm_grad",
    "binary_cross_entropy",
    "channel_sums",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_kernel_grad",
    "cross_entropy_of_labels",
    "cross_entropy_of_sigmoid",
    "cross_entropy_of_softmax",
    "elu",
    "elu_grad",
    "gelu",
    "gelu_grad",
    "keep_mask",
    "layer_norm",
    "layer_norm_grad",
    "leaky_relu",
    "leaky_relu_grad",
    "lion_step",
    "log_sigmoid",
    "log_softmax",
    "long_rows",
    "matmul",
    "max_pool2d",
    "max_pool2d_input_grad",
    "mean_of_cells",
    "mish",
    "mish_grad",
    "moments_step",
    "moving_average",
    "one_blas_thread",
    "output_size",
    "perceptron",
    "perceptron_grad",
    "plus_decay",
    "relu",
    "relu_grad",
    "rmsprop_step",
    "row_length",
    "row_mean",
    "rprop_step",
    "sgd_step",
    "shrink",
    "sigmoid",
    "sigmoid_grad",
    "silu",
    "silu_grad",
    "softmax",
    "softplus",
    "softplus_grad",
    "sum_of_squares",
    "sum_rows",
    "tanh",
    "tanh_grad",
    "use",
    "warmup",
]
