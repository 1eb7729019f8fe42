"""The hot loops behind plain functions: arrays in, arrays out, no layer in sight.

Every kernel exists in NumPy, many also compiled by Numba (``pip install 'layerkit[fast]'``), which
is used where it is installed. `use` chooses, `warmup` compiles ahead of time.
"""

from layerkit.kernels._numpy import (
    activations,
    convolution,
    cross_entropy,
    elementwise,
    normalization,
    optimizers,
    pooling,
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
from layerkit.kernels._numpy.windows import Padding, Pair, output_size
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

cross_entropy_of_labels = twin(cross_entropy.cross_entropy_of_labels)

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
moving_average = twin(optimizers.moving_average)

mean_of_cells = twin(pooling.mean_of_cells)

keep_mask = twin(random.keep_mask)
apply_mask = twin(random.apply_mask)
add_row = twin(sums.add_row)
sum_rows = twin(sums.sum_rows)

__all__ = [
    "Padding",
    "Pair",
    "adadelta_step",
    "adagrad_step",
    "adam_step",
    "adamax_step",
    "add_row",
    "along",
    "apply_mask",
    "avg_pool2d",
    "avg_pool2d_input_grad",
    "backend",
    "batch_norm",
    "batch_norm_grad",
    "channel_sums",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_kernel_grad",
    "cross_entropy_of_labels",
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
    "max_pool2d",
    "max_pool2d_input_grad",
    "mean_of_cells",
    "mish",
    "mish_grad",
    "moments_step",
    "moving_average",
    "output_size",
    "relu",
    "relu_grad",
    "rmsprop_step",
    "row_length",
    "row_mean",
    "rprop_step",
    "sgd_step",
    "sigmoid",
    "sigmoid_grad",
    "silu",
    "silu_grad",
    "softmax",
    "softplus",
    "softplus_grad",
    "sum_rows",
    "tanh",
    "tanh_grad",
    "use",
    "warmup",
]
